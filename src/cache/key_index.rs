//! The slots of all entries in the order of their keys: 4 bytes an entry and no copy of the key.
//!
//! It is a sorted list of sorted chunks, like a B-tree of two levels. The key of a slot is looked up in the slab, so an
//! entry must be in the slab while its slot is in the index.

use super::hints::Hints;
use super::slab::Slab;
use std::cmp::Ordering;
use std::ops::Bound;

/// Most slots in a chunk. Larger chunks make an insert slower, smaller ones make the list of chunks longer.
const CHUNK_SLOTS: usize = 512;
/// A chunk with fewer slots is joined with a neighbour, if both together have at most `JOINED_SLOTS_MAX`.
const CHUNK_SLOTS_MIN: usize = CHUNK_SLOTS / 4;
const JOINED_SLOTS_MAX: usize = CHUNK_SLOTS / 4 * 3;
/// A chunk grows by so many slots: doubling its memory would leave a third of it unused.
const CHUNK_STEP: usize = CHUNK_SLOTS / 16;

#[derive(Debug, Default)]
pub(super) struct KeyIndex {
    /// No chunk is empty.
    chunks: Vec<Vec<u32>>,
    len: u64,
    hints: Hints,
    /// Hints to entries created before this log index are not believed: such an entry may have been split off.
    hints_from: u64,
}

/// Where a slot is, or would be inserted.
#[derive(Debug, Clone, Copy)]
struct Position {
    chunk: usize,
    at: usize,
}

impl KeyIndex {
    /// The index of these slots; `None` if two have the same key.
    pub fn of(slab: &Slab, slots: &[u32]) -> Option<Self> {
        let sorted = sorted_by_key(slab, slots)?;
        let mut hints = Hints::default();
        hints.fit(sorted.len() as u64);
        let len = sorted.len() as u64;
        let chunks = sorted.chunks(JOINED_SLOTS_MAX).map(<[u32]>::to_vec).collect();
        Some(Self { chunks, len, hints, hints_from: 0 })
    }

    pub fn len(&self) -> u64 {
        self.len
    }

    /// Chunks have room for half a step more than they hold, on average.
    pub fn memory(&self) -> u64 {
        let chunk = size_of::<Vec<u32>>() + CHUNK_STEP / 2 * size_of::<u32>();
        (self.chunks.len() * chunk) as u64 + self.len * size_of::<u32>() as u64 + self.hints.memory()
    }

    /// Slots where a key may be: cheap guesses.
    pub fn hints(&self, key: &[u8]) -> impl Iterator<Item = u32> {
        self.hints.get(key)
    }

    pub fn find(&self, slab: &Slab, key: &[u8]) -> Option<u32> {
        let is_there = |slot: &u32| {
            let entry = slab.entry(*slot);
            entry.is_some_and(|e| e.created_revision.get() >= self.hints_from && e.record.key_bytes() == key)
        };
        if let Some(slot) = self.hints.get(key).find(is_there) {
            return Some(slot);
        }
        let Position { chunk, at } = self.position(slab, key).ok()?;
        let slot = self.chunks[chunk][at];
        self.hints.set(key, slot);
        Some(slot)
    }

    /// Inserts the slot of a key that is not in the index.
    pub fn insert(&mut self, slab: &Slab, slot: u32) {
        let Some(entry) = slab.entry(slot) else { return };
        let key = entry.record.key_bytes();
        let Err(Position { chunk, at }) = self.position(slab, key) else { return };
        self.len += 1;
        self.hints.fit(self.len);
        self.hints.set(key, slot);
        if self.chunks.is_empty() {
            self.chunks.push(Vec::new());
        }
        if self.chunks[chunk].len() < CHUNK_SLOTS {
            insert_into(&mut self.chunks[chunk], at, slot);
            return;
        }
        // Keys that are inserted in ascending order leave full chunks behind.
        let at_the_end = chunk + 1 == self.chunks.len() && at == CHUNK_SLOTS;
        let middle = if at_the_end { CHUNK_SLOTS } else { CHUNK_SLOTS / 2 };
        let mut upper = self.chunks[chunk].split_off(middle);
        self.chunks[chunk].shrink_to(middle + CHUNK_STEP);
        let (half, at) = if at < middle { (&mut self.chunks[chunk], at) } else { (&mut upper, at - middle) };
        insert_into(half, at, slot);
        self.chunks.insert(chunk + 1, upper);
    }

