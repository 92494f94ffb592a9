//! Every check, on answers of a healthy cluster with one thing changed.

use super::asked::{Asked, Cluster, NodeAnswers};
use super::examine;
use super::finding::{Finding, Level};
use super::metrics::Metrics;
use crate::api::{
    CacheReport, Digests, ForkStatus, HistoryName, IndexedDigest, Leader, MemberStatus, Members, MergeStatus,
    NodeName, NodeReport, NodeState, Nodes, ProtocolRange, ReadCounts, Reconciliations, Status, TouchReport,
    Warning, WarningCode,
};
use crate::cache::{CacheConfig, Policy, Stats};
use std::collections::BTreeMap;

const DAY_S: i64 = 24 * 3600;

fn member(id: u64) -> MemberStatus {
    MemberStatus {
        id,
        name: format!("n{id}"),
        http: format!("http://127.0.0.1:500{id}"),
        peer: format!("127.0.0.1:600{id}"),
        role: if id == 1 { "leader" } else { "follower" }.into(),
        voter: true,
        lag: Some(0),
        silent_ms: Some(0),
    }
}

fn digest() -> IndexedDigest {
    IndexedDigest { index: 9, digest: "d".into() }
}

fn status(id: u64) -> Status {
    let config = CacheConfig::default();
    Status {
        cluster_id: "c".into(),
        history: HistoryName { number: 1, id: "c".into() },
        memory_resident_bytes: None,
        node: NodeName { id, name: format!("n{id}") },
        role: member(id).role,
        leader: Some(Leader { id: 1, name: "n1".into(), http: member(1).http }),
        term: 1,
        last_log_index: 9,
        committed_index: 9,
        applied_index: 9,
        snapshot_index: 0,
        purged_index: 0,
        digest: digest(),
        differs_at: None,
        majority: true,
        removed: false,
        superseded_by: None,
        detached: None,
        warnings: Vec::new(),
        members: (1..=3).map(member).collect(),
        cache: CacheReport {
            policy: config.policy,
            entries: 1,
            bytes: 1,
            entries_to_free: 0,
            entries_to_move: 0,
            feature_level: 1,
            counts: Stats::default(),
            reads: ReadCounts::default(),
            touches: TouchReport::default(),
            hot_keys: Vec::new(),
            next_victims: Vec::new(),
            shadow: None,
        },
        config: config.into(),
        entries: 1,
        bytes: 1,
        log_time_ms: 1,
        log_time_ahead_ms: Some(0),
        version: "1".into(),
        uptime_ms: 1,
    }
}

/// A node with TLS, files and backups that are in order.
fn node(id: u64) -> NodeAnswers {
    let now = super::now_s();
    let text = format!(
        "process_open_fds 50\nprocess_max_fds 100\nlockstep_backup_failures_total 0\n\
         lockstep_certificate_expiry_timestamp_seconds{{port=\"clients\"}} {}\n\
         lockstep_backup_last_success_timestamp_seconds {now}\nlockstep_backup_interval_seconds 3600\n",
        now + 90 * DAY_S
    );
    NodeAnswers {
        url: member(id).http,
        status: status(id),
        is_ready: true,
        metrics: Ok(Metrics::new(text)),
        digests: Ok(Digests { digests: vec![digest()] }),
        needs_token: Ok(false),
    }
}

fn state(id: u64) -> NodeState {
    NodeState {
        id,
        name: format!("n{id}"),
        http: member(id).http,
        voter: true,
        round_trip_us: None,
        error: None,
        report: Some(NodeReport {
            role: member(id).role,
            term: 1,
            last_log_index: 9,
            committed_index: 9,
            applied_index: 9,
            snapshot_index: 0,
            purged_index: 0,
            digest: digest(),
            differs_at: None,
            entries: 1,
            bytes: 1,
            memory_resident_bytes: None,
            log_time_ms: 1,
            log_time_ahead_ms: Some(0),
            uptime_ms: 1,
            version: "1".into(),
            protocol: ProtocolRange { min: 1, max: 1 },
            feature_level: 1,
            feature_level_known: 1,
            redis: None,
            redis_tls: None,
        }),
        lag_entries: Some(0),
        lag_ms: Some(0),
        equal_at: Some(9),
        differs_at: None,
    }
}

