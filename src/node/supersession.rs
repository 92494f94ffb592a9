//! Fencing: a node whose cluster goes on in a recovered history without it must not help the old one back to life.
//!
//! After a recovery, members that were given up as lost may return. Each of them asks every member of its own membership
//! before it takes any part: before it votes, supports a leader or stores an entry. A member of the recovered history refuses
//! the handshake and shows its lineage. A node believes it only if that is the answer at a member's address, and if every
//! history after its own was begun by a recovery: a restored backup is a copy, which must not fence what it was copied from.
//!
//! A node that has given way takes no part in Raft any more, over restarts, too; what it has can still be read with
//! `consistency=stale` and be reconciled. Only while a majority of the old members goes on, it stays with them: then two
//! histories are alive, and only a person can tell which one is to stay. CockroachDB fences the nodes that a recovery gave up
//! as well, because some that came back for a moment had crashed the recovered cluster (cockroachdb/cockroach#74134).

use super::audit::{NoAnswer, Round, ask_all};
use super::error::NodeError;
use super::inner::Inner;
use crate::api::Consistency;
use crate::lineage::{HistoryKind, Lineage, Relation};
use serde::{Deserialize, Serialize};
use std::sync::{Mutex, OnceLock, Weak};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// How long a call from an earlier history is reported. Members call every second.
const REPORTED_FOR: Duration = Duration::from_secs(60);

/// The history that goes on from a node's own without it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Successor {
    pub lineage: Lineage,
    /// The URLs of the members that said so.
    pub urls: Vec<String>,
}

/// What this node knows of a successor of its history.
pub(super) struct Supersession {
    /// Whether every member was asked once since the node started.
    asked: watch::Sender<bool>,
    /// The successor that members told of when they were asked last.
    heard: Mutex<Option<Successor>>,
    /// The successor, once this node has given way to it.
    superseded: OnceLock<Successor>,
    /// When a node of an earlier history called last.
    called: Mutex<Option<Instant>>,
}

impl Supersession {
    /// That of a node which starts, and may have given way earlier. A new one has missed nothing, and need not ask.
    pub fn new(superseded: Option<Successor>, is_new: bool) -> Self {
        Self {
            asked: watch::Sender::new(is_new),
            heard: Mutex::new(None),
            superseded: superseded.map(OnceLock::from).unwrap_or_default(),
            called: Mutex::new(None),
        }
    }

    /// The successor to which this node has given way.
    pub fn superseded_by(&self) -> Option<&Successor> {
        self.superseded.get()
    }

    /// A successor that members tell of, and to which this node has not given way.
    pub fn rival(&self) -> Option<Successor> {
        let heard = self.heard.lock().expect("no panic while held").clone();
        heard.filter(|_| !self.is_superseded())
    }

    pub fn is_superseded(&self) -> bool {
        self.superseded.get().is_some()
    }

    /// Returns once every member was asked.
    ///
    /// # Errors
    /// A sentence: this node has given way, and takes no part in its history.
    pub async fn allows_part(&self) -> Result<(), String> {
        // The sender lives as long as `self`, so waiting can't fail.
        let _ = self.asked.subscribe().wait_for(|asked| *asked).await;
        match self.is_superseded() {
            true => Err("this node has given way to a recovered history".into()),
            false => Ok(()),
        }
    }

    /// Records that a node of a history before this node's was refused.
    pub fn record_call(&self) {
        *self.called.lock().expect("no panic while held") = Some(Instant::now());
    }

    /// Whether a node of an earlier history called lately.
    pub fn is_called(&self) -> bool {
        self.called.lock().expect("no panic while held").is_some_and(|at| at.elapsed() < REPORTED_FOR)
    }

    /// Notes the successor that a round tells of, or that none does any more.
    fn hear(&self, mine: &Lineage, round: &Round) {
        let mut heard: Option<Successor> = None;
        for (member, answer) in round {
            let Err(NoAnswer::OtherHistory(lineage)) = answer else { continue };
            if !succeeds(mine, lineage) {
                continue;
            }
            let lineage = Lineage::clone(lineage);
            let successor = heard.get_or_insert(Successor { lineage, urls: Vec::new() });
            let url = &member.member.http;
            if !url.is_empty() && !successor.urls.contains(url) {
                successor.urls.push(url.clone());
            }
        }
        *self.heard.lock().expect("no panic while held") = heard;
    }
}

/// Whether a lineage goes on from another one by recoveries only.
fn succeeds(mine: &Lineage, theirs: &Lineage) -> bool {
    let later = &theirs.histories()[mine.shared(theirs)..];
    mine.relation(theirs) == Relation::Later && later.iter().all(|later| later.kind == HistoryKind::Recovered)
}

