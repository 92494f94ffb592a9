//! The Socket.IO events that web pages of the Node.js cache server listen to. Each node sends what its own applied log says,
//! so all nodes send the same. Fast changes are combined: however many writes there are, a page gets a few frames a second
//! with the newest state. `/v1/watch` has every change.

use super::super::client_address::client_of;
use super::super::state::AppState;
use super::items::Item;
use super::layers::{self, POLLED_BYTES_MAX};
use super::metrics::CacheMetrics;
use super::old_nodes::{Link, OLD_NODES_ROOM};
use super::page_access::{admit_page, auth_in, judge_pages, principal_of};
use super::state_page::{Order, StatePage, Wanted};
use super::sync::{DetachedPart, Sync};
use super::sync_history::LoggedOperation;
use crate::api::Consistency;
use crate::front::{Priority, WatchPermit};
use crate::node::{
    ChangeSet, Operation, Principal, Session, SessionError, SessionWatch, WatchFilter, WatchItem,
};
use axum::Router;
use serde::Serialize;
use socketioxide::extract::{SocketRef, TryData};
use socketioxide::handler::ConnectHandler;
use socketioxide::{BroadcastError, SendError, SocketIo};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, sleep_until};

/// Least time between two broadcasts of changes.
const CHANGES_INTERVAL: Duration = Duration::from_millis(250);
/// How long after a failed broadcast all pages get the state again, because some page missed something, and after how long an answer
/// that a page had no room for is tried again.
const REPEAT_PAUSE: Duration = Duration::from_secs(2);
/// How many of the newest operations a broadcast has.
const OPERATIONS_MAX: usize = 5;
/// How often metrics are sent, and how often the other nodes are asked for their status.
const METRICS_INTERVAL: Duration = Duration::from_secs(1);
const NODES_INTERVAL: Duration = Duration::from_secs(2);
/// How long a page can take to connect to a namespace.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Frames that wait for a slow page. Others are dropped; the next state makes up for them.
const FRAMES_MAX: usize = 16;

/// Payload of `cache-state`.
#[derive(Serialize)]
struct CacheState {
    /// The first in the order of their keys, unless the page asked for others.
    items: Vec<Item>,
    /// Items in this state, and in the cache.
    count: usize,
    total: u64,
    metrics: CacheMetrics,
    strategy: String,
    /// The log entry up to which it is applied.
    index: u64,
    /// What a page gives as `after` to get the next items; null at the end.
    next: Option<String>,
    /// What the page has asked for.
    order: Order,
    after: Option<String>,
    /// How this node is detached from its cluster, if it is: then this is not the cluster's state.
    #[serde(skip_serializing_if = "Option::is_none")]
    detached: Option<DetachedPart>,
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
    operation: LoggedOperation,
    /// Operations before this one that were left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    skipped: Option<usize>,
}

/// Payload of `cache-error`: a state was asked for and is not known.
#[derive(Serialize)]
struct CacheError {
    success: bool,
    message: String,
}

impl CacheState {
    /// # Errors
    /// [`SessionError`]; there is no older state instead of a current one.
    async fn read(session: &Session, wanted: Wanted) -> Result<Self, SessionError> {
        let StatePage { items, total, index, next } = wanted.read(session).await?;
        let Wanted { order, after, .. } = wanted;
        let metrics = CacheMetrics::of(session).await;
        let strategy = metrics.strategy().to_owned();
        let detached = DetachedPart::of(session);
        Ok(Self { count: items.len(), items, total, metrics, strategy, index, next, order, after, detached })
    }
}

/// The connected pages. Clones share them.
#[derive(Clone)]
pub(in crate::http) struct Pages {
    io: SocketIo,
    /// How many pages are connected.
    count: watch::Sender<usize>,
}

impl Pages {
    pub(super) fn all(&self) -> Vec<SocketRef> {
        self.io.sockets()
    }
}

/// A connected page, until its connection ends.
struct ConnectedPage {
    _permit: WatchPermit,
    count: watch::Sender<usize>,
}

impl ConnectedPage {
    fn new(permit: WatchPermit, count: watch::Sender<usize>) -> Arc<Self> {
        count.send_modify(|count| *count += 1);
        Arc::new(Self { _permit: permit, count })
    }
}

impl Drop for ConnectedPage {
    fn drop(&mut self) {
        self.count.send_modify(|count| *count -= 1);
    }
}

