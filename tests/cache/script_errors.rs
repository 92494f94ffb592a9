//! Where a command was refused, and why a key is gone, for the transcripts.

use lockstep::cache::{Absence, CommandError, Removal};

/// The position of the operation at fault, if the refusal names one.
pub fn show_position(error: &CommandError) -> String {
    let op = match error {
        CommandError::PreconditionFailed { op, .. }
        | CommandError::TooLarge { op, .. }
        | CommandError::CacheFull { op }
        | CommandError::NotANumber { op }
        | CommandError::Overflow { op }
        | CommandError::WrongKind { op }
        | CommandError::InvalidBatch { op, .. }
        | CommandError::Invalid { op, .. } => *op,
        CommandError::IdempotencyKeyReused
        | CommandError::OutcomeForgotten
        | CommandError::FeatureLevel { .. }
        | CommandError::MergeOutOfTurn { .. }
        | CommandError::AnotherMerge
        | CommandError::PlanOutdated
        | CommandError::NoSuchToken
        | CommandError::TokenExists
        | CommandError::TooManyTokens
        | CommandError::NoSuchSession
        | CommandError::TooManySessions
        | CommandError::LockHeld { .. }
        | CommandError::LockNotHeld
        | CommandError::TooManyLocks
        | CommandError::GuardFailed { .. } => None,
    };
    op.map_or(String::new(), |op| format!(" op={op}"))
}

/// Why there is no such key.
pub fn show_absence(absence: &Absence) -> String {
    match absence.removal {
        Some(Removal { cause, revision, at_ms }) => {
            format!("gone by {cause:?} revision={revision} at {at_ms}").to_lowercase()
        }
        None if absence.known_after == 0 => "never there".into(),
        None => format!("not removed after {}", absence.known_after),
    }
}
