//! `GET /v1/live`: changes over a WebSocket, with several subscriptions on one connection.

use super::api_error::ApiError;
use super::cursor::Cursor;
use super::origin;
use super::parse_error::in_words;
use super::state::AppState;
use super::watch::Subscription;
use crate::api::{ErrorCode, LiveAnswer, LiveMessage, LiveRequest, Subscribe, WatchMessage};
use crate::front::{ClientAddress, Priority, WatchPermit};
use crate::node::{Session, SessionError, WatchFilter};
use axum::extract::State;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{CloseCode, CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::http::HeaderMap;
use axum::response::Response;
use futures::stream::{self, AbortHandle, BoxStream, SelectAll};
use futures::{SinkExt, StreamExt, TryStreamExt};
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::{Instant, sleep_until, timeout};

/// Subscriptions of one connection.
const SUBSCRIPTIONS_MAX: usize = 16;
/// A request is a prefix and little more.
const REQUEST_BYTES_MAX: usize = 4 * 1024;
/// Bytes that tungstenite collects before it writes. Every message is flushed at once.
const WRITE_BUFFER_BYTES: usize = 16 * 1024;
/// A change is one message: less than 6 MiB of keys and values, 4 of which may have been there before, and the keys that expired or
/// were evicted for them. A control character becomes six bytes. A client that only makes the server answer never holds this much: nothing more is read from it until
/// it has read the answers.
const MESSAGE_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Pings and pongs that a client can send in a second. Ordinary clients send one in many seconds.
const CONTROL_FRAMES_MAX: u32 = 64;
const CONTROL_FRAMES_INTERVAL: Duration = Duration::from_secs(1);
/// How often a silent client is pinged, and how long it can stay silent.
const PING_INTERVAL: Duration = Duration::from_secs(20);
const SILENCE_TIMEOUT: Duration = Duration::from_secs(60);

/// `GET /v1/live`.
pub(super) async fn live(
    session: Session,
    State(state): State<AppState>,
    client: ClientAddress,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, ApiError> {
    origin::refuse_foreign(&headers, &state.sites)?;
    let upgrade =
        upgrade.map_err(|error| ApiError::new(ErrorCode::InvalidHeader, format!("no WebSocket: {error}")))?;
    let permit = state.front.watchers.admit(client, Priority::Normal).await?;
    let upgrade = upgrade
        .max_message_size(REQUEST_BYTES_MAX)
        .max_frame_size(REQUEST_BYTES_MAX)
        .read_buffer_size(REQUEST_BYTES_MAX)
        .write_buffer_size(WRITE_BUFFER_BYTES)
        .max_write_buffer_size(MESSAGE_BYTES_MAX);
    Ok(upgrade.on_upgrade(move |socket| async move {
        let (ends, messages, control) = Default::default();
        let mut connection =
            Connection { state, client, session, socket, ends, messages, control, _permit: permit };
        let front = connection.state.front.clone();
        // However it ends, the client notices and reconnects.
        tokio::select! {
            _ = connection.run() => {}
            () = front.held_too_long() => {}
        }
    }))
}

/// One client's connection.
struct Connection {
    state: AppState,
    client: ClientAddress,
    session: Session,
    socket: WebSocket,
    /// What ends each subscription, by its id.
    ends: BTreeMap<String, AbortHandle>,
    messages: SelectAll<BoxStream<'static, (String, Result<WatchMessage, SessionError>)>>,
    control: ControlFrames,
    _permit: WatchPermit,
}

/// Control frames of the last second.
#[derive(Default)]
struct ControlFrames(Option<(Instant, u32)>);

impl ControlFrames {
    /// Counts one more; true when they are too many.
    fn note(&mut self) -> bool {
        let now = Instant::now();
        let recent = self.0.filter(|(since, _)| now - *since < CONTROL_FRAMES_INTERVAL);
        let (since, count) = recent.unwrap_or((now, 0));
        self.0 = Some((since, count + 1));
        count >= CONTROL_FRAMES_MAX
    }
}

impl Connection {
    async fn run(&mut self) -> Result<(), axum::Error> {
        let mut heard = Instant::now();
        let mut ping = heard + PING_INTERVAL;
        let session = self.session.clone();
        let drained = session.drained();
        tokio::pin!(drained);
        loop {
            tokio::select! {
                message = self.socket.recv() => {
                    heard = Instant::now();
                    ping = heard + PING_INTERVAL;
                    match message.transpose()? {
                        Some(Message::Text(text)) => self.answer(&text).await?,
                        Some(Message::Binary(_)) => self.refuse("", ErrorCode::InvalidBody, "requests are text").await?,
                        Some(Message::Ping(_) | Message::Pong(_)) => {
                            if self.control.note() {
                                return self.close(close_code::POLICY, "too many pings or pongs").await;
                            }
                            // A pong waits to be sent. Until it is sent, no other ping is read.
                            self.flush().await?;
                        }
                        Some(Message::Close(_)) | None => return Ok(()),
                    }
                }
                Some((id, message)) = self.messages.next(), if !self.messages.is_empty() => {
                    self.forward(id, message).await?;
                }
                // Subscriptions end by themselves.
                () = &mut drained, if self.ends.is_empty() => return self.close(close_code::AWAY, "this node is stopping").await,
                () = sleep_until(ping) => {
                    if heard.elapsed() > SILENCE_TIMEOUT {
                        return Ok(());
                    }
                    ping = Instant::now() + PING_INTERVAL;
                    self.put(Message::Ping(Default::default())).await?;
                }
            }
        }
    }

    async fn answer(&mut self, text: &str) -> Result<(), axum::Error> {
        match serde_json::from_str(text) {
            Ok(LiveRequest::Subscribe(request)) => self.subscribe(request).await,
            Ok(LiveRequest::Unsubscribe(id)) => {
                if let Some(end) = self.ends.remove(&id) {
                    end.abort();
                }
                self.send(&LiveMessage::Answer(LiveAnswer::Unsubscribed { id })).await
            }
            Err(error) => self.refuse("", ErrorCode::InvalidBody, &in_words(&error.to_string())).await,
        }
    }

    async fn subscribe(
        &mut self,
        Subscribe { id, prefix, from, values, low_priority }: Subscribe,
    ) -> Result<(), axum::Error> {
        if self.ends.contains_key(&id) {
            let reason = "there is a subscription of this id already";
            return self.refuse(&id, ErrorCode::Conflict, reason).await;
        }
        if self.ends.len() == SUBSCRIPTIONS_MAX {
            let reason = format!("a connection has at most {SUBSCRIPTIONS_MAX} subscriptions");
            return self.refuse(&id, ErrorCode::Busy, &reason).await;
        }
        let priority = if low_priority { Priority::Low } else { Priority::Normal };
        let filter = WatchFilter::prefix(prefix);
        if let Err(refused) = self.session.may_watch(&filter).await {
            return self.refuse(&id, refused.error.code(), &refused.error.to_string()).await;
        }
        let permit = match self.state.front.watchers.admit(self.client, priority).await {
            Ok(permit) => permit,
            Err(busy) => return self.refuse(&id, ErrorCode::Busy, busy.0).await,
        };
        let (session, from) = (self.session.clone(), from.map(|index| Cursor { index, history: None }));
        // Whether the cluster has come to `from` can take a while to find out. Other subscriptions are served meanwhile.
        let opening = async move {
            Subscription::open(&session, filter, from, values, permit).await.map(Subscription::messages)
        };
        let messages = stream::once(opening).map_ok(|messages| messages.map(Ok)).try_flatten();
        let (messages, end) = stream::abortable(messages);
        self.ends.insert(id.clone(), end);
        self.messages.push(messages.map(move |message| (id.clone(), message)).boxed());
        Ok(())
    }

    async fn forward(
        &mut self,
        id: String,
        message: Result<WatchMessage, SessionError>,
    ) -> Result<(), axum::Error> {
        // It is the last message of the subscription.
        if matches!(message, Err(_) | Ok(WatchMessage::Closed { .. })) {
            self.ends.remove(&id);
        }
        match message {
            Ok(message) => self.send(&LiveMessage::Watch { id, message }).await,
            Err(error) => self.refuse(&id, error.error.code(), &error.to_string()).await,
        }
    }

    async fn refuse(&mut self, id: &str, code: ErrorCode, detail: &str) -> Result<(), axum::Error> {
        let (id, code, detail) = (id.to_owned(), code.to_string(), detail.to_owned());
        self.send(&LiveMessage::Answer(LiveAnswer::Refused { id, code, detail })).await
    }

    async fn send(&mut self, message: &impl Serialize) -> Result<(), axum::Error> {
        let text = serde_json::to_string(message).map_err(axum::Error::new)?;
        self.put(Message::Text(text.into())).await
    }

    async fn close(&mut self, code: CloseCode, reason: &'static str) -> Result<(), axum::Error> {
        self.put(Message::Close(Some(CloseFrame { code, reason: reason.into() }))).await
    }

    /// Sends one message. The connection of a client that does not read it in time is closed.
    async fn put(&mut self, message: Message) -> Result<(), axum::Error> {
        let limit = self.state.limits.transfer_timeout(bytes_of(&message));
        timeout(limit, self.socket.send(message)).await.map_err(axum::Error::new)?
    }

    async fn flush(&mut self) -> Result<(), axum::Error> {
        timeout(self.state.limits.transfer_timeout(0), self.socket.flush()).await.map_err(axum::Error::new)?
    }
}

fn bytes_of(message: &Message) -> usize {
    match message {
        Message::Text(text) => text.len(),
        Message::Binary(bytes) | Message::Ping(bytes) | Message::Pong(bytes) => bytes.len(),
        Message::Close(_) => 0,
    }
}
