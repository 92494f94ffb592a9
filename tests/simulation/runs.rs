//! Runs of seeds, and what they have to show.

use crate::clients::Clients;
use crate::faults::Faults;
use crate::random::Random;
use crate::system;
use crate::world::{PANICKED, World};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt};

/// How long things go wrong in a run, in simulated milliseconds.
const FAULTS_MS: u64 = 15_000;
/// How long no write may be answered because a hand-over fails. A voter that comes back late with its candidacy makes for an election
/// more.
const WITHOUT_WRITES_MS_MAX: u64 = 3_000;
/// A run takes seconds, however busy the machine is.
const RUN_TIMEOUT: Duration = Duration::from_secs(180);
/// How long seeds are run where their number is not named.
const BUDGET: Duration = Duration::from_secs(20);
/// How much of a failed run's trace is shown.
const LINES_SHOWN: usize = 60;

/// What a run is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Plan {
    /// All faults there are.
    Everything,
    /// Leaders are held up, and go on where they were.
    HeldLeaders,
    /// A node is given a vote, or loses it, and the leader dies between the two steps of that.
    HalfAChange,
    /// Leaders hand over to voters that are not heard any more, or die.
    LostHandovers,
    /// Leaders are asked to hand over to a voter that has stopped storing anything.
    VoterBehind,
    /// All faults, and disks that say that they flushed, and did not.
    LyingDisks,
    /// All faults, and a node's state is changed behind its back.
    CorruptReplica,
    /// The machines get a later release one by one, and leaders are held up.
    #[cfg(feature = "next-level")]
    RollingUpgrade,
    /// All faults, and nodes confirm reads with answers that are older than the reads.
    #[cfg(feature = "sabotage")]
    OldConfirmation,
    /// All faults, and nodes apply entries late, so that followers may apply one before their leader.
    #[cfg(feature = "sabotage")]
    LateApply,
    /// All faults, and reads that promise nothing are judged as if they were linearizable.
    StaleReads,
}

const PLANS: &[(&str, Plan)] = &[
    ("everything", Plan::Everything),
    ("held-leaders", Plan::HeldLeaders),
    ("half-a-change", Plan::HalfAChange),
    ("lost-handovers", Plan::LostHandovers),
    ("voter-behind", Plan::VoterBehind),
    ("lying-disks", Plan::LyingDisks),
    ("corrupt-replica", Plan::CorruptReplica),
    ("stale-reads", Plan::StaleReads),
    #[cfg(feature = "sabotage")]
    ("old-confirmation", Plan::OldConfirmation),
    #[cfg(feature = "sabotage")]
    ("late-apply", Plan::LateApply),
    #[cfg(feature = "next-level")]
    ("rolling-upgrade", Plan::RollingUpgrade),
];

/// One run: things go wrong for a while, then all has to be well again.
fn run(seed: u64, plan: Plan) -> Result<String, String> {
    let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a folder");
    let path = folder.path().to_owned();
    let kept = std::env::var_os("LOCKSTEP_SIM_TRACE");
    let whole = kept.is_some();
    let simulated = std::thread::Builder::new().stack_size(16 << 20).spawn(move || {
        system::take_over(seed);
        lockstep::raft::offload_nothing_on_this_thread();
        let mut faults = Faults::new(Random::new(seed, "faults"));
        let held = plan == Plan::HeldLeaders;
        // Of a few, all may wait for answers that were lost.
        let crowd = held && seed.is_multiple_of(2) || plan == Plan::LostHandovers;
        let clients = Clients::new(Random::new(seed, "clients"), crowd);
        let mut world = World::new(seed, &path, whole, clients);
        let outcome = live(&mut world, &mut faults, plan, seed);
        let told = format!("{:016x} {} lines {} ms", world.trace.hash(), world.trace.lines, world.now);
        let text = world.trace.text();
        // Nodes that are left end with the thread's runtimes, before its clocks.
        world.end();
        (outcome, told, text)
    });
    let (outcome, told, text) = simulated.expect("a thread").join().map_err(|_| "the simulation panicked")?;
    if let Some(file) = kept {
        std::fs::write(file, &text).expect("the trace is written");
    }
    outcome.map(|()| told).map_err(|wrong| {
        let lines: Vec<&str> = text.lines().collect();
        let shown = &lines[lines.len().saturating_sub(LINES_SHOWN)..];
        format!("{}\n\n{wrong}", shown.join("\n"))
    })
}

