//! What a front door may do with the data of a node. A front door (HTTP, the Express-style API, Socket.IO, WebSockets)
//! gets a [`Session`] for each client or request, and reaches the cache through it only. So there is one place that
//! knows who asks, and one that checks and rewrites keys: [`KeyScope`].

use super::Operation;
use super::access::{Principal, needs_of};
use super::admin_session::Admin;
use super::error::NodeError;
use super::key_scope::KeyScope;
use super::read::ReadAt;
use super::report::NodeCounters;
use super::start::Node;
use super::write::{Asked, WriteRequest, Written};
use crate::api::{Consistency, Leader, LineageReport, Reconciliations};
use crate::cache::{
    Absence, Cache, CacheConfig, Found, Key, KeyDetails, KeyInfo, LISTED_KEYS_BYTES_MAX, Listed, Need, Role,
    Seen, TokenLimits,
};
use crate::lineage::Lineage;
use crate::peer::NodeId;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// One client's access to a node. Cheap to clone.
#[derive(Clone)]
pub struct Session {
    pub(super) node: Node,
    pub(super) principal: Principal,
    pub(super) scope: KeyScope,
    pub(super) consistency: Consistency,
    pub(super) min_index: Option<u64>,
    pub(super) limit: Option<Duration>,
    origin: Option<Arc<str>>,
}

/// Why a request of a session failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{error}")]
pub struct SessionError {
    /// What happened. [`NodeError::effect`] says whether the request may have been carried out.
    pub error: NodeError,
    /// The leader, if another node leads and asking it may help.
    pub leader: Option<Box<Leader>>,
}

impl SessionError {
    pub(super) fn new(node: &Node, error: NodeError) -> Self {
        let may_help = matches!(error, NodeError::Unavailable(_) | NodeError::OutcomeUnknown(_));
        let leader = if may_help { node.leader().filter(|leader| leader.id != node.id()) } else { None };
        Self { error, leader: leader.map(Box::new) }
    }
}

/// A page of keys in byte order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeysPage {
    pub keys: Vec<ListedKey>,
    /// Whether more keys follow.
    pub more: bool,
}

/// A key of a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedKey {
    pub key: Key,
    pub info: KeyInfo,
    /// If details were asked for.
    pub details: Option<KeyDetails>,
    /// The node at which a client asked for the last change, if details were asked for and it is still known.
    pub by: Option<NodeId>,
}

/// Which keys to list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ListKeys {
    /// Only keys that begin with this.
    pub prefix: String,
    /// Only keys after this one.
    pub after: Option<String>,
    /// At most so many keys.
    pub limit: usize,
    /// If details are asked for, how many bytes of each value they have at most.
    pub preview_bytes: Option<usize>,
}

/// Whole entries in the byte order of their keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntriesPage {
    pub entries: Vec<Listed>,
    /// Whether more entries follow.
    pub more: bool,
    /// Entries that the session may see.
    pub total: u64,
}

impl Node {
    /// What reads guarantee here if nobody asks for less.
    fn own_consistency(&self) -> Consistency {
        if self.inner.is_detached() { Consistency::Detached } else { Consistency::Linearizable }
    }

    /// A session for this principal: all keys, linearizable reads (as far as the node's own history goes), the node's own time
    /// limit.
    pub fn session(&self, principal: Principal) -> Session {
        Session {
            node: self.clone(),
            principal,
            scope: KeyScope::All,
            consistency: self.own_consistency(),
            min_index: None,
            limit: None,
            origin: None,
        }
    }
}

impl Session {
    /// The same session, whose reads have this consistency.
    #[must_use]
    pub fn with_consistency(mut self, consistency: Consistency) -> Self {
        self.consistency = consistency;
        self
    }

    /// The same session, whose reads wait until this node has applied `min_index`.
    #[must_use]
    pub fn not_before(mut self, min_index: Option<u64>) -> Self {
        self.min_index = min_index;
        self
    }

    /// The same session, whose reads and writes take at most `limit`.
    #[must_use]
    pub fn within(mut self, limit: Duration) -> Self {
        self.limit = Some(limit);
        self
    }

    /// The same session, whose writes have this origin: the client's name for itself.
    #[must_use]
    pub fn with_origin(mut self, origin: Option<&str>) -> Self {
        self.origin = origin.map(Arc::from);
        self
    }

    /// What its reads guarantee.
    pub fn consistency(&self) -> Consistency {
        self.consistency
    }

    /// Who asks.
    pub fn principal(&self) -> &Principal {
        &self.principal
    }

