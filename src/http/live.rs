//! `GET /v1/live`: changes over a WebSocket, with as many subscriptions as a page has use for.

use super::door::{Door, Ready};
use super::origin;
use super::respond::ApiError;
use super::watch::{Entered, Subscription, Watchers};
use crate::api::{ErrorCode, LiveAnswer, LiveMessage, LiveRequest, Subscribe, Told};
use crate::node::Node;
use axum::extract::State;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::http::HeaderMap;
use axum::response::Response;
use futures::future::select_all;
use serde::Serialize;
use std::collections::VecDeque;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// Subscriptions of one connection.
const SUBSCRIPTIONS_MAX: usize = 16;
/// A request is a prefix and little more.
const REQUEST_BYTES_MAX: usize = 4 * 1024;
/// How often a silent client is asked whether it is there, and how long it may take to answer.
const PING_INTERVAL: Duration = Duration::from_secs(20);
const SILENCE_LIMIT: Duration = Duration::from_secs(60);

/// `GET /v1/live`.
pub(super) async fn live(
    Ready(node): Ready,
    State(door): State<Door>,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, ApiError> {
    origin::refuse_foreign(&headers)?;
    let upgrade =
        upgrade.map_err(|error| ApiError::new(ErrorCode::InvalidHeader, format!("no WebSocket: {error}")))?;
    let entered = door.watchers.enter()?;
    let upgrade = upgrade.max_message_size(REQUEST_BYTES_MAX).max_frame_size(REQUEST_BYTES_MAX);
    Ok(upgrade.on_upgrade(move |socket| async move {
        let watchers = door.watchers.clone();
        let mut talk = Talk { node, socket, subscriptions: VecDeque::new(), watchers, _entered: entered };
        // However it ends, the client notices and comes again.
        let _ = talk.go_on().await;
    }))
}

/// One client's connection.
struct Talk {
    node: Node,
    socket: WebSocket,
    /// The one that was served last is at the end.
    subscriptions: VecDeque<(String, Subscription)>,
    watchers: Watchers,
    _entered: Entered,
}

impl Talk {
    async fn go_on(&mut self) -> Result<(), axum::Error> {
        let mut heard = Instant::now();
        let mut ping = heard + PING_INTERVAL;
        let node = self.node.clone();
        let drained = node.drained();
        tokio::pin!(drained);
        loop {
            let has_subscriptions = !self.subscriptions.is_empty();
            tokio::select! {
                message = self.socket.recv() => {
                    heard = Instant::now();
                    ping = heard + PING_INTERVAL;
                    match message.transpose()? {
                        Some(Message::Text(text)) => self.answer(&text).await?,
                        Some(Message::Binary(_)) => self.refuse("", ErrorCode::InvalidBody, "requests are text").await?,
                        Some(Message::Ping(_) | Message::Pong(_)) => {}
                        Some(Message::Close(_)) | None => return Ok(()),
                    }
                }
                (at, told) = next_of(&mut self.subscriptions), if has_subscriptions => self.tell(at, told).await?,
                // Subscriptions end by themselves.
                () = &mut drained, if !has_subscriptions => return self.close("this node is stopping").await,
                () = sleep_until(ping) => {
                    if heard.elapsed() > SILENCE_LIMIT {
                        return Ok(());
                    }
                    ping = Instant::now() + PING_INTERVAL;
                    self.socket.send(Message::Ping(Default::default())).await?;
                }
            }
        }
    }

    async fn answer(&mut self, text: &str) -> Result<(), axum::Error> {
        match serde_json::from_str(text) {
            Ok(LiveRequest::Subscribe(request)) => self.subscribe(request).await,
            Ok(LiveRequest::Unsubscribe(id)) => {
                self.subscriptions.retain(|(known, _)| *known != id);
                self.send(&LiveMessage::Answer(LiveAnswer::Unsubscribed { id })).await
            }
            Err(error) => self.refuse("", ErrorCode::InvalidBody, &error.to_string()).await,
        }
    }

    async fn subscribe(
        &mut self,
        Subscribe { id, prefix, from, values }: Subscribe,
    ) -> Result<(), axum::Error> {
        if self.subscriptions.iter().any(|(known, _)| *known == id) {
            let reason = "there is a subscription of this id already";
            return self.refuse(&id, ErrorCode::Conflict, reason).await;
        }
        if self.subscriptions.len() == SUBSCRIPTIONS_MAX {
            let reason = format!("a connection has at most {SUBSCRIPTIONS_MAX} subscriptions");
            return self.refuse(&id, ErrorCode::Busy, &reason).await;
        }
        let Ok(entered) = self.watchers.enter() else {
            return self.refuse(&id, ErrorCode::Busy, "too many clients watch this node").await;
        };
        match Subscription::open(&self.node, prefix, from, values, entered).await {
            Ok(subscription) => {
                self.subscriptions.push_back((id, subscription));
                Ok(())
            }
            Err(error) => self.refuse(&id, error.code(), &error.to_string()).await,
        }
    }

    async fn tell(&mut self, at: usize, told: Told) -> Result<(), axum::Error> {
        let Some((id, subscription)) = self.subscriptions.remove(at) else { return Ok(()) };
        let is_last = matches!(told, Told::Cut { .. });
        self.send(&LiveMessage::Told { id: id.clone(), told }).await?;
        if !is_last {
            self.subscriptions.push_back((id, subscription));
        }
        Ok(())
    }

    async fn refuse(&mut self, id: &str, code: ErrorCode, detail: &str) -> Result<(), axum::Error> {
        let (id, code, detail) = (id.to_owned(), code.to_string(), detail.to_owned());
        self.send(&LiveMessage::Answer(LiveAnswer::Refused { id, code, detail })).await
    }

    async fn send(&mut self, message: &impl Serialize) -> Result<(), axum::Error> {
        let text = serde_json::to_string(message).map_err(axum::Error::new)?;
        self.socket.send(Message::Text(text.into())).await
    }

    async fn close(&mut self, reason: &'static str) -> Result<(), axum::Error> {
        let frame = CloseFrame { code: close_code::AWAY, reason: reason.into() };
        self.socket.send(Message::Close(Some(frame))).await
    }
}

/// What one of the subscriptions, of which there is at least one, has to tell, and which.
async fn next_of(subscriptions: &mut VecDeque<(String, Subscription)>) -> (usize, Told) {
    let telling = subscriptions.iter_mut().map(|(_, subscription)| Box::pin(subscription.next()));
    let (told, at, _) = select_all(telling).await;
    (at, told)
}
