//! Making a missing value once for all processes: whoever holds the key's lock fills, and the others wait for its value. If the
//! holder dies, its session ends, and with it the lock.

use super::options::{Held, Want};
use super::{Inner, NearCache, NearEntry};
use crate::api::{Effect, ErrorCode, WatchMessage, WireEvent};
use crate::cache::Ttl;
use crate::client::error::ClientError;
use crate::client::held_session::HeldSession;
use crate::client::http::Client;
use crate::client::kv::PutOptions;
use crate::client::position::{Cursor, Positioned};
use crate::client::watch::WatchOptions;
use bytes::Bytes;
use std::collections::HashMap;
use std::error::Error;
use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep, timeout, timeout_at};

/// How often one who waits looks by himself whether the lock is free: the stream that tells may be lost.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
const PAUSE: Duration = Duration::from_millis(200);

/// How a missing value is made.
#[derive(Debug, Clone)]
pub struct FillOptions {
    /// How old a value may be that is there.
    pub want: Want,
    pub ttl: Ttl,
    pub content_type: Option<String>,
    /// How long to wait for the value of another process.
    pub wait: Duration,
    /// After how long without a sign of life of one that fills another may fill (1 s to 1 h). The first fill of a near cache
    /// decides for all of them.
    pub session_ttl: Duration,
}

impl Default for FillOptions {
    /// Values of at most 1 s ago; the cluster's TTL; wait 30 s; 10 s without a sign of life.
    fn default() -> Self {
        Self {
            want: Want::MaxStale(Duration::from_secs(1)),
            ttl: Ttl::Default,
            content_type: None,
            wait: Duration::from_secs(30),
            session_ttl: Duration::from_secs(10),
        }
    }
}

/// What a fill function gets.
#[derive(Debug, Clone)]
pub struct Filling {
    /// Rises with each fill of the key: what gets it can refuse one that comes late.
    pub token: u64,
    session: Arc<HeldSession>,
}

impl Filling {
    /// Returns as soon as another process may be filling, too.
    pub async fn overtaken(&self) {
        self.session.ended().await;
    }
}

/// The outcome of a fill function: a value to store, or that there is none.
pub type Filled = Option<Bytes>;

/// Why there is no value. Whoever waited for the same fill in this process gets the same error.
#[derive(Debug, Clone, thiserror::Error)]
pub enum FillError {
    #[error(transparent)]
    Cluster(Arc<ClientError>),
    /// The fill function failed. Nothing was stored.
    #[error("the value could not be made: {0}")]
    Fill(Arc<dyn Error + Send + Sync>),
    /// Another process fills, and its value did not come in time.
    #[error("the value of `{holder}` did not come in time")]
    TimedOut { holder: String },
}

impl From<ClientError> for FillError {
    fn from(error: ClientError) -> Self {
        Self::Cluster(Arc::new(error))
    }
}

type Outcome = Result<Held, FillError>;

/// The session of this process.
type Session = Arc<tokio::sync::Mutex<Option<Arc<HeldSession>>>>;

type Releasing = Arc<Mutex<HashMap<Box<str>, watch::Receiver<()>>>>;

/// The fills of this process.
#[derive(Default)]
pub(super) struct Fills {
    running: Mutex<HashMap<Box<str>, watch::Receiver<Option<Outcome>>>>,
    session: Session,
    releases: Arc<Releases>,
    /// Locks of fills that have ended: they are being released.
    releasing: Releasing,
    listening: Mutex<Option<AbortHandle>>,
}

impl Drop for Fills {
    fn drop(&mut self) {
        if let Some(task) = self.listening.get_mut().expect("no panic while held").take() {
            task.abort();
        }
    }
}

