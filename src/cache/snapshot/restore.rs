//! Decodes a snapshot. Every length is checked before memory is allocated, every invariant of the state as it is rebuilt,
//! and the digest at the end: the result is exactly the state that was encoded, or an error.

use super::{MAGIC, RestoreError, VERSION};
use crate::cache::client_sessions::{ClientSession, ClientSessions, Lock};
use crate::cache::codec::{DecodeError, Decoder};
use crate::cache::dedup::{DedupEntry, DedupTable, result_codec};
use crate::cache::entry::{DEADLINE_MAX_MS, Entry, Lifetime};
use crate::cache::eviction::PolicySet;
use crate::cache::forks::{Fork, ForkView, Forks, Gone};
use crate::cache::limits::{
    ADMIN_ACTIONS_MAX, ADMIN_TEXT_BYTES_MAX, BATCH_OPS_MAX, BLOCKED_BYTES_MAX, BLOCKS_MAX,
    CLIENT_SESSIONS_MAX, CONTENT_TYPE_BYTES_MAX, DEDUP_RESULTS_MAX, FEATURE_LEVEL, FEATURE_LEVEL_FIRST,
    FORKS_MAX, FREE_PER_APPLY_MAX, GONE_MAX, GRANT_PREFIX_BYTES_MAX, GRANTS_MAX, HISTORIES_MAX,
    HISTORY_BYTES_MAX, HOST_BYTES_MAX, JOIN_HOSTS_MAX, JOIN_TOKENS_MAX, KEY_BYTES_MAX, LOCKS_MAX,
    MERGE_RESULTS_KEPT, MERGE_STEPS_MAX, MERGES_MAX, NODE_NAME_BYTES_MAX, ORIGIN_BYTES_MAX, SESSIONS_MAX,
    STORE_ID_BYTES_MAX, STORED_IDEMPOTENCY_KEY_BYTES_MAX, TOKEN_ID_BYTES, TOKEN_NAME_BYTES_MAX, TOKENS_MAX,
    TOMBSTONES_MAX, VALUE_BYTES_MAX,
};
use crate::cache::lost_keys::{LostKey, LostKeys};
use crate::cache::merge::{Merge, MergeResult, Merges};
use crate::cache::numbered_queue::NumberedQueue;
use crate::cache::pending_clears::Clear;
use crate::cache::record::Record;
use crate::cache::short_int::ShortInt;
use crate::cache::slab::{Slab, Slot};
use crate::cache::store::Store;
use crate::cache::tombstones::{Forgotten, Scope, Tombstone, Tombstones};
use crate::cache::{
    AdminAction, AdminLog, AdminRequested, Block, Blocked, BrowserSession, Cache, CacheConfig, Digest, Grant,
    JoinToken, Key, Quota, Role, SecretHash, Stats, Token, TokenLimits, Tokens,
};
use std::collections::{BTreeMap, VecDeque};
use std::io::BufRead;
use std::num::NonZeroU64;

type Result<T> = std::result::Result<T, DecodeError>;

