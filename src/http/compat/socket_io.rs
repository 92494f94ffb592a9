//! Socket.IO: what web pages of the Node.js cache server listen to. Each node tells of its own applied log, so all tell
//! the same. What happens fast is told together: a page gets a few frames a second, however many writes there are, and
//! the newest state. Who wants every change takes `/v1/watch`.

use super::super::client_address::ClientAddress;
use super::super::door::Door;
use super::super::guard::Guard;
use super::super::watchers::Entered;
use super::items::Item;
use super::layers::{self, POLLED_BYTES_MAX};
use super::metrics::CacheMetrics;
use super::sync::Sync;
use super::sync_history::Told;
use crate::api::Consistency;
use crate::node::{
    Change, EntriesPage, Operation, Principal, Session, SessionError, SessionWatch, WatchItem,
};
use axum::Router;
use axum::http::{Request, header};
use serde::Serialize;
use socketioxide::extract::SocketRef;
use socketioxide::{BroadcastError, SocketIo};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, sleep_until};

/// Changes are told at most so often.
const TELL_INTERVAL: Duration = Duration::from_millis(250);
/// How long it takes until all are told the state again, when some page could not take what it was told.
const RETELL_PAUSE: Duration = Duration::from_secs(2);
/// Of the operations in between, the newest so many.
const OPERATIONS_MAX: usize = 5;
/// Items of a state, and bytes of their values.
const ITEMS_MAX: usize = 100;
const ITEM_BYTES_MAX: u64 = 256 * 1024;
/// How often reads are told of, and how often the other nodes are asked how they are.
const METRICS_INTERVAL: Duration = Duration::from_secs(1);
const NODES_INTERVAL: Duration = Duration::from_secs(2);
/// How long a page may take to say what it wants.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// What a page may send over a WebSocket altogether: names of events, some thousand. Then it has to connect again.
const SOCKET_BYTES_MAX: u64 = 256 * 1024;
/// What waits for a slow page; what does not fit is left out, and the next state makes up for it.
const FRAMES_MAX: usize = 16;

/// Payload of `cache-state`.
#[derive(Serialize)]
struct CacheState {
    /// The first in the order of their keys.
    items: Vec<Item>,
    /// Items in this state, and in the cache.
    count: usize,
    total: u64,
    metrics: CacheMetrics,
    strategy: String,
    /// The log entry up to which it is applied.
    index: u64,
}

/// Payload of `metrics-update`.
#[derive(Serialize)]
struct MetricsUpdate {
    #[serde(flatten)]
    metrics: CacheMetrics,
    index: u64,
}

/// Payload of `cache-operation`.
#[derive(Serialize)]
struct CacheOperation {
    #[serde(flatten)]
    told: Told,
    /// Operations before this one that were left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    skipped: Option<usize>,
}

/// Payload of `cache-error`: a state that was asked for and cannot be told.
#[derive(Serialize)]
struct CacheError {
    success: bool,
    message: String,
}

impl CacheState {
    /// # Errors
    /// [`SessionError`]; there is no older state instead of a current one.
    async fn read(session: &Session) -> Result<Self, SessionError> {
        let read = session.entries(None, ITEMS_MAX, ITEM_BYTES_MAX).await?;
        let EntriesPage { entries, total, .. } = read.value;
        let items: Vec<Item> = entries.iter().filter_map(|entry| Item::of(entry).ok()).collect();
        let metrics = CacheMetrics::of(session).await;
        let strategy = metrics.strategy().to_owned();
        Ok(Self { count: items.len(), items, total, metrics, strategy, index: read.index })
    }
}

/// The pages that listen. Clones are the same pages.
#[derive(Clone)]
pub(in crate::http) struct Pages {
    io: SocketIo,
    /// How many they are.
    count: watch::Sender<usize>,
}

/// One of them: its place is given back with its connection.
struct Listening {
    _entered: Entered,
    count: watch::Sender<usize>,
}

impl Listening {
    fn new(entered: Entered, count: watch::Sender<usize>) -> Arc<Self> {
        count.send_modify(|count| *count += 1);
        Arc::new(Self { _entered: entered, count })
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.count.send_modify(|count| *count -= 1);
    }
}

