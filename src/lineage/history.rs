//! The histories of a cluster, and how those of two nodes relate.

use serde::{Deserialize, Serialize};

/// A new history begins at a multiple of this, above every index that it knows of: entry 42 of the second one has index
/// 10,000,000,000,042 or so. At 100,000 entries a second a history reaches the next multiple after three years.
pub const INDEX_STEP: u64 = 10_000_000_000_000;
/// Every index is below this, so that JSON numbers hold it exactly in every client. So there are at most 900 histories.
const INDEX_MAX: u64 = 1 << 53;
/// Bytes of a history's reason.
const REASON_BYTES_MAX: usize = 200;

/// One unbroken log of a cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    /// 1 for the first one. Two nodes can begin histories of the same number, so only the id says which one is meant.
    pub number: u64,
    /// A UUID; the first history has the cluster's.
    pub id: String,
    pub kind: HistoryKind,
    /// The last log index that it shares with the history before it; 0 for the first one.
    pub fork_index: u64,
    /// Its first own entry comes after this log index; 0 for the first one.
    pub start_index: u64,
    /// When it began, by the wall clock of the node that began it, in milliseconds since the Unix epoch.
    pub began_at_ms: u64,
    /// What an operator gave as a reason, or what the program knew; at most 200 bytes.
    pub reason: String,
}

impl History {
    /// Whether it was begun by a node that left its cluster on purpose.
    pub fn is_detached(&self) -> bool {
        self.kind == HistoryKind::Detached
    }
}

/// How a history began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HistoryKind {
    /// With the cluster.
    Founded,
    /// From a backup.
    Restored,
    /// By survivors of a lost majority.
    Recovered,
    /// By a node that left the cluster on purpose.
    Detached,
}

/// A cluster's histories up to a node's own, oldest first. There is always one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "StoredLineage")]
pub struct Lineage {
    cluster_id: String,
    histories: Vec<History>,
}

#[derive(Deserialize)]
struct StoredLineage {
    cluster_id: String,
    histories: Vec<History>,
}

/// Why something is no lineage, or no history can follow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LineageError {
    /// A rule of the list does not hold.
    Malformed(&'static str),
    /// Indexes would leave the range of numbers that every client reads exactly.
    Full,
}

impl std::fmt::Display for LineageError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Malformed(what) => write!(f, "the lineage is malformed: {what}"),
            Self::Full => f.write_str("the cluster has had as many histories as there can be"),
        }
    }
}

impl std::error::Error for LineageError {}

impl TryFrom<StoredLineage> for Lineage {
    type Error = LineageError;

    fn try_from(StoredLineage { cluster_id, histories }: StoredLineage) -> Result<Self, LineageError> {
        let first = histories.first().ok_or(LineageError::Malformed("it is empty"))?;
        if first.kind != HistoryKind::Founded || first.id != cluster_id {
            return Err(LineageError::Malformed("its first history is not the cluster's"));
        }
        if (first.fork_index, first.start_index) != (0, 0) {
            return Err(LineageError::Malformed("its first history does not begin at 0"));
        }
        for pair in histories.windows(2) {
            let (before, after) = (&pair[0], &pair[1]);
            if after.kind == HistoryKind::Founded || after.number != before.number + 1 {
                return Err(LineageError::Malformed("a history does not follow the one before it"));
            }
            if after.fork_index < before.start_index || after.start_index <= after.fork_index {
                return Err(LineageError::Malformed("a history does not begin after its fork"));
            }
            if histories.iter().filter(|history| history.id == after.id).count() != 1 {
                return Err(LineageError::Malformed("two histories have one id"));
            }
        }
        if first.number != 1 || histories.iter().any(|history| history.start_index > INDEX_MAX) {
            return Err(LineageError::Malformed("a number is out of its range"));
        }
        Ok(Self { cluster_id, histories })
    }
}

/// How another lineage relates to one's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Relation {
    /// It is the same.
    Same,
    /// The other one's history is an earlier one of this lineage.
    Earlier,
    /// This lineage's history is an earlier one of the other lineage.
    Later,
    /// Each has a history that the other lacks. They share this many, at least one.
    Forked { shared: usize },
    /// It is another cluster's.
    Foreign,
}

impl Lineage {
    /// That of a new cluster.
    pub fn founded(cluster_id: &str, at_ms: u64) -> Self {
        let first = History {
            number: 1,
            id: cluster_id.to_owned(),
            kind: HistoryKind::Founded,
            fork_index: 0,
            start_index: 0,
            began_at_ms: at_ms,
            reason: String::new(),
        };
        Self { cluster_id: cluster_id.to_owned(), histories: vec![first] }
    }

    /// This lineage and one more history, which forks after `fork_index` and begins above every index that was `heard_of`.
    ///
    /// # Errors
    /// [`LineageError::Full`].
    pub fn fork(
        &self,
        id: String,
        kind: HistoryKind,
        fork_index: u64,
        heard_of: u64,
        at_ms: u64,
        reason: &str,
    ) -> Result<Self, LineageError> {
        let above = fork_index.max(heard_of).max(self.current().start_index);
        let start_index = (above / INDEX_STEP + 1) * INDEX_STEP;
        // One more step, so that the history itself has room.
        if start_index + INDEX_STEP > INDEX_MAX {
            return Err(LineageError::Full);
        }
        let number = self.current().number + 1;
        let fits = reason.char_indices().map(|(at, character)| at + character.len_utf8());
        let end = fits.take_while(|end| *end <= REASON_BYTES_MAX).last().unwrap_or(0);
        let reason = reason[..end].to_owned();
        let next = History { number, id, kind, fork_index, start_index, began_at_ms: at_ms, reason };
        let histories = self.histories.iter().cloned().chain([next]).collect();
        Ok(Self { cluster_id: self.cluster_id.clone(), histories })
    }