/// The route that pages connect to, and the pages.
pub(in crate::http) fn socket_io(state: &AppState) -> (Router<AppState>, Pages) {
    let (service, io) = SocketIo::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .ping_interval(state.limits.page_ping_interval)
        .ping_timeout(state.limits.page_pong_timeout)
        .max_payload(POLLED_BYTES_MAX as u64)
        .max_buffer_size(FRAMES_MAX)
        .build_svc();
    let pages = Pages { io, count: watch::Sender::default() };
    let greeted_by = state.clone();
    let meet = move |page: SocketRef| greet(page, greeted_by.clone());
    let (met_by, count) = (state.clone(), pages.count.clone());
    let admit = move |page: SocketRef, auth| {
        let (state, count) = (met_by.clone(), count.clone());
        async move {
            admit_page(page.clone(), auth_in(auth), state.clone()).await?;
            listen(page, state, count).await;
            Ok::<(), String>(())
        }
    };
    pages.io.ns("/", meet.with(admit));
    let routes =
        Router::new().route_service("/socket.io/", service.clone()).route_service("/socket.io", service);
    (layers::around_sockets(routes, state), pages)
}

/// Listens on a page, before it is told that it is connected: what it sends then must find who listens. Without room for another page nobody
/// does.
async fn listen(page: SocketRef, state: AppState, count: watch::Sender<usize>) {
    let client = client_of(page.req_parts());
    let Ok(permit) = state.front.watchers.admit(client, Priority::Normal).await else { return };
    page.extensions.insert(ConnectedPage::new(permit, count));
    Link::listen(&page, &state);
    let requests = Arc::new(StateRequests::default());
    page.on("get-cache-state", move |page: SocketRef, TryData(wanted): TryData<Wanted>| {
        // Here they are in the order in which they came. What follows is a task for each, and these have no order.
        requests.note(wanted.unwrap_or_default());
        let (requests, state) = (requests.clone(), state.clone());
        async move { requests.answer(&page, &state).await }
    });
}

/// Sends a new page the state, or ends its connection if there was no room for it. It gets broadcasts already, so that it misses nothing after its
/// first state.
async fn greet(page: SocketRef, state: AppState) {
    if page.extensions.get::<Arc<ConnectedPage>>().is_none() {
        let _ = page.disconnect();
        return;
    }
    // No frame waits for it yet.
    let _ = send_state(&page, &state, Wanted::default()).await;
    if let Some(session) = state.session(principal_of(&page)) {
        let _ = page.emit("node-list-update", &Sync::of(&session, &state.old_nodes).await.node_list());
    }
}

/// A page's requests for a state. They are answered one at a time, and of those that come meanwhile only the newest is: so a
/// page that asks faster than it reads gets fewer answers, and the last one is to its last request.
struct StateRequests {
    newest: Mutex<Option<Wanted>>,
    turn: Semaphore,
}

impl Default for StateRequests {
    fn default() -> Self {
        Self { newest: Mutex::default(), turn: Semaphore::new(1) }
    }
}

impl StateRequests {
    fn note(&self, wanted: Wanted) {
        *self.newest() = Some(wanted);
    }

    async fn answer(&self, page: &SocketRef, state: &AppState) {
        // A request may come after the last look of the one whose turn it is, and before its turn ends.
        while self.newest().is_some() {
            let Ok(_turn) = self.turn.try_acquire() else { return };
            loop {
                let Some(wanted) = self.newest().take() else { break };
                if send_state(page, state, wanted.clone()).await.is_err() && page.connected() {
                    self.newest().get_or_insert(wanted);
                    sleep(REPEAT_PAUSE).await;
                }
            }
        }
    }

    fn newest(&self) -> MutexGuard<'_, Option<Wanted>> {
        self.newest.lock().expect("no panic while held")
    }
}

/// Sends a page the current state, or an error if it is not known. Fails if too many frames wait for the page, or it has gone.
async fn send_state(page: &SocketRef, state: &AppState, wanted: Wanted) -> Result<(), SendError> {
    let state = match state.session(principal_of(page)) {
        _ if !wanted.has_sense() => Err("`after` must be the `next` of a state with the same order".into()),
        Some(session) => CacheState::read(&session, wanted).await.map_err(|error| error.to_string()),
        None => Err("this node has not found its cluster yet".into()),
    };
    match state {
        Ok(state) => page.emit("cache-state", &state),
        Err(message) => page.emit("cache-error", &CacheError { success: false, message }),
    }
}

/// Broadcasts changes while pages are connected, and disconnects them when the node stops.
pub(in crate::http) async fn broadcast(pages: Pages, state: AppState) {
    let mut count = pages.count.subscribe();
    // The sender is in `pages`.
    while count.wait_for(|count| *count > 0).await.is_ok() {
        // Each page was admitted.
        let Some(session) = state.session(Principal::Program) else {
            sleep(METRICS_INTERVAL).await;
            continue;
        };
        match session.watch(WatchFilter::prefix(""), None).await {
            Ok(watch) => tokio::select! {
                () = Broadcaster::new(pages.clone(), session.clone(), state.clone()).run(watch, state.syncs.subscribe()) => {}
                () = judge_pages(&pages, &state) => {}
            },
            Err(_) => sleep(METRICS_INTERVAL).await,
        }
        if session.is_draining() {
            // Nothing is broadcast from now on.
            pages.io.close().await;
            return;
        }
    }
}

