//! `GET /v1/watch`: changes as server-sent events. The id of each event is a cursor, so a browser that reconnects resumes by
//! itself. [`Subscription`] serves WebSockets, too.

use super::api_error::ApiError;
use super::cursor::{Cursor, short_name};
use super::extract::{Query, bad_query};
use super::state::AppState;
use super::watch_query::WatchQuery;
use crate::api::HistoryName;
use crate::api::{ErrorCode, SessionEndCause, WatchMessage, WireEvent};
use crate::cache::{Cause, Event};
use crate::front::{ClientAddress, SendPermit, WatchPermit};
use crate::node::{ChangeSet, PAGE_BYTES, Session, SessionError, SessionWatch, WatchFilter, WatchItem};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::sse::{Event as Frame, Sse};
use axum::response::{IntoResponse, Response};
use futures::{Stream, StreamExt};
use std::time::Duration;

/// How long a browser waits before it reconnects.
const RECONNECT: Duration = Duration::from_secs(1);

/// `GET /v1/watch`.
pub(super) async fn watch(
    session: Session,
    State(state): State<AppState>,
    client: ClientAddress,
    Query(query): Query<WatchQuery>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let from = match last_event_id(&headers)? {
        // The browser's cursor is newer than the one in its page's URL.
        Some(cursor) => Some(cursor),
        None => query.from.as_deref().map(cursor_in).transpose()?,
    };
    let (filter, values) = (query.filter()?, query.values()?);
    let priority = query.priority()?;
    // Nobody makes room for a watch that is refused.
    session.may_watch(&filter).await?;
    let permit = state.front.watchers.admit(client, priority).await?;
    let subscription = Subscription::open(&session, filter, from, values, permit).await?;
    let mut response =
        Sse::new(frames(subscription, short_name(session.lineage()).to_owned())).into_response();
    // Some proxies would buffer the events otherwise.
    response.headers_mut().insert("x-accel-buffering", HeaderValue::from_static("no"));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

fn last_event_id(headers: &HeaderMap) -> Result<Option<Cursor>, ApiError> {
    let Some(id) = headers.get("last-event-id") else { return Ok(None) };
    let cursor = id.to_str().ok().and_then(Cursor::parse);
    let refused = || {
        let reason = "last-event-id: expected a log index, or an event's id";
        ApiError::new(ErrorCode::InvalidHeader, reason).field("last-event-id")
    };
    cursor.ok_or_else(refused).map(Some)
}

fn cursor_in(text: &str) -> Result<Cursor, ApiError> {
    Cursor::parse(text)
        .ok_or_else(|| bad_query("from", format!("`{text}` is no log index, nor an event's id")))
}

fn frames(
    subscription: Subscription,
    history: String,
) -> impl Stream<Item = Result<Frame, axum::Error>> + Send {
    subscription.messages().map(move |message| {
        let id = format!("{}@{history}", message.index());
        Frame::default().event(message.kind()).id(id).retry(RECONNECT).json_data(&message)
    })
}

/// A watch and its messages that were not sent yet. Each change is serialized when its turn comes, so a slow client holds a
/// page of changes and not their texts.
pub(super) struct Subscription {
    watch: SessionWatch,
    permit: WatchPermit,
    values: bool,
    begin: std::vec::IntoIter<WatchMessage>,
    pending: std::vec::IntoIter<ChangeSet>,
    /// Of the large message that was sent last.
    sending: Option<SendPermit>,
}

impl Subscription {
    /// Opens a watch.
    ///
    /// # Errors
    /// As [`Session::watch`].
    pub async fn open(
        session: &Session,
        filter: WatchFilter,
        from: Option<Cursor>,
        values: bool,
        permit: WatchPermit,
    ) -> Result<Self, SessionError> {
        let (foreign, from) = match from {
            Some(cursor) if cursor.is_foreign(session.lineage()) => (Some(cursor.index), None),
            from => (None, from.map(|cursor| cursor.index)),
        };
        let watch = session.watch(filter, from).await?;
        let (index, lineage) = (watch.cursor(), session.lineage());
        let (cluster_id, history) = (lineage.cluster_id().to_owned(), HistoryName::from(lineage));
        // The changes after a cursor of another history are unknown here. So a resync is sent before `subscribed`, whose index
        // is a cursor of this history.
        let at_ms = session.now_ms();
        let resync = foreign.map(|from| WatchMessage::Resync { from, index, at_ms });
        let begin: Vec<WatchMessage> = resync
            .into_iter()
            .chain([WatchMessage::Subscribed { index, at_ms, cluster_id, history }])
            .collect();
        let (begin, pending) = (begin.into_iter(), Vec::new().into_iter());
        Ok(Self { watch, permit, values, begin, pending, sending: None })
    }

    /// The messages, up to the one that closes the watch.
    pub fn messages(self) -> impl Stream<Item = WatchMessage> + Send {
        futures::stream::unfold(Some(self), |subscription| async {
            let mut subscription = subscription?;
            let message = subscription.next().await;
            let is_open = !matches!(message, WatchMessage::Closed { .. });
            Some((message, is_open.then_some(subscription)))
        })
    }

    async fn next(&mut self) -> WatchMessage {
        // The message before this one was sent.
        self.sending = None;
        if let Some(begin) = self.begin.next() {
            return begin;
        }
        loop {
            if let Some(change) = self.pending.next() {
                let bytes = self.bytes_of(&change);
                if bytes > PAGE_BYTES {
                    self.sending = self.permit.send_permit(bytes).await;
                    if self.sending.is_none() {
                        let reason = "too many large changes are on their way to slow clients";
                        return self.close(change.index() - 1, reason.into(), None);
                    }
                }
                return self.message(&change);
            }
            let item = tokio::select! {
                item = self.watch.next() => item,
                () = self.permit.withdrawn() => {
                    let reason = "another watch needs the room of one with low priority";
                    return self.close(self.watch.cursor(), reason.into(), Some(ErrorCode::Busy));
                }
            };
            match item {
                WatchItem::Changes(changes) => self.pending = changes.into_iter(),
                WatchItem::Bookmark { index, at_ms } => return WatchMessage::Bookmark { index, at_ms },
                WatchItem::Resync { from, up_to } => {
                    return WatchMessage::Resync { from, index: up_to, at_ms: self.watch.now_ms() };
                }
                WatchItem::Closed { resume, reason, code } => return self.close(resume, reason, code),
            }
        }
    }

    fn close(&self, resume: u64, reason: String, code: Option<ErrorCode>) -> WatchMessage {
        self.permit.note_closed();
        WatchMessage::Closed { resume, reason, code }
    }

    /// About how many bytes of a change are sent.
    fn bytes_of(&self, change: &ChangeSet) -> usize {
        let events = self.watch.events(change);
        events
            .map(|event| match &*event {
                Event::Put { record, .. } if self.values => record.key().len() + record.value().bytes.len(),
                Event::Put { record, .. } => record.key().len(),
                Event::Deadline { key, .. } | Event::Removed { key, .. } => key.as_str().len(),
                Event::SessionOpened { session } | Event::SessionEnded { session, .. } => {
                    session.name.as_str().len()
                }
                Event::Locked { lock } | Event::Unlocked { lock } => lock.name.as_str().len(),
                Event::Cleared { .. }
                | Event::Configured { .. }
                | Event::Merged { .. }
                | Event::Message { .. } => 0,
            })
            .sum()
    }

    fn message(&self, change: &ChangeSet) -> WatchMessage {
        let events = self.watch.events(change).filter_map(|event| wire_event(&event, self.values)).collect();
        let merged_from = change.merged_from().map(str::to_owned);
        let owned = |name: Option<&str>| name.map(str::to_owned);
        let names = change.names();
        WatchMessage::Change {
            index: change.index(),
            at_ms: change.at_ms(),
            by: change.by(),
            merged_from,
            origin: names.and_then(|names| owned(names.origin.as_deref())),
            idempotency_key: names.and_then(|names| owned(names.idempotency_key.as_deref())),
            events,
        }
    }
}

/// `None` for what is told with the changes that it is about.
fn wire_event(event: &Event, values: bool) -> Option<WireEvent> {
    Some(match event {
        Event::Put { record, expires_at_ms, sliding_ms, created, version, created_at_ms, modified_at_ms } => {
            let value = record.value();
            let bytes = value.bytes.len() as u64;
            WireEvent::Put {
                key: record.key().to_owned(),
                created: *created,
                bytes,
                content_type: value.content_type.as_deref().filter(|_| values).map(str::to_owned),
                value: values.then(|| value.bytes.into()),
                expires_at_ms: *expires_at_ms,
                sliding_ms: Some(*sliding_ms).filter(|ms| *ms > 0),
                version: *version,
                created_at_ms: *created_at_ms,
                modified_at_ms: *modified_at_ms,
            }
        }
        Event::Deadline { key, expires_at_ms, sliding_ms } => WireEvent::Lifetime {
            key: key.as_str().to_owned(),
            expires_at_ms: *expires_at_ms,
            sliding_ms: Some(*sliding_ms).filter(|ms| *ms > 0),
        },
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
        Event::Merged { .. } | Event::Message { .. } => return None,
        Event::SessionOpened { session } => WireEvent::Session {
            id: session.id,
            name: session.name.as_str().to_owned(),
            ttl_ms: session.ttl_ms,
        },
        Event::SessionEnded { session, expired } => WireEvent::SessionEnd {
            id: session.id,
            name: session.name.as_str().to_owned(),
            why: if *expired { SessionEndCause::Expired } else { SessionEndCause::Closed },
        },
        Event::Locked { lock } => {
            WireEvent::Lock { name: lock.name.as_str().to_owned(), session: lock.session, token: lock.token }
        }
        Event::Unlocked { lock } => WireEvent::Unlock {
            name: lock.name.as_str().to_owned(),
            session: lock.session,
            token: lock.token,
        },
    })
}