impl NearCache {
    /// A key's value. If there is none, `fill` makes it: of all processes that ask at the same time one fills, and the others wait for
    /// its value. If that one dies another fills; the value of one that was taken for dead is not stored over it. `None` if `fill`
    /// answers that there is no value; that is not remembered. If the key was stored or deleted while `fill` ran, its value is not stored:
    /// the answer is what is there, or, if nothing is, what `fill` made, with the revision 0.
    ///
    /// The lock's name is the key behind [`super::NearOptions::lock_prefix`], and has at most 512 bytes.
    ///
    /// # Errors
    /// [`FillError`].
    pub async fn get_or_fill<F, R, E>(&self, key: &str, options: &FillOptions, fill: F) -> Outcome
    where
        F: FnOnce(Filling) -> R,
        R: Future<Output = Result<Filled, E>>,
        E: Into<Box<dyn Error + Send + Sync>>,
    {
        loop {
            if let Some(Some(entry)) = self.get_now(key, options.want) {
                return Ok(Some(entry));
            }
            match self.fills.begin(key) {
                Begun::First(running) => {
                    let outcome = self.run(key, options, fill).await;
                    running.tell(outcome.clone());
                    return outcome;
                }
                Begun::Other(mut running) => {
                    if let Ok(outcome) = running.wait_for(Option::is_some).await {
                        return outcome.clone().unwrap_or(Ok(None));
                    }
                    // Whoever ran it has given up.
                }
            }
        }
    }

    async fn run<F, R, E>(&self, key: &str, options: &FillOptions, fill: F) -> Outcome
    where
        F: FnOnce(Filling) -> R,
        R: Future<Output = Result<Filled, E>>,
        E: Into<Box<dyn Error + Send + Sync>>,
    {
        if let Some(entry) = self.get(key, options.want).await? {
            return Ok(Some(entry));
        }
        let name = format!("{}{key}", self.inner.options.lock_prefix);
        let deadline = Instant::now() + options.wait;
        loop {
            self.fills.until_released(&name).await;
            let session = self.fills.session(&self.inner.client, options.session_ttl).await?;
            // From here on it is released, also if this is given up while nobody knows whether it was acquired.
            let mut lock = Lock {
                client: &self.inner.client,
                name: &name,
                session: Arc::clone(&session),
                fills: &self.fills,
                acquired: Acquired::Maybe,
            };
            match self.inner.client.acquire_lock(&name, session.id()).await {
                Ok(acquired) => {
                    lock.acquired = Acquired::Yes;
                    let token = acquired.lock.token;
                    // It may have been filled between the read and the lock.
                    let outcome = match self.inner.ask_majority(key).await {
                        Ok(Positioned { value: None, at }) => {
                            let filling = fill(Filling { token, session });
                            self.fill_alone(key, options, &at.cursor(), filling).await
                        }
                        Ok(Positioned { value: there, .. }) => Ok(there),
                        Err(error) => Err(error.into()),
                    };
                    lock.release().await;
                    return outcome;
                }
                Err(ClientError::Problem(problem)) if problem.code == ErrorCode::Locked => {
                    lock.forget();
                    self.fills.wait(&self.inner, &name, deadline).await?;
                    if let Some(entry) = self.get(key, Want::Linearizable).await? {
                        return Ok(Some(entry));
                    }
                }
                // The session has ended: the next round opens another.
                Err(ClientError::Problem(problem)) if problem.code == ErrorCode::NotFound => {
                    lock.forget();
                    forget(&self.fills.session, session.id()).await;
                    if Instant::now() >= deadline {
                        return Err(ClientError::Problem(problem).into());
                    }
                }
                Err(error) => {
                    if error.effect() == Effect::None {
                        lock.forget();
                    }
                    return Err(error.into());
                }
            }
        }
    }