    /// Whether a token is needed here.
    pub fn needs_token(&self) -> bool {
        self.node.inner.needs_token()
    }

    /// The id and the limits of the token that it shows, if that is known here.
    pub fn limits(&self) -> Option<(String, TokenLimits)> {
        let now_ms = self.node.inner.consensus.clock().now_ms().unwrap_or(0);
        self.node.inner.consensus.replica().with_cache(|cache| {
            let token = self.principal.token_in(cache, now_ms.max(cache.now_ms()))?;
            (token.limits != TokenLimits::default()).then(|| (token.id.clone(), token.limits))
        })
    }

    /// Whether it shows no token where one is needed.
    pub fn is_stranger(&self) -> bool {
        self.principal == Principal::Anyone && self.needs_token()
    }

    /// Whether the session may do what needs this, by a state that has everything that was acknowledged before. To observe, what
    /// this node knows is enough.
    ///
    /// # Errors
    /// [`SessionError`].
    pub async fn authorize(&self, need: &Need) -> Result<(), SessionError> {
        let (inner, until) = (&self.node.inner, self.deadline());
        let judged = match need {
            Need::Role(Role::Observe) => {
                inner.judge_known(&self.principal, std::slice::from_ref(need), until).await
            }
            _ => inner.judge_newest(&self.principal, need, until).await,
        };
        judged.map_err(|error| self.fail(error))
    }

    /// Whether the session shows a token that is good, or needs none, for a request about keys, which are judged with it. What this
    /// node knows is enough, unless that is too old.
    ///
    /// # Errors
    /// [`SessionError`].
    pub async fn authorize_for_keys(&self) -> Result<(), SessionError> {
        let (inner, need) = (&self.node.inner, [Need::Role(Role::Observe)]);
        let judged = inner.judge_own(&self.principal, &need, self.deadline()).await;
        judged.map_err(|error| self.fail(error))
    }

    /// The same for what concerns this node alone. Without a majority, what this node knows is enough.
    ///
    /// # Errors
    /// [`SessionError`].
    pub async fn authorize_here(&self, need: &Need) -> Result<(), SessionError> {
        let judged = self.node.inner.judge_here(&self.principal, need, self.deadline()).await;
        judged.map_err(|error| self.fail(error))
    }

    /// Whether it may do what needs this, as far as this node knows.
    pub fn may_now(&self, need: &Need) -> bool {
        self.node.inner.allows_now(&self.principal, need)
    }

    fn deadline(&self) -> Instant {
        Instant::now() + self.limit.unwrap_or(self.node.inner.options.limits.request)
    }

    /// What an operator may ask. Whoever calls this has asked [`Session::authorize`] before; the leader judges once more what it
    /// carries out.
    pub fn admin(&self) -> Admin {
        Admin::new(self.node.clone(), self.principal.clone())
    }

    /// Reads a key, and counts that as a use of it; or says what is known of one that is absent.
    ///
    /// # Errors
    /// [`SessionError`]; an older value is never returned instead.
    pub async fn get(&self, key: &Key) -> Result<ReadAt<Result<Found, Absence>>, SessionError> {
        let ReadAt { value, index, term, now_ms } = self.get_with_uses(key).await?;
        Ok(ReadAt { value: value.map(|seen| seen.found), index, term, now_ms })
    }

    /// Reads a key with the number of its uses before this one.
    ///
    /// # Errors
    /// As [`Session::get`].
    pub async fn get_with_uses(&self, key: &Key) -> Result<ReadAt<Result<Seen, Absence>>, SessionError> {
        self.refuse_stale()?;
        let key = self.scope.stored_key(key).map_err(|error| self.fail(error))?;
        let read =
            self.node.inner.get_seen(&key, &self.principal, self.consistency, self.min_index, self.limit);
        let read = read.await;
        // It may have waited for `min_index`.
        self.refuse_stale()?;
        read.map_err(|error| self.fail(error))
    }

    /// Log time by this node's clock, in milliseconds since the Unix epoch.
    pub fn now_ms(&self) -> u64 {
        self.node.inner.now_ms()
    }

