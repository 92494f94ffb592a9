//! What goes on by itself: the stream of changes, syncs one at a time, and being seen by others.

use super::cluster::{FeedMessage, SyncFeed};
use super::histories::is_other_history;
use super::options::Rules;
use super::state::{Core, Shared};
use super::storage::locked;
use super::types::{SyncChange, SyncError};
use futures::FutureExt;
use std::any::Any;
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::OnceCell;
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// A stream that was not heard for so long is no connection.
const CONNECTED_MAX: Duration = Duration::from_secs(15);
const SESSION_TTL: Duration = Duration::from_secs(15);
const PAUSE_FIRST: Duration = Duration::from_millis(200);
const PAUSE_LAST: Duration = Duration::from_secs(10);
/// Begins the names of synchronizers' sessions.
const PRESENCE: &str = "sync:";

/// The stream of changes.
struct Stream {
    feed: Box<dyn SyncFeed>,
    /// The history that it is in.
    history: String,
    /// Whether it has no place to begin from, and has not begun.
    is_new: bool,
}

/// A sync that has ended.
struct Run {
    number: u64,
    /// Whether the changes of all groups were sent.
    full: bool,
    result: Result<(), SyncError>,
}

/// A synchronizer and its tasks.
pub(super) struct Runner {
    pub(super) shared: Arc<Shared>,
    loaded: OnceCell<()>,
    pub(super) name: Mutex<Option<String>>,
    /// Held while it connects; true once it has.
    connected: tokio::sync::Mutex<bool>,
    begun: AtomicU64,
    /// Held while a sync runs.
    last: tokio::sync::Mutex<Option<Run>>,
    /// When the stream was last heard; `None` if it is lost.
    heard: Mutex<Option<Instant>>,
    session: tokio::sync::Mutex<Option<u64>>,
    /// Whether a sync is about to begin, because something was missed.
    waking: AtomicBool,
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

impl Runner {
    pub(super) fn new(shared: Shared) -> Self {
        Self {
            shared: Arc::new(shared),
            loaded: OnceCell::new(),
            name: Mutex::default(),
            connected: tokio::sync::Mutex::default(),
            begun: AtomicU64::new(0),
            last: tokio::sync::Mutex::default(),
            heard: Mutex::default(),
            session: tokio::sync::Mutex::default(),
            waking: AtomicBool::new(false),
            tasks: Mutex::default(),
        }
    }

    /// Reads what an earlier run left.
    pub(super) async fn begin(&self) -> Result<(), SyncError> {
        if self.shared.is_closed() {
            return Err(SyncError::Closed);
        }
        self.loaded.get_or_try_init(|| self.load()).await.copied()
    }

    async fn load(&self) -> Result<(), SyncError> {
        let mut core = self.shared.core.lock().await;
        let damaged = core.journal.load().await?;
        for (key, by) in std::mem::take(&mut core.journal.lost_adds) {
            core.tell_unknown(&key, by);
        }
        let dirty = core.journal.keys.iter().filter(|(_, record)| record.is_dirty());
        core.unsure = dirty.map(|(key, _)| key.clone()).collect();
        core.damaged = damaged.len();
        if !damaged.is_empty() {
            (self.shared.options.on_damage)(&damaged);
        } else if core.journal.meta.place.is_some() {
            core.walks_done = 1;
            // What changed since then is not known yet.
            core.gaps += 1;
        }
        Ok(())
    }

    pub(super) async fn open(self: &Arc<Self>) -> Result<(), SyncError> {
        let mut connected = self.connected.lock().await;
        if *connected {
            return Ok(());
        }
        self.begin().await?;
        if self.shared.options.offline {
            let runner = self.clone();
            self.spawn(async move { runner.keep_trying().await });
        } else {
            self.greet().await?;
            let stream = self.listen().await?;
            self.go_on(stream);
        }
        *connected = true;
        Ok(())
    }