    async fn fill_alone<E>(
        &self,
        key: &str,
        options: &FillOptions,
        absent_at: &Cursor,
        filling: impl Future<Output = Result<Filled, E>>,
    ) -> Outcome
    where
        E: Into<Box<dyn Error + Send + Sync>>,
    {
        let filled = filling.await.map_err(|error| FillError::Fill(Arc::from(error.into())))?;
        let Some(value) = filled else { return Ok(None) };
        let put = PutOptions {
            content_type: options.content_type.clone(),
            ttl: options.ttl,
            ..PutOptions::default()
        };
        let content_type = options.content_type.clone();
        let entry = |revision| Some(Arc::new(NearEntry { value: value.clone(), content_type, revision }));
        // What was stored or deleted since the key was found absent is newer than what this value was made of: another has filled
        // because this one was taken for dead, or the application has said that the value is not right any more.
        match self.put_since(key, value.clone(), &put, Some(absent_at)).await {
            Ok(stored) => Ok(entry(stored.revision)),
            Err(error) if matches!(error.code(), ErrorCode::PreconditionFailed | ErrorCode::OtherHistory) => {
                let there = self.get(key, Want::Linearizable).await?;
                Ok(there.or_else(|| entry(0)))
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// No lock is acquired under the session any more. It ends when the last fill under it has ended.
async fn forget(session: &Session, id: u64) {
    let mut session = session.lock().await;
    if session.as_ref().is_some_and(|session| session.id() == id) {
        *session = None;
    }
}

/// Whether a fill of the key runs in this process.
enum Begun<'a> {
    First(Running<'a>),
    Other(watch::Receiver<Option<Outcome>>),
}

/// A fill that runs here. When it is dropped without an outcome, the next who waits begins one.
struct Running<'a> {
    fills: &'a Fills,
    key: &'a str,
    tell: watch::Sender<Option<Outcome>>,
}

impl Running<'_> {
    fn tell(&self, outcome: Outcome) {
        self.tell.send_replace(Some(outcome));
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.fills.running.lock().expect("no panic while held").remove(self.key);
    }
}

impl Fills {
    fn begin<'a>(&'a self, key: &'a str) -> Begun<'a> {
        let mut running = self.running.lock().expect("no panic while held");
        if let Some(outcome) = running.get(key) {
            return Begun::Other(outcome.clone());
        }
        let (tell, outcome) = watch::channel(None);
        running.insert(key.into(), outcome);
        Begun::First(Running { fills: self, key, tell })
    }

    /// The session of this process, which is alive.
    async fn session(&self, client: &Client, ttl: Duration) -> Result<Arc<HeldSession>, ClientError> {
        let mut session = self.session.lock().await;
        if let Some(alive) = session.as_ref().filter(|session| session.is_alive()) {
            return Ok(Arc::clone(alive));
        }
        let name = format!("fill-{}", uuid::Uuid::new_v4().simple());
        let opened = Arc::new(client.hold_session(&name, ttl).await?);
        *session = Some(Arc::clone(&opened));
        Ok(opened)
    }

    /// Waits for the end of a release that is on its way: it would release the lock of the next fill.
    async fn until_released(&self, name: &str) {
        let release = self.releasing.lock().expect("no panic while held").get(name).cloned();
        if let Some(mut release) = release {
            // The other end is dropped then.
            let _ = release.changed().await;
        }
    }

    /// Waits until a lock may be free.
    async fn wait(&self, inner: &Inner, name: &str, deadline: Instant) -> Result<(), FillError> {
        self.listen(inner);
        let waiting = self.releases.wait_for(name);
        loop {
            let released = waiting.notify.notified();
            tokio::pin!(released);
            // From here on it hears of a release, also of one that comes while it asks.
            released.as_mut().enable();
            let Some(lock) = inner.client.lock(name).await? else { return Ok(()) };
            if Instant::now() >= deadline {
                return Err(FillError::TimedOut { holder: lock.session_name });
            }
            if timeout_at(deadline.min(Instant::now() + LOOK_INTERVAL), released).await.is_ok() {
                return Ok(());
            }
        }
    }

    /// Hears of the locks that are released. Begins with the first who waits.
    fn listen(&self, inner: &Inner) {
        let mut listening = self.listening.lock().expect("no panic while held");
        if listening.is_none() {
            let (client, prefix) = (inner.client.clone(), inner.options.lock_prefix.clone());
            *listening = Some(tokio::spawn(hear(client, prefix, Arc::clone(&self.releases))).abort_handle());
        }
    }
}

/// Who waits for which lock.
#[derive(Default)]
struct Releases {
    waiting: Mutex<HashMap<Box<str>, Waiters>>,
}

/// Of one lock.
#[derive(Default)]
struct Waiters {
    count: usize,
    notify: Arc<Notify>,
}

struct Waiting<'a> {
    releases: &'a Releases,
    name: &'a str,
    notify: Arc<Notify>,
}

impl Releases {
    fn wait_for<'a>(&'a self, name: &'a str) -> Waiting<'a> {
        let mut waiting = self.waiting.lock().expect("no panic while held");
        let waiters = waiting.entry(name.into()).or_default();
        waiters.count += 1;
        Waiting { releases: self, name, notify: Arc::clone(&waiters.notify) }
    }

