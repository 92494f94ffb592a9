//! Random runs: no local change vanishes, and when it is quiet everything is equal everywhere.

use crate::model::{Fault, Model};
use crate::model_client::ModelClient;
use crate::mortal::{Mortal, MortalCache, MortalStorage};
use crate::world::{MapCache, World, pass};
use lockstep::api::ErrorCode;
use lockstep::cache::RemovalCause;
use lockstep::client::sync::{
    CacheSynchronizer, DecidedConflict, Group, MemoryStorage, SyncError, SyncOptions, SyncValue, Winner,
};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const KEYS: [&str; 6] = ["a", "b", "c", "d", "e", "f"];
const STEPS: usize = 120;

/// A process with a cache and a storage that outlive it.
struct Process {
    name: &'static str,
    skew: i64,
    cache: Arc<MapCache>,
    storage: Arc<MemoryStorage>,
    losers: Arc<Mutex<BTreeSet<String>>>,
    unknown: usize,
    mortal: Arc<Mortal>,
    sync: CacheSynchronizer,
    /// Whether it reaches no node.
    cut: Arc<AtomicBool>,
}

/// What is the same for all processes of a run.
struct Run {
    world: World,
    faulty: Arc<AtomicBool>,
    random: Arc<Mutex<fastrand::Rng>>,
}

impl Run {
    fn new(seed: u64) -> Self {
        Self {
            world: World::new(),
            faulty: Arc::new(AtomicBool::new(true)),
            random: Arc::new(Mutex::new(fastrand::Rng::with_seed(seed))),
        }
    }

    fn below(&self, limit: usize) -> usize {
        self.random.lock().expect("no panic").usize(..limit)
    }

    fn process(&self, name: &'static str) -> Process {
        let skews = [-3_600_000, -500, 0, 40, 86_400_000];
        let skew = skews[self.below(skews.len())];
        let (cache, storage, losers) = (Arc::default(), Arc::default(), Arc::default());
        let cut = Arc::new(AtomicBool::new(false));
        let (mortal, sync) = self.start(skew, &cache, &storage, &losers, &cut);
        Process { name, skew, cache, storage, losers, unknown: 0, mortal, sync, cut }
    }

    fn start(
        &self,
        skew: i64,
        cache: &Arc<MapCache>,
        storage: &Arc<MemoryStorage>,
        losers: &Arc<Mutex<BTreeSet<String>>>,
        cut: &Arc<AtomicBool>,
    ) -> (Arc<Mortal>, CacheSynchronizer) {
        let mortal = Arc::new(Mortal::immortal());
        let (random, faulty, is_cut, lost) =
            (self.random.clone(), self.faulty.clone(), cut.clone(), losers.clone());
        let fault = Arc::new(move |seen: &crate::model::Seen<'_>| {
            if is_cut.load(Ordering::SeqCst) {
                return Some(Fault::Refused);
            }
            let mut random = random.lock().expect("no panic");
            if !faulty.load(Ordering::SeqCst) || seen.kind == "watch" || random.f64() < 0.7 {
                return None;
            }
            random.choice([
                Fault::Refused,
                Fault::Before,
                Fault::After,
                Fault::Twice,
                Fault::Late(700),
                Fault::Slow(250),
                Fault::SlowRefused(250),
                Fault::Code(ErrorCode::Unavailable),
                Fault::Code(ErrorCode::OutcomeUnknown),
            ])
        });
        let client = ModelClient { model: self.world.model.clone(), mortal: mortal.clone(), fault };
        let on_conflict = Arc::new(move |decided: &DecidedConflict| {
            if decided.winner == Winner::Remote
                && let Some(value) = &decided.conflict.local.value
            {
                let text = String::from_utf8_lossy(&value.bytes).into_owned();
                lost.lock().expect("no panic").insert(text);
            }
        });
        let options = SyncOptions {
            storage: Arc::new(MortalStorage { storage: storage.clone(), mortal: mortal.clone() }),
            sync_interval: Duration::from_millis(300),
            batch_size: 3,
            groups: vec![Group::new("some", &["a", "b", "n"]), Group::new("rest", &[""])],
            offline: true,
            clock: self.world.clock(skew),
            on_conflict,
            ..SyncOptions::default()
        };
        let sync = CacheSynchronizer::new(client, options).expect("options");
        sync.register_cache(Arc::new(MortalCache { cache: cache.clone(), mortal: mortal.clone() }));
        (mortal, sync)
    }

    /// It dies at once, and another one takes over.
    async fn crash(&self, process: &mut Process) {
        process.unknown += process.sync.details().await.unknown.len();
        process.mortal.kill();
        let _ = process.sync.close().await;
        let Process { skew, cache, storage, losers, cut, .. } = process;
        let (mortal, sync) = self.start(*skew, cache, storage, losers, cut);
        (process.mortal, process.sync) = (mortal, sync);
        connect(process).await;
    }
}

