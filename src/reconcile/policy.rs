//! Which of two changes of one key wins.

use super::knowledge::{Entry, Lifetime};
use serde::{Deserialize, Serialize};
use std::cmp::Ordering;

/// How conflicts are decided: keys that both sides changed since the fork.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
pub enum Policy {
    /// The change with the later log time.
    #[default]
    Newest,
    /// The change with the earlier log time.
    Oldest,
    /// That of the cluster that goes on.
    PreferLive,
    /// That of the side that comes back.
    PreferIncoming,
    /// Counters get what both sides added. Other values are set aside.
    SumDelta,
    /// The cluster's stays, the other is set aside for a person.
    Quarantine,
    /// A person or a program decides each of them.
    Custom,
}

/// How a removal compares with a change under [`Policy::Newest`] and [`Policy::Oldest`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Deletes {
    /// By their times, as changes do. The change wins where they are equal.
    #[default]
    ByTime,
    /// The removal wins.
    Win,
    /// The change wins.
    Lose,
}

/// What holds for a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    pub policy: Policy,
    #[serde(default)]
    pub deletes: Deletes,
}

impl Default for Rule {
    fn default() -> Self {
        Self { policy: Policy::Newest, deletes: Deletes::ByTime }
    }
}

/// A rule for keys with a prefix.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PrefixRule {
    pub prefix: String,
    #[serde(flatten)]
    pub rule: Rule,
}

/// Rules for all keys: the first prefix that fits counts, else the default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rules {
    #[serde(default)]
    pub prefixes: Vec<PrefixRule>,
    #[serde(default)]
    pub default: Rule,
    /// What is done with a key that the incoming side lacks for a reason that it does not know, while the cluster has it as
    /// it was: remove it, which makes it a miss, instead of keeping it.
    #[serde(default)]
    pub remove_unknown: bool,
}

impl Rules {
    /// Every key by one policy.
    pub fn all(policy: Policy) -> Self {
        Self { default: Rule { policy, ..Rule::default() }, ..Self::default() }
    }

    /// Whether a key may be decided by adding up.
    pub fn sums(&self) -> bool {
        let mut all = self.prefixes.iter().map(|rule| rule.rule).chain([self.default]);
        all.any(|rule| rule.policy == Policy::SumDelta)
    }

    pub fn of(&self, key: &str) -> Rule {
        let found = self.prefixes.iter().find(|rule| key.starts_with(&rule.prefix));
        found.map_or(self.default, |found| found.rule)
    }
}

/// A side of a reconciliation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// The cluster that goes on.
    Live,
    /// The one whose changes are brought in.
    Incoming,
}

impl Side {
    pub fn other(self) -> Self {
        match self {
            Self::Live => Self::Incoming,
            Self::Incoming => Self::Live,
        }
    }
}

/// A change or a removal, as conflicts compare them.
///
/// The order is total, and equal changes have equal values: so the winner of any number of sides does not depend on the
/// order in which they are compared. Nothing is compared within a tolerance, which would not be transitive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change {
    stamp_ms: u64,
    /// Of a removal there is nothing else.
    entry: Option<(u64, Lifetime, u128)>,
}

impl Change {
    pub fn of_entry(entry: &Entry) -> Self {
        Self { stamp_ms: entry.stamp_ms, entry: Some((entry.version, entry.lifetime, entry.hash)) }
    }

    pub fn removal(stamp_ms: u64) -> Self {
        Self { stamp_ms, entry: None }
    }
}

impl Rule {
    /// The side whose change wins, for the policies that decide by looking at both. Others have none.
    pub fn winner(self, live: &Change, incoming: &Change) -> Option<Side> {
        let by_kind = match (self.deletes, live.entry.is_some(), incoming.entry.is_some()) {
            (Deletes::Win, true, false) | (Deletes::Lose, false, true) => Some(Side::Incoming),
            (Deletes::Win, false, true) | (Deletes::Lose, true, false) => Some(Side::Live),
            _ => None,
        };
        let later = match self.policy {
            Policy::PreferLive => return Some(Side::Live),
            Policy::PreferIncoming => return Some(Side::Incoming),
            Policy::SumDelta | Policy::Quarantine | Policy::Custom => return None,
            Policy::Newest => live.stamp_ms.cmp(&incoming.stamp_ms),
            Policy::Oldest => incoming.stamp_ms.cmp(&live.stamp_ms),
        };
        let order = later.then(live.entry.cmp(&incoming.entry));
        Some(by_kind.unwrap_or(if order == Ordering::Less { Side::Incoming } else { Side::Live }))
    }
}
