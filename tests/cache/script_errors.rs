//! Where a command was refused, for the transcripts.

use lockstep::cache::CommandError;

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
        | CommandError::MergedMeanwhile
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
