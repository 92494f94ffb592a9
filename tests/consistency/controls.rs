//! Nodes that lie, each in its own way, must be caught. Needs a build with the feature `sabotage`:
//! `cargo test --features sabotage --test consistency controls`.

use crate::harness::ask::Protocol;
use crate::harness::faults::Kind;
use crate::harness::report::Floor;
use crate::harness::run::{Order, run};
use crate::revocation::revocations;
use crate::support::wall_clock;
use lockstep::sabotage::Sabotage;
use std::time::{Duration, Instant};

/// The faults that a lie shows under; without any of them some lies are the truth.
fn faults(lie: Sabotage) -> Vec<Kind> {
    match lie {
        Sabotage::SkipFsync => vec![Kind::KillAll],
        Sabotage::StaleReads => vec![Kind::LeaderInMajority, Kind::SlowLinks],
        Sabotage::OldConfirmation => vec![Kind::LeaderInMajority, Kind::SlowLinks],
        Sabotage::LocalClock => vec![Kind::ClockJumpAll],
        Sabotage::ForgetTouch => vec![Kind::TransferLead],
        Sabotage::EarlyAck => vec![Kind::LeaderAlone, Kind::LeaderMute],
        // Clusters of these runs have no tokens: see below.
        Sabotage::EdgeOnly => Vec::new(),
        // This is no lie: the simulation shows that nobody notices it.
        Sabotage::LateApply => Vec::new(),
    }
}

/// How a lie shows, in the words of a violation: by what it is, not by something that went wrong beside it.
fn signs(lie: Sabotage) -> &'static [&'static str] {
    match lie {
        Sabotage::SkipFsync => {
            &["one leader a term", "equal index, equal digest", "revisions strictly rise", ".jsonl: key"]
        }
        Sabotage::StaleReads | Sabotage::OldConfirmation => &["revisions strictly rise", ".jsonl: key"],
        Sabotage::LocalClock => &["ttl.jsonl: key"],
        Sabotage::ForgetTouch => &["equal index, equal digest"],
        Sabotage::EdgeOnly | Sabotage::LateApply => &[],
        Sabotage::EarlyAck => &["revisions strictly rise", "equal index, equal digest", ".jsonl: key"],
    }
}

/// Each lie is noticed within two minutes.
#[tokio::test(flavor = "multi_thread")]
async fn every_lie_is_caught() {
    for (name, lie) in Sabotage::ALL.into_iter().filter(|(_, lie)| !signs(*lie).is_empty()) {
        assert_caught(name, lie, &Protocol::ALL).await;
    }
}

/// Reads that are old are noticed by clients that speak the Redis protocol, without the others.
#[tokio::test(flavor = "multi_thread")]
async fn lies_about_reads_are_caught_by_redis_clients_alone() {
    for (name, lie) in Sabotage::ALL {
        if lie == Sabotage::StaleReads || lie == Sabotage::OldConfirmation {
            assert_caught(name, lie, &[Protocol::Redis]).await;
        }
    }
}

async fn assert_caught(name: &str, lie: Sabotage, protocols: &[Protocol]) {
    if lie == Sabotage::LocalClock && wall_clock::library().is_none() {
        eprintln!("skipped: {name} needs libfaketime (apt install faketime)");
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let seed = fastrand::u64(..1_000_000);
    println!("{name}, {protocols:?}, seed {seed}");
    let order = Order {
        seed,
        length: Duration::from_secs(120),
        round: Duration::from_secs(10),
        kinds: faults(lie),
        control: Some(name.to_owned()),
        protocols: protocols.to_vec(),
        folder: folder.path().to_owned(),
        floor: Floor { every_kind: false, snapshots_installed: 0, leaders_a_round: 0, ok_per_s: 0.0 },
        command: format!("cluster-scripts/jepsen --control {name} --seed {seed}"),
    };
    let report = run(&order).await;
    print!("{}", report.summary());
    let violations = || report.rounds.iter().flat_map(|round| &round.violations);
    let caught = violations().any(|words| signs(lie).iter().any(|sign| words.contains(sign)));
    assert!(caught, "{name} was not caught");
}

/// Nodes that judge a token only where a request comes in let revoked ones pass.
#[tokio::test(flavor = "multi_thread")]
async fn a_lie_about_tokens_is_caught() {
    let seed = fastrand::u64(..1_000_000);
    println!("edge-only, seed {seed}");
    let begun = Instant::now();
    for seed in seed..seed + 8 {
        let report = revocations(seed, Duration::from_secs(15), &["--sabotage", "edge-only"]).await;
        if let Some(found) = report.violations.first() {
            println!("caught after {:?}: {found}", begun.elapsed());
            return;
        }
    }
    panic!("it was not caught");
}
