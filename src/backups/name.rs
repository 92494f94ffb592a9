//! The names of backups: when each was begun, and the log index that it has. They sort by time.

use chrono::{DateTime, NaiveDateTime, SubsecRound, Utc};
use std::fmt;

const TIME: &str = "%Y%m%dT%H%M%SZ";

/// The name of a backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Name {
    pub at: DateTime<Utc>,
    pub index: u64,
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "lockstep-{}-{}.snapshot", self.at.format(TIME), self.index)
    }
}

impl Name {
    /// The name of one that is begun now.
    pub fn new(at: DateTime<Utc>, index: u64) -> Self {
        Self { at: at.trunc_subsecs(0), index }
    }

    /// What a file's name says, if it is exactly one of these: files that somebody else put into the folder are never removed.
    pub fn parse(text: &str) -> Option<Self> {
        let (at, index) = text.strip_prefix("lockstep-")?.strip_suffix(".snapshot")?.split_once('-')?;
        let at = NaiveDateTime::parse_from_str(at, TIME).ok()?.and_utc();
        let name = Self { at, index: index.parse().ok()? };
        (name.to_string() == text).then_some(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_what_it_was_made_of_and_sorts_by_time() {
        let at = |seconds| DateTime::from_timestamp(seconds, 500).expect("a time");
        let name = Name::new(at(1_795_874_400), 42);
        assert_eq!(name.to_string(), "lockstep-20261128T140000Z-42.snapshot");
        assert_eq!(Name::parse(&name.to_string()), Some(name));
        let later = Name::new(at(1_795_874_401), 7);
        assert!(later > name && later.to_string() > name.to_string());
    }

    #[test]
    fn other_files_are_not_ours() {
        for text in [
            "lockstep-42.snapshot",
            "lockstep-20261128T140000Z-42.snapshot.part",
            "lockstep-20261128T140000Z-042.snapshot",
            "lockstep-20261128T140000Z-+42.snapshot",
            "lockstep-20261128T140000Z-.snapshot",
            "lockstep-20261128T140000Z.snapshot",
            "lockstep-20261328T140000Z-42.snapshot",
            "lockstep-2026-11-28-42.snapshot",
            "monday.snapshot",
            "lock",
        ] {
            assert_eq!(Name::parse(text), None, "{text}");
        }
    }
}