    /// Connects as soon as a node can be reached.
    async fn keep_trying(self: Arc<Self>) {
        let mut pause = PAUSE_FIRST;
        loop {
            let connected = async {
                self.greet().await?;
                self.listen().await
            };
            match connected.await {
                Ok(stream) => return self.go_on(stream),
                Err(SyncError::Closed) => return,
                Err(error) => {
                    // A cluster that is not ours will not become it.
                    let is_final = matches!(
                        error,
                        SyncError::OtherCluster { .. } | SyncError::OlderHistory | SyncError::OtherHistory
                    );
                    self.fail(error).await;
                    if is_final {
                        return;
                    }
                }
            }
            if self.pause(pause).await.is_err() {
                return;
            }
            pause = (pause * 2).min(PAUSE_LAST);
        }
    }

    fn go_on(self: &Arc<Self>, stream: Stream) {
        let runner = self.clone();
        self.spawn(async move { runner.follow(stream).await });
        if !self.shared.options.sync_interval.is_zero() {
            let runner = self.clone();
            self.spawn(async move { runner.tick().await });
        }
        if self.shared.options.presence {
            let runner = self.clone();
            self.spawn(async move { runner.stay_present().await });
        }
    }

    fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = locked(&self.tasks);
        tasks.retain(|task| !task.is_finished());
        tasks.push(tokio::spawn(work));
    }

    async fn pause(&self, time: Duration) -> Result<(), SyncError> {
        self.shared.unless_closed(tokio::time::sleep(time)).await
    }

    /// Learns which cluster this is, compares the clocks, and says that it is there.
    async fn greet(&self) -> Result<(), SyncError> {
        self.shared.adopt().await?;
        self.shared.compare_clocks(true).await?;
        if self.shared.options.presence {
            self.be_present().await?;
        }
        self.find_peers().await
    }

    async fn find_peers(&self) -> Result<(), SyncError> {
        let shared = &self.shared;
        let nodes = shared.ask(shared.cluster.nodes()).await?;
        let mut peers: Vec<String> = Vec::new();
        peers.extend(nodes.iter().filter(|(_, answers)| *answers).map(|(name, _)| name.clone()));
        if shared.options.presence {
            let sessions = shared.ask(shared.cluster.sessions(PRESENCE)).await?;
            let names = sessions.iter().filter_map(|name| name.strip_prefix(PRESENCE));
            peers.extend(names.map(str::to_owned));
        }
        let own = locked(&self.name).clone();
        let mut met = BTreeSet::new();
        peers.retain(|name| Some(name) != own.as_ref() && met.insert(name.clone()));
        let mut core = shared.core.lock().await;
        core.nodes = nodes.into_iter().map(|(name, _)| name).collect();
        core.peers = peers;
        Ok(())
    }

    async fn be_present(&self) -> Result<(), SyncError> {
        let shared = &self.shared;
        let mut session = self.session.lock().await;
        let is_there = match *session {
            Some(id) => shared.ask(shared.cluster.renew_session(id)).await?,
            None => false,
        };
        if !is_there {
            let name = format!("{PRESENCE}{}", locked(&self.name).clone().unwrap_or_default());
            *session = Some(shared.ask(shared.cluster.open_session(&name, SESSION_TTL)).await?);
        }
        Ok(())
    }

    async fn stay_present(self: Arc<Self>) {
        while self.pause(SESSION_TTL / 3).await.is_ok() {
            if let Err(error) = self.be_present().await {
                self.fail(error).await;
            }
        }
    }

    /// Begins the stream of changes.
    async fn listen(self: &Arc<Self>) -> Result<Stream, SyncError> {
        let shared = &self.shared;
        let mut core = shared.core.lock().await;
        let from = core.journal.meta.place.clone().filter(|_| !shared.needs_walk(&core));
        if from.is_some() {
            // What was missed comes again.
            core.gaps_healed = core.gaps;
        }
        let prefixes: Vec<String> =
            shared.groups.prefixes.iter().filter(|prefix| !prefix.is_empty()).cloned().collect();
        let is_new = from.is_none();
        let feed = shared.cluster.watch(&prefixes, from, core.journal.meta.cluster_id.clone());
        drop(core);
        let mut stream = Stream { feed, history: String::new(), is_new };
        while locked(&self.heard).is_none() {
            let message = shared.ask(stream.feed.next()).await?;
            self.hear(message, &mut stream).await;
        }
        Ok(stream)
    }