impl Cache {
    /// Reads a snapshot. `bytes` must end where the snapshot ends.
    ///
    /// # Errors
    /// [`RestoreError`] says why the bytes are refused.
    pub fn restore(bytes: impl BufRead) -> std::result::Result<Self, RestoreError> {
        let source = &mut Decoder(bytes);
        let Head { written, index, now_ms, config, stats, feature_level, recency_clock } = head(source)?;
        let slab = slab(source)?;
        let clears = clears(source, slab.len())?;
        let mut policies = PolicySet::new(config.policy);
        policies.restore_states(source)?;
        let store = Store::restore(slab, policies, recency_clock, clears).map_err(RestoreError::Damaged)?;
        let tombstones = NumberedQueue::decode(source, TOMBSTONES_MAX, tombstone)?;
        let forgotten = Forgotten { revision: source.u64()?, at_ms: source.u64()? };
        let tombstones = Tombstones::restore(tombstones, forgotten)
            .ok_or(RestoreError::Damaged("a key has two tombstones, or they name too much"))?;
        let lost_keys = lost_keys(source)?;
        let dedup = NumberedQueue::decode(source, DEDUP_RESULTS_MAX, dedup_entry)?;
        let dedup = DedupTable::restore(dedup, source.u64()?);
        let forks = forks(source)?;
        let merges = merges(source)?;
        let tokens = tokens(source)?;
        let client_sessions = client_sessions(source)?;
        let admin_count = source.u64()?;
        let actions = NumberedQueue::decode(source, ADMIN_ACTIONS_MAX, admin_action)?;
        let admin_log = AdminLog::restore(actions, admin_count)
            .ok_or(RestoreError::Damaged("an action has too long a text"))?;
        source.end()?;

        let free_per_apply_max = FREE_PER_APPLY_MAX;
        let cache = Self {
            config,
            index,
            now_ms,
            store,
            tombstones,
            lost_keys,
            dedup,
            forks,
            merges,
            tokens,
            client_sessions,
            admin_log,
            stats,
            feature_level,
            free_per_apply_max,
        };
        let computed = cache.digest();
        if computed != written {
            return Err(RestoreError::Digest { written, computed });
        }
        Ok(cache)
    }
}

/// Some entries of a snapshot: those with keys that are `wanted`. It takes no more memory than they do, and does not check how
/// the rest of the state fits together.
///
/// # Errors
/// [`RestoreError`].
pub(in crate::cache) fn entries(
    bytes: impl BufRead,
    wanted: impl Fn(&str) -> bool,
) -> std::result::Result<Vec<Entry>, RestoreError> {
    let source = &mut Decoder(bytes);
    head(source)?;
    let (mut found, slots) = (Vec::new(), source.u32()?);
    for _ in 0..slots {
        found.extend(slot(source)?.entry.filter(|entry| wanted(entry.record.key())));
    }
    for _ in 0..source.u32()? {
        source.u32()?;
    }
    let clears = clears(source, slots.into())?;
    let is_cleared = |entry: &Entry| {
        let created = entry.created_revision.get();
        clears.iter().any(|clear| clear.covers(entry.record.key_bytes(), created))
    };
    found.retain(|entry| !is_cleared(entry));
    Ok(found)
}

/// What stands before the slots.
struct Head {
    written: Digest,
    index: u64,
    now_ms: u64,
    config: CacheConfig,
    stats: Stats,
    feature_level: u32,
    recency_clock: u64,
}

fn head(source: &mut Decoder<impl BufRead>) -> std::result::Result<Head, RestoreError> {
    if source.array()? != MAGIC {
        return Err(RestoreError::NotASnapshot);
    }
    let version = source.u32()?;
    if version != VERSION {
        return Err(RestoreError::Version(version));
    }
    let written = Digest(source.u128()?);
    let (index, now_ms) = (source.u64()?, source.u64()?);
    let config = CacheConfig::decode(source)?;
    if Cache::new(config.clone()).config != config {
        return Err(RestoreError::Damaged("its settings are out of their limits"));
    }
    let stats = stats(source)?;
    let feature_level = source.u32()?;
    if !(FEATURE_LEVEL_FIRST..=FEATURE_LEVEL).contains(&feature_level) {
        return Err(RestoreError::FeatureLevel(feature_level));
    }
    let recency_clock = source.counter()?;
    Ok(Head { written, index, now_ms, config, stats, feature_level, recency_clock })
}

fn stats(source: &mut Decoder<impl BufRead>) -> Result<Stats> {
    let mut words = Stats::default().words();
    for word in &mut words {
        *word = source.counter()?;
    }
    Ok(Stats::from_words(words))
}

fn slab(source: &mut Decoder<impl BufRead>) -> Result<Slab> {
    let mut slab = Slab::default();
    for _ in 0..source.u32()? {
        slab.restore_slot(slot(source)?);
    }
    // The list is no longer than the list of slots, all of which were read, so the snapshot justifies its memory.
    let length = source.u32()?;
    if length > slab.slots() {
        return Err(DecodeError::Damaged("it has more free slots than slots"));
    }
    let mut free = Vec::with_capacity(length as usize);
    for _ in 0..length {
        free.push(source.u32()?);
    }
    if !slab.restore_free(free) {
        return Err(DecodeError::Damaged("its free list does not name every free slot once"));
    }
    Ok(slab)
}