fn live(world: &mut World, faults: &mut Faults, plan: Plan, _seed: u64) -> Result<(), String> {
    if !matches!(plan, Plan::HeldLeaders | Plan::HalfAChange | Plan::LostHandovers | Plan::VoterBehind) {
        faults.set_clocks(world);
    }
    if plan == Plan::LyingDisks {
        world.machines.iter().for_each(|machine| machine.disk.lie());
    }
    #[cfg(feature = "sabotage")]
    if plan == Plan::OldConfirmation {
        lockstep::sabotage::Sabotage::OldConfirmation.choose();
    }
    #[cfg(feature = "sabotage")]
    if plan == Plan::LateApply {
        lockstep::sabotage::Sabotage::LateApply.choose();
    }
    #[cfg(feature = "next-level")]
    if plan == Plan::RollingUpgrade {
        return upgraded(world, faults, _seed);
    }
    world.clients.oracle.trust_stale_reads(plan == Plan::StaleReads);
    let (mut written, mut written_at) = (0, FAULTS_MS);
    while world.now < FAULTS_MS {
        match plan {
            Plan::HeldLeaders => faults.hold_leaders(world),
            Plan::HalfAChange => faults.halve_changes(world)?,
            Plan::LostHandovers => faults.lose_handovers(world)?,
            Plan::VoterBehind => faults.ask_those_behind(world),
            _ => faults.step(world)?,
        }
        if plan == Plan::CorruptReplica
            && world.now == FAULTS_MS / 2
            && let Some(node) = world.machines[0].node()
        {
            node.corrupt();
        }
        world.step(true)?;
        if world.clients.oracle.written() > written {
            (written, written_at) = (world.clients.oracle.written(), world.now);
        }
        let must_write = matches!(plan, Plan::LostHandovers | Plan::VoterBehind);
        if must_write && world.now > written_at + WITHOUT_WRITES_MS_MAX {
            return Err(format!("nothing has been written for {WITHOUT_WRITES_MS_MAX} ms"));
        }
    }
    world.converge()
}

#[cfg(feature = "next-level")]
fn upgraded(world: &mut World, faults: &mut Faults, seed: u64) -> Result<(), String> {
    use crate::upgrade::{OLDER, Upgrade};
    let mut upgrade = Upgrade::new(Random::new(seed, "upgrade"));
    world.machines.iter_mut().for_each(|machine| machine.release = OLDER);
    while world.now < FAULTS_MS {
        faults.hold_leaders(world);
        upgrade.step(world)?;
        world.step(true)?;
    }
    upgrade.finish(world)
}

/// C11: releases of two feature levels live side by side, and what only one knows is in no log before all know it.
#[cfg(feature = "next-level")]
#[test]
fn a_rolling_upgrade_loses_nothing() {
    for seed in 1..=number("LOCKSTEP_SIM_SEEDS").unwrap_or(8) {
        in_a_process(seed, Plan::RollingUpgrade).unwrap_or_else(|wrong| panic!("seed {seed}: {wrong}"));
    }
}

/// The run of a child process, when the tests below start it as such.
#[test]
fn one_run() {
    let Ok(seed) = std::env::var("LOCKSTEP_SIM_CHILD") else { return };
    let (seed, name) = seed.split_once(' ').expect("a seed and a plan");
    let plan = PLANS.iter().find(|(known, _)| *known == name).expect("a known plan").1;
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        PANICKED.store(true, Ordering::Release);
        usual(info);
    }));
    if let Ok(filter) = std::env::var("RUST_LOG") {
        let filter = filter.parse::<Targets>().expect("a filter");
        let lines = fmt::layer().with_writer(std::io::stderr);
        tracing_subscriber::registry().with(lines.with_filter(filter)).init();
    }
    match run(seed.parse().expect("a number"), plan) {
        Ok(told) => println!("\nrun: {told}"),
        Err(wrong) => {
            eprintln!("{wrong}");
            std::process::exit(1);
        }
    }
}

/// Runs a seed in a process of its own.
fn in_a_process(seed: u64, plan: Plan) -> Result<String, String> {
    let name = PLANS.iter().find(|(_, known)| *known == plan).expect("it is listed").0;
    let child = Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", "runs::one_run", "--nocapture", "--test-threads", "1"])
        .env("LOCKSTEP_SIM_CHILD", format!("{seed} {name}"))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program runs again");
    let pid = child.id().cast_signed();
    let (tell, told) = mpsc::channel();
    let waiting = std::thread::spawn(move || tell.send(child.wait_with_output()));
    let Ok(output) = told.recv_timeout(RUN_TIMEOUT) else {
        // SAFETY: the call touches no memory. It is this program's child; at worst it has ended this moment.
        unsafe { libc::kill(pid, libc::SIGKILL) };
        drop(waiting.join());
        return Err(format!("it hangs: it has not ended after {} s", RUN_TIMEOUT.as_secs()));
    };
    let output = output.expect("its output can be read");
    let text = String::from_utf8_lossy(&output.stdout);
    let told = text.lines().find_map(|line| line.strip_prefix("run: "));
    match told {
        Some(told) if output.status.success() => Ok(told.to_owned()),
        _ => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// C2, C5, C6, H1, H2, R1, R3, R4, R5, R7: whatever goes wrong, nothing that must hold is broken, and once all
/// is healed the cluster serves.
#[test]
fn every_seed_holds() {
    let one = number("LOCKSTEP_SIM_SEED");
    let many = number("LOCKSTEP_SIM_SEEDS");
    let first = one.or_else(|| number("LOCKSTEP_SIM_FIRST")).unwrap_or(1);
    let last = if one.is_some() { first } else { many.map_or(u64::MAX, |many| first + many - 1) };
    let begun = Instant::now();
    let next = AtomicU64::new(first);
    let done = AtomicU64::new(0);
    let work = || {
        let mut failures = Vec::new();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed > last || (one.or(many).is_none() && begun.elapsed() > BUDGET) {
                return failures;
            }
            match in_a_process(seed, Plan::Everything) {
                Ok(told) if one.is_some() => println!("seed {seed}: {told}"),
                Ok(_) => {}
                Err(wrong) => failures.push((seed, wrong)),
            }
            done.fetch_add(1, Ordering::Relaxed);
        }
    };
    let workers = number("LOCKSTEP_SIM_JOBS").unwrap_or(2);
    let failures: Vec<(u64, String)> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        workers.into_iter().flat_map(|worker| worker.join().expect("no panic")).collect()
    });
    let (done, took) = (done.load(Ordering::Relaxed), begun.elapsed());
    println!(
        "{done} seeds in {} s, {} an hour",
        took.as_secs(),
        done * 3_600_000 / took.as_millis().max(1) as u64
    );
    if let Some((seed, wrong)) = failures.first() {
        let seeds: Vec<u64> = failures.iter().map(|(seed, _)| *seed).collect();
        panic!(
            "seeds {seeds:?} of {done} fail. Seed {seed}:\n\n{wrong}\n\nagain with: LOCKSTEP_SIM_SEED={seed} cargo test --test \
             simulation every_seed"
        );
    }
}

