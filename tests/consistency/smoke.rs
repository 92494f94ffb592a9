//! A short run with every family of faults, as part of `cargo test`.

use crate::branches::{self, Act};
use crate::harness::ask::Protocol;
use crate::harness::faults::Kind;
use crate::harness::report::Floor;
use crate::harness::run::{Order, run};
use std::time::Duration;

/// C1, C4, C5, R3, R4, R5, R7, H1, H2: nothing that clients are told and nothing that nodes say contradicts one
/// history, whatever happens to the nodes.
#[tokio::test(flavor = "multi_thread")]
async fn a_short_run_finds_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let seed = std::env::var("LOCKSTEP_JEPSEN_SEED").ok().and_then(|text| text.parse().ok());
    let seed = seed.unwrap_or_else(|| fastrand::u64(..1_000_000));
    println!("seed {seed}; LOCKSTEP_JEPSEN_SEED={seed} plays it again");
    let order = Order {
        seed,
        length: Duration::from_secs(60),
        round: Duration::from_secs(15),
        kinds: Kind::ALL.to_vec(),
        control: None,
        protocols: Protocol::ALL.to_vec(),
        folder: folder.path().to_owned(),
        floor: Floor { every_kind: false, snapshots_installed: 0, leaders_a_round: 1, ok_per_s: 10.0 },
        command: format!("LOCKSTEP_JEPSEN_SEED={seed} cargo test --test consistency"),
    };
    let report = run(&order).await;
    print!("{}", report.summary());
    if report.verdict != "green" {
        let kept = folder.keep();
        panic!("{}: see {}", report.verdict, kept.display());
    }
}

/// A history that forks on purpose, each way, and is brought together again.
#[tokio::test(flavor = "multi_thread")]
async fn branches_of_a_short_run_are_sound() {
    let folder = tempfile::tempdir().expect("a folder");
    let seed = std::env::var("LOCKSTEP_JEPSEN_SEED").ok().and_then(|text| text.parse().ok());
    let seed = seed.unwrap_or_else(|| fastrand::u64(..1_000_000));
    println!("seed {seed}; LOCKSTEP_JEPSEN_SEED={seed} plays it again");
    let minutes = std::env::var("LOCKSTEP_JEPSEN_MINUTES").ok().and_then(|text| text.parse().ok());
    let length = Duration::from_secs(60 * minutes.unwrap_or(0));
    let all = branches::run(&[Act::Detach, Act::Recover], seed, length, folder.path()).await;
    println!("{}", branches::summary(&all));
    for told in &all {
        if !told.violations.is_empty() {
            let kept = folder.keep();
            panic!("seed {}: {:?}: see {}", told.seed, told.violations, kept.display());
        }
        assert!(told.on_branch > 20 && told.acknowledged > 100, "too little happened: {told:?}");
    }
}