    pub fn cluster_id(&self) -> &str {
        &self.cluster_id
    }

    /// Oldest first.
    pub fn histories(&self) -> &[History] {
        &self.histories
    }

    /// The last history: the one that goes on.
    pub fn current(&self) -> &History {
        self.histories.last().expect("a lineage has a history")
    }

    /// How many histories both have, from the first one on.
    pub fn shared(&self, other: &Self) -> usize {
        self.histories.iter().zip(&other.histories).take_while(|(mine, theirs)| mine.id == theirs.id).count()
    }

    /// How another lineage relates to this one.
    pub fn relation(&self, other: &Self) -> Relation {
        match self.shared(other) {
            0 => Relation::Foreign,
            shared => match (shared == self.histories.len(), shared == other.histories.len()) {
                (true, true) => Relation::Same,
                (false, true) => Relation::Earlier,
                (true, false) => Relation::Later,
                (false, false) => Relation::Forked { shared },
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fork(from: &Lineage, id: &str, fork_index: u64) -> Lineage {
        from.fork(id.into(), HistoryKind::Restored, fork_index, 0, 7, "why").expect("there is room")
    }

    #[test]
    fn a_history_begins_above_every_index_of_those_before_it() {
        let first = Lineage::founded("c", 1);
        let second = fork(&first, "b", 1_010);
        assert_eq!(second.current().start_index, INDEX_STEP);
        let third = fork(&second, "d", INDEX_STEP + 5);
        assert_eq!((third.current().number, third.current().start_index), (3, 2 * INDEX_STEP));
        // A fork of what the second one took over is above the second one all the same.
        assert_eq!(fork(&second, "e", INDEX_STEP).current().start_index, 2 * INDEX_STEP);
        let heard = first.fork("f".into(), HistoryKind::Recovered, 9, 5 * INDEX_STEP, 7, "").expect("room");
        assert_eq!(heard.current().start_index, 6 * INDEX_STEP);
    }

    #[test]
    fn indexes_stay_exact_in_every_client() {
        let mut lineage = Lineage::founded("c", 1);
        let mut forks = 0;
        while let Ok(next) =
            lineage.fork(forks.to_string(), HistoryKind::Restored, lineage.current().start_index, 0, 7, "")
        {
            (lineage, forks) = (next, forks + 1);
        }
        assert_eq!(forks, 899);
        assert!(lineage.current().start_index + INDEX_STEP <= 1 << 53);
    }

    #[test]
    fn ids_and_not_numbers_say_how_two_lineages_relate() {
        let first = Lineage::founded("c", 1);
        let (left, right) = (fork(&first, "l", 5), fork(&first, "r", 5));
        let later = fork(&left, "m", INDEX_STEP);
        assert_eq!(first.relation(&first), Relation::Same);
        assert_eq!(left.relation(&first), Relation::Earlier);
        assert_eq!(first.relation(&later), Relation::Later);
        assert_eq!(later.relation(&right), Relation::Forked { shared: 1 });
        assert_eq!(first.relation(&Lineage::founded("d", 1)), Relation::Foreign);
    }

    #[test]
    fn what_is_stored_is_checked() {
        let good = fork(&fork(&Lineage::founded("c", 1), "b", 5), "d", INDEX_STEP + 2);
        let json = serde_json::to_value(&good).expect("it can be written");
        assert_eq!(serde_json::from_value::<Lineage>(json.clone()).expect("it can be read"), good);
        let refused = |change: &dyn Fn(&mut serde_json::Value)| {
            let mut json = json.clone();
            change(&mut json);
            serde_json::from_value::<Lineage>(json).expect_err("it is malformed").to_string()
        };
        assert!(refused(&|json| json["histories"] = serde_json::json!([])).contains("empty"));
        assert!(refused(&|json| json["cluster_id"] = "x".into()).contains("not the cluster's"));
        assert!(refused(&|json| json["histories"][0]["start_index"] = 1.into()).contains("at 0"));
        assert!(refused(&|json| json["histories"][1]["number"] = 3.into()).contains("follow"));
        assert!(refused(&|json| json["histories"][2]["fork_index"] = 3.into()).contains("after its fork"));
        assert!(refused(&|json| json["histories"][2]["id"] = "b".into()).contains("one id"));
        let huge = serde_json::json!(1u64 << 54);
        assert!(refused(&|json| json["histories"][2]["start_index"] = huge.clone()).contains("range"));
    }

    #[test]
    fn a_reason_is_cut_between_characters() {
        let lineage = Lineage::founded("c", 1);
        let long = "ä".repeat(150);
        let next = lineage.fork("b".into(), HistoryKind::Detached, 3, 0, 7, &long).expect("room");
        assert_eq!(next.current().reason, "ä".repeat(100));
    }
}
