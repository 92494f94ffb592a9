//! A watch of the Rust client: it continues on another node when one fails, and misses nothing that the nodes still know.

use super::bounded::SMALL_BYTES_MAX;
use super::error::{ClientError, garbled, innermost, lost};
use super::http::{Client, PAUSE_FIRST, PAUSE_LAST, TRY_TIMEOUT, read};
use super::position::{Cursor, is_same_history};
use crate::api::{ErrorCode, Problem, WatchMessage};
use eventsource_stream::{EventStreamError, Eventsource};
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use std::time::{Duration, Instant};

/// A node sends a bookmark every five seconds. A node that is silent for longer is given up.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(15);

type Stream = BoxStream<'static, Result<String, ClientError>>;

/// What to watch.
#[derive(Debug, Clone)]
pub struct WatchOptions {
    /// Keys, and names of sessions and locks, that start with one of these; all if there are none. Up to 16.
    pub prefixes: Vec<String>,
    /// The index after which to begin; from now on without it.
    pub from: Option<u64>,
    /// The id of the history to which that index belongs, if it is to be checked.
    pub history: Option<String>,
    /// Whether the values are sent with the changes.
    pub values: bool,
    /// Whether changes of keys are watched.
    pub keys: bool,
    /// Whether sessions are watched that are opened and end.
    pub sessions: bool,
    /// Whether locks are watched that are acquired and released.
    pub locks: bool,
    /// A node that has too many watches closes this one first.
    pub low_priority: bool,
}

impl Default for WatchOptions {
    fn default() -> Self {
        Self {
            prefixes: Vec::new(),
            from: None,
            history: None,
            values: true,
            keys: true,
            sessions: false,
            locks: false,
            low_priority: false,
        }
    }
}

impl WatchOptions {
    /// The keys with a prefix, from behind `from`.
    pub fn prefix(prefix: &str, from: Option<u64>) -> Self {
        Self { prefixes: vec![prefix.to_owned()], from, ..Self::default() }
    }

    fn query(&self) -> Vec<(&'static str, String)> {
        let mut query: Vec<_> = self.prefixes.iter().map(|prefix| ("prefix", prefix.clone())).collect();
        query.extend(self.from.map(|index| match &self.history {
            Some(history) => ("from", format!("{index}@{history}")),
            None => ("from", index.to_string()),
        }));
        query.push(("values", self.values.to_string()));
        query.push(("keys", self.keys.to_string()));
        query.push(("sessions", self.sessions.to_string()));
        query.push(("locks", self.locks.to_string()));
        if self.low_priority {
            query.push(("priority", "low".to_owned()));
        }
        query
    }
}

/// Changes as they come.
pub struct Watching {
    client: Client,
    /// `from` and `history` are those of the last message.
    options: WatchOptions,
    /// The id of the cluster that answered first.
    cluster_id: Option<String>,
    stream: Option<Stream>,
}

impl Client {
    /// Begins a watch. Nothing is sent before [`Watching::next`].
    pub fn watch(&self, options: WatchOptions) -> Watching {
        Watching { client: self.clone(), options, cluster_id: None, stream: None }
    }
}

impl Watching {
    /// After the last message: where another watch can go on.
    pub fn cursor(&self) -> Option<Cursor> {
        let WatchOptions { from, history, .. } = &self.options;
        Some(Cursor { index: (*from)?, history: history.clone()? })
    }

    /// The next message. When a node closes the watch, falls silent or fails, the next node is asked; looking for one takes
    /// at most the time limit of a request.
    ///
    /// # Errors
    /// [`ClientError`]: no node could be reached in that time; the cursor is kept, so this can be called again. Or, with the code
    /// `other_history`, the nodes are in another history than before, for which the cursor is not valid. Or another cluster
    /// answered than before.
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
            if !passes
                || matches!(error, ClientError::Garbled { .. } | ClientError::TooLong { .. })
                || Instant::now() + wait >= deadline
            {
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
                let stream = self.client.open_watch(&url, &self.options).await?;
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
        if let WatchMessage::Subscribed { history, cluster_id, .. } = &message {
            if self.cluster_id.get_or_insert_with(|| cluster_id.clone()) != cluster_id {
                return Err(ClientError::OtherCluster { url, cluster_id: cluster_id.clone() });
            }
            let known = self.options.history.get_or_insert_with(|| history.id.clone());
            if !is_same_history(known, &history.id) {
                let detail = format!("{url} is in another history than the nodes before");
                return Err(ClientError::Problem(Box::new(Problem::new(ErrorCode::OtherHistory, detail))));
            }
        }
        self.options.from = Some(message.index());
        if matches!(message, WatchMessage::Closed { .. }) {
            self.stream = None;
            self.client.try_another();
            return Ok(None);
        }
        Ok(Some(message))
    }
}

impl Client {
    async fn open_watch(&self, url: &str, options: &WatchOptions) -> Result<Stream, ClientError> {
        let request = self.streams().get(format!("{url}/v1/watch")).query(&options.query());
        let request = self.insisting(request);
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
