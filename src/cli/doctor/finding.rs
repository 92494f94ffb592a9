//! What a check found: how bad it is, what was seen, why that matters, and what mends it.

use serde::Serialize;
use std::fmt;

/// How bad it is. A check whose answer cannot be had is not bad: it is unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Level {
    Ok,
    Unknown,
    Warn,
    Bad,
}

impl Level {
    fn label(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Unknown => "?",
            Self::Warn => "warn",
            Self::Bad => "bad",
        }
    }
}

/// The result of one check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    pub check: &'static str,
    pub level: Level,
    /// What the nodes say.
    pub seen: String,
    /// What it leads to.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub why: &'static str,
    /// A command, or what else to do.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub mend: String,
}

impl Finding {
    pub fn ok(check: &'static str, seen: impl Into<String>) -> Self {
        Self { check, level: Level::Ok, seen: seen.into(), why: "", mend: String::new() }
    }

    pub fn unknown(check: &'static str, seen: impl Into<String>) -> Self {
        Self { level: Level::Unknown, ..Self::ok(check, seen) }
    }

    pub fn warn(
        check: &'static str,
        seen: impl Into<String>,
        why: &'static str,
        mend: impl Into<String>,
    ) -> Self {
        Self { check, level: Level::Warn, seen: seen.into(), why, mend: mend.into() }
    }

    pub fn bad(
        check: &'static str,
        seen: impl Into<String>,
        why: &'static str,
        mend: impl Into<String>,
    ) -> Self {
        Self { level: Level::Bad, ..Self::warn(check, seen, why, mend) }
    }

    /// The same, and nodes whose answer could not be had: what is known of the others stands.
    pub fn without(mut self, silent: &[String]) -> Self {
        if !silent.is_empty() {
            self.seen = format!("{}; not known of {}", self.seen, silent.join(", "));
            self.level = self.level.max(Level::Unknown);
        }
        self
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<5}{}: {}", self.level.label(), self.check, self.seen)?;
        if !self.why.is_empty() {
            write!(f, ". {}", self.why)?;
        }
        if !self.mend.is_empty() {
            write!(f, " => {}", self.mend)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_is_a_line() {
        let bad = Finding::bad("leader", "there is none", "Nothing can be written", "lockstep member");
        assert_eq!(bad.to_string(), "bad  leader: there is none. Nothing can be written => lockstep member");
        let ok = Finding::ok("leader", "n1");
        assert_eq!(ok.clone().without(&[]), ok);
        let partly = ok.without(&["n2".into(), "n3".into()]);
        assert_eq!(partly.to_string(), "?    leader: n1; not known of n2, n3");
        assert_eq!(bad.without(&["n2".into()]).level, Level::Bad);
    }
}