    /// About how many bytes the values of these keys take, as far as this node knows without asking another: for the
    /// memory of an answer that has them.
    pub fn stored_bytes<'a>(&self, keys: impl IntoIterator<Item = &'a Key>) -> u64 {
        let keys = keys.into_iter().filter_map(|key| self.scope.stored_key(key).ok());
        self.node
            .inner
            .consensus
            .replica()
            .with_cache(|cache| keys.map(|key| cache.value_bytes(key.as_str())).sum())
    }

    /// How many bytes the entries of all keys take, as far as this node knows.
    pub fn all_stored_bytes(&self) -> u64 {
        self.node.inner.consensus.replica().with_cache(Cache::bytes)
    }

    /// Lists keys. That counts as a use of none.
    ///
    /// # Errors
    /// [`SessionError`].
    pub async fn list(&self, request: ListKeys) -> Result<ReadAt<KeysPage>, SessionError> {
        let ListKeys { prefix, after, limit, preview_bytes } = request;
        let prefix = self.scope.stored_prefix(prefix).map_err(|error| self.fail(error))?;
        let after = after.map(|after| self.scope.stored_prefix(after)).transpose();
        let after = after.map_err(|error| self.fail(error))?;
        // One key more than was asked for shows whether there is a next page. One of long keys ends before the limit.
        let look = |cache: &Cache| match preview_bytes {
            Some(bytes_max) => {
                let keys = cache.detailed_keys(&prefix, after.as_deref(), limit + 1, bytes_max).into_iter();
                keys.map(|(key, info, details)| (key, info, Some(details))).collect()
            }
            None => {
                let keys = cache.keys_within(&prefix, after.as_deref(), limit + 1, LISTED_KEYS_BYTES_MAX);
                keys.into_iter().map(|(key, info)| (key, info, None)).collect::<Vec<_>>()
            }
        };
        let look = |cache: &Cache| {
            let found = look(cache);
            let last = found.last().map(|(last, ..)| last.as_str());
            let more = found.len() > limit || last.is_some_and(|last| cache.has_keys_after(&prefix, last));
            (found, more)
        };
        let need = Need::Prefix(Role::Read, prefix.clone());
        let ReadAt { value: (mut found, more), index, term, now_ms } = self.read(&need, look).await?;
        found.truncate(limit);
        let revisions: Vec<u64> = found.iter().map(|(_, info, _)| info.entry.revision).collect();
        let by = match preview_bytes {
            Some(_) => self.node.asked_at(&revisions),
            None => vec![None; revisions.len()],
        };
        let keys = found.into_iter().zip(by).map(|((key, info, details), by)| ListedKey {
            key: self.scope.client_key(key),
            info,
            details,
            by,
        });
        Ok(ReadAt { value: KeysPage { keys: keys.collect(), more }, index, term, now_ms })
    }

    /// Whole entries with a prefix, from the first one after `after`: at most `limit`, and no more once keys and values have `bytes_max`
    /// bytes together. That counts as a use of none.
    ///
    /// # Errors
    /// [`SessionError`].
    pub async fn entries(
        &self,
        prefix: String,
        after: Option<String>,
        limit: usize,
        bytes_max: u64,
    ) -> Result<ReadAt<EntriesPage>, SessionError> {
        let prefix = self.scope.stored_prefix(prefix).map_err(|error| self.fail(error))?;
        let after = after.map(|after| self.scope.stored_prefix(after)).transpose();
        let after = after.map_err(|error| self.fail(error))?;
        let look = |cache: &Cache| {
            let entries = cache.entries(&prefix, after.as_deref(), limit, bytes_max);
            let more = entries.last().is_some_and(|last| cache.has_keys_after(&prefix, last.key.as_str()));
            EntriesPage { entries, more, total: cache.count(&prefix) }
        };
        let need = Need::Prefix(Role::Read, prefix.clone());
        let mut read = self.read(&need, look).await?;
        let entries = std::mem::take(&mut read.value.entries).into_iter();
        let shown = entries.map(|entry| Listed { key: self.scope.client_key(entry.key), ..entry });
        read.value.entries = shown.collect();
        Ok(read)
    }

    /// The replicated settings.
    ///
    /// # Errors
    /// [`SessionError`].
    pub async fn config(&self) -> Result<ReadAt<CacheConfig>, SessionError> {
        self.read(&Need::Role(Role::Observe), |cache| cache.config().clone()).await
    }

    /// The newest merges, and the open forks.
    ///
    /// # Errors
    /// [`SessionError`].
    pub async fn reconciliations(&self) -> Result<ReadAt<Reconciliations>, SessionError> {
        self.read(&Need::Role(Role::Observe), |cache| Reconciliations {
            merges: cache.merges().iter().map(Into::into).collect(),
            forks: cache.forks().map(Into::into).collect(),
            decided: cache.decided().clone(),
        })
        .await
    }

    /// Waits until a read would be answered, and returns the index that this node has applied then.
    ///
    /// # Errors
    /// [`SessionError`].
    pub async fn catch_up(&self) -> Result<u64, SessionError> {
        Ok(self.read(&Need::Role(Role::Observe), Cache::index).await?.value)
    }

    /// Writes through the log, wherever the leader is.
    ///
    /// # Errors
    /// [`SessionError`]; [`NodeError::effect`] says whether the write may have happened.
    pub async fn write(&self, request: impl Into<WriteRequest>) -> Result<Written, SessionError> {
        let WriteRequest { command, idempotency_key, origin, limit } = request.into();
        let command = self.scope.stored_command(command).map_err(|error| self.fail(error))?;
        let inner = &self.node.inner;
        let idempotency_key = idempotency_key.map(|key| self.principal.own_key(key));
        let asked = Asked {
            // The leader judges, too, so what this node does not know of does no harm.
            needs: if inner.needs_token() { needs_of(&command) } else { Vec::new() },
            principal: self.principal.clone(),
        };
        let origin = origin.or_else(|| self.origin.as_deref().map(str::to_owned));
        let request = WriteRequest { command, idempotency_key, origin, limit: limit.or(self.limit) };
        inner.write(request, &asked).await.map_err(|error| self.fail(error))
    }

    /// The newest operations that this node has applied, newest first: up to a hundred, also from before a restart.
    /// Fewer where large values have pushed them out.
    pub fn recent(&self, limit: usize) -> Vec<Operation> {
        let operations = self.node.recent(limit).into_iter();
        operations.filter_map(|operation| self.scope.client_operation(operation)).collect()
    }

    /// How long this node has been running.
    pub fn uptime(&self) -> Duration {
        self.node.inner.started.elapsed()
    }

    /// Counts of the whole cache and of this node's reads, without asking another node.
    pub fn totals(&self) -> NodeCounters {
        self.node.counters()
    }

    /// Whether clients should be sent to this node.
    ///
    /// # Errors
    /// [`SessionError`] says what is missing.
    pub async fn ready(&self) -> Result<(), SessionError> {
        self.node.ready().await.map_err(|error| self.fail(error))
    }

    /// This node's number.
    pub fn node_id(&self) -> NodeId {
        self.node.id()
    }

    /// This node's name.
    pub fn node_name(&self) -> &str {
        self.node.name()
    }

    /// A member's name; see [`Node::member_name`].
    pub fn member_name(&self, id: NodeId) -> String {
        self.node.member_name(id)
    }

    /// The cluster and its histories; see [`Node::lineage`].
    pub fn lineage(&self) -> &Lineage {
        self.node.lineage()
    }

    /// Where this node's log comes from.
    pub fn lineage_report(&self) -> LineageReport {
        self.node.lineage_report()
    }

    /// The leader, if this node knows one.
    pub fn leader(&self) -> Option<Leader> {
        self.node.leader()
    }

    /// Whether a majority of the voters has answered this node recently. It takes a few seconds to find out that none does.
    pub fn has_majority(&self) -> bool {
        self.node.inner.audit.health.has_majority()
    }

    /// Whether this node is about to stop.
    pub fn is_draining(&self) -> bool {
        self.node.is_draining()
    }

    /// Returns once this node accepts no more writes, because it is about to stop.
    pub async fn drained(&self) {
        self.node.drained().await;
    }

    /// Reads what needs this.
    pub(super) async fn read<T>(
        &self,
        need: &Need,
        look: impl FnOnce(&Cache) -> T,
    ) -> Result<ReadAt<T>, SessionError> {
        let is_about_keys = *need != Need::Role(Role::Observe);
        let refuse_stale = || if is_about_keys { self.refuse_stale() } else { Ok(()) };
        refuse_stale()?;
        let inner = &self.node.inner;
        let judged = |cache: &Cache| inner.judge(cache, &self.principal, need).map(|()| look(cache));
        let read = inner.read(self.consistency, self.min_index, self.limit, judged).await;
        refuse_stale()?;
        read.and_then(ReadAt::transpose).map_err(|error| self.fail(error))
    }

    /// A stale read is judged by what this node knows, which can be too old for that.
    pub(super) fn refuse_stale(&self) -> Result<(), SessionError> {
        match self.consistency {
            Consistency::Stale => self.node.inner.refuse_when_out_of_touch(&self.principal),
            _ => Ok(()),
        }
        .map_err(|error| self.fail(error))
    }

    pub(super) fn fail(&self, error: NodeError) -> SessionError {
        SessionError::new(&self.node, error)
    }
}