fn clears(source: &mut Decoder<impl BufRead>, entries: u64) -> Result<Vec<Clear>> {
    // Each has an entry left, all of which were read.
    let length = source.u32()?;
    if u64::from(length) > entries {
        return Err(DecodeError::Damaged("it has more clears than entries"));
    }
    let mut clear =
        |_| Ok(Clear { prefix: source.text(KEY_BYTES_MAX)?, revision: source.u64()?, at_ms: source.u64()? });
    (0..length).map(&mut clear).collect()
}

fn slot(source: &mut Decoder<impl BufRead>) -> Result<Slot> {
    let used = source.bool()?;
    let generation = source.u32()?;
    if !used {
        return Ok(Slot { generation, ..Slot::default() });
    }
    Ok(Slot { generation, entry: Some(entry(source)?) })
}

fn entry(source: &mut Decoder<impl BufRead>) -> Result<Entry> {
    let frequency =
        u16::try_from(source.u32()?).map_err(|_| DecodeError::Damaged("a frequency is over its limit"))?;
    let policy = source.u8()?;
    // Key, content type, origin and value.
    let max = [KEY_BYTES_MAX, CONTENT_TYPE_BYTES_MAX, ORIGIN_BYTES_MAX, VALUE_BYTES_MAX];
    let record = source.strings(max, Record::from_parts)?;
    let record = record.ok_or(DecodeError::Damaged("a key or a value is not well formed"))?;
    let mut entry = Entry::new(record, Lifetime::FOREVER, 0, 0, 0);
    entry.revision = short_int(source)?;
    entry.created_revision = short_int(source)?;
    entry.version = source.u32()?;
    entry.created_at_ms = short_int(source)?;
    entry.modified_at_ms = short_int(source)?;
    let deadline = source.option()?.map(deadline).transpose()?;
    entry.set_lifetime(Lifetime { deadline, sliding_ms: source.u32()? });
    entry.recency = short_int(source)?;
    entry.rank = short_int(source)?;
    (entry.frequency, entry.policy) = (frequency, policy);
    Ok(entry)
}

fn short_int<const N: usize>(source: &mut Decoder<impl BufRead>) -> Result<ShortInt<N>> {
    let number = source.u64()?;
    if number <= ShortInt::<N>::MAX {
        Ok(number.into())
    } else {
        Err(DecodeError::Damaged("a number is over its limit"))
    }
}

fn deadline(ms: u64) -> Result<NonZeroU64> {
    if ms > DEADLINE_MAX_MS {
        return Err(DecodeError::Damaged("a number is over its limit"));
    }
    NonZeroU64::new(ms).ok_or(DecodeError::Damaged("a deadline is 0"))
}

fn key(source: &mut Decoder<impl BufRead>) -> Result<Key> {
    let bytes = source.bytes(KEY_BYTES_MAX)?;
    let text = std::str::from_utf8(&bytes).map_err(|_| DecodeError::Damaged("a text is not UTF-8"))?;
    Key::stored(text).map_err(|_| DecodeError::Damaged("a key is not well formed"))
}

fn tombstone<R: BufRead>(source: &mut Decoder<R>) -> Result<Tombstone> {
    let scope =
        if source.bool()? { Scope::Prefix(source.text(KEY_BYTES_MAX)?) } else { Scope::Key(key(source)?) };
    Ok(Tombstone { scope, revision: source.u64()?, at_ms: source.u64()? })
}

fn client_sessions(source: &mut Decoder<impl BufRead>) -> Result<ClientSessions> {
    let (mut sessions, mut locks) = (Vec::new(), Vec::new());
    for _ in 0..source.length(CLIENT_SESSIONS_MAX)? {
        let name = key(source)?;
        let (id, ttl_ms) = (source.u64()?, source.u64()?);
        let (created_at_ms, expires_at_ms) = (source.u64()?, source.u64()?);
        sessions.push(ClientSession { id, name, ttl_ms, created_at_ms, expires_at_ms });
    }
    for _ in 0..source.length(LOCKS_MAX)? {
        let name = key(source)?;
        locks.push(Lock { name, session: source.u64()?, token: source.u64()?, since_ms: source.u64()? });
    }
    ClientSessions::restore(sessions, locks)
        .ok_or(DecodeError::Damaged("sessions and their locks do not fit together"))
}

