//! Pages of keys and entries, in the order of the keys. Entries that have expired are left out.

use super::entry::Entry;
use super::{Cache, Found, Key, KeyInfo};

/// A page of keys ends after the key that brings its keys to so many bytes.
pub const LISTED_KEYS_BYTES_MAX: u64 = 5 * 1024 * 1024;

/// More about a key in a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyDetails {
    /// The first bytes of the value.
    pub preview: Vec<u8>,
    pub content_type: Option<String>,
    /// How often it was used, as far as the log knows; up to 65,535.
    pub uses: u64,
}

/// An entry in a listing, with its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    pub key: Key,
    pub found: Found,
    /// How often it was used, as far as the log knows; up to 65,535.
    pub uses: u64,
}

impl Cache {
    /// Keys with a prefix, in order, from the first one after `after`; at most `limit`.
    pub fn keys(&self, prefix: &str, after: Option<&str>, limit: usize) -> Vec<(Key, KeyInfo)> {
        self.keys_within(prefix, after, limit, u64::MAX)
    }

    /// Whether keys with a prefix come after this one.
    pub fn has_keys_after(&self, prefix: &str, after: &str) -> bool {
        self.live(prefix, Some(after)).next().is_some()
    }

    /// The same, and no more once they have `bytes_max` bytes together.
    pub fn keys_within(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
        bytes_max: u64,
    ) -> Vec<(Key, KeyInfo)> {
        let mut bytes = 0;
        let fitting = self.live(prefix, after).take(limit).take_while(|(_, entry)| {
            let before = bytes;
            bytes += entry.record.key_bytes().len() as u64;
            before < bytes_max
        });
        fitting.map(|(_, entry)| (entry.record.to_key(), entry.key_info())).collect()
    }

    /// The same with details, and at most `preview_max` bytes of each value.
    pub fn detailed_keys(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
        preview_max: usize,
    ) -> Vec<(Key, KeyInfo, KeyDetails)> {
        let detailed = |(slot, entry): (u32, &Entry)| {
            let value = entry.record.bytes();
            let details = KeyDetails {
                preview: value[..value.len().min(preview_max)].to_vec(),
                content_type: entry.record.content_type().map(Into::into),
                uses: self.uses(slot),
            };
            (entry.record.to_key(), entry.key_info(), details)
        };
        self.live(prefix, after).take(limit).map(detailed).collect()
    }

    pub(super) fn live<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a str>,
    ) -> impl Iterator<Item = (u32, &'a Entry)> {
        self.store.range(prefix, after).filter(|(_, entry)| !entry.is_expired(self.now_ms))
    }

    fn uses(&self, slot: u32) -> u64 {
        self.store.slab().entry(slot).map_or(0, |entry| u64::from(entry.frequency))
    }

    /// Entries whose keys have a prefix, in the order of their keys, from the first one after `after`; at most `limit`, and
    /// no more once their keys and values add up to `bytes_max` bytes.
    pub fn entries(&self, prefix: &str, after: Option<&str>, limit: usize, bytes_max: u64) -> Vec<Listed> {
        let mut bytes = 0;
        let fitting = self.live(prefix, after).take(limit).take_while(|(_, entry)| {
            let before = bytes;
            bytes += (entry.record.key_bytes().len() + entry.record.bytes().len()) as u64;
            before < bytes_max
        });
        let listed = |(slot, entry): (u32, &Entry)| Listed {
            key: entry.record.to_key(),
            found: entry.found(),
            uses: self.uses(slot),
        };
        fitting.map(listed).collect()
    }
}
