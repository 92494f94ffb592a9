//! Snapshots that are not what they should be. Restoring refuses them, and never panics or takes more memory
//! than the bytes justify.

use crate::{arbitrary, snapshot};
use lockstep::cache::{Cache, RestoreError, Stamp};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

fn history(commands: Vec<lockstep::cache::Command>, config: lockstep::cache::CacheConfig) -> Vec<u8> {
    let mut cache = Cache::new(config);
    for (index, command) in (1..).zip(commands) {
        let id = (index % 2 == 0).then(|| format!("id-{index}"));
        cache.apply(
            Stamp {
                index,
                at_ms: 1_000 + index,
                idempotency_key: id.map(Into::into),
                origin: None,
                touches: Vec::new(),
            },
            command,
        );
    }
    snapshot(&cache)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// C7 snapshot_round_trips_everything, or is refused: no changed byte goes unnoticed.
    #[test]
    fn a_changed_byte_is_refused(
        config in arbitrary::config(),
        commands in vec(arbitrary::command(), 1..30),
        changes in vec((any::<Index>(), 1..=255u8), 1..40),
    ) {
        let bytes = history(commands, config);
        for (at, change) in changes {
            let mut damaged = bytes.clone();
            *at.get_mut(&mut damaged) ^= change;
            prop_assert!(Cache::restore(damaged.as_slice()).is_err());
        }
    }

    /// C7: nor does a missing end, or something after it.
    #[test]
    fn a_cut_or_extended_snapshot_is_refused(
        config in arbitrary::config(),
        commands in vec(arbitrary::command(), 1..30),
        cuts in vec(any::<Index>(), 1..20),
    ) {
        let mut bytes = history(commands, config);
        for cut in cuts {
            let outcome = Cache::restore(&bytes[..cut.index(bytes.len())]);
            prop_assert!(matches!(outcome, Err(RestoreError::Truncated)));
        }
        bytes.push(0);
        prop_assert!(Cache::restore(bytes.as_slice()).is_err());
    }

    /// C9: bytes that were never a snapshot do no harm.
    #[test]
    fn random_bytes_are_refused(bytes in vec(any::<u8>(), 0..2_000)) {
        prop_assert!(Cache::restore(bytes.as_slice()).is_err());
        let with_head = [b"LSCACHE\n\x01\x00\x00\x00".as_slice(), &bytes].concat();
        prop_assert!(Cache::restore(with_head.as_slice()).is_err());
    }
}

#[test]
fn every_refusal_says_what_is_wrong() {
    let intact = history(Vec::new(), Default::default());
    let refusal = |bytes: &[u8]| Cache::restore(bytes).expect_err("it is damaged").to_string();
    assert_eq!(refusal(&[]), "the snapshot ends too early");
    assert_eq!(refusal(b"something else entirely"), "these bytes are no cache snapshot");
    let mut newer = intact.clone();
    newer[8] = 4;
    assert_eq!(refusal(&newer), "the snapshot has format version 4, this program reads version 1");
    let mut other_index = intact.clone();
    other_index[28] ^= 1;
    assert!(refusal(&other_index).starts_with("the snapshot is damaged: its digest is "));
    // The rules of a later level: the number stands behind digest, index, time, settings and counts.
    let mut later = intact.clone();
    let at = 12 + 16 + 8 + 8 + (1 + 8 + 8 + 1 + 1 + 8 + 8) + 12 * 8;
    later[at] = 2;
    assert_eq!(refusal(&later), "the snapshot has feature level 2, this program knows up to 1");
    // A length of 4 GiB in a file of a few bytes: refused before memory is taken.
    let mut long = intact[..intact.len() - 32].to_vec();
    long.extend([1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]);
    assert!(!refusal(&long).is_empty());
}