    /// Removes a slot. Its entry is still in the slab.
    pub fn remove(&mut self, slab: &Slab, slot: u32) {
        let Some(entry) = slab.entry(slot) else { return };
        let Ok(Position { chunk, at }) = self.position(slab, entry.record.key_bytes()) else { return };
        self.len -= 1;
        self.chunks[chunk].remove(at);
        let left = self.chunks[chunk].len();
        if left == 0 {
            self.chunks.remove(chunk);
        } else if left < CHUNK_SLOTS_MIN && !self.join(chunk) && chunk > 0 {
            self.join(chunk - 1);
        }
    }

    /// How many keys start with a prefix.
    pub fn count(&self, slab: &Slab, prefix: &[u8]) -> u64 {
        let [start, end] = self.bounds(slab, prefix);
        let before = |position: Position| {
            let chunks = self.chunks.iter().take(position.chunk);
            chunks.map(|chunk| chunk.len() as u64).sum::<u64>() + position.at as u64
        };
        before(end) - before(start)
    }

    /// Splits off the slots of all keys that start with a prefix, for the log entry with the index `revision`. It moves
    /// whole chunks, so it takes as long as there are chunks, not keys. Until [`believe_hints`](Self::believe_hints),
    /// older entries are searched for.
    pub fn split_off(&mut self, slab: &Slab, prefix: &[u8], revision: u64) -> Self {
        let [start, end] = self.bounds(slab, prefix);
        // From the end: a cut moves the chunks after it.
        let end = self.cut(end);
        let chunks_before = self.chunks.len();
        let start = self.cut(start);
        let end = end + self.chunks.len() - chunks_before;
        let chunks: Vec<Vec<u32>> = self.chunks.drain(start..end).collect();
        if start > 0 {
            self.join(start - 1);
        }
        let len = chunks.iter().map(|chunk| chunk.len() as u64).sum();
        self.len -= len;
        self.hints_from = revision;
        Self { chunks, len, hints: Hints::default(), hints_from: 0 }
    }

    /// No slot that was split off has its entry any more, so all hints can be believed again.
    pub fn believe_hints(&mut self) {
        self.hints_from = 0;
    }

    /// Where the keys with a prefix start, and where they end.
    fn bounds(&self, slab: &Slab, prefix: &[u8]) -> [Position; 2] {
        let at = |key: &[u8]| self.position(slab, key).unwrap_or_else(|position| position);
        let end = Position { chunk: self.chunks.len(), at: 0 };
        [at(prefix), successor(prefix).map_or(end, |key| at(&key))]
    }

    /// Makes a position the start of a chunk, and returns that chunk.
    fn cut(&mut self, Position { chunk, at }: Position) -> usize {
        if at == 0 {
            return chunk;
        }
        let slots = &mut self.chunks[chunk];
        if at < slots.len() {
            let upper = slots.split_off(at);
            self.chunks.insert(chunk + 1, upper);
        }
        chunk + 1
    }

    /// Removes the slot of the first key.
    pub fn pop_first(&mut self) -> Option<u32> {
        let first = self.chunks.first_mut()?;
        let slot = first.remove(0);
        if first.is_empty() {
            self.chunks.remove(0);
        }
        self.len -= 1;
        Some(slot)
    }

    /// Joins a chunk with the next one, if both together are small enough.
    fn join(&mut self, chunk: usize) -> bool {
        let lengths = [chunk, chunk + 1].map(|at| self.chunks.get(at).map_or(CHUNK_SLOTS, Vec::len));
        let fits = lengths.iter().sum::<usize>() <= JOINED_SLOTS_MAX;
        if fits {
            let next = self.chunks.remove(chunk + 1);
            self.chunks[chunk].reserve_exact(next.len() + CHUNK_STEP);
            self.chunks[chunk].extend(next);
        }
        fits
    }

    /// Slots from a key on, in the order of their keys.
    pub fn from<'a>(&'a self, slab: &Slab, start: Bound<&[u8]>) -> impl Iterator<Item = u32> + use<'a> {
        let position = match start {
            Bound::Unbounded => Position { chunk: 0, at: 0 },
            Bound::Included(key) => self.position(slab, key).unwrap_or_else(|position| position),
            Bound::Excluded(key) => match self.position(slab, key) {
                Ok(position) => Position { at: position.at + 1, ..position },
                Err(position) => position,
            },
        };
        let chunks = self.chunks.iter().skip(position.chunk);
        chunks.flatten().skip(position.at).copied()
    }

    fn position(&self, slab: &Slab, key: &[u8]) -> Result<Position, Position> {
        let compare = |slot: u32| slab.entry(slot).map_or(Ordering::Less, |e| e.record.key_bytes().cmp(key));
        let after = self.chunks.partition_point(|chunk| compare(chunk[0]) != Ordering::Greater);
        let Some(chunk) = after.checked_sub(1) else { return Err(Position { chunk: 0, at: 0 }) };
        let found = self.chunks[chunk].binary_search_by(|&slot| compare(slot));
        found.map(|at| Position { chunk, at }).map_err(|at| Position { chunk, at })
    }
}

