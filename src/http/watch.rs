//! `GET /v1/watch`: changes as server-sent events. The id of each is its place, so a browser that connects again resumes by
//! itself.

use super::client_address::ClientAddress;
use super::door::Door;
use super::extract::{Query, bad_query, flag, whole};
use super::respond::ApiError;
use super::watchers::{Entered, Room};
use crate::api::{ErrorCode, Told, WireEvent};
use crate::cache::{Cause, Event};
use crate::node::{Change, PAGE_BYTES, Session, SessionError, SessionWatch, WatchItem};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::sse::{Event as Frame, Sse};
use axum::response::{IntoResponse, Response};
use futures::{Stream, StreamExt};
use serde::Deserialize;
use std::time::Duration;

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
    session: Session,
    State(door): State<Door>,
    client: ClientAddress,
    Query(query): Query<WatchQuery>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let from = match last_event_id(&headers)? {
        // The browser's own place is newer than the one in its page's URL.
        Some(place) => Some(place),
        None => query.from.as_deref().map(place_in).transpose()?,
    };
    let values = query.values.is_none() || flag("values", query.values.as_deref())?;
    let entered = door.watchers.enter(client)?;
    let prefix = query.prefix.unwrap_or_default();
    let subscription = Subscription::open(&session, prefix, from, values, entered).await?;
    let mut response = Sse::new(frames(subscription, history_of(&session))).into_response();
    // Proxies that collect answers would keep events back.
    response.headers_mut().insert("x-accel-buffering", HeaderValue::from_static("no"));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// Where a client has got to. An index means something in one history only; a client need not say which it means.
pub(super) struct Place {
    pub index: u64,
    pub history: Option<String>,
}

impl Place {
    /// As in `42`, or in an event's id, `42@1f0c9a3b`.
    fn parse(text: &str) -> Option<Self> {
        let (index, history) = match text.split_once('@') {
            Some((index, history)) => (index, Some(history.to_owned())),
            None => (text, None),
        };
        Some(Self { index: whole(index)?, history })
    }
}

/// The beginning of the history's name. After a restore from a backup there is another.
fn history_of(session: &Session) -> String {
    session.history().chars().take(8).collect()
}

fn last_event_id(headers: &HeaderMap) -> Result<Option<Place>, ApiError> {
    let Some(id) = headers.get("last-event-id") else { return Ok(None) };
    let place = id.to_str().ok().and_then(Place::parse);
    let refused = || {
        let reason = "last-event-id: expected a log index, or an event's id";
        ApiError::new(ErrorCode::InvalidHeader, reason).field("last-event-id")
    };
    place.ok_or_else(refused).map(Some)
}

fn place_in(text: &str) -> Result<Place, ApiError> {
    Place::parse(text)
        .ok_or_else(|| bad_query("from", format!("`{text}` is no log index, nor an event's id")))
}

fn frames(
    subscription: Subscription,
    history: String,
) -> impl Stream<Item = Result<Frame, axum::Error>> + Send {
    subscription.told().map(move |told| {
        let id = format!("{}@{history}", told.index());
        Frame::default().event(told.kind()).id(id).retry(RECONNECT).json_data(&told)
    })
}

/// A watch, and what of it has still to be told. Changes are written as they are asked for: a slow client holds a page of
/// them, not a text of it.
pub(super) struct Subscription {
    watch: SessionWatch,
    entered: Entered,
    values: bool,
    begin: std::vec::IntoIter<Told>,
    pending: std::vec::IntoIter<Change>,
    /// For the large message that was told last.
    room: Option<Room>,
}

impl Subscription {
    pub async fn open(
        session: &Session,
        prefix: String,
        from: Option<Place>,
        values: bool,
        entered: Entered,
    ) -> Result<Self, SessionError> {
        let here = history_of(session);
        let is_foreign = |place: &Place| place.history.as_ref().is_some_and(|history| *history != here);
        let (foreign, from) = match from {
            Some(place) if is_foreign(&place) => (Some(place.index), None),
            from => (None, from.map(|place| place.index)),
        };
        let watch = session.watch(prefix, from).await?;
        let (index, (cluster_id, incarnation)) = (watch.cursor(), session.lineage());
        // Of what came after a place in another history nothing is known here. That is told first: whoever comes back from
        // the place that `subscribed` names is told it no more.
        let resync = foreign.map(|from| Told::Resync { from, index });
        let begin: Vec<Told> =
            resync.into_iter().chain([Told::Subscribed { index, cluster_id, incarnation }]).collect();
        let (begin, pending) = (begin.into_iter(), Vec::new().into_iter());
        Ok(Self { watch, entered, values, begin, pending, room: None })
    }

    /// What is told, until it is cut off.
    pub fn told(self) -> impl Stream<Item = Told> + Send {
        futures::stream::unfold(Some(self), |subscription| async {
            let mut subscription = subscription?;
            let told = subscription.next().await;
            let goes_on = !matches!(told, Told::Cut { .. });
            Some((told, goes_on.then_some(subscription)))
        })
    }

    async fn next(&mut self) -> Told {
        // What was told before is on its way.
        self.room = None;
        if let Some(begin) = self.begin.next() {
            return begin;
        }
        loop {
            if let Some(change) = self.pending.next() {
                let bytes = self.bytes_of(&change);
                if bytes > PAGE_BYTES {
                    self.room = self.entered.room_for(bytes).await;
                    if self.room.is_none() {
                        let reason = "too many large changes are on their way to slow clients";
                        return self.cut(change.index() - 1, reason.into());
                    }
                }
                return self.tell(&change);
            }
            match self.watch.next().await {
                WatchItem::Changes(changes) => self.pending = changes.into_iter(),
                WatchItem::Bookmark(index) => return Told::Bookmark { index },
                WatchItem::Resync { from, until } => return Told::Resync { from, index: until },
                WatchItem::Closed { resume, reason } => return self.cut(resume, reason),
            }
        }
    }

    fn cut(&self, resume: u64, reason: String) -> Told {
        self.entered.note_cut();
        Told::Cut { resume, reason }
    }

    /// How much of a change is told, about.
    fn bytes_of(&self, change: &Change) -> usize {
        let events = self.watch.events(change);
        events
            .map(|event| match event {
                Event::Put { record, .. } if self.values => record.key().len() + record.value().bytes.len(),
                Event::Put { record, .. } => record.key().len(),
                Event::Deadline { key, .. } | Event::Removed { key, .. } => key.as_str().len(),
                Event::Cleared { .. } | Event::Configured { .. } => 0,
            })
            .sum()
    }

    fn tell(&self, change: &Change) -> Told {
        let events = self.watch.events(change).map(|event| wire_event(event, self.values)).collect();
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
