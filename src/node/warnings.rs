//! Warnings: what an operator should look at although the node works. They are about nodes of another cluster where
//! members are expected. If a node loses its data folder, or its list of peers becomes empty, it founds a cluster of
//! one where the others expect a member. Both sides notice: members of the other cluster call the node, and they reach
//! it at their member's address.

use super::audit::{NoAnswer, Round};
use super::inner::Inner;
use crate::api::{Warning, WarningCode};
use crate::raft::RaftStatus;
use crate::replica::wall_ms;
use std::sync::Mutex;
use std::time::Duration;
use tokio::time::Instant;

/// How long a call from another cluster is reported. Members call every second.
const REPORTED_FOR: Duration = Duration::from_secs(60);

/// How many seconds before a certificate expires that is reported.
const CERTIFICATE_WARNED_BEFORE: i64 = 30 * 24 * 3600;

/// Contacts with nodes of other clusters.
#[derive(Default)]
pub(super) struct OtherClusters {
    /// When a node of another cluster called last.
    called: Mutex<Option<Instant>>,
    /// The members at whose addresses such a node answered in the last round.
    met: Mutex<Vec<MemberAddress>>,
}

/// A member's name, and its peer address.
#[derive(Debug, Clone, PartialEq, Eq)]
struct MemberAddress {
    name: String,
    peer: String,
}

impl OtherClusters {
    /// Records that a node of another cluster called and was refused.
    pub fn record_call(&self) {
        *self.called.lock().expect("no panic while held") = Some(Instant::now());
    }

    fn is_called(&self) -> bool {
        self.called.lock().expect("no panic while held").is_some_and(|at| at.elapsed() < REPORTED_FOR)
    }

    /// Records which members' addresses belong to other clusters, and logs those that are new.
    pub fn record_round(&self, round: &Round) {
        let others = round.iter().filter(|(_, answer)| *answer == Err(NoAnswer::OtherCluster));
        let met: Vec<MemberAddress> = others
            .map(|(member, _)| MemberAddress {
                name: member.member.name.clone(),
                peer: member.member.peer.clone(),
            })
            .collect();
        let mut before = self.met.lock().expect("no panic while held");
        for MemberAddress { name, peer } in met.iter().filter(|place| !before.contains(place)) {
            tracing::warn!(node = name, peer, "the node at a member's address belongs to another cluster");
        }
        *before = met;
    }
}

impl Inner {
    /// The warnings now, normally none. At most one of each kind and member.
    pub(super) fn warnings(&self, status: &RaftStatus) -> Vec<Warning> {
        let met = self.other_clusters.met.lock().expect("no panic while held").clone();
        let mut warnings: Vec<Warning> = met
            .into_iter()
            .map(|MemberAddress { name, peer }| Warning {
                code: WarningCode::MemberOfAnotherCluster,
                detail: format!(
                    "the node at {peer}, where member {name} should be, belongs to another cluster"
                ),
            })
            .collect();
        if self.other_clusters.is_called() {
            let founded = self.identity.founding.as_ref().map_or(0, |founding| founding.members.len());
            let alone = match founded == 1 && status.members.len() == 1 {
                true => {
                    "; this node founded its cluster alone: if it was to be one of theirs, it has lost its data folder, or \
                     its list of peers was empty"
                }
                false => "",
            };
            let detail = format!("nodes of another cluster call this one at its peer address{alone}");
            warnings.push(Warning { code: WarningCode::CalledByAnotherCluster, detail });
        }
        if let Err(detail) = self.write_gate.pass() {
            warnings.push(Warning { code: WarningCode::WaitsForVoters, detail });
        }
        if let Some(detachment) = self.detachment() {
            let detail = format!(
                "this node has left its cluster after index {} and goes on alone; bring its changes in with `lockstep attach`",
                detachment.fork_index
            );
            warnings.push(Warning { code: WarningCode::Detached, detail });
        }
        if let Some(successor) = self.supersession.superseded_by() {
            warnings.push(Warning { code: WarningCode::Superseded, detail: successor.sentence() });
        }
        if let Some(successor) = self.supersession.rival() {
            let detail = format!(
                "{}, but the old members still have a leader: stop or fence one of the two sides",
                successor.sentence()
            );
            warnings.push(Warning { code: WarningCode::TwoHistories, detail });
        }
        if self.supersession.is_called() {
            let detail = "a node of an earlier history called this one within the last minute and was refused; nodes that were \
                          given up give way by themselves, so if this goes on, that history still has a majority: stop its \
                          nodes, or fence them (lockstep fence)";
            warnings.push(Warning { code: WarningCode::TwoHistories, detail: detail.into() });
        }
        let now = i64::try_from(wall_ms() / 1_000).unwrap_or(i64::MAX);
        for (port, at) in self.options.certificates.expiries() {
            if let Some(detail) = expiring(port, at, now) {
                warnings.push(Warning { code: WarningCode::CertificateExpires, detail });
            }
        }
        if let Some(detail) = self.slow_links() {
            warnings.push(Warning { code: WarningCode::SlowLinks, detail });
        }
        warnings
    }