fn lost_keys(source: &mut Decoder<impl BufRead>) -> Result<LostKeys> {
    let mut lost = Vec::new();
    for _ in 0..source.length(LostKeys::MAX)? {
        let (key_hash, revision, at_ms) = (source.u64()?, source.u64()?, source.u64()?);
        lost.push(LostKey { key_hash, revision, at_ms, expired: source.bool()? });
    }
    LostKeys::restore(lost).ok_or(DecodeError::Damaged("a lost key is not in its place"))
}

fn dedup_entry<R: BufRead>(source: &mut Decoder<R>) -> Result<DedupEntry> {
    let key = source.text(STORED_IDEMPOTENCY_KEY_BYTES_MAX)?;
    let fingerprint = source.u128()?;
    let at = (source.u64()?, source.u64()?);
    Ok(DedupEntry::new(key.into(), fingerprint, at, &result_codec::decode(source)?))
}

fn forks<R: BufRead>(source: &mut Decoder<R>) -> Result<Forks> {
    let damaged = || DecodeError::Damaged("an open fork does not fit together");
    let mut forks = Vec::new();
    for _ in 0..source.length(FORKS_MAX)? {
        let history = source.text(HISTORY_BYTES_MAX)?;
        let (since, limit, leaving) = (source.u64()?, source.u64()?, source.u64()?);
        let leaving = Some(leaving).filter(|node| *node > 0);
        let (start_index, omitted) = (source.u64()?, source.u64()?);
        let gone = NumberedQueue::decode(source, GONE_MAX, gone)?;
        let fork = ForkView { history, since, limit, leaving, start_index, omitted, gone };
        forks.push(Fork::restore(fork).ok_or_else(damaged)?);
    }
    Forks::restore(forks).ok_or_else(damaged)
}

fn gone<R: BufRead>(source: &mut Decoder<R>) -> Result<Gone> {
    let (key_hash, removed) = (source.u128()?, source.bool()?);
    Ok(Gone { key_hash, removed, revision: source.u64()?, at_ms: source.u64()? })
}

fn merges(source: &mut Decoder<impl BufRead>) -> Result<Merges> {
    let damaged = || DecodeError::Damaged("the merges do not fit together");
    let mut merges = Vec::new();
    for _ in 0..source.length(MERGES_MAX)? {
        let (id, history) = (source.text(HISTORY_BYTES_MAX)?, source.text(HISTORY_BYTES_MAX)?);
        let next_step = source.u64()?;
        let end = Merge::end_of_words(source.u64()?, source.u64()?).ok_or_else(damaged)?;
        let mut results = [0; 4];
        for count in &mut results {
            *count = source.u64()?;
        }
        let mut steps = Vec::new();
        for _ in 0..source.length(MERGE_STEPS_MAX)? {
            steps.push(source.u64()?);
        }
        let mut mixed = Vec::new();
        for _ in 0..source.length(MERGE_STEPS_MAX)? {
            mixed.push(source.u128()?);
        }
        let mut recent_results = VecDeque::new();
        for _ in 0..source.length(MERGE_RESULTS_KEPT)? {
            let mut results = Vec::new();
            for _ in 0..source.length(BATCH_OPS_MAX)? {
                results.push(MergeResult::from_number(source.u8()?).ok_or_else(damaged)?);
            }
            recent_results.push_back(results);
        }
        merges.push(Merge { id, history, next_step, end, results, steps, mixed, recent_results });
    }
    let mut decided = BTreeMap::new();
    for _ in 0..source.length(HISTORIES_MAX)? {
        decided.insert(source.text(HISTORY_BYTES_MAX)?, source.u64()?);
    }
    Merges::restore(merges, decided).ok_or_else(damaged)
}

