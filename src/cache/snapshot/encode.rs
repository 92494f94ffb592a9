//! Encodes a snapshot view, record by record.

use super::{MAGIC, SnapshotView, VERSION};
use crate::cache::codec::{put_bool, put_bytes, put_option, put_u8, put_u32, put_u64, put_u128};
use crate::cache::entry::Entry;
use crate::cache::forks::Gone;
use crate::cache::lost_keys::LostKey;
use crate::cache::merge::Merge;
use crate::cache::pending_clears::Clear;
use crate::cache::slab::Slot;
use crate::cache::tombstones::{Scope, Tombstone};
use crate::cache::{
    AdminAction, AdminRequested, Block, Blocked, ClientSession, JoinToken, Lock, Quota, SecretHash, Token,
};
use std::io::{BufWriter, Result, Write};

const BUFFER_BYTES: usize = 256 * 1024;

impl SnapshotView {
    /// Writes the snapshot's bytes. They depend on the state alone.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn encode(&self, out: &mut impl Write) -> Result<()> {
        let mut out = BufWriter::with_capacity(BUFFER_BYTES, out);
        self.put_head(&mut out)?;
        put_u32(&mut out, self.slab.slots())?;
        for number in 0..self.slab.slots() {
            if let Some(slot) = self.slab.slot(number) {
                put_slot(&mut out, slot)?;
            }
        }
        put_u32(&mut out, self.slab.free().len() as u32)?;
        for &number in self.slab.free() {
            put_u32(&mut out, number)?;
        }
        put_u32(&mut out, self.clears.len() as u32)?;
        for Clear { prefix, revision, at_ms } in &self.clears {
            put_bytes(&mut out, prefix.as_bytes())?;
            put_u64(&mut out, *revision)?;
            put_u64(&mut out, *at_ms)?;
        }
        self.policies.encode(&mut out)?;
        self.tombstones.encode(&mut out, put_tombstone)?;
        put_u64(&mut out, self.forgotten.revision)?;
        put_u64(&mut out, self.forgotten.at_ms)?;
        put_u32(&mut out, self.lost_keys.iter().count() as u32)?;
        self.lost_keys.iter().try_for_each(|lost| put_lost_key(&mut out, lost))?;
        self.dedup.encode(&mut out, |out, entry| {
            put_bytes(out, entry.key.as_bytes())?;
            put_u128(out, entry.fingerprint)?;
            put_u64(out, entry.index)?;
            put_u64(out, entry.at_ms)?;
            out.write_all(entry.encoded_result())
        })?;
        put_u64(&mut out, self.dedup_forgotten)?;
        put_u32(&mut out, self.forks.len() as u32)?;
        for fork in &self.forks {
            put_bytes(&mut out, fork.history.as_bytes())?;
            put_u64(&mut out, fork.since)?;
            put_u64(&mut out, fork.limit)?;
            // No member has the number 0.
            put_u64(&mut out, fork.leaving.unwrap_or(0))?;
            put_u64(&mut out, fork.start_index)?;
            put_u64(&mut out, fork.omitted)?;
            fork.gone.encode(&mut out, put_gone)?;
        }
        put_u32(&mut out, self.merges.len() as u32)?;
        self.merges.iter().try_for_each(|merge| put_merge(&mut out, merge))?;
        put_u32(&mut out, self.decided.len() as u32)?;
        for (history, index) in &self.decided {
            put_bytes(&mut out, history.as_bytes())?;
            put_u64(&mut out, *index)?;
        }
        put_u64(&mut out, self.tokens_revision)?;
        put_u32(&mut out, self.tokens.len() as u32)?;
        self.tokens.iter().try_for_each(|token| put_token(&mut out, token))?;
        put_u32(&mut out, self.sessions.len() as u32)?;
        for session in &self.sessions {
            put_bytes(&mut out, session.id.as_bytes())?;
            out.write_all(&session.secret.0)?;
            put_bytes(&mut out, session.parent.as_bytes())?;
            put_u64(&mut out, session.begun_revision)?;
            put_u64(&mut out, session.expires_at_ms)?;
        }
        put_u32(&mut out, self.blocks.len() as u32)?;
        for Block { blocked, until_ms } in &self.blocks {
            let (is_jwt_id, text) = match blocked {
                Blocked::Subject(text) => (false, text),
                Blocked::JwtId(text) => (true, text),
            };
            put_bool(&mut out, is_jwt_id)?;
            put_bytes(&mut out, text.as_bytes())?;
            put_option(&mut out, *until_ms)?;
        }
        put_u32(&mut out, self.joins.len() as u32)?;
        self.joins.iter().try_for_each(|token| put_join_token(&mut out, token))?;
        put_u32(&mut out, self.client_sessions.len() as u32)?;
        for ClientSession { id, name, ttl_ms, created_at_ms, expires_at_ms } in &self.client_sessions {
            put_bytes(&mut out, name.as_str().as_bytes())?;
            [id, ttl_ms, created_at_ms, expires_at_ms]
                .into_iter()
                .try_for_each(|number| put_u64(&mut out, *number))?;
        }
        put_u32(&mut out, self.locks.len() as u32)?;
        for Lock { name, session, token, since_ms } in &self.locks {
            put_bytes(&mut out, name.as_str().as_bytes())?;
            [session, token, since_ms].into_iter().try_for_each(|number| put_u64(&mut out, *number))?;
        }
        put_u64(&mut out, self.admin_count)?;
        self.admin_log.encode(&mut out, put_admin_action)?;
        out.flush()
    }

    fn put_head(&self, out: &mut impl Write) -> Result<()> {
        out.write_all(&MAGIC)?;
        put_u32(out, VERSION)?;
        put_u128(out, self.digest.0)?;
        put_u64(out, self.index)?;
        put_u64(out, self.now_ms)?;
        self.config.encode(out)?;
        self.stats.words().iter().try_for_each(|&word| put_u64(out, word))?;
        put_u32(out, self.feature_level)?;
        put_u64(out, self.recency_clock)
    }
}

