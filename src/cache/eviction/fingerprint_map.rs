//! A number for each fingerprint: about 10 bytes each.
//!
//! It is a sorted list of sorted chunks, like the key index, and not a hash table: so no fingerprints, even those of keys
//! that someone chose with care, make a log entry take long, and neither does growing.

use std::num::NonZeroU32;

/// Most items in a chunk. All chunks have room for as many: pieces that grow would leave gaps of all sizes behind them in the
/// allocator. Larger chunks make an insert slower, smaller ones make the list of chunks longer.
const CHUNK_ITEMS: usize = 256;
/// A full chunk gives half of the difference to a neighbour that has no more than this.
const SHARED_ITEMS_MAX: usize = CHUNK_ITEMS / 16 * 15;
/// A chunk with fewer items is joined with a neighbour, if both together have at most `JOINED_ITEMS_MAX`.
const CHUNK_ITEMS_MIN: usize = CHUNK_ITEMS / 4;
const JOINED_ITEMS_MAX: usize = CHUNK_ITEMS / 4 * 3;

type Chunk = Vec<(NonZeroU32, u32)>;

#[derive(Debug, Default)]
pub(super) struct FingerprintMap {
    /// No chunk is empty.
    chunks: Vec<Chunk>,
    /// For each chunk: none of its fingerprints is less, except in the first chunk, and all of those before it are. They
    /// are here so that a search visits one chunk.
    starts: Vec<NonZeroU32>,
    len: u64,
}

impl FingerprintMap {
    /// Bytes of memory.
    pub fn memory(&self) -> u64 {
        let chunk =
            size_of::<Chunk>() + CHUNK_ITEMS * size_of::<(NonZeroU32, u32)>() + size_of::<NonZeroU32>();
        (self.chunks.len() * chunk) as u64
    }

    pub fn len(&self) -> u64 {
        self.len
    }

    /// Sets the number of a fingerprint; returns the one that it had.
    pub fn insert(&mut self, fingerprint: NonZeroU32, number: u32) -> Option<u32> {
        if self.chunks.is_empty() {
            self.chunks.push(Chunk::with_capacity(CHUNK_ITEMS));
            self.starts.push(fingerprint);
        }
        let mut chunk = self.chunk_of(fingerprint);
        let mut found = position(&self.chunks[chunk], fingerprint);
        if found.is_err() && self.chunks[chunk].len() == CHUNK_ITEMS {
            self.make_room(chunk);
            chunk = self.chunk_of(fingerprint);
            found = position(&self.chunks[chunk], fingerprint);
        }
        match found {
            Ok(at) => Some(std::mem::replace(&mut self.chunks[chunk][at].1, number)),
            Err(at) => {
                self.chunks[chunk].insert(at, (fingerprint, number));
                self.len += 1;
                None
            }
        }
    }

    /// Removes a fingerprint; returns its number.
    pub fn remove(&mut self, fingerprint: NonZeroU32) -> Option<u32> {
        let chunk = self.chunk_of(fingerprint);
        let at = position(self.chunks.get(chunk)?, fingerprint).ok()?;
        let (_, number) = self.chunks[chunk].remove(at);
        self.len -= 1;
        let left = self.chunks[chunk].len();
        if left == 0 {
            self.chunks.remove(chunk);
            self.starts.remove(chunk);
        } else if left < CHUNK_ITEMS_MIN && !self.join(chunk) && chunk > 0 {
            self.join(chunk - 1);
        }
        if self.len == 0 {
            *self = Self::default();
        }
        Some(number)
    }

    /// The chunk that has a fingerprint, if any has.
    fn chunk_of(&self, fingerprint: NonZeroU32) -> usize {
        self.starts.partition_point(|start| *start <= fingerprint).saturating_sub(1)
    }

    /// Makes room in a full chunk: a neighbour takes some of it, or a new chunk takes half.
    fn make_room(&mut self, chunk: usize) {
        let has_room = |chunk: usize| self.chunks.get(chunk).is_some_and(|c| c.len() <= SHARED_ITEMS_MAX);
        if has_room(chunk + 1) {
            self.level(chunk);
        } else if chunk > 0 && has_room(chunk - 1) {
            self.level(chunk - 1);
        } else {
            let mut upper = Chunk::with_capacity(CHUNK_ITEMS);
            upper.extend(self.chunks[chunk].drain(CHUNK_ITEMS / 2..));
            self.starts.insert(chunk + 1, upper[0].0);
            self.chunks.insert(chunk + 1, upper);
        }
    }

