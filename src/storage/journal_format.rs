//! The bytes of a batch in the journal.
//!
//! A batch has the number of its manifest, and names the batch before it. It ends in a hash that covers the store's id as
//! well, so that stale, torn and foreign batches are recognised.

use std::ops::Range;

use xxhash_rust::xxh3::Xxh3;

use super::Mutation;

/// Bytes before a batch's mutations: their length, the number of the batch before, and of this one.
const HEAD: usize = 4 + 8 + 8;
/// Bytes of the hash after them.
const HASH: usize = 16;
/// A tombstone, in place of the length of a value: the key is deleted.
const TOMBSTONE: u32 = u32::MAX;

/// A batch as it lies in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Batch {
    /// The number of the batch before.
    pub follows: u64,
    pub seq: u64,
    /// Each key, and where its value lies; `None` is a deletion. Places are counted from the front of the bytes that were
    /// given to [`decode`].
    pub mutations: Vec<(Vec<u8>, Option<Range<usize>>)>,
    /// Where the batch ends.
    pub end: usize,
}

/// Appends a batch to `out`. Returns where each mutation's value starts in `out`.
pub(super) fn encode(
    store: [u8; 16],
    follows: u64,
    seq: u64,
    mutations: &[Mutation],
    out: &mut Vec<u8>,
) -> Vec<usize> {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&follows.to_le_bytes());
    out.extend_from_slice(&seq.to_le_bytes());
    let mut places = Vec::with_capacity(mutations.len());
    for mutation in mutations {
        let (key, value) = match mutation {
            Mutation::Put { key, value } => (key, Some(value)),
            Mutation::Delete { key } => (key, None),
        };
        out.extend_from_slice(&(key.len() as u32).to_le_bytes());
        out.extend_from_slice(&value.map_or(TOMBSTONE, |value| value.len() as u32).to_le_bytes());
        out.extend_from_slice(key);
        places.push(out.len());
        out.extend_from_slice(value.map_or(&[], Vec::as_slice));
    }
    let length = (out.len() - start - HEAD) as u32;
    out[start..start + 4].copy_from_slice(&length.to_le_bytes());
    let hash = hash(store, &out[start..]);
    out.extend_from_slice(&hash.to_le_bytes());
    places
}

/// The batch of a store that starts at `at`; `None` when it is not whole.
pub(super) fn decode(store: [u8; 16], bytes: &[u8], at: usize) -> Option<Batch> {
    let length = u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?) as usize;
    let end = at.checked_add(HEAD)?.checked_add(length)?;
    let stored = bytes.get(end..)?.first_chunk::<HASH>()?;
    if hash(store, &bytes[at..end]).to_le_bytes() != *stored {
        return None;
    }
    let follows = u64::from_le_bytes(*bytes[at + 4..].first_chunk()?);
    let seq = u64::from_le_bytes(*bytes[at + 12..].first_chunk()?);
    let (mut next, mut mutations) = (at + HEAD, Vec::new());
    while next < end {
        let key = u32::from_le_bytes(*bytes[next..end].first_chunk()?) as usize;
        let value = u32::from_le_bytes(*bytes[next + 4..end].first_chunk()?);
        let start = next + 8 + key;
        let key = bytes[..end].get(next + 8..start)?.to_vec();
        let value = (value != TOMBSTONE).then_some(start..start + value as usize);
        next = value.as_ref().map_or(start, |value| value.end);
        if next > end {
            return None;
        }
        mutations.push((key, value));
    }
    Some(Batch { follows, seq, mutations, end: end + HASH })
}

/// The whole batches at the front of a file, up to the first that is not whole, or does not follow the one before.
pub(super) fn batches(store: [u8; 16], bytes: &[u8]) -> impl Iterator<Item = Batch> + '_ {
    let (mut at, mut last) = (0, None);
    std::iter::from_fn(move || {
        let batch = decode(store, bytes, at)?;
        let continues = last.is_none_or(|last| batch.follows == last && batch.seq > last);
        (at, last) = (batch.end, Some(batch.seq));
        continues.then_some(batch)
    })
    .fuse()
}

fn hash(store: [u8; 16], batch: &[u8]) -> u128 {
    let mut hasher = Xxh3::new();
    hasher.update(&store);
    hasher.update(batch);
    hasher.digest128()
}

#[cfg(test)]
mod tests {
    use super::*;

    const STORE: [u8; 16] = [7; 16];

    fn batch(seq: u64) -> Vec<Mutation> {
        let key = seq.to_le_bytes().to_vec();
        vec![Mutation::Put { key: key.clone(), value: vec![seq as u8; 40] }, Mutation::Delete { key }]
    }

    fn encoded(seqs: impl IntoIterator<Item = u64>) -> Vec<u8> {
        let mut bytes = Vec::new();
        for seq in seqs {
            let places = encode(STORE, seq - 1, seq, &batch(seq), &mut bytes);
            assert_eq!(bytes[places[0]..][..40], [seq as u8; 40]);
        }
        bytes
    }

    fn seqs(bytes: &[u8], store: [u8; 16]) -> Vec<u64> {
        let found = batches(store, bytes).map(|found| {
            let value = |at: Option<Range<usize>>| at.map(|at| bytes[at].to_vec());
            let mutations = found.mutations.into_iter().map(|(key, at)| match value(at) {
                Some(value) => Mutation::Put { key, value },
                None => Mutation::Delete { key },
            });
            assert_eq!(mutations.collect::<Vec<_>>(), batch(found.seq));
            found.seq
        });
        found.collect()
    }

    #[test]
    fn batches_come_back_and_those_of_an_earlier_use_do_not_mix_in() {
        let mut bytes = encoded(1..=7);
        bytes.resize(2_000, 0);
        assert_eq!(seqs(&bytes, STORE), (1..=7).collect::<Vec<_>>());
        assert_eq!(seqs(&bytes, [8; 16]), [0; 0], "another store's");
        let newer = encoded([10]);
        bytes[..newer.len()].copy_from_slice(&newer);
        // The rest lies behind 10, and does not follow it.
        assert_eq!(seqs(&bytes, STORE), [10]);
    }

    #[test]
    fn every_flip_and_every_cut_ends_the_batches_before_it() {
        let whole = encoded(1..=3);
        let length = whole.len() / 3;
        for bit in 0..whole.len() * 8 {
            let mut damaged = whole.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            let before = (bit / 8 / length) as u64;
            assert_eq!(seqs(&damaged, STORE), (1..=before).collect::<Vec<_>>(), "bit {bit}");
        }
        for cut in 0..whole.len() {
            let before = (cut / length) as u64;
            assert_eq!(seqs(&whole[..cut], STORE), (1..=before).collect::<Vec<_>>(), "cut at {cut}");
        }
    }
}