fn insert_into(chunk: &mut Vec<u32>, at: usize, slot: u32) {
    if chunk.len() == chunk.capacity() {
        chunk.reserve_exact(CHUNK_STEP);
    }
    chunk.insert(at, slot);
}

/// The first key after all that start with a prefix; `None` where there can be none.
fn successor(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|byte| *byte < u8::MAX)?;
    let mut key = prefix[..=last].to_vec();
    key[last] += 1;
    Some(key)
}

/// Slots in the order of their keys; `None` if two have the same. The keys themselves are anywhere in memory, so the first eight bytes
/// in which any of them differ are compared first, which lie beside the slot.
fn sorted_by_key(slab: &Slab, slots: &[u32]) -> Option<Vec<u32>> {
    let key = |slot: u32| slab.entry(slot).map_or(&[][..], |entry| entry.record.key_bytes());
    let shared = |common: &'_ [u8], slot: &u32| {
        common.iter().zip(key(*slot)).take_while(|(left, right)| left == right).count()
    };
    // What the first and the last have in common is often what all have, and then each key is looked at once.
    let first = slots.first().map_or(&[][..], |slot| key(*slot));
    let likely = slots.last().map_or(0, |last| shared(first, last));
    let begins = |common: &[u8]| {
        let begin = |slot: &u32| key(*slot).strip_prefix(common).map(|differs| (first_word(differs), *slot));
        slots.iter().map(begin).collect::<Option<Vec<(u64, u32)>>>()
    };
    let mut sorted = begins(&first[..likely]).or_else(|| {
        let common = slots.iter().fold(likely, |length, slot| shared(&first[..length], slot));
        begins(&first[..common])
    })?;
    sorted.sort_unstable_by(|left, right| left.0.cmp(&right.0).then_with(|| key(left.1).cmp(key(right.1))));
    let is_twice = sorted.windows(2).any(|pair| pair[0].0 == pair[1].0 && key(pair[0].1) == key(pair[1].1));
    (!is_twice).then(|| sorted.into_iter().map(|(_, slot)| slot).collect())
}