fn put_lost_key(out: &mut impl Write, lost: &LostKey) -> Result<()> {
    let LostKey { key_hash, revision, at_ms, expired } = *lost;
    [key_hash, revision, at_ms].into_iter().try_for_each(|number| put_u64(out, number))?;
    put_bool(out, expired)
}

fn put_join_token(out: &mut impl Write, token: &JoinToken) -> Result<()> {
    put_bytes(out, token.id.as_bytes())?;
    out.write_all(&token.secret.0)?;
    put_bytes(out, token.node.as_bytes())?;
    put_u32(out, token.hosts.len() as u32)?;
    token.hosts.iter().try_for_each(|host| put_bytes(out, host.as_bytes()))?;
    put_u64(out, token.expires_at_ms)?;
    put_bool(out, token.key.is_some())?;
    out.write_all(token.key.as_ref().map_or(&[], |key| key))?;
    // No folder has an empty name.
    put_bytes(out, token.folder.as_deref().unwrap_or_default().as_bytes())
}

fn put_slot(out: &mut impl Write, slot: &Slot) -> Result<()> {
    put_bool(out, slot.entry.is_some())?;
    put_u32(out, slot.generation)?;
    match &slot.entry {
        None => Ok(()),
        Some(entry) => {
            put_u32(out, u32::from(entry.frequency))?;
            put_u8(out, entry.policy)?;
            put_entry(out, entry)
        }
    }
}

fn put_entry(out: &mut impl Write, entry: &Entry) -> Result<()> {
    put_bytes(out, entry.record.key_bytes())?;
    put_bytes(out, entry.record.content_type_bytes())?;
    put_bytes(out, entry.record.origin_bytes())?;
    put_bytes(out, entry.record.bytes())?;
    put_u64(out, entry.revision.get())?;
    put_u64(out, entry.created_revision.get())?;
    put_u32(out, entry.version)?;
    put_u64(out, entry.created_at_ms.get())?;
    put_u64(out, entry.modified_at_ms.get())?;
    put_option(out, entry.expires_at_ms())?;
    put_u32(out, entry.sliding_ms)?;
    put_u64(out, entry.recency.get())?;
    put_u64(out, entry.rank.get())
}

fn put_merge(out: &mut impl Write, merge: &Merge) -> Result<()> {
    put_bytes(out, merge.id.as_bytes())?;
    put_bytes(out, merge.history.as_bytes())?;
    put_u64(out, merge.next_step)?;
    let (end, up_to) = merge.end_words();
    put_u64(out, end)?;
    put_u64(out, up_to)?;
    merge.results.iter().try_for_each(|&count| put_u64(out, count))?;
    put_u32(out, merge.steps.len() as u32)?;
    merge.steps.iter().try_for_each(|&index| put_u64(out, index))?;
    put_u32(out, merge.mixed.len() as u32)?;
    merge.mixed.iter().try_for_each(|&key| put_u128(out, key))?;
    put_u32(out, merge.recent_results.len() as u32)?;
    merge.recent_results.iter().try_for_each(|results| {
        put_u32(out, results.len() as u32)?;
        results.iter().try_for_each(|result| put_u8(out, result.number()))
    })
}

fn put_token(out: &mut impl Write, token: &Token) -> Result<()> {
    put_bytes(out, token.id.as_bytes())?;
    put_bytes(out, token.name.as_bytes())?;
    out.write_all(&token.secret.0)?;
    put_bool(out, token.previous.is_some())?;
    if let Some((SecretHash(hash), until_ms)) = &token.previous {
        out.write_all(hash)?;
        put_u64(out, *until_ms)?;
    }
    put_u32(out, token.grants.len() as u32)?;
    for grant in &token.grants {
        put_u8(out, grant.role.number())?;
        put_bytes(out, grant.prefix.as_bytes())?;
    }
    for quota in [token.limits.requests, token.limits.body_bytes] {
        put_bool(out, quota.is_some())?;
        if let Some(Quota { count, window_ms }) = quota {
            put_u64(out, count)?;
            put_u64(out, window_ms)?;
        }
    }
    put_u64(out, token.created_revision)?;
    put_u64(out, token.revision)?;
    put_u64(out, token.created_at_ms)?;
    put_option(out, token.expires_at_ms)
}

fn put_gone<W: Write>(out: &mut W, gone: &Gone) -> Result<()> {
    put_u128(out, gone.key_hash)?;
    put_bool(out, gone.removed)?;
    put_u64(out, gone.revision)?;
    put_u64(out, gone.at_ms)
}

fn put_admin_action<W: Write>(out: &mut W, action: &AdminAction) -> Result<()> {
    let AdminAction { index, at_ms, times, requested } = action;
    let AdminRequested { principal, address, node, action } = requested;
    [index, at_ms, times, node].into_iter().try_for_each(|number| put_u64(out, *number))?;
    [principal, address, action].into_iter().try_for_each(|text| put_bytes(out, text.as_bytes()))
}

fn put_tombstone<W: Write>(out: &mut W, tombstone: &Tombstone) -> Result<()> {
    let (is_prefix, text) = match &tombstone.scope {
        Scope::Key(key) => (0, key.as_str()),
        Scope::Prefix(prefix) => (1, prefix.as_str()),
    };
    put_u8(out, is_prefix)?;
    put_bytes(out, text.as_bytes())?;
    put_u64(out, tombstone.revision)?;
    put_u64(out, tombstone.at_ms)
}