/// The route that pages connect to, and the pages.
pub(in crate::http) fn socket_io(door: &Door) -> (Router<Door>, Pages) {
    let (service, io) = SocketIo::builder()
        .connect_timeout(CONNECT_LIMIT)
        .ping_interval(door.limits.page_ping)
        .ping_timeout(door.limits.page_pong)
        .max_payload(POLLED_BYTES_MAX as u64)
        .max_buffer_size(FRAMES_MAX)
        .build_svc();
    let pages = Pages { io, count: watch::Sender::default() };
    let (met_by, count) = (door.clone(), pages.count.clone());
    let meet = move |page: SocketRef| greet(page, met_by.clone(), count.clone());
    pages.io.ns("/", meet);
    let routes =
        Router::new().route_service("/socket.io/", service.clone()).route_service("/socket.io", service);
    (layers::around_sockets(routes, door), pages)
}

/// Limits what a connection may bring, and how long it may be quiet, once this request has made it a page's WebSocket.
pub(in crate::http) fn limit_socket<B>(request: &mut Request<B>, guard: &Guard) {
    if request.uri().path().starts_with("/socket.io") && request.headers().contains_key(header::UPGRADE) {
        guard.limit(SOCKET_BYTES_MAX);
        request.extensions_mut().insert(guard.clone());
    }
}

/// Tells a new page how things are, and again whenever it asks.
async fn greet(page: SocketRef, door: Door, count: watch::Sender<usize>) {
    let Ok(entered) = door.watchers.enter(ClientAddress::of(page.req_parts())) else {
        let _ = page.disconnect();
        return;
    };
    // From now on it is told what happens, so that nothing falls between its first state and the next.
    page.extensions.insert(Listening::new(entered, count));
    // One at a time: a page that asks faster than it reads is answered less often.
    let (asked_of, answering) = (door.clone(), Arc::new(Semaphore::new(1)));
    page.on("get-cache-state", async move |page: SocketRef| {
        if let Ok(_turn) = answering.try_acquire() {
            tell_state(&page, &asked_of).await;
        }
    });
    tell_state(&page, &door).await;
    if let Some(session) = door.session(Principal::Anyone) {
        let _ = page.emit("node-list-update", &Sync::of(&session).await.node_list());
    }
}

/// A page that asks is told the current state, or that nobody knows it.
async fn tell_state(page: &SocketRef, door: &Door) {
    let state = match door.session(Principal::Anyone) {
        Some(session) => CacheState::read(&session).await.map_err(|error| error.to_string()),
        None => Err("this node has not found its cluster yet".into()),
    };
    // A page whose frames pile up is told with the next ones.
    let _ = match state {
        Ok(state) => page.emit("cache-state", &state),
        Err(message) => page.emit("cache-error", &CacheError { success: false, message }),
    };
}

/// Tells all pages what happens, as long as there are any, and sends them away when the node is to stop.
pub(in crate::http) async fn keep_telling(pages: Pages, door: Door) {
    let mut count = pages.count.subscribe();
    // Its sender is at hand.
    while count.wait_for(|count| *count > 0).await.is_ok() {
        let Some(session) = door.session(Principal::Anyone) else {
            sleep(METRICS_INTERVAL).await;
            continue;
        };
        match session.watch(String::new(), None).await {
            Ok(watch) => {
                Teller::new(pages.clone(), session.clone()).tell(watch, door.syncs.subscribe()).await
            }
            Err(_) => sleep(METRICS_INTERVAL).await,
        }
        if session.is_draining() {
            // There is nobody to tell anything from now on.
            pages.io.close().await;
            return;
        }
    }
}

/// What is to be told, and when it was told last.
struct Teller {
    pages: Pages,
    session: Session,
    /// The newest operations that were not told yet, oldest first, and how many came before them.
    newest: VecDeque<Operation>,
    skipped: usize,
    changed: bool,
    told: Instant,
    /// When all are told once more, because some page missed something.
    retell: Option<Instant>,
    metrics: String,
    nodes: String,
}

