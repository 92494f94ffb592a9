//! A watch of the Rust client: it continues on another node when one fails, and misses nothing that the nodes still know.

use super::bounded::SMALL_BYTES_MAX;
use super::error::{ClientError, garbled, innermost, lost};
use super::http::{Client, PAUSE_FIRST, PAUSE_LAST, TRY_TIMEOUT, read};
use super::position::{Cursor, is_same_history};
use crate::api::{ErrorCode, Problem, WatchMessage};
use bytes::Bytes;
use eventsource_stream::{EventStreamError, Eventsource};
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use std::time::{Duration, Instant};

/// A node sends a bookmark every five seconds. A node that is silent for longer is given up.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(15);

/// The most bytes without the end of an event: more than the largest event has.
const EVENT_BYTES_MAX: usize = 48 * 1024 * 1024;

type Events = BoxStream<'static, Result<String, ClientError>>;

/// Of one node.
struct Stream {
    url: String,
    events: Events,
}

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
    /// The node that was asked last for a stream.
    asked: String,
}

impl Client {
    /// Begins a watch. Nothing is sent before [`Watching::next`].
    pub fn watch(&self, options: WatchOptions) -> Watching {
        Watching { client: self.clone(), options, cluster_id: None, stream: None, asked: String::new() }
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
            self.leave_node();
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

    /// Goes on at another node with the next message.
    pub(super) fn leave_node(&mut self) {
        let url = self.stream.take().map_or_else(|| self.asked.clone(), |stream| stream.url);
        self.client.try_another(&url);
    }

    async fn try_next(&mut self) -> Result<Option<WatchMessage>, ClientError> {
        let stream = match &mut self.stream {
            Some(stream) => stream,
            None => {
                self.asked = self.client.any_url();
                let events = self.client.open_watch(&self.asked, &self.options).await?;
                self.stream.insert(Stream { url: self.asked.clone(), events })
            }
        };
        let url = stream.url.clone();
        let silent = || ClientError::Lost { url: url.clone(), reason: "it fell silent".into() };
        let data = match tokio::time::timeout(SILENCE_TIMEOUT, stream.events.next()).await {
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
            self.leave_node();
            return Ok(None);
        }
        Ok(Some(message))
    }
}

impl Client {
    /// A node that refuses is to say so in time, too.
    async fn open_watch(&self, url: &str, options: &WatchOptions) -> Result<Events, ClientError> {
        let limit = self.limit().min(TRY_TIMEOUT);
        tokio::time::timeout(limit, self.begin_watch(url, options)).await.unwrap_or_else(|_| {
            Err(ClientError::Unreachable { url: url.to_owned(), reason: "not in time".into() })
        })
    }

    async fn begin_watch(&self, url: &str, options: &WatchOptions) -> Result<Events, ClientError> {
        let request = self.streams().get(format!("{url}/v1/watch")).query(&options.query());
        let request = self.insisting(request);
        let unreachable = |error: reqwest::Error| ClientError::Unreachable {
            url: url.to_owned(),
            reason: innermost(&error),
        };
        let response = request.send().await.map_err(unreachable)?;
        if !response.status().is_success() {
            let status = response.status();
            let bytes = read(url, response, SMALL_BYTES_MAX, TRY_TIMEOUT).await?;
            let problem: Result<Problem, _> = serde_json::from_slice(&bytes);
            return Err(match problem {
                Ok(problem) => ClientError::Problem(Box::new(problem)),
                Err(_) => garbled(url, &format!("status {status} without a problem description")),
            });
        }
        let url = url.to_owned();
        let events =
            bounded(response.bytes_stream(), EVENT_BYTES_MAX).eventsource().map_ok(|event| event.data);
        Ok(events
            .map_err(move |error| match error {
                EventStreamError::Transport(Cut::Lost(error)) => lost(&url, &error),
                EventStreamError::Transport(Cut::TooLong) => {
                    ClientError::TooLong { url: url.clone(), max: EVENT_BYTES_MAX }
                }
                other => garbled(&url, &other.to_string()),
            })
            .boxed())
    }
}

/// Why the bytes of a stream end.
#[derive(Debug, thiserror::Error)]
enum Cut<E> {
    #[error(transparent)]
    Lost(E),
    #[error("an event is too long")]
    TooLong,
}

/// Ends where more than `max` bytes come without an empty line, which is the end of an event.
fn bounded<E>(
    bytes: impl futures::Stream<Item = Result<Bytes, E>>,
    max: usize,
) -> impl futures::Stream<Item = Result<Bytes, Cut<E>>> {
    let (mut open, mut at_line_start) = (0_usize, false);
    bytes.map(move |part| {
        let part = part.map_err(Cut::Lost)?;
        for byte in &part {
            match byte {
                b'\n' if at_line_start => open = 0,
                b'\n' => at_line_start = true,
                b'\r' => {}
                _ => at_line_start = false,
            }
            open += 1;
        }
        if open > max { Err(Cut::TooLong) } else { Ok(part) }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::stream;

    #[tokio::test]
    async fn an_event_without_an_end_ends_the_stream() {
        let parts = ["data: 1\n\n", "data: 22", "22\r\n\r\n", "data: 33333333", "3333"];
        let parts =
            stream::iter(parts.map(|part| Ok::<_, std::io::Error>(Bytes::from_static(part.as_bytes()))));
        let read: Vec<_> = bounded(parts, 16).collect().await;
        assert!(read[..4].iter().all(Result::is_ok), "{read:?}");
        assert!(matches!(read[4], Err(Cut::TooLong)), "{read:?}");
    }
}
