//! Tests of the cache as a state machine, from outside: only its public interface is used.
//!
//! `transcripts/` tells the rules as stories; `properties.rs` compares with a second, naive implementation
//! (`model*.rs`); `absence.rs`, `bounds.rs`, `clears.rs`, `eviction.rs` and `hashes.rs` reach
//! the limits; `hostile.rs` restores damaged snapshots.

mod absence;
mod arbitrary;
mod bounds;
mod clears;
mod eviction;
mod hashes;
mod hostile;
mod long_keys;
mod memories;
mod model;
mod model_absence;
mod model_clear;
mod model_hashes;
mod model_ops;
mod model_order;
mod model_sequence;
mod model_within;
mod properties;
mod scan;
mod script;
mod script_errors;
mod script_values;
mod sequences;
mod sessions;
mod transcripts;

use lockstep::cache::{Cache, limits};

/// The bytes of a cache's snapshot.
fn snapshot(cache: &Cache) -> Vec<u8> {
    let mut bytes = Vec::new();
    cache.snapshot_view().encode(&mut bytes).expect("a Vec takes everything");
    bytes
}

/// The cache that comes back from a snapshot.
fn restored(cache: &Cache) -> Cache {
    Cache::restore(snapshot(cache).as_slice()).expect("an intact snapshot is restored")
}

/// C3 bytes_used_is_exact_and_bounded, C7: what is kept current agrees with what is counted anew.
fn check_accounts(cache: &Cache) {
    assert_eq!(cache.digest(), cache.recompute_digest(), "the digest drifted");
    let live = cache.keys("", None, usize::MAX);
    let counted: u64 = live
        .iter()
        .map(|(key, info)| {
            let found = cache.get(key.as_str()).expect("a listed key is there");
            assert_eq!(info.bytes, found.value.bytes.len() as u64);
            let media = found.value.content_type.map_or(0, |media| media.len());
            let origin = found.info.origin.map_or(0, |origin| origin.len());
            key.as_str().len() as u64 + info.bytes + (media + origin) as u64 + limits::ENTRY_OVERHEAD_BYTES
        })
        .sum();
    if cache.len() + cache.entries_to_free() == live.len() as u64 {
        assert_eq!(cache.bytes(), counted, "the bytes are not exact");
    } else {
        assert!(cache.bytes() > counted, "entries to be purged still count");
    }
}
