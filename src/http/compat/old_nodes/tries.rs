//! What is known of an operation that is tried several times.

use super::super::super::api_error::ApiError;
use crate::api::ErrorCode;

/// The tries of one operation so far.
#[derive(Default)]
pub(super) struct Tries {
    /// The error of the last try that may have been carried out.
    unknown: Option<ApiError>,
}

impl Tries {
    /// Takes the error of a try. If the operation may be tried again, that is all. `is_keyed`: a repetition is not carried out
    /// twice. `has_time`: there is time for another try.
    ///
    /// # Errors
    /// What the operation's sender is told: that the outcome is unknown, if it is that of any try. A later try that did nothing
    /// does not change that.
    pub fn failed(&mut self, error: ApiError, is_keyed: bool, has_time: bool) -> Result<(), ApiError> {
        let may_help = match error.problem().code {
            ErrorCode::Busy | ErrorCode::Unavailable => true,
            ErrorCode::OutcomeUnknown => is_keyed,
            _ => false,
        };
        if !may_help || !has_time {
            return Err(self.verdict(error));
        }
        if error.problem().code == ErrorCode::OutcomeUnknown {
            self.unknown = Some(error);
        }
        Ok(())
    }

    /// What the sender is told, if nothing else is tried after this error.
    pub fn verdict(&mut self, error: ApiError) -> ApiError {
        self.unknown.take().unwrap_or(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_outcome_stays_unknown() {
        let error = |code| ApiError::new(code, "it failed");
        let code = |result: Result<(), ApiError>| result.map_err(|error| error.problem().code);
        use ErrorCode::{Busy, Forbidden, OutcomeUnknown, Unavailable};
        for last in [Unavailable, Busy, Forbidden] {
            let mut tries = Tries::default();
            assert_eq!(code(tries.failed(error(Busy), true, true)), Ok(()));
            assert_eq!(code(tries.failed(error(OutcomeUnknown), true, true)), Ok(()));
            assert_eq!(code(tries.failed(error(Unavailable), true, true)), Ok(()));
            assert_eq!(code(tries.failed(error(last), true, false)), Err(OutcomeUnknown), "then {last:?}");
            assert_eq!(code(Tries::default().failed(error(last), true, false)), Err(last));
        }
        assert_eq!(code(Tries::default().failed(error(OutcomeUnknown), false, true)), Err(OutcomeUnknown));
        assert_eq!(code(Tries::default().failed(error(Forbidden), true, true)), Err(Forbidden));
    }
}
