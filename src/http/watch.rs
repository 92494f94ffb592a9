//! `GET /v1/watch`: changes as server-sent events. The id of each is its log index, so a browser that connects again
//! resumes by itself.

use super::door::{Door, Ready};
use super::extract::{Query, bad_query, flag};
use super::respond::ApiError;
use crate::api::{ErrorCode, Told, WireEvent};
use crate::cache::{Cause, Event};
use crate::node::{Change, News, Node, Watch};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::sse::{Event as Frame, Sse};
use axum::response::{IntoResponse, Response};
use futures::Stream;
use serde::Deserialize;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Each of them may hold a message that is on its way, and that may be large.
const WATCHERS_MAX: usize = 1_024;
/// How long a browser waits before it connects again.
const RECONNECT: Duration = Duration::from_secs(1);

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WatchQuery {
    prefix: Option<String>,
    from: Option<String>,
    values: Option<String>,
}

/// `GET /v1/watch`.
pub(super) async fn watch(
    Ready(node): Ready,
    State(door): State<Door>,
    Query(query): Query<WatchQuery>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let from = match last_event_id(&headers)? {
        // The browser's own place is newer than the one in its page's URL.
        Some(index) => Some(index),
        None => query.from.as_deref().map(index_in).transpose()?,
    };
    let values = query.values.is_none() || flag("values", query.values.as_deref())?;
    let entered = door.watchers.enter()?;
    let prefix = query.prefix.unwrap_or_default();
    let subscription = Subscription::open(&node, prefix, from, values, entered).await;
    let subscription = subscription.map_err(|error| ApiError::from_node(&node, error))?;
    let mut response = Sse::new(frames(subscription)).into_response();
    // Proxies that collect answers would keep events back.
    response.headers_mut().insert("x-accel-buffering", HeaderValue::from_static("no"));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

fn last_event_id(headers: &HeaderMap) -> Result<Option<u64>, ApiError> {
    let Some(id) = headers.get("last-event-id") else { return Ok(None) };
    let index = id.to_str().ok().and_then(|text| text.parse().ok());
    let refused = || {
        ApiError::new(ErrorCode::InvalidHeader, "last-event-id: expected a log index").field("last-event-id")
    };
    index.ok_or_else(refused).map(Some)
}

fn index_in(text: &str) -> Result<u64, ApiError> {
    text.parse().map_err(|_| bad_query("from", format!("`{text}` is no log index")))
}

/// The stream ends after a `cut`, and when the client is gone.
fn frames(subscription: Subscription) -> impl Stream<Item = Result<Frame, Infallible>> + Send {
    futures::stream::unfold(Some(subscription), |subscription| async {
        let mut subscription = subscription?;
        let told = subscription.next().await;
        let frame = Frame::default().event(told.kind()).id(told.index().to_string()).retry(RECONNECT);
        // It has no maps with odd keys and no numbers that are none, so it can be written.
        let frame = frame.json_data(&told).unwrap_or_default();
        let goes_on = !matches!(told, Told::Cut { .. });
        Some((Ok(frame), goes_on.then_some(subscription)))
    })
}

/// A watch, and what of it has still to be told. Changes are written as they are asked for: a slow client holds a page of
/// them, not a text of it.
pub(super) struct Subscription {
    watch: Watch,
    entered: Entered,
    values: bool,
    begin: Option<Told>,
    pending: std::vec::IntoIter<Change>,
}

impl Subscription {
    pub async fn open(
        node: &Node,
        prefix: String,
        from: Option<u64>,
        values: bool,
        entered: Entered,
    ) -> Result<Self, crate::node::NodeError> {
        let watch = node.watch(prefix, from).await?;
        let (cluster_id, incarnation) = node.lineage();
        let begin = Some(Told::Subscribed { index: watch.place(), cluster_id, incarnation });
        Ok(Self { watch, entered, values, begin, pending: Vec::new().into_iter() })
    }

    /// Waits for what is to be told next. Nothing is lost when it is dropped before it answers.
    pub async fn next(&mut self) -> Told {
        if let Some(begin) = self.begin.take() {
            return begin;
        }
        loop {
            if let Some(change) = self.pending.next() {
                return self.told(&change);
            }
            match self.watch.next().await {
                News::Changes(changes) => self.pending = changes.into_iter(),
                News::Bookmark(index) => return Told::Bookmark { index },
                News::Resync { from, until } => return Told::Resync { from, index: until },
                News::Cut { resume, reason } => {
                    self.entered.note_cut();
                    return Told::Cut { resume, reason };
                }
            }
        }
    }

    fn told(&self, change: &Change) -> Told {
        let events = change.events().iter().filter(|event| self.watch.concerns(event));
        let events = events.map(|event| wire_event(event, self.values)).collect();
        Told::Change { index: change.index(), at_ms: change.at_ms(), by: change.by(), events }
    }
}

fn wire_event(event: &Event, values: bool) -> WireEvent {
    match event {
        Event::Put { record, expires_at_ms, created } => {
            let value = record.value();
            let bytes = value.bytes.len() as u64;
            WireEvent::Put {
                key: record.key().to_owned(),
                created: *created,
                bytes,
                content_type: value.content_type.as_deref().filter(|_| values).map(str::to_owned),
                value: values.then(|| value.bytes.into()),
                expires_at_ms: *expires_at_ms,
            }
        }
        Event::Deadline { key, expires_at_ms } => {
            WireEvent::Lifetime { key: key.as_str().to_owned(), expires_at_ms: *expires_at_ms }
        }
        Event::Removed { key, cause } => {
            let key = key.as_str().to_owned();
            match cause {
                Cause::Delete => WireEvent::Delete { key },
                Cause::Expire => WireEvent::Expire { key },
                Cause::Evict => WireEvent::Evict { key },
            }
        }
        Event::Cleared { prefix, removed } => WireEvent::Clear { prefix: prefix.clone(), removed: *removed },
        Event::Configured { config, .. } => WireEvent::Config { config: (**config).clone().into() },
    }
}

/// Places for those who watch, and how many were sent away.
#[derive(Debug, Clone)]
pub(super) struct Watchers {
    places: Arc<Semaphore>,
    limit: usize,
    cut: Arc<AtomicU64>,
}

impl Watchers {
    /// Of so many connections some are left for other requests.
    pub fn new(connections: usize) -> Self {
        let limit = (connections / 2).clamp(1, WATCHERS_MAX);
        Self { places: Arc::new(Semaphore::new(limit)), limit, cut: Arc::default() }
    }

    /// A place for one more, until it is dropped.
    ///
    /// # Errors
    /// `busy`.
    pub fn enter(&self) -> Result<Entered, ApiError> {
        let busy = |_| ApiError::new(ErrorCode::Busy, "too many clients watch this node");
        let place = self.places.clone().try_acquire_owned().map_err(busy)?;
        Ok(Entered { _place: place, cut: self.cut.clone() })
    }

    /// How many watch now.
    pub fn now(&self) -> u64 {
        self.limit.saturating_sub(self.places.available_permits()) as u64
    }

    /// How many were sent away.
    pub fn cut(&self) -> u64 {
        self.cut.load(Relaxed)
    }
}

/// One that watches.
pub(super) struct Entered {
    _place: OwnedSemaphorePermit,
    cut: Arc<AtomicU64>,
}

impl Entered {
    /// It is sent away.
    fn note_cut(&self) {
        self.cut.fetch_add(1, Relaxed);
    }
}