    async fn follow(self: Arc<Self>, mut stream: Stream) {
        let mut pause = PAUSE_FIRST;
        loop {
            match self.shared.ask(stream.feed.next()).await {
                Ok(message) => {
                    pause = PAUSE_FIRST;
                    let heard = AssertUnwindSafe(self.hear(message, &mut stream)).catch_unwind().await;
                    if let Err(panic) = heard {
                        // What the message told may be lost.
                        self.shared.core.lock().await.gaps += 1;
                        self.fail(broken(&*panic)).await;
                    }
                }
                Err(SyncError::Closed) => return,
                Err(error) => {
                    *locked(&self.heard) = None;
                    self.fail(error).await;
                    if self.pause(pause).await.is_err() {
                        return;
                    }
                    pause = (pause * 2).min(PAUSE_LAST);
                }
            }
        }
    }

    async fn hear(self: &Arc<Self>, message: FeedMessage, stream: &mut Stream) {
        let shared = &self.shared;
        if matches!(message, FeedMessage::Subscribed { .. }) || locked(&self.heard).is_some() {
            *locked(&self.heard) = Some(Instant::now());
        }
        let mut core = shared.core.lock().await;
        let heard = match message {
            FeedMessage::Subscribed { history } => {
                // It may begin after what was read last.
                core.gaps += u64::from(std::mem::take(&mut stream.is_new));
                stream.history = history;
                if core.is_in(&stream.history) { Ok(()) } else { Err(()) }
            }
            FeedMessage::Resync { .. } => Err(()),
            // Changes of another history wait until this synchronizer is in it.
            _ if !core.is_in(&stream.history) => Ok(()),
            FeedMessage::Change { index, at_ms, origin, events } => {
                let applied = shared.hear(&mut core, (index, at_ms), origin.as_deref(), events).await;
                drop(core);
                if let Err(error) = applied {
                    self.fail(error).await;
                }
                return;
            }
            FeedMessage::Bookmark { index } => {
                let advanced = shared.advance(&mut core, index, &BTreeSet::new()).await;
                drop(core);
                if let Err(error) = advanced {
                    self.fail(error).await;
                }
                return;
            }
        };
        if heard.is_err() {
            core.gaps += 1;
            shared.want_walk();
            shared.tell(SyncChange::Resync);
            drop(core);
            self.wake();
        }
    }

    /// A sync soon, if there are any by themselves.
    fn wake(self: &Arc<Self>) {
        if self.shared.options.sync_interval.is_zero() || self.waking.swap(true, Ordering::SeqCst) {
            return;
        }
        let runner = self.clone();
        self.spawn(async move {
            runner.waking.store(false, Ordering::SeqCst);
            runner.sync_and_tell(true).await;
        });
    }

    async fn tick(self: Arc<Self>) {
        while self.pause(self.shared.options.sync_interval).await.is_ok() {
            self.sync_and_tell(false).await;
            if let Err(error) = self.find_peers().await {
                self.fail(error).await;
            }
        }
    }

    async fn sync_and_tell(&self, full: bool) {
        let synced = AssertUnwindSafe(self.sync(full)).catch_unwind().await;
        if let Err(error) = synced.unwrap_or_else(|panic| Err(broken(&*panic))) {
            self.fail(error).await;
        }
    }

    /// One sync at a time; who calls while one runs gets the next.
    pub(super) async fn sync(&self, full: bool) -> Result<(), SyncError> {
        let asked = self.begun.load(Ordering::SeqCst);
        let mut last = self.last.lock().await;
        // One that began before may have looked for changes before the caller made his.
        let later = last.as_ref().filter(|run| run.number > asked && (run.full || !full));
        if let Some(run) = later {
            return run.result.clone();
        }
        let number = self.begun.fetch_add(1, Ordering::SeqCst) + 1;
        let result = self.run(full).await;
        if let Err(error) = &result {
            self.shared.core.lock().await.last_error = Some(error.clone());
        }
        *last = Some(Run { number, full, result: result.clone() });
        result
    }