    /// A sentence, if round trips to a majority take longer than elections allow for.
    pub(super) fn slow_links(&self) -> Option<String> {
        let timing = self.consensus.timing();
        timing.is_too_slow().then(|| {
            let (round_trip, longest) = (timing.round_trip().as_millis(), self.options.raft.election_max_ms);
            format!(
                "a round trip to a majority takes {round_trip} ms: too long for elections with --election-max-ms {longest}"
            )
        })
    }
}

/// A sentence, if a certificate is not good for long any more.
fn expiring(port: &str, at: i64, now: i64) -> Option<String> {
    let left = at.saturating_sub(now);
    if left > CERTIFICATE_WARNED_BEFORE {
        return None;
    }
    // Those that are connected stay so.
    Some(match left.max(0) / (24 * 3600) {
        _ if left <= 0 => {
            format!("a certificate of the port for {port} has expired: nobody can connect any more")
        }
        0 => format!(
            "a certificate of the port for {port} expires within a day: renew it (lockstep cert renew)"
        ),
        days => format!(
            "a certificate of the port for {port} expires in {days} days: renew it (lockstep cert renew)"
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raft::MemberState;
    use crate::replica::Member;

    #[test]
    fn a_certificate_is_warned_of_a_month_before() {
        let day = 24 * 3600;
        assert_eq!(expiring("peers", 100 * day, 70 * day - 1), None);
        let said = |now| expiring("peers", 100 * day, now).expect("a warning");
        assert!(said(70 * day).contains("in 30 days"));
        assert!(said(99 * day + 1).contains("within a day"));
        assert!(said(100 * day).contains("has expired"));
        assert!(said(i64::MAX).contains("has expired"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_is_reported_for_a_minute_after_the_last() {
        let others = OtherClusters::default();
        assert!(!others.is_called());
        for _ in 0..3 {
            others.record_call();
            tokio::time::advance(REPORTED_FOR - Duration::from_secs(1)).await;
            assert!(others.is_called());
        }
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(!others.is_called());
    }

    #[test]
    fn a_member_is_reported_until_a_round_finds_it_otherwise() {
        let round = |answers: [NoAnswer; 2]| -> Round {
            let member = |id: u64| MemberState {
                id,
                voter: true,
                matched: None,
                silent_ms: None,
                member: Member {
                    name: format!("n{id}"),
                    peer: format!("127.0.0.1:{id}"),
                    ..Member::default()
                },
            };
            (2..).zip(answers).map(|(id, answer)| (member(id), Err(answer))).collect()
        };
        let others = OtherClusters::default();
        let met =
            || -> Vec<String> { others.met.lock().unwrap().iter().map(|met| met.peer.clone()).collect() };
        others.record_round(&round([NoAnswer::Silent, NoAnswer::OtherCluster]));
        assert_eq!(met(), ["127.0.0.1:3"]);
        others.record_round(&round([NoAnswer::OtherCluster, NoAnswer::OtherCluster]));
        assert_eq!(met(), ["127.0.0.1:2", "127.0.0.1:3"]);
        others.record_round(&round([NoAnswer::Silent, NoAnswer::Silent]));
        assert!(met().is_empty());
    }
}
