//! What must hold at every moment of a run, one property a file. They see what nodes say of themselves while it goes
//! on, and at the end what clients were told.

mod applied_not_ahead;
mod committed_never_lost;
mod equal_digests;
mod expired_is_gone;
mod log_time_never_back;
mod one_leader;
mod revisions_rise;

use super::load::Recorded;
use lockstep::api::{IndexedDigest, Status};

/// What one node said of itself at one moment.
#[derive(Debug, Clone)]
pub struct Sighting {
    pub status: Status,
}

/// A property that nothing may break.
pub trait Invariant: Send {
    fn name(&self) -> &'static str;

    /// # Errors
    /// How this breaks it.
    fn see(&mut self, _sighting: &Sighting) -> Result<(), String> {
        Ok(())
    }

    /// # Errors
    /// How these digests of one node break it.
    fn see_digests(&mut self, _node: &str, _digests: &[IndexedDigest]) -> Result<(), String> {
        Ok(())
    }

    /// When all is over: what each node says at the end, and what clients were told.
    ///
    /// # Errors
    /// How that breaks it.
    fn end(&mut self, _last: &[Status], _recorded: &Recorded) -> Result<(), String> {
        Ok(())
    }
}

/// One of each.
pub fn all() -> Vec<Box<dyn Invariant>> {
    vec![
        Box::<one_leader::OneLeader>::default(),
        Box::<committed_never_lost::CommittedNeverLost>::default(),
        Box::new(applied_not_ahead::AppliedNotAhead),
        Box::<equal_digests::EqualDigests>::default(),
        Box::<log_time_never_back::LogTimeNeverBack>::default(),
        Box::new(revisions_rise::RevisionsRise),
        Box::new(expired_is_gone::ExpiredIsGone),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::harness::workloads::Workload;
    use lockstep::check::{Operation, Outcome};
    use serde_json::{Value, json};

    /// A status with these fields, as a node would say it.
    fn status(node: u64, changes: Value) -> Status {
        let mut all = json!({
            "cluster_id": "c", "history": {"number": 1, "id": "c"}, "node": {"id": node, "name": format!("n{node}")},
            "role": "follower", "leader": null, "term": 1, "last_log_index": 10, "committed_index": 10,
            "applied_index": 10, "snapshot_index": 0, "purged_index": 0,
            "digest": {"index": 10, "digest": "aa"}, "differs_at": null,
            "majority": true, "removed": false, "warnings": [], "members": [],
            "config": {"policy": "lru", "capacity_entries": 1, "capacity_bytes": 1, "default_ttl_ms": null,
                "touch": {"enabled": true, "interval_ms": 100, "max_per_flush": 1}},
            "entries": 0, "bytes": 0, "log_time_ms": 1_000, "log_time_ahead_ms": 0, "version": "1",
            "uptime_ms": 1,
            "cache": {"policy": "lru", "entries": 0, "bytes": 0, "entries_to_free": 0, "entries_to_move": 0, "feature_level": 1,
                "counts": serde_json::to_value(lockstep::cache::Stats::default()).unwrap(),
                "reads": {"hits": 0, "misses": 0, "hit_percent": null},
                "touches": {"sent": 0, "suppressed": 0, "dropped": 0, "log_entries": 0, "log_bytes": 0},
                "hot_keys": [], "next_victims": [], "shadow": null},
        });
        for (name, value) in changes.as_object().unwrap() {
            all[name] = value.clone();
        }
        serde_json::from_value(all).unwrap()
    }

    fn sees(invariant: &mut dyn Invariant, node: u64, changes: Value) -> Result<(), String> {
        invariant.see(&Sighting { status: status(node, changes) })
    }

    fn operation(op: &str, call_ms: u64, return_ms: u64, changes: Value) -> Operation {
        let mut all = json!({"client": 1, "key": "k", "op": op, "outcome": Outcome::Ok,
            "call_ns": call_ms * 1_000_000, "return_ns": return_ms * 1_000_000});
        for (name, value) in changes.as_object().unwrap() {
            all[name] = value.clone();
        }
        serde_json::from_value(all).unwrap()
    }

    #[test]
    fn two_leaders_in_one_term_are_noticed() {
        let mut invariant = one_leader::OneLeader::default();
        assert_eq!(sees(&mut invariant, 1, json!({"role": "leader", "term": 4})), Ok(()));
        assert_eq!(sees(&mut invariant, 2, json!({"role": "leader", "term": 5})), Ok(()));
        assert_eq!(sees(&mut invariant, 1, json!({"role": "leader", "term": 4})), Ok(()));
        assert!(sees(&mut invariant, 3, json!({"role": "leader", "term": 4})).is_err());
    }

    #[test]
    fn a_lost_commit_is_noticed() {
        let mut invariant = committed_never_lost::CommittedNeverLost::default();
        assert_eq!(sees(&mut invariant, 1, json!({"committed_index": 12})), Ok(()));
        let none = Recorded::new();
        let at = |index: u64| status(2, json!({"applied_index": index, "committed_index": index}));
        assert_eq!(invariant.end(&[at(12), at(13)], &none), Ok(()));
        assert!(invariant.end(&[at(12), at(11)], &none).is_err());
        // A write that was acknowledged above all of it is lost as well.
        let told = operation("write", 1, 2, json!({"revision": 20}));
        assert!(invariant.end(&[at(19)], &Recorded::from([(Workload::Register, vec![told])])).is_err());
    }

    #[test]
    fn applying_what_is_not_committed_is_noticed() {
        let mut invariant = applied_not_ahead::AppliedNotAhead;
        assert_eq!(sees(&mut invariant, 1, json!({})), Ok(()));
        assert!(sees(&mut invariant, 1, json!({"applied_index": 11})).is_err());
    }

    #[test]
    fn other_digests_at_one_index_are_noticed() {
        let mut invariant = equal_digests::EqualDigests::default();
        let pair = |index: u64, digest: &str| IndexedDigest { index, digest: digest.into() };
        assert_eq!(invariant.see_digests("n1", &[pair(1, "aa"), pair(2, "bb")]), Ok(()));
        assert_eq!(invariant.see_digests("n2", &[pair(2, "bb"), pair(3, "cc")]), Ok(()));
        assert!(invariant.see_digests("n3", &[pair(3, "dd")]).is_err());
        assert!(sees(&mut invariant, 4, json!({"digest": {"index": 1, "digest": "ee"}})).is_err());
        assert!(sees(&mut invariant, 4, json!({"differs_at": 7})).is_err());
    }

    #[test]
    fn log_time_that_goes_back_is_noticed() {
        let mut invariant = log_time_never_back::LogTimeNeverBack::default();
        let at = |index: u64, ms: u64| json!({"applied_index": index, "log_time_ms": ms});
        assert_eq!(sees(&mut invariant, 1, at(5, 100)), Ok(()));
        assert_eq!(sees(&mut invariant, 2, at(9, 300)), Ok(()));
        assert_eq!(sees(&mut invariant, 1, at(7, 200)), Ok(()));
        assert!(sees(&mut invariant, 3, at(8, 150)).is_err(), "before index 7");
        assert!(sees(&mut invariant, 3, at(6, 250)).is_err(), "after index 7");
        assert!(sees(&mut invariant, 3, at(5, 101)).is_err(), "another time at one index");
    }

    #[test]
    fn revisions_out_of_order_are_noticed() {
        let mut invariant = revisions_rise::RevisionsRise;
        let write = |call, end, revision: u64| operation("write", call, end, json!({"revision": revision}));
        let read = |call, end, index: u64| operation("read", call, end, json!({"index": index}));
        let mut judge = |operations: Vec<Operation>| {
            invariant.end(&[], &Recorded::from([(Workload::Register, operations)]))
        };
        assert_eq!(judge(vec![write(1, 5, 9), write(2, 4, 8), write(6, 7, 10)]), Ok(()));
        assert!(judge(vec![write(1, 2, 9), write(3, 4, 8)]).is_err(), "later, and before it in the log");
        assert!(judge(vec![write(1, 5, 9), write(2, 4, 9)]).is_err(), "two writes, one entry");
        assert_eq!(judge(vec![write(1, 2, 9), read(3, 4, 9)]), Ok(()));
        assert!(judge(vec![write(1, 2, 9), read(3, 4, 8)]).is_err(), "an old read");
        assert!(judge(vec![read(1, 2, 9), read(3, 4, 8)]).is_err(), "reads that go back");
    }

    #[test]
    fn what_outlives_its_time_is_noticed() {
        let mut invariant = expired_is_gone::ExpiredIsGone;
        let put = operation("put", 0, 10, json!({"argument": {"value": 1, "ttl_ms": 1_000}, "revision": 3}));
        let tick = |call| operation("write", call, call + 10, json!({"revision": 4}));
        let read = |call| operation("read", call, call + 10, json!({"result": 1}));
        let mut judge = |tick: Operation, read: Operation| {
            let ttl = vec![put.clone(), read];
            invariant.end(&[], &Recorded::from([(Workload::Ttl, ttl), (Workload::Register, vec![tick])]))
        };
        assert_eq!(judge(tick(900), read(3_000)), Ok(()), "nothing moved log time past the deadline");
        assert_eq!(judge(tick(2_000), read(1_995)), Ok(()), "the read began before that write ended");
        assert!(judge(tick(2_000), read(2_011)).is_err());
        let in_a_pipeline = Recorded::from([
            (Workload::Ttl, vec![put.clone(), read(2_011)]),
            (Workload::Pipeline, vec![tick(2_000)]),
        ]);
        assert_eq!(
            invariant.end(&[], &in_a_pipeline),
            Ok(()),
            "nobody knows when that write was carried out"
        );
        // With another time to live it may be there, and later not.
        let expire = operation("expire", 500, 510, json!({"argument": {"ttl_ms": 3_000}}));
        let unknown = operation("expire", 500, 510, json!({"argument": {"ttl_ms": 1}, "outcome": "unknown"}));
        let mut judge = |expire: &Operation, tick: Operation, read: Operation| {
            let ttl = vec![put.clone(), expire.clone(), read];
            invariant.end(&[], &Recorded::from([(Workload::Ttl, ttl), (Workload::Register, vec![tick])]))
        };
        assert_eq!(judge(&expire, tick(2_000), read(2_011)), Ok(()));
        assert!(judge(&expire, tick(4_500), read(4_600)).is_err());
        assert_eq!(judge(&unknown, tick(4_500), read(4_600)), Ok(()));
    }
}