/// Asks every member once, so that a node that was given up learns of it before it takes part. It gives way unless the old
/// members go on without it already.
pub(super) async fn ask_first(inner: Weak<Inner>) {
    let Some(node) = inner.upgrade() else { return };
    let round = ask_all(&node, &node.consensus.status()).await;
    node.supersession.hear(&node.identity.lineage, &round);
    let led = round.iter().any(|(_, answer)| answer.as_ref().is_ok_and(|reply| reply.is_led));
    if let Some(successor) = node.supersession.rival().filter(|_| !led) {
        node.give_way(successor).await;
    }
    node.supersession.asked.send_replace(true);
}

impl Inner {
    /// Gives way if a round tells of a successor, and no majority of the old members is left. A moment without a leader is no
    /// reason: two histories are alive then, and a person has to choose.
    pub(super) async fn learn_of_successor(&self, round: &Round) {
        self.supersession.hear(&self.identity.lineage, round);
        if let Some(successor) = self.supersession.rival().filter(|_| !self.audit.health.has_majority()) {
            self.give_way(successor).await;
        }
    }

    /// Ends this node's part in the old history, if members tell of the one that goes on, whether the old one has a leader or
    /// not.
    ///
    /// # Errors
    /// [`NodeError`]: nobody tells of one.
    pub(super) async fn fence(&self) -> Result<(), NodeError> {
        if self.supersession.is_superseded() {
            return Ok(());
        }
        let Some(successor) = self.supersession.rival() else {
            let reason = "no member says that this node's history goes on without it, so it is not fenced";
            return Err(NodeError::Conflict(reason.into()));
        };
        self.give_way(successor).await;
        Ok(())
    }

    async fn give_way(&self, successor: Successor) {
        let number = successor.lineage.current().number;
        let kept = Some(successor.clone());
        // First of all it stops: if it cannot be written down, a restart asks again.
        self.supersession.superseded.get_or_init(|| successor);
        self.links.sever();
        let sentence = "the cluster was recovered without this node, which takes no part in it any more; its changes can \
                        be brought in with `lockstep reconcile`";
        tracing::error!(history = number, "{sentence}");
        if let Err(error) = self.kept_identity.change(|identity| identity.superseded_by = kept).await {
            tracing::error!(error, "cannot write down that this node is superseded");
        }
    }

    /// Whether this node leads a majority, or has heard lately from a leader and reaches a majority itself.
    pub(super) fn is_led(&self) -> bool {
        match self.consensus.leadership() {
            Some(leadership) => {
                let timing = self.consensus.timing();
                let patience = timing.election_timeout() + timing.round_trip();
                self.consensus.lease().is_supported_within(&leadership, patience)
            }
            None => self.consensus.contact().hears_leader() && self.audit.health.has_majority(),
        }
    }

    /// A superseded node answers nothing as current, and takes no requests for the cluster.
    pub(super) fn refuse_when_superseded(&self, consistency: Consistency) -> Result<(), NodeError> {
        match self.supersession.superseded_by().filter(|_| !matches!(consistency, Consistency::Stale)) {
            None => Ok(()),
            Some(successor) => Err(NodeError::Superseded(successor.sentence())),
        }
    }
}

impl Successor {
    /// For people.
    pub fn sentence(&self) -> String {
        let at = match self.urls.is_empty() {
            true => String::new(),
            false => format!("; ask {}", self.urls.join(" or ")),
        };
        let number = self.lineage.current().number;
        format!("the cluster was recovered without this node and goes on in history {number}{at}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_recoveries_of_the_own_history_are_successors() {
        let fork = |from: &Lineage, kind, id: &str| {
            from.fork(id.into(), kind, from.current().start_index + 5, 0, 0, "").expect("room")
        };
        let mine = Lineage::founded("c", 0);
        let recovered = fork(&mine, HistoryKind::Recovered, "r");
        let twice = fork(&recovered, HistoryKind::Recovered, "rr");
        assert!(succeeds(&mine, &recovered) && succeeds(&mine, &twice) && succeeds(&recovered, &twice));
        // A copy of production, for tests, and a copy of that which was recovered.
        let restored = fork(&mine, HistoryKind::Restored, "s");
        for other in [
            fork(&mine, HistoryKind::Detached, "d"),
            fork(&restored, HistoryKind::Recovered, "sr"),
            fork(&recovered, HistoryKind::Restored, "rs"),
            restored,
            mine.clone(),
            Lineage::founded("e", 0),
        ] {
            assert!(!succeeds(&mine, &other), "{other:?}");
        }
        assert!(!succeeds(&recovered, &mine), "an earlier one");
        assert!(!succeeds(&fork(&mine, HistoryKind::Recovered, "q"), &recovered), "a fork");
    }
}