    async fn run(&self, full: bool) -> Result<(), SyncError> {
        self.begin().await?;
        let shared = &self.shared;
        let mut core = shared.core.lock().await;
        // What fails here concerns one key or one cache: the others go on.
        let unread = shared.scan(&mut core).await?;
        let is_new = core.journal.meta.cluster_id.is_none();
        let is_due = |rules: &Rules| {
            full || core.sent_at.get(&rules.name).is_none_or(|at| at.elapsed() >= rules.every)
        };
        let due: BTreeSet<String> =
            shared.groups.all.iter().filter(|rules| is_due(rules)).map(|rules| rules.name.clone()).collect();
        drop(core);
        if is_new {
            shared.adopt().await?;
        }
        shared.compare_clocks(false).await?;
        let mut exchanged = self.exchange(&due).await;
        if exchanged.as_ref().is_err_and(is_other_history) {
            shared.adopt().await?;
            exchanged = self.exchange(&due).await;
        }
        exchanged?;
        if let Some(error) = unread {
            return Err(error);
        }
        let mut core = shared.core.lock().await;
        for name in due {
            core.sent_at.insert(name, Instant::now());
        }
        if self.nothing_waits(&core) {
            core.last_sync_ms = shared.wall_ms();
        }
        core.last_error = None;
        Ok(())
    }

    async fn exchange(&self, due: &BTreeSet<String>) -> Result<(), SyncError> {
        let shared = &self.shared;
        // A cache that fails for a key must not keep the others from the cluster, nor their changes.
        let mut failed = None;
        if !self.needs_walk().await && !shared.read_changes(&mut failed).await? {
            shared.want_walk();
        }
        let mut rounds = 0;
        while self.needs_walk().await {
            rounds += 1;
            if rounds > 3 {
                return Err(SyncError::Behind);
            }
            shared.walk(&mut failed).await?;
            if failed.is_some() {
                break;
            }
            if !shared.read_changes(&mut failed).await? {
                shared.want_walk();
            }
        }
        shared.ask_again(&mut failed).await?;
        shared.confirm_hints(&mut failed).await?;
        shared.repeat().await?;
        shared.send(&|rules| due.contains(&rules.name)).await?;
        failed.map_or(Ok(()), Err)
    }

    async fn needs_walk(&self) -> bool {
        self.shared.needs_walk(&*self.shared.core.lock().await)
    }

    /// Nothing is left to send but what is stuck or deferred.
    fn nothing_waits(&self, core: &Core) -> bool {
        core.journal.keys.iter().all(|(key, record)| {
            let is_quiet = record.intent.is_none() || core.is_stopped(key) || !self.shared.groups.sends(key);
            record.in_flight.is_none() && is_quiet
        })
    }

    /// Milliseconds since the stream was last heard; `None` if it is lost.
    pub(super) fn staleness(&self) -> Option<Duration> {
        locked(&self.heard).map(|at| at.elapsed())
    }

    pub(super) fn is_connected(&self) -> bool {
        self.staleness().is_some_and(|age| age < CONNECTED_MAX)
    }

    async fn fail(&self, error: SyncError) {
        if self.shared.is_closed() {
            return;
        }
        // One that panics must not end what goes on.
        let _ = catch_unwind(AssertUnwindSafe(|| (self.shared.options.on_error)(&error)));
        self.shared.core.lock().await.last_error = Some(error);
    }

    /// Ends all tasks, and what runs.
    pub(super) async fn close(&self) -> Result<(), SyncError> {
        self.shared.stop.send_replace(true);
        drop(self.connected.lock().await);
        drop(self.last.lock().await);
        let tasks = std::mem::take(&mut *locked(&self.tasks));
        for task in tasks {
            // What panicked has ended, too.
            let _ = task.await;
        }
        if let Some(id) = self.session.lock().await.take() {
            // If it does not get there, it ends by itself.
            let _ = tokio::time::timeout(Duration::from_secs(1), self.shared.cluster.end_session(id)).await;
        }
        self.shared.subscribers.close();
        Ok(self.shared.core.lock().await.journal.close().await?)
    }
}

/// What a callback or a cache said when it panicked.
fn broken(panic: &(dyn Any + Send)) -> SyncError {
    let said = panic.downcast_ref::<&str>().map(|said| (*said).to_owned());
    let said = said.or_else(|| panic.downcast_ref::<String>().cloned());
    SyncError::Broken(said.unwrap_or_else(|| "a callback panicked".into()))
}