async fn connect(process: &Process) {
    let connected = process.sync.connect(process.name).await;
    assert!(connected.is_ok() || process.mortal.is_dead());
}

/// A change that was asked for, and whether it was accepted.
struct Change {
    process: usize,
    key: &'static str,
    value: Option<String>,
}

fn kept(done: Result<(), SyncError>, process: &Process, what: &str) {
    assert!(done.is_ok() || process.mortal.is_dead(), "{what}: {}: {done:?}", process.name);
}

async fn step(run: &Run, processes: &mut [Process], changes: &mut Vec<Change>, added: &mut i64, at: usize) {
    let (model, who) = (&run.world.model, run.below(processes.len()));
    let process = &mut processes[who];
    let key = KEYS[run.below(KEYS.len())];
    let text = format!("{} {at}", process.name);
    let mut note = |value| changes.push(Change { process: who, key, value });
    match run.below(100) {
        0..30 => {
            note(Some(text.clone()));
            kept(process.sync.set(key, SyncValue::text(text)).await, process, "set");
        }
        30..38 => {
            // Behind its back: it is found later, unless a change that is told is put over it.
            process.cache.put(key, &text);
            note(Some(text));
        }
        38..45 => {
            note(None);
            kept(process.sync.delete(key).await, process, "delete");
        }
        45..54 if process.cache.text("n").is_some() => {
            kept(process.sync.add("n", 3).await, process, "add");
            *added += 3;
        }
        54..64 => drop(model.put(key, &text)),
        64..67 => drop(model.remove(key, RemovalCause::Delete)),
        67..69 => drop(model.remove(key, RemovalCause::Evict)),
        69..74 => run.crash(process).await,
        74..78 => model.cut(),
        78..82 => drop(process.cut.fetch_xor(true, Ordering::SeqCst)),
        82..84 => model.forget(),
        84..86 => model.resync(),
        86..88 => drop(model.clear("e")),
        88..92 => {
            // Its answer is not waited for.
            let _ = tokio::time::timeout(Duration::from_millis(5), process.sync.sync()).await;
        }
        _ => {}
    }
    pass(run.below(200) as u64).await;
}

async fn quiet(run: &Run, processes: &[Process]) {
    run.faulty.store(false, Ordering::SeqCst);
    for process in processes {
        process.cut.store(false, Ordering::SeqCst);
    }
    pass(30_000).await;
    for _ in 0..3 {
        for process in processes {
            process.sync.retry(None).await;
            process.sync.sync().await.expect("a sync");
        }
        pass(1_000).await;
    }
}

fn check_nothing_vanished(model: &Model, processes: &[Process], changes: &[Change], seed: u64) {
    let stored = model.state().stored.clone();
    for (at, Change { process, key, value }) in changes.iter().enumerate() {
        let Some(value) = value else { continue };
        let is_superseded =
            changes[at + 1..].iter().any(|later| later.process == *process && later.key == *key);
        let has_lost = processes[*process].losers.lock().expect("no panic").contains(value);
        assert!(
            stored.contains(value) || has_lost || is_superseded,
            "seed {seed}: {value} of {key} vanished"
        );
    }
}

async fn run(seed: u64) {
    let run = Run::new(seed);
    let model = run.world.model.clone();
    model.put_value("n", SyncValue { bytes: "0".into(), content_type: None }, None);
    let mut processes = ["one", "two", "three"].map(|name| run.process(name));
    for process in &processes {
        connect(process).await;
    }
    let (mut changes, mut added) = (Vec::new(), 0);
    for at in 0..STEPS {
        step(&run, &mut processes, &mut changes, &mut added, at).await;
    }
    quiet(&run, &processes).await;
    let mut unknown = 0;
    for process in &processes {
        let details = process.sync.details().await;
        assert_eq!(details.status.pending, 0, "seed {seed}: {}: {details:?}", process.name);
        assert_eq!(process.cache.values(), model.values(), "seed {seed}: {}", process.name);
        unknown += process.unknown + details.unknown.len();
    }
    check_nothing_vanished(&model, &processes, &changes, seed);
    if unknown == 0 {
        assert_eq!(model.texts()["n"], added.to_string(), "seed {seed}");
    }
    for process in &processes {
        process.sync.close().await.expect("it closes");
    }
}

/// `LOCKSTEP_SYNC_SEED` repeats one run, `LOCKSTEP_SYNC_RUNS` says how many there are.
#[test]
fn no_local_change_vanishes_and_when_it_is_quiet_everything_is_equal() {
    let given = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    let first = given("LOCKSTEP_SYNC_SEED").unwrap_or_else(|| fastrand::u64(..1 << 40));
    let runs = match given("LOCKSTEP_SYNC_SEED") {
        Some(_) => 1,
        None => given("LOCKSTEP_SYNC_RUNS").unwrap_or(300),
    };
    println!("{runs} runs, from the seed {first} on");
    for seed in first..first + runs {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
        runtime.expect("a runtime").block_on(run(seed));
    }
}