/// The same seed gives the same run, down to the bytes on the wire.
#[test]
fn the_same_seed_gives_the_same_run() {
    for seed in [1, 2] {
        let run = || in_a_process(seed, Plan::Everything);
        assert_eq!(run(), run(), "seed {seed}");
    }
    assert_ne!(in_a_process(1, Plan::Everything), in_a_process(2, Plan::Everything));
}

/// R5: what was on its way to a leader when it was held up confirms nothing that it is asked later. Even seeds have a
/// crowd of clients, and take longer.
#[test]
fn a_leader_that_was_held_up_serves_nothing_old() {
    for seed in [1, 3, 5, 7, 9, 11, 6] {
        in_a_process(seed, Plan::HeldLeaders).unwrap_or_else(|wrong| panic!("seed {seed}: {wrong}"));
    }
}

/// A change of the membership that its leader did not live to finish is finished by the next.
#[test]
fn half_a_change_is_finished() {
    for seed in 1..=5 {
        in_a_process(seed, Plan::HalfAChange).unwrap_or_else(|wrong| panic!("seed {seed}: {wrong}"));
    }
}

/// A hand-over that nobody takes does not keep the leader from writing for long, nor the others from electing.
#[test]
fn lost_handovers_stop_nothing() {
    for seed in 1..=number("LOCKSTEP_SIM_SEEDS").unwrap_or(1) {
        in_a_process(seed, Plan::LostHandovers).unwrap_or_else(|wrong| panic!("seed {seed}: {wrong}"));
    }
}

/// Writes go on while a leader waits for a voter that does not catch up, and whoever asked is told that nothing has happened.
#[test]
fn a_voter_that_is_too_far_behind_is_not_asked() {
    for seed in 1..=3 {
        in_a_process(seed, Plan::VoterBehind).unwrap_or_else(|wrong| panic!("seed {seed}: {wrong}"));
    }
}

/// R5: a read at the leader is never older than what a follower has shown, though the leader may apply an entry after it.
/// Needs a build with the feature `sabotage`.
#[cfg(feature = "sabotage")]
#[test]
fn what_is_applied_late_is_read_in_order() {
    for seed in 1..=5 {
        in_a_process(seed, Plan::LateApply).unwrap_or_else(|wrong| panic!("seed {seed}: {wrong}"));
    }
}

/// How many seeds it takes until what is wrong is noticed.
fn noticed_within(seeds: u64, plan: Plan, as_what: &[&str]) {
    for seed in 1..=seeds {
        if let Err(wrong) = in_a_process(seed, plan) {
            let last = wrong.lines().rfind(|line| !line.is_empty()).unwrap_or_default();
            println!("{plan:?} is noticed by seed {seed}: {last}");
            assert!(as_what.iter().any(|part| wrong.contains(part)), "{wrong}");
            return;
        }
    }
    panic!("{seeds} seeds do not notice {plan:?}");
}

#[test]
fn lying_disks_are_noticed() {
    // By whatever invariant is the first to look, openraft's own among them.
    let as_what = ["leads term", "two leaders", "another had", "stands at", "a task panicked", "machine"];
    noticed_within(20, Plan::LyingDisks, &as_what);
}

#[test]
fn a_corrupt_replica_is_noticed() {
    noticed_within(3, Plan::CorruptReplica, &["digest", "differs"]);
}

/// Needs a build with the feature `sabotage`.
#[cfg(feature = "sabotage")]
#[test]
fn old_confirmations_are_noticed() {
    noticed_within(20, Plan::OldConfirmation, &["the answer stands at"]);
}

#[test]
fn stale_reads_are_noticed() {
    noticed_within(5, Plan::StaleReads, &["the answer stands at"]);
}