/// As a number that sorts as they do. What is missing counts as 0.
fn first_word(bytes: &[u8]) -> u64 {
    let mut word = [0; size_of::<u64>()];
    let length = bytes.len().min(word.len());
    word[..length].copy_from_slice(&bytes[..length]);
    u64::from_be_bytes(word)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::Key;
    use crate::cache::entry::{Entry, Lifetime};
    use crate::cache::record::Record;
    use proptest::prelude::*;

    fn insert(index: &mut KeyIndex, slab: &mut Slab, number: u64) -> u32 {
        insert_key(index, slab, &format!("{number:08}"))
    }

    fn insert_key(index: &mut KeyIndex, slab: &mut Slab, key: &str) -> u32 {
        let key = Key::new(key).unwrap();
        let slot = slab.insert(Entry::new(Record::new(&key, b"", None, None), Lifetime::FOREVER, 1, 0, 0));
        index.insert(slab, slot);
        slot
    }

    proptest! {
        /// Short ones, which begin others, and such that differ behind the first eight bytes in which any do.
        #[test]
        fn slots_are_sorted_by_their_keys(
            common in "(|user:|é)",
            ends in proptest::collection::vec("[a-cé]{0,2}(|aaaaaaaa)[a-c]{1,3}", 0..40),
        ) {
            let mut slab = Slab::default();
            let (mut keys, mut slots) = (Vec::new(), Vec::new());
            for end in ends {
                let key = Key::new(&format!("{common}{end}")).unwrap();
                slots.push(slab.insert(Entry::new(Record::new(&key, b"", None, None), Lifetime::FOREVER, 1, 0, 0)));
                keys.push(key);
            }
            let mut expected: Vec<(Key, u32)> = keys.into_iter().zip(slots.iter().copied()).collect();
            expected.sort();
            let is_twice = expected.windows(2).any(|pair| pair[0].0 == pair[1].0);
            let sorted = sorted_by_key(&slab, &slots);
            let expected: Vec<u32> = expected.into_iter().map(|(_, slot)| slot).collect();
            prop_assert_eq!(sorted, (!is_twice).then_some(expected));
        }
    }

    /// Keys in order of time that go in the same order, but for a few: what is left must not keep the chunks of
    /// those that are gone.
    #[test]
    fn few_that_stay_take_little_room() {
        let (mut index, mut slab) = (KeyIndex::default(), Slab::default());
        let mut queue = std::collections::VecDeque::new();
        for number in 0..400_000 {
            let slot = insert(&mut index, &mut slab, number);
            if number % 400 != 0 {
                queue.push_back(slot);
            }
            if queue.len() > 20_000 {
                let slot = queue.pop_front().unwrap();
                index.remove(&slab, slot);
                slab.remove(slot);
            }
        }
        let held = slab.len() as usize;
        assert!(index.chunks.len() <= 2 + 4 * held / CHUNK_SLOTS, "{} chunks for {held}", index.chunks.len());
        assert!(index.chunks.iter().all(|chunk| !chunk.is_empty() && chunk.len() <= CHUNK_SLOTS));
        assert_eq!(index.from(&slab, Bound::Unbounded).count(), held);
    }

    /// Slots are used again for other keys, and two keys may share a place: what is found is what the order of keys says.
    #[test]
    fn a_hint_is_never_believed() {
        let (mut index, mut slab) = (KeyIndex::default(), Slab::default());
        let mut held = std::collections::BTreeMap::new();
        let mut random = fastrand::Rng::with_seed(7);
        let mut hits = 0;
        for _ in 0..30_000 {
            let number = random.u64(..3_000);
            let key = format!("{number:08}");
            let hinted: Vec<u32> = index.hints.get(key.as_bytes()).collect();
            let found = index.find(&slab, key.as_bytes());
            assert_eq!(found, held.get(&number).copied(), "{number}");
            hits += u32::from(found.is_some_and(|found| hinted.contains(&found)));
            match found {
                Some(slot) if random.bool() => {
                    index.remove(&slab, slot);
                    slab.remove(slot);
                    held.remove(&number);
                }
                Some(_) => {}
                None => {
                    held.insert(number, insert(&mut index, &mut slab, number));
                }
            }
        }
        assert!(hits > 1_000, "{hits} good hints");
    }

    /// What is split off and what stays are the keys with and without the prefix, in order, in chunks that are well formed;
    /// and both can be changed afterwards.
    #[test]
    fn a_prefix_is_split_off_with_its_keys_and_no_others() {
        let mut random = fastrand::Rng::with_seed(11);
        for round in 0..200 {
            let (mut index, mut slab) = (KeyIndex::default(), Slab::default());
            let letters = ["a", "b", "~", "\u{10ffff}"];
            let mut keys = std::collections::BTreeMap::new();
            for _ in 0..random.usize(..4_000) {
                let head: String = (0..random.usize(1..4)).map(|_| letters[random.usize(..4)]).collect();
                let key = format!("{head}{}", random.u32(..2_000));
                if !keys.contains_key(&key) {
                    keys.insert(key.clone(), insert_key(&mut index, &mut slab, &key));
                }
            }
            let prefix: String = (0..random.usize(..4)).map(|_| letters[random.usize(..4)]).collect();
            let with: Vec<u32> =
                keys.iter().filter(|(k, _)| k.starts_with(&prefix)).map(|(_, s)| *s).collect();
            let without: Vec<u32> =
                keys.iter().filter(|(k, _)| !k.starts_with(&prefix)).map(|(_, s)| *s).collect();
            assert_eq!(index.count(&slab, prefix.as_bytes()), with.len() as u64, "round {round}, {prefix:?}");
            // (All of the keys here were created by log entry 1.)
            let mut split = index.split_off(&slab, prefix.as_bytes(), 2);
            for (part, expected) in [(&index, &without), (&split, &with)] {
                assert_eq!(&part.from(&slab, Bound::Unbounded).collect::<Vec<u32>>(), expected, "{prefix:?}");
                assert_eq!(part.len(), expected.len() as u64);
                assert!(part.chunks.iter().all(|chunk| !chunk.is_empty() && chunk.len() <= CHUNK_SLOTS));
            }
            for (key, slot) in &keys {
                let found = index.find(&slab, key.as_bytes());
                assert_eq!(found, (!key.starts_with(&prefix)).then_some(*slot), "{key:?} without {prefix:?}");
            }
            for slot in with.into_iter().chain(without) {
                let part = if split.find(&slab, slab.entry(slot).unwrap().record.key_bytes()) == Some(slot) {
                    &mut split
                } else {
                    &mut index
                };
                part.remove(&slab, slot);
                slab.remove(slot);
            }
            assert_eq!((index.len(), index.chunks.len(), split.len(), split.chunks.len()), (0, 0, 0, 0));
        }
    }
}
