//! Exit codes, so that scripts can tell failures apart: 0 success, 1 another error, 2 wrong usage, 3 not
//! found, 4 precondition failed, 5 unavailable (nothing was done), 6 outcome unknown, 7 not linearizable, 8 not
//! decided whether it is, 9 conflicts are left to decide, 10 refused because it would not be safe, 11 no token, or one that does
//! not allow it, 12 the doctor has only warnings, 13 it found something bad.

use crate::api::ErrorCode;
use crate::client::ClientError;
use crate::merging::Undecided;
use crate::node::RecoverError;

/// Any error without a code of its own.
pub const ERROR: u8 = 1;
/// Arguments that make no sense; clap uses it too.
pub const USAGE: u8 = 2;
const NOT_FOUND: u8 = 3;
const PRECONDITION_FAILED: u8 = 4;
const UNAVAILABLE: u8 = 5;
const OUTCOME_UNKNOWN: u8 = 6;
const NOT_LINEARIZABLE: u8 = 7;
const UNDECIDED: u8 = 8;
const CONFLICTS: u8 = 9;
const REFUSED: u8 = 10;
const NOT_ALLOWED: u8 = 11;
const WARNINGS: u8 = 12;
const BAD: u8 = 13;

/// WatchMessage by `get` and `del` of a key that is not there.
#[derive(Debug, thiserror::Error)]
#[error("there is no key `{0}`")]
pub struct NoSuchKey(pub String);

/// Arguments that make no sense together, or not here.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Usage(pub String);

/// WatchMessage by `check-history` of a history that it can't approve.
#[derive(Debug, thiserror::Error)]
pub enum NotApproved {
    #[error("not linearizable")]
    NotLinearizable,
    #[error("not decided whether it is linearizable")]
    Undecided,
}

/// What `doctor` found, where not all is well.
#[derive(Debug, thiserror::Error)]
pub enum NotWell {
    #[error("some things should be looked at")]
    Warnings,
    #[error("something is wrong")]
    Bad,
}

/// Why a recovery is refused, or not done yet.
fn refuses_recovery(error: &anyhow::Error) -> bool {
    error.is::<crate::recover::Refusal>()
        || error.is::<super::recover::LostAnswers>()
        || matches!(
            error.downcast_ref(),
            Some(
                RecoverError::NotNamed(_)
                    | RecoverError::Changed { .. }
                    | RecoverError::Superseded(_)
                    | RecoverError::JoinsAnother(_)
                    | RecoverError::Owner { .. }
            )
        )
}

/// What to try next, where the error itself does not say; otherwise empty.
pub fn hint(error: &anyhow::Error) -> &'static str {
    match error.downcast_ref() {
        Some(ClientError::Unreachable { .. }) => {
            "; name the nodes to ask with --url URL,URL or in LOCKSTEP_URL"
        }
        Some(ClientError::Problem(problem)) if problem.code == ErrorCode::Unauthorized => {
            "; name a file with a token with --token-file or in LOCKSTEP_TOKEN_FILE"
        }
        _ => "",
    }
}

/// The exit code of an error.
pub fn code(error: &anyhow::Error) -> u8 {
    if error.is::<NoSuchKey>() {
        return NOT_FOUND;
    }
    if error.is::<Usage>() {
        return USAGE;
    }
    if refuses_recovery(error) {
        return REFUSED;
    }
    match error.downcast_ref() {
        Some(NotApproved::NotLinearizable) => return NOT_LINEARIZABLE,
        Some(NotApproved::Undecided) => return UNDECIDED,
        None => {}
    }
    match error.downcast_ref() {
        Some(NotWell::Warnings) => return WARNINGS,
        Some(NotWell::Bad) => return BAD,
        None => {}
    }
    if error.is::<Undecided>() {
        return CONFLICTS;
    }
    if error.is::<crate::reconcile::Refusal>() {
        return REFUSED;
    }
    match error.downcast_ref::<ClientError>().map(ClientError::code) {
        Some(ErrorCode::NotFound) => NOT_FOUND,
        Some(ErrorCode::Unauthorized | ErrorCode::Forbidden) => NOT_ALLOWED,
        Some(ErrorCode::PreconditionFailed) => PRECONDITION_FAILED,
        Some(
            ErrorCode::Unavailable
            | ErrorCode::Busy
            | ErrorCode::RateLimited
            | ErrorCode::Superseded
            | ErrorCode::Detached,
        ) => UNAVAILABLE,
        Some(ErrorCode::OutcomeUnknown | ErrorCode::Fatal) => OUTCOME_UNKNOWN,
        _ => ERROR,
    }
}