fn tokens(source: &mut Decoder<impl BufRead>) -> Result<Tokens> {
    let revision = source.u64()?;
    let mut tokens = Vec::new();
    for _ in 0..source.length(TOKENS_MAX)? {
        tokens.push(token(source)?);
    }
    let mut sessions = Vec::new();
    for _ in 0..source.length(TOKENS_MAX * SESSIONS_MAX)? {
        let (id, secret) = (source.text(TOKEN_ID_BYTES)?, SecretHash(source.array()?));
        let parent = source.text(TOKEN_ID_BYTES)?;
        let (begun_revision, expires_at_ms) = (source.u64()?, source.u64()?);
        sessions.push(BrowserSession { id, secret, parent, begun_revision, expires_at_ms });
    }
    let mut blocks = Vec::new();
    for _ in 0..source.length(BLOCKS_MAX)? {
        let (is_jwt_id, text) = (source.bool()?, source.text(BLOCKED_BYTES_MAX)?);
        let blocked = if is_jwt_id { Blocked::JwtId(text) } else { Blocked::Subject(text) };
        blocks.push(Block { blocked, until_ms: source.option()? });
    }
    let mut joins = Vec::new();
    for _ in 0..source.length(JOIN_TOKENS_MAX)? {
        joins.push(join_token(source)?);
    }
    Tokens::restore(tokens, sessions, blocks, joins, revision)
        .ok_or(DecodeError::Damaged("the tokens do not fit together"))
}

fn join_token(source: &mut Decoder<impl BufRead>) -> Result<JoinToken> {
    let (id, secret) = (source.text(TOKEN_ID_BYTES)?, SecretHash(source.array()?));
    let node = source.text(NODE_NAME_BYTES_MAX)?;
    let mut hosts = Vec::new();
    for _ in 0..source.length(JOIN_HOSTS_MAX)? {
        hosts.push(source.text(HOST_BYTES_MAX)?);
    }
    let expires_at_ms = source.u64()?;
    let key = if source.bool()? { Some(source.array()?) } else { None };
    let folder = Some(source.text(STORE_ID_BYTES_MAX)?).filter(|folder| !folder.is_empty());
    Ok(JoinToken { id, secret, node, hosts, expires_at_ms, key, folder })
}

fn admin_action<R: BufRead>(source: &mut Decoder<R>) -> Result<AdminAction> {
    let (index, at_ms, times, node) = (source.u64()?, source.u64()?, source.u64()?, source.u64()?);
    let mut text = || source.text(ADMIN_TEXT_BYTES_MAX);
    let (principal, address, action) = (text()?, text()?, text()?);
    Ok(AdminAction { index, at_ms, times, requested: AdminRequested { principal, address, node, action } })
}

fn token(source: &mut Decoder<impl BufRead>) -> Result<Token> {
    let (id, name) = (source.text(TOKEN_ID_BYTES)?, source.text(TOKEN_NAME_BYTES_MAX)?);
    let secret = SecretHash(source.array()?);
    let previous = if source.bool()? { Some((SecretHash(source.array()?), source.u64()?)) } else { None };
    let mut grants = Vec::new();
    for _ in 0..source.length(GRANTS_MAX)? {
        let role =
            Role::from_number(source.u8()?).ok_or(DecodeError::Damaged("a role has an unknown number"))?;
        grants.push(Grant { role, prefix: source.text(GRANT_PREFIX_BYTES_MAX)? });
    }
    let limits = TokenLimits { requests: quota(source)?, body_bytes: quota(source)? };
    let (created_revision, revision, created_at_ms) = (source.u64()?, source.u64()?, source.u64()?);
    let expires_at_ms = source.option()?;
    Ok(Token {
        id,
        name,
        secret,
        previous,
        grants,
        limits,
        created_revision,
        revision,
        created_at_ms,
        expires_at_ms,
    })
}

fn quota(source: &mut Decoder<impl BufRead>) -> Result<Option<Quota>> {
    Ok(if source.bool()? { Some(Quota { count: source.u64()?, window_ms: source.u64()? }) } else { None })
}