/// What has to be sent, and when something was sent last.
struct Broadcaster {
    pages: Pages,
    session: Session,
    state: AppState,
    /// The newest operations that were not sent yet, oldest first, and how many came before them.
    newest: VecDeque<Operation>,
    skipped: usize,
    changed: bool,
    sent: Instant,
    /// When all pages get the state again, because one missed something.
    repeat: Option<Instant>,
    metrics: String,
    nodes: String,
}

impl Broadcaster {
    fn new(pages: Pages, session: Session, state: AppState) -> Self {
        // The first changes are sent at once.
        let sent = Instant::now() - CHANGES_INTERVAL;
        let (repeat, metrics, nodes) = Default::default();
        // New pages may have missed changes from before the watch.
        Self {
            pages,
            session,
            state,
            newest: VecDeque::new(),
            skipped: 0,
            changed: true,
            sent,
            repeat,
            metrics,
            nodes,
        }
    }

    /// Broadcasts until no page is connected, or the watch ends.
    async fn run(mut self, mut watch: SessionWatch, mut syncs: watch::Receiver<u64>) {
        let mut metrics = interval(METRICS_INTERVAL);
        let mut nodes = interval(NODES_INTERVAL);
        metrics.set_missed_tick_behavior(MissedTickBehavior::Delay);
        nodes.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while *self.pages.count.borrow() > 0 {
            let due = if self.changed { Some(self.sent + CHANGES_INTERVAL) } else { self.repeat };
            let sent = tokio::select! {
                biased;
                () = sleep_until(due.unwrap_or(self.sent)), if due.is_some() => self.send_changes().await,
                item = watch.next() => match item {
                    WatchItem::Changes(changes) => {
                        self.note(&changes);
                        Ok(())
                    }
                    WatchItem::Resync { .. } => {
                        self.changed = true;
                        Ok(())
                    }
                    WatchItem::Bookmark { .. } => Ok(()),
                    WatchItem::Closed { .. } => return,
                },
                // No more often than after changes.
                Ok(()) = syncs.changed() => {
                    self.changed = true;
                    Ok(())
                }
                _ = metrics.tick() => self.send_metrics().await,
                _ = nodes.tick() => self.send_nodes().await,
            };
            if let Err(error) = sent {
                // A slow page missed something. All pages get the state again later.
                tracing::debug!(%error, "not every page could be reached");
                self.repeat_later();
            }
        }
    }

    fn repeat_later(&mut self) {
        self.repeat.get_or_insert_with(|| Instant::now() + REPEAT_PAUSE);
    }

    fn note(&mut self, changes: &[ChangeSet]) {
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

    async fn send_changes(&mut self) -> Result<(), BroadcastError> {
        let mut skipped = Some(std::mem::take(&mut self.skipped)).filter(|skipped| *skipped > 0);
        let newest = std::mem::take(&mut self.newest);
        (self.changed, self.sent, self.repeat) = (false, Instant::now(), None);
        let mut outcome = Ok(());
        for operation in newest {
            let operation = LoggedOperation::of(operation, &self.session);
            let operation = CacheOperation { operation, skipped: skipped.take() };
            outcome =
                outcome.and(self.pages.io.except(OLD_NODES_ROOM).emit("cache-operation", &operation).await);
        }
        let session = self.session.clone().with_consistency(Consistency::Stale);
        match CacheState::read(&session, Wanted::default()).await {
            Ok(state) => outcome.and(self.pages.io.except(OLD_NODES_ROOM).emit("cache-state", &state).await),
            Err(error) => {
                tracing::debug!(%error, "no state for pages");
                self.repeat_later();
                outcome
            }
        }
    }

    /// Reads change the metrics and nothing else.
    async fn send_metrics(&mut self) -> Result<(), BroadcastError> {
        let metrics = CacheMetrics::of(&self.session).await;
        let text = serde_json::to_string(&metrics).unwrap_or_default();
        if text == self.metrics {
            return Ok(());
        }
        self.metrics = text;
        let index = self.session.totals().applied_index;
        self.pages.io.except(OLD_NODES_ROOM).emit("metrics-update", &MetricsUpdate { metrics, index }).await
    }

    async fn send_nodes(&mut self) -> Result<(), BroadcastError> {
        let list = Sync::of(&self.session, &self.state.old_nodes).await.node_list();
        let text = list.essence();
        if text == self.nodes {
            return Ok(());
        }
        self.nodes = text;
        self.pages.io.except(OLD_NODES_ROOM).emit("node-list-update", &list).await
    }
}
