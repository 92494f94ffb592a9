//! A log index that a client sends back, and the history that it belongs to.

use super::api_error::ApiError;
use super::extract::whole;
use crate::api::ErrorCode;
use crate::lineage::Lineage;
use axum::http::HeaderValue;

/// How many characters of a history's id name it at least, and in the ids of events.
const NAME_CHARACTERS: usize = 8;

/// An index, and the beginning of its history's id if the client says which one it means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cursor {
    pub index: u64,
    pub history: Option<String>,
}

impl Cursor {
    /// From `42`, or with the history, `42@1f0c9a3b`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (index, history) = match text.split_once('@') {
            Some((_, history)) if history.len() < NAME_CHARACTERS => return None,
            Some((index, history)) => (index, Some(history.to_owned())),
            None => (text, None),
        };
        Some(Self { index: whole(index)?, history })
    }

    /// Whether it belongs to another history than this one.
    pub(super) fn is_foreign(&self, lineage: &Lineage) -> bool {
        self.history.as_deref().is_some_and(|history| !names_current(history, lineage))
    }

    /// The index, if it is one of this history.
    ///
    /// # Errors
    /// `other_history`.
    pub(super) fn index_in(&self, lineage: &Lineage) -> Result<u64, ApiError> {
        if self.is_foreign(lineage) { Err(other_history(lineage)) } else { Ok(self.index) }
    }
}

/// The beginning of the current history's id.
pub(super) fn short_name(lineage: &Lineage) -> &str {
    let id = &lineage.current().id;
    id.get(..NAME_CHARACTERS).unwrap_or(id)
}

/// Checks the value of `Lockstep-Expect-History`: the id of the history that the client expects, or its beginning.
///
/// # Errors
/// `other_history`, and nothing was done.
pub(super) fn expect(value: &HeaderValue, lineage: &Lineage) -> Result<(), ApiError> {
    match value.to_str() {
        Ok(history) if names_current(history, lineage) => Ok(()),
        _ => Err(other_history(lineage)),
    }
}

fn names_current(name: &str, lineage: &Lineage) -> bool {
    name.len() >= NAME_CHARACTERS && lineage.current().id.starts_with(name)
}

fn other_history(lineage: &Lineage) -> ApiError {
    let current = lineage.current();
    let reason = format!(
        "this node's log belongs to history {} ({}), and indexes of another one mean nothing here",
        current.number, current.id
    );
    ApiError::new(ErrorCode::OtherHistory, reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_may_name_its_history() {
        let id = "1f0c9a3b-7d11-4b5e-9a53-000000000000";
        let lineage = Lineage::founded(id, 0);
        let index = |text: &str| Cursor::parse(text).map(|cursor| cursor.index_in(&lineage).ok());
        assert_eq!(index("42"), Some(Some(42)));
        assert_eq!(index("42@1f0c9a3b"), Some(Some(42)));
        assert_eq!(index(&format!("42@{id}")), Some(Some(42)));
        assert_eq!(index("42@1f0c9a3c"), Some(None));
        assert_eq!(index(&format!("42@{id}0")), Some(None));
        for bad in ["", "x", "42@", "42@1f0c", "-1@1f0c9a3b", "@1f0c9a3b"] {
            assert_eq!(index(bad), None, "{bad}");
        }
        assert_eq!(short_name(&lineage), "1f0c9a3b");
    }

    #[test]
    fn only_the_present_history_is_expected_rightly() {
        let first = Lineage::founded("1f0c9a3b-7d11", 0);
        let kind = crate::lineage::HistoryKind::Restored;
        let second = first.fork("2a0c9a3b-7d11".into(), kind, 3, 3, 0, "").expect("room");
        let expected = |text: &'static str| expect(&HeaderValue::from_static(text), &second).is_ok();
        assert!(expected("2a0c9a3b") && expected("2a0c9a3b-7d11"));
        assert!(!expected("1f0c9a3b") && !expected("") && !expected("2a0c"));
    }
}
