//! A watch of the Rust client: it continues on another node when one fails, and misses nothing that the nodes still know.

use super::bounded::SMALL_BYTES_MAX;
use super::error::{ClientError, garbled, innermost, lost};
use super::http::{Client, PAUSE_FIRST, PAUSE_LAST, TRY_TIMEOUT, read};
use crate::api::HistoryName;
use crate::api::{ErrorCode, Problem, WatchMessage};
use eventsource_stream::{EventStreamError, Eventsource};
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use std::time::{Duration, Instant};

/// A node sends a bookmark every five seconds. A node that is silent for longer is given up.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(15);

type Stream = BoxStream<'static, Result<String, ClientError>>;

/// Changes as they come.
pub struct Watching<'a> {
    client: &'a Client,
    prefix: String,
    values: bool,
    /// The index after which to continue.
    cursor: Option<u64>,
    history: Option<HistoryName>,
    stream: Option<Stream>,
}

impl Client {
    /// Watches the keys that start with `prefix`, from behind the index `from`, or from now.
    pub fn watch(&self, prefix: &str, from: Option<u64>, values: bool) -> Watching<'_> {
        Watching {
            client: self,
            prefix: prefix.to_owned(),
            values,
            cursor: from,
            history: None,
            stream: None,
        }
    }
}

impl Watching<'_> {
    /// The next message. When a node closes the watch, falls silent or fails, the next node is asked; looking for one takes
    /// at most the time limit of a request.
    ///
    /// # Errors
    /// [`ClientError`]: no node could be reached in that time; the cursor is kept, so this can be called again. Or the nodes
    /// belong to a different history than before, for which the cursor is not valid.
    pub async fn next(&mut self) -> Result<WatchMessage, ClientError> {
        // Only looking for a node has a deadline: nothing may change for a long time.
        let mut deadline = None;
        let mut pause = PAUSE_FIRST;
        loop {
            let error = match self.try_next().await {
                Ok(Some(message)) => return Ok(message),
                // The node closed the watch, and named a cursor.
                Ok(None) => continue,
                Err(error) => error,
            };
            self.stream = None;
            self.client.try_another();
            let passes = matches!(
                error.code(),
                ErrorCode::Unavailable
                    | ErrorCode::OutcomeUnknown
                    | ErrorCode::Busy
                    | ErrorCode::RateLimited
                    | ErrorCode::Detached
            );
            let wait = pause.max(error.retry_after());
            let deadline = *deadline.get_or_insert_with(|| Instant::now() + self.client.limit());
            if !passes || matches!(error, ClientError::Garbled { .. }) || Instant::now() + wait >= deadline {
                return Err(error);
            }
            tokio::time::sleep(wait).await;
            pause = (pause * 2).min(PAUSE_LAST);
        }
    }

    async fn try_next(&mut self) -> Result<Option<WatchMessage>, ClientError> {
        let url = self.client.any_url();
        let stream = match &mut self.stream {
            Some(stream) => stream,
            None => {
                let stream = self.client.open_watch(&url, &self.prefix, self.cursor, self.values).await?;
                self.stream.insert(stream)
            }
        };
        let silent = || ClientError::Lost { url: url.clone(), reason: "it fell silent".into() };
        let data = match tokio::time::timeout(SILENCE_TIMEOUT, stream.next()).await {
            Ok(Some(data)) => data?,
            Ok(None) | Err(_) => return Err(silent()),
        };
        let message: WatchMessage =
            serde_json::from_str(&data).map_err(|error| garbled(&url, &error.to_string()))?;
        if let WatchMessage::Subscribed { history, .. } = &message
            && self.history.get_or_insert_with(|| history.clone()) != history
        {
            return Err(garbled(&url, "it is in another history than the nodes before"));
        }
        self.cursor = Some(message.index());
        if matches!(message, WatchMessage::Closed { .. }) {
            self.stream = None;
            self.client.try_another();
            return Ok(None);
        }
        Ok(Some(message))
    }
}

impl Client {
    async fn open_watch(
        &self,
        url: &str,
        prefix: &str,
        from: Option<u64>,
        values: bool,
    ) -> Result<Stream, ClientError> {
        let mut query = vec![("prefix", prefix.to_owned()), ("values", values.to_string())];
        query.extend(from.map(|index| ("from", index.to_string())));
        let request = self.insisting(self.streams().get(format!("{url}/v1/watch")).query(&query));
        let unreachable = |error: reqwest::Error| ClientError::Unreachable {
            url: url.to_owned(),
            reason: innermost(&error),
        };
        let response = match tokio::time::timeout(self.limit().min(TRY_TIMEOUT), request.send()).await {
            Ok(response) => response.map_err(unreachable)?,
            Err(_) => {
                return Err(ClientError::Unreachable { url: url.to_owned(), reason: "not in time".into() });
            }
        };
        if !response.status().is_success() {
            let status = response.status();
            let bytes = read(url, response, SMALL_BYTES_MAX).await?;
            let problem: Result<Problem, _> = serde_json::from_slice(&bytes);
            return Err(match problem {
                Ok(problem) => ClientError::Problem(Box::new(problem)),
                Err(_) => garbled(url, &format!("status {status} without a problem description")),
            });
        }
        let url = url.to_owned();
        let events = response.bytes_stream().eventsource().map_ok(|event| event.data);
        Ok(events
            .map_err(move |error| match error {
                EventStreamError::Transport(error) => lost(&url, &error),
                other => garbled(&url, &other.to_string()),
            })
            .boxed())
    }
}