    /// Moves items between a chunk and the next one, until both have as many.
    fn level(&mut self, chunk: usize) {
        let [lower, upper] = &mut self.chunks[chunk..chunk + 2] else { return };
        let half = (lower.len() + upper.len()) / 2;
        if lower.len() > half {
            upper.splice(0..0, lower.drain(half..));
        } else {
            lower.extend(upper.drain(..half - lower.len()));
        }
        self.starts[chunk + 1] = upper[0].0;
    }

    /// Joins a chunk with the next one, if both together are small enough.
    fn join(&mut self, chunk: usize) -> bool {
        let lengths = [chunk, chunk + 1].map(|at| self.chunks.get(at).map_or(CHUNK_ITEMS, Vec::len));
        let fits = lengths.iter().sum::<usize>() <= JOINED_ITEMS_MAX;
        if fits {
            let next = self.chunks.remove(chunk + 1);
            self.starts.remove(chunk + 1);
            self.chunks[chunk].extend(next);
        }
        fits
    }
}

fn position(chunk: &Chunk, fingerprint: NonZeroU32) -> Result<usize, usize> {
    chunk.binary_search_by_key(&fingerprint, |(held, _)| *held)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn check(map: &FingerprintMap, model: &BTreeMap<NonZeroU32, u32>) {
        assert_eq!(map.len(), model.len() as u64);
        assert!(map.chunks.iter().flatten().copied().eq(model.iter().map(|(held, number)| (*held, *number))));
        assert!(map.chunks.iter().all(|chunk| (1..=CHUNK_ITEMS).contains(&chunk.len())));
        assert!(map.chunks.iter().all(|chunk| chunk.capacity() == CHUNK_ITEMS));
        assert_eq!(map.chunks.len(), map.starts.len());
    }

    /// As a map of the standard library would have it, whether fingerprints are near each other or far apart, while it grows,
    /// stays and shrinks.
    #[test]
    fn it_has_what_was_inserted() {
        let mut random = fastrand::Rng::with_seed(5);
        for range in [300, 5_000, u32::MAX] {
            let (mut map, mut model) = (FingerprintMap::default(), BTreeMap::new());
            for round in 0..60 {
                for number in 0..500 {
                    let removes = random.u32(..60) < round;
                    let held: Option<NonZeroU32> = model
                        .range(NonZeroU32::new(random.u32(1..=range)).unwrap()..)
                        .next()
                        .map(|(held, _)| *held)
                        .filter(|_| removes || random.u32(..4) == 0);
                    let fingerprint = held.unwrap_or_else(|| NonZeroU32::new(random.u32(1..=range)).unwrap());
                    if removes {
                        assert_eq!(map.remove(fingerprint), model.remove(&fingerprint));
                    } else {
                        assert_eq!(map.insert(fingerprint, number), model.insert(fingerprint, number));
                    }
                }
                check(&map, &model);
            }
            while let Some((fingerprint, number)) = model.pop_last() {
                assert_eq!(map.remove(fingerprint), Some(number));
            }
            assert_eq!((map.chunks.capacity(), map.starts.capacity()), (0, 0));
            assert_eq!(map.remove(NonZeroU32::MIN), None);
        }
    }

    /// Fingerprints of which the oldest goes for each that comes: the chunks stay few, and full.
    #[test]
    fn it_takes_little_more_than_its_items() {
        let mut random = fastrand::Rng::with_seed(6);
        let mut map = FingerprintMap::default();
        let mut queue = std::collections::VecDeque::new();
        for number in 0..300_000 {
            let fingerprint = NonZeroU32::new(random.u32(1..)).unwrap();
            if map.insert(fingerprint, number).is_none() {
                queue.push_back(fingerprint);
            }
            if queue.len() > 60_000 {
                assert!(map.remove(queue.pop_front().unwrap()).is_some());
            }
        }
        let items: usize = map.chunks.iter().map(Vec::capacity).sum();
        let bytes = items * size_of::<(NonZeroU32, u32)>() + map.chunks.capacity() * (size_of::<Chunk>() + 4);
        assert!(bytes < 60_000 * 11, "{bytes} bytes");
    }
}
