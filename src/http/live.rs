//! `GET /v1/live`: changes over a WebSocket, with as many subscriptions as a page has use for.

use super::client_address::ClientAddress;
use super::door::Door;
use super::origin;
use super::respond::ApiError;
use super::watch::{Place, Subscription};
use super::watchers::Entered;
use crate::api::{ErrorCode, LiveAnswer, LiveMessage, LiveRequest, Subscribe, Told};
use crate::node::{Session, SessionError};
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
/// What tungstenite collects before it writes. Every message is flushed at once.
const WRITE_BUFFER_BYTES: usize = 16 * 1024;
/// A change is told as one message: less than 2 MiB of keys and values, with the keys of what had to go for them, where a
/// control character becomes six. So much is never there for a client that only makes the server answer: it is not read
/// from as long as it does not take what it was answered.
const MESSAGE_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Pings and pongs that a client may send in a second. Programs send one in many seconds.
const CONTROL_FRAMES_MAX: u32 = 64;
const CONTROL_FRAMES_INTERVAL: Duration = Duration::from_secs(1);
/// How often a silent client is asked whether it is there, and how long it may take to answer.
const PING_INTERVAL: Duration = Duration::from_secs(20);
const SILENCE_LIMIT: Duration = Duration::from_secs(60);

/// `GET /v1/live`.
pub(super) async fn live(
    session: Session,
    State(door): State<Door>,
    client: ClientAddress,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, ApiError> {
    origin::refuse_foreign(&headers, &door)?;
    let upgrade =
        upgrade.map_err(|error| ApiError::new(ErrorCode::InvalidHeader, format!("no WebSocket: {error}")))?;
    let entered = door.watchers.enter(client)?;
    let upgrade = upgrade
        .max_message_size(REQUEST_BYTES_MAX)
        .max_frame_size(REQUEST_BYTES_MAX)
        .read_buffer_size(REQUEST_BYTES_MAX)
        .write_buffer_size(WRITE_BUFFER_BYTES)
        .max_write_buffer_size(MESSAGE_BYTES_MAX);
    Ok(upgrade.on_upgrade(move |socket| async move {
        let (ends, told, control) = Default::default();
        let mut talk = Talk { door, client, session, socket, ends, told, control, _entered: entered };
        // However it ends, the client notices and comes again.
        let _ = talk.go_on().await;
    }))
}

/// One client's connection.
struct Talk {
    door: Door,
    client: ClientAddress,
    session: Session,
    socket: WebSocket,
    /// What ends each subscription, by its id.
    ends: BTreeMap<String, AbortHandle>,
    told: SelectAll<BoxStream<'static, (String, Result<Told, SessionError>)>>,
    control: Flood,
    _entered: Entered,
}

/// Control frames of the last moment.
#[derive(Default)]
struct Flood(Option<(Instant, u32)>);

impl Flood {
    /// Counts one more; true when they are too many.
    fn note(&mut self) -> bool {
        let now = Instant::now();
        let recent = self.0.filter(|(since, _)| now - *since < CONTROL_FRAMES_INTERVAL);
        let (since, count) = recent.unwrap_or((now, 0));
        self.0 = Some((since, count + 1));
        count >= CONTROL_FRAMES_MAX
    }
}

impl Talk {
    async fn go_on(&mut self) -> Result<(), axum::Error> {
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
                            // A pong waits to be sent. Before it is on its way, no other ping is read.
                            self.flush().await?;
                        }
                        Some(Message::Close(_)) | None => return Ok(()),
                    }
                }
                Some((id, told)) = self.told.next(), if !self.told.is_empty() => self.tell(id, told).await?,
                // Subscriptions end by themselves.
                () = &mut drained, if self.ends.is_empty() => return self.close(close_code::AWAY, "this node is stopping").await,
                () = sleep_until(ping) => {
                    if heard.elapsed() > SILENCE_LIMIT {
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
            Err(error) => self.refuse("", ErrorCode::InvalidBody, &error.to_string()).await,
        }
    }

    async fn subscribe(
        &mut self,
        Subscribe { id, prefix, from, values }: Subscribe,
    ) -> Result<(), axum::Error> {
        if self.ends.contains_key(&id) {
            let reason = "there is a subscription of this id already";
            return self.refuse(&id, ErrorCode::Conflict, reason).await;
        }
        if self.ends.len() == SUBSCRIPTIONS_MAX {
            let reason = format!("a connection has at most {SUBSCRIPTIONS_MAX} subscriptions");
            return self.refuse(&id, ErrorCode::Busy, &reason).await;
        }
        let entered = match self.door.watchers.enter(self.client) {
            Ok(entered) => entered,
            Err(error) => return self.refuse(&id, ErrorCode::Busy, &error.problem().detail).await,
        };
        let (session, from) = (self.session.clone(), from.map(|index| Place { index, history: None }));
        // Finding out whether the cluster has come to `from` may take a while, in which the others are served.
        let opening = async move {
            Subscription::open(&session, prefix, from, values, entered).await.map(Subscription::told)
        };
        let told = stream::once(opening).map_ok(|told| told.map(Ok)).try_flatten();
        let (told, end) = stream::abortable(told);
        self.ends.insert(id.clone(), end);
        self.told.push(told.map(move |told| (id.clone(), told)).boxed());
        Ok(())
    }

    async fn tell(&mut self, id: String, told: Result<Told, SessionError>) -> Result<(), axum::Error> {
        // The last of it.
        if matches!(told, Err(_) | Ok(Told::Cut { .. })) {
            self.ends.remove(&id);
        }
        match told {
            Ok(told) => self.send(&LiveMessage::Told { id, told }).await,
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

    /// Sends one message. A client that does not take it in time is given up.
    async fn put(&mut self, message: Message) -> Result<(), axum::Error> {
        let limit = self.door.limits.time_for(bytes_of(&message));
        timeout(limit, self.socket.send(message)).await.map_err(axum::Error::new)?
    }

    async fn flush(&mut self) -> Result<(), axum::Error> {
        timeout(self.door.limits.time_for(0), self.socket.flush()).await.map_err(axum::Error::new)?
    }
}

fn bytes_of(message: &Message) -> usize {
    match message {
        Message::Text(text) => text.len(),
        Message::Binary(bytes) | Message::Ping(bytes) | Message::Pong(bytes) => bytes.len(),
        Message::Close(_) => 0,
    }
}
