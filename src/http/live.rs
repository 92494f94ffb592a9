//! `GET /v1/live`: changes over a WebSocket, with as many subscriptions as a page has use for.

use super::door::{Door, Ready};
use super::origin;
use super::respond::ApiError;
use super::watch::{Place, Subscription};
use super::watchers::{Entered, Watchers};
use crate::api::{ErrorCode, LiveAnswer, LiveMessage, LiveRequest, Subscribe, Told};
use crate::node::{Node, NodeError};
use axum::extract::State;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::http::HeaderMap;
use axum::response::Response;
use futures::stream::{self, AbortHandle, BoxStream, SelectAll};
use futures::{StreamExt, TryStreamExt};
use serde::Serialize;
use std::collections::BTreeMap;
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
    origin::refuse_foreign(&headers, &door)?;
    let upgrade =
        upgrade.map_err(|error| ApiError::new(ErrorCode::InvalidHeader, format!("no WebSocket: {error}")))?;
    let entered = door.watchers.enter()?;
    let upgrade = upgrade.max_message_size(REQUEST_BYTES_MAX).max_frame_size(REQUEST_BYTES_MAX);
    Ok(upgrade.on_upgrade(move |socket| async move {
        let watchers = door.watchers.clone();
        let (ends, told) = Default::default();
        let mut talk = Talk { node, socket, ends, told, watchers, _entered: entered };
        // However it ends, the client notices and comes again.
        let _ = talk.go_on().await;
    }))
}

/// One client's connection.
struct Talk {
    node: Node,
    socket: WebSocket,
    /// What ends each subscription, by its id.
    ends: BTreeMap<String, AbortHandle>,
    told: SelectAll<BoxStream<'static, (String, Result<Told, NodeError>)>>,
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
                Some((id, told)) = self.told.next(), if !self.told.is_empty() => self.tell(id, told).await?,
                // Subscriptions end by themselves.
                () = &mut drained, if self.ends.is_empty() => return self.close("this node is stopping").await,
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
        let Ok(entered) = self.watchers.enter() else {
            return self.refuse(&id, ErrorCode::Busy, "too many clients watch this node").await;
        };
        let (node, from) = (self.node.clone(), from.map(|index| Place { index, history: None }));
        // Finding out whether the cluster has come to `from` may take a while, in which the others are served.
        let opening = async move {
            Subscription::open(&node, prefix, from, values, entered).await.map(Subscription::told)
        };
        let told = stream::once(opening).map_ok(|told| told.map(Ok)).try_flatten();
        let (told, end) = stream::abortable(told);
        self.ends.insert(id.clone(), end);
        self.told.push(told.map(move |told| (id.clone(), told)).boxed());
        Ok(())
    }

    async fn tell(&mut self, id: String, told: Result<Told, NodeError>) -> Result<(), axum::Error> {
        // The last of it.
        if matches!(told, Err(_) | Ok(Told::Cut { .. })) {
            self.ends.remove(&id);
        }
        match told {
            Ok(told) => self.send(&LiveMessage::Told { id, told }).await,
            Err(error) => self.refuse(&id, error.code(), &error.to_string()).await,
        }
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