fn healthy() -> Cluster {
    let members = Members { members: (1..=3).map(member).collect(), joint: false };
    Cluster {
        asked: (1..=3).map(|id| Asked { url: member(id).http, answer: Ok(node(id)) }).collect(),
        nodes: Ok(Nodes { asked_by: 1, at_ms: 1, nodes: (1..=3).map(state).collect(), members }),
        reconciliations: Ok(Reconciliations {
            merges: Vec::new(),
            forks: Vec::new(),
            decided: BTreeMap::new(),
        }),
    }
}

/// What is found after this was changed, without what is always said.
fn found(change: impl FnOnce(&mut Cluster)) -> Vec<Finding> {
    let mut cluster = healthy();
    change(&mut cluster);
    let findings = examine(&cluster).into_iter();
    findings.filter(|finding| finding.level != Level::Ok && finding.check != "machine").collect()
}

fn third(cluster: &mut Cluster) -> &mut NodeAnswers {
    cluster.asked[2].answer.as_mut().expect("it answers")
}

fn peers(cluster: &mut Cluster) -> &mut Nodes {
    cluster.nodes.as_mut().expect("they are known")
}

#[test]
fn a_healthy_cluster_has_nothing() {
    assert_eq!(found(|_| {}), []);
}

/// One thing is wrong, and one line says so.
#[test]
fn each_trouble_has_its_line() {
    type Case = (&'static str, Level, &'static str, fn(&mut Cluster));
    let cases: [Case; 25] = [
        ("members", Level::Warn, "n3 (refused)", |cluster| cluster.asked[2].answer = Err("refused".into())),
        ("ready", Level::Bad, "n3", |cluster| third(cluster).is_ready = false),
        ("leader", Level::Warn, "nobody, n1", |cluster| third(cluster).status.leader = None),
        ("lag", Level::Warn, "n3 is 10001 entries", |cluster| {
            peers(cluster).nodes[2].lag_entries = Some(10_001);
        }),
        ("lag", Level::Warn, "n3 is 1001 entries", |cluster| {
            let learner = &mut peers(cluster).nodes[2];
            (learner.voter, learner.lag_entries) = (false, Some(1_001));
        }),
        ("lag", Level::Warn, "half way", |cluster| peers(cluster).members.joint = true),
        ("history", Level::Bad, "n3 is of cluster other", |cluster| {
            third(cluster).status.cluster_id = "other".into();
        }),
        ("history", Level::Bad, "different histories", |cluster| {
            third(cluster).status.history.id = "other".into();
        }),
        ("history", Level::Bad, "removed from the cluster", |cluster| third(cluster).status.removed = true),
        ("digests", Level::Bad, "n1 and n2 differ from n3", |cluster| {
            let wrong = IndexedDigest { index: 9, digest: "e".into() };
            third(cluster).digests = Ok(Digests { digests: vec![wrong] });
        }),
        ("digests", Level::Bad, "n3 differs at index 7", |cluster| {
            third(cluster).status.differs_at = Some(7)
        }),
        ("digests", Level::Unknown, "n3 (late)", |cluster| third(cluster).digests = Err("late".into())),
        ("clocks", Level::Warn, "n3 is 3000 ms behind", |cluster| {
            third(cluster).status.log_time_ahead_ms = Some(3_000);
        }),
        ("release", Level::Warn, "n3 2", |cluster| third(cluster).status.version = "2".into()),
        ("release", Level::Warn, "lockstep upgrade finish", |cluster| {
            for state in &mut peers(cluster).nodes {
                state.report.as_mut().expect("it answers").feature_level_known = 2;
            }
        }),
        ("forks", Level::Warn, "history x", |cluster| {
            let history = "x".into();
            let fork = ForkStatus { history, since: 1, limit: None, noted: 0, complete: true };
            cluster.reconciliations.as_mut().expect("known").forks.push(fork);
        }),
        ("forks", Level::Warn, "merge m waits for step 3", |cluster| {
            let merge = MergeStatus {
                id: "m".into(),
                history: "x".into(),
                next_step: 3,
                end: None,
                done: 0,
                changed: 0,
                full: 0,
                invalid: 0,
                recent_results: Vec::new(),
            };
            cluster.reconciliations.as_mut().expect("known").merges.push(merge);
        }),
        ("capacity", Level::Warn, "refuses writes", |cluster| {
            for asked in &mut cluster.asked {
                let status = &mut asked.answer.as_mut().expect("it answers").status;
                (status.config.policy, status.entries) = (Policy::NoEviction, status.config.capacity_entries);
            }
        }),
        ("files", Level::Warn, "n3 has 81 of 100", |cluster| {
            change_figures(third(cluster), "process_open_fds 50", "process_open_fds 81");
        }),
        ("backups", Level::Warn, "n3 is 120 minutes old", |cluster| {
            let now = super::now_s();
            let name = "lockstep_backup_last_success_timestamp_seconds";
            change_figures(third(cluster), &format!("{name} {now}"), &format!("{name} {}", now - 7_201));
        }),
        ("certificates", Level::Unknown, "not known of n3", |cluster| {
            third(cluster).metrics = Err("not permitted with this token".into());
        }),
        ("access", Level::Bad, "no token is needed at n3 (http://10.0.0.3:5000)", |cluster| {
            third(cluster).url = "http://10.0.0.3:5000".into();
        }),
        ("access", Level::Warn, "not encrypted: n3", |cluster| {
            third(cluster).url = "http://10.0.0.3:5000".into();
            third(cluster).needs_token = Ok(true);
        }),
        ("warning", Level::Warn, "n3: slow_links: slow", |cluster| {
            let warning = Warning { code: WarningCode::SlowLinks, detail: "slow".into() };
            third(cluster).status.warnings.push(warning);
        }),
        ("warning", Level::Bad, "two_histories", |cluster| {
            let warning = Warning { code: WarningCode::TwoHistories, detail: "two".into() };
            third(cluster).status.warnings.push(warning);
        }),
    ];
    for (check, level, text, change) in cases {
        let findings = found(change);
        let about = findings.iter().find(|finding| finding.check == check);
        let about = about.unwrap_or_else(|| panic!("{check}, {text}: {findings:?}"));
        assert_eq!(about.level, level, "{about}");
        assert!(about.to_string().contains(text), "{text}: {about}");
        let others =
            findings.iter().filter(|finding| finding.check != check && finding.level > Level::Unknown);
        // A node that was removed is missed by the quorum, too.
        let others: Vec<&Finding> = others.filter(|finding| finding.check != "quorum").collect();
        assert!(others.is_empty(), "{check}, {text}: {others:?}");
    }
}

fn change_figures(node: &mut NodeAnswers, from: &str, to: &str) {
    let metrics = node.metrics.as_mut().expect("they are known");
    *metrics = metrics.replaced(from, to);
}

/// What a member says of itself is not known where only the others reach it; it is up all the same.
#[test]
fn a_member_that_only_others_reach_is_up() {
    let findings = found(|cluster| cluster.asked[2].answer = Err("refused".into()));
    assert!(findings.iter().all(|finding| finding.check != "quorum"), "{findings:?}");
    let findings = found(|cluster| {
        cluster.asked[2].answer = Err("refused".into());
        peers(cluster).nodes[2].report = None;
    });
    let bad = |check: &str| findings.iter().find(|finding| finding.check == check).map(|found| found.level);
    assert_eq!((bad("members"), bad("quorum")), (Some(Level::Bad), Some(Level::Warn)));
}