    fn tell(&self, name: &str) {
        if let Some(waiters) = self.waiting.lock().expect("no panic while held").get(name) {
            waiters.notify.notify_waiters();
        }
    }

    fn tell_all(&self) {
        for waiters in self.waiting.lock().expect("no panic while held").values() {
            waiters.notify.notify_waiters();
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut waiting = self.releases.waiting.lock().expect("no panic while held");
        if let Some(waiters) = waiting.get_mut(self.name) {
            waiters.count -= 1;
            if waiters.count == 0 {
                waiting.remove(self.name);
            }
        }
    }
}

async fn hear(client: Client, prefix: String, releases: Arc<Releases>) {
    let options =
        WatchOptions { prefixes: vec![prefix], keys: false, locks: true, ..WatchOptions::default() };
    let mut watching = client.watch(options.clone());
    loop {
        match watching.next().await {
            Ok(WatchMessage::Change { events, .. }) => {
                for event in events {
                    if let WireEvent::Unlock { name, .. } = event {
                        releases.tell(&name);
                    }
                }
            }
            Ok(WatchMessage::Resync { .. } | WatchMessage::Subscribed { .. }) => releases.tell_all(),
            Ok(WatchMessage::Bookmark { .. } | WatchMessage::Closed { .. }) => {}
            Err(error) => {
                tracing::debug!(%error, "the stream of locks is lost");
                if error.code() == ErrorCode::OtherHistory {
                    watching = client.watch(options.clone());
                }
                sleep(PAUSE).await;
            }
        }
    }
}

/// The lock of one who fills. It is released when this is dropped.
struct Lock<'a> {
    client: &'a Client,
    name: &'a str,
    session: Arc<HeldSession>,
    fills: &'a Fills,
    acquired: Acquired,
}

/// Whether a lock was acquired.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Acquired {
    No,
    /// It was asked for, and nobody knows.
    Maybe,
    Yes,
}

impl Lock<'_> {
    /// Releases it, and waits a while for that.
    async fn release(self) {
        let (fills, name) = (self.fills, self.name);
        drop(self);
        // If it takes longer it goes on.
        let _ = timeout(LOOK_INTERVAL, fills.until_released(name)).await;
    }

    fn forget(mut self) {
        self.acquired = Acquired::No;
    }
}

impl Drop for Lock<'_> {
    fn drop(&mut self) {
        if self.acquired == Acquired::No {
            return;
        }
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let (client, name, acquired) = (self.client.clone(), self.name.to_owned(), self.acquired);
        let (held, session) = (Arc::clone(&self.session), Arc::clone(&self.fills.session));
        let releasing = Arc::clone(&self.fills.releasing);
        let (done, release) = watch::channel(());
        releasing.lock().expect("no panic while held").insert(self.name.into(), release);
        runtime.spawn(async move {
            let released = client.release_lock(&name, held.id()).await;
            // It may be held still, or be acquired yet, or a release that is on its way may come later. All of that ends with the
            // session, so the next fill has another one.
            if acquired == Acquired::Maybe || released.is_err() {
                forget(&session, held.id()).await;
            }
            releasing.lock().expect("no panic while held").remove(name.as_str());
            drop(done);
        });
    }
}