impl Teller {
    fn new(pages: Pages, session: Session) -> Self {
        // What is first is told at once.
        let told = Instant::now() - TELL_INTERVAL;
        let (retell, metrics, nodes) = Default::default();
        // What came before it watched, new pages may have missed.
        Self {
            pages,
            session,
            newest: VecDeque::new(),
            skipped: 0,
            changed: true,
            told,
            retell,
            metrics,
            nodes,
        }
    }

    /// Until nobody listens, or the watch ends.
    async fn tell(mut self, mut watch: SessionWatch, mut syncs: watch::Receiver<u64>) {
        let mut metrics = interval(METRICS_INTERVAL);
        let mut nodes = interval(NODES_INTERVAL);
        metrics.set_missed_tick_behavior(MissedTickBehavior::Delay);
        nodes.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while *self.pages.count.borrow() > 0 {
            let due = if self.changed { Some(self.told + TELL_INTERVAL) } else { self.retell };
            let told = tokio::select! {
                biased;
                () = sleep_until(due.unwrap_or(self.told)), if due.is_some() => self.tell_changes().await,
                item = watch.next() => match item {
                    WatchItem::Changes(changes) => {
                        self.note(&changes);
                        Ok(())
                    }
                    WatchItem::Resync { .. } => {
                        self.changed = true;
                        Ok(())
                    }
                    WatchItem::Bookmark(_) => Ok(()),
                    WatchItem::Closed { .. } => return,
                },
                // No more often than after changes, however often it is asked for.
                Ok(()) = syncs.changed() => {
                    self.changed = true;
                    Ok(())
                }
                _ = metrics.tick() => self.tell_metrics().await,
                _ = nodes.tick() => self.tell_nodes().await,
            };
            if let Err(error) = told {
                // A slow page misses something. It is told the state later, and the others once more by that.
                tracing::debug!(%error, "not every page could be told");
                self.retell.get_or_insert_with(|| Instant::now() + RETELL_PAUSE);
            }
        }
    }

    fn note(&mut self, changes: &[Change]) {
        self.changed = true;
        let all: usize = changes.iter().map(|change| change.events().len()).sum();
        let mut newest: Vec<Operation> =
            changes.iter().rev().flat_map(Operation::of).take(OPERATIONS_MAX).collect();
        newest.reverse();
        self.skipped += all - newest.len();
        self.newest.extend(newest);
        while self.newest.len() > OPERATIONS_MAX {
            self.newest.pop_front();
            self.skipped += 1;
        }
    }

    async fn tell_changes(&mut self) -> Result<(), BroadcastError> {
        let mut skipped = Some(std::mem::take(&mut self.skipped)).filter(|skipped| *skipped > 0);
        let newest = std::mem::take(&mut self.newest);
        (self.changed, self.told, self.retell) = (false, Instant::now(), None);
        let mut outcome = Ok(());
        for operation in newest {
            let told = CacheOperation { told: Told::of(operation, &self.session), skipped: skipped.take() };
            outcome = outcome.and(self.pages.io.emit("cache-operation", &told).await);
        }
        if let Ok(state) = CacheState::read(&self.session.clone().with_consistency(Consistency::Stale)).await
        {
            outcome = outcome.and(self.pages.io.emit("cache-state", &state).await);
        }
        outcome
    }

    /// Reads change the metrics and nothing else.
    async fn tell_metrics(&mut self) -> Result<(), BroadcastError> {
        let metrics = CacheMetrics::of(&self.session).await;
        let text = serde_json::to_string(&metrics).unwrap_or_default();
        if text == self.metrics {
            return Ok(());
        }
        self.metrics = text;
        let index = self.session.totals().applied_index;
        self.pages.io.emit("metrics-update", &MetricsUpdate { metrics, index }).await
    }

    async fn tell_nodes(&mut self) -> Result<(), BroadcastError> {
        let list = Sync::of(&self.session).await.node_list();
        let text = list.essence();
        if text == self.nodes {
            return Ok(());
        }
        self.nodes = text;
        self.pages.io.emit("node-list-update", &list).await
    }
}
