//! Hashes: values made of fields, each with a value of its own. A hash is kept as the bytes of a value that its content type marks. Each
//! hash has one encoding:
//!
//! | Bytes | What |
//! |---|---|
//! | 1 | the version of the encoding: 1 |
//! | 4 | how many fields there are, at least one |
//! | 4 of each field | where it ends in what follows |
//! | of each field | the length of its name (LEB128, as short as it can be), its name, its value |
//!
//! Numbers are little-endian. Fields are in the order of their names' bytes, and no two have the same name. So a field is found by a binary
//! search, and a change copies what stays as it is in a few pieces.

use bytes::Bytes;
use std::ops::Range;

/// The content type of a value that is a hash.
pub const HASH_CONTENT_TYPE: &str = "application/vnd.lockstep.hash";

const VERSION: u8 = 1;
const HEAD_BYTES: usize = 5;
const END_BYTES: usize = 4;
/// A name has less than 2^28 bytes.
const LENGTH_BYTES_MAX: usize = 4;
const _: () = assert!(super::limits::VALUE_BYTES_MAX < 1 << (7 * LENGTH_BYTES_MAX));

/// The bytes of a value that is a hash.
#[derive(Debug, Clone, Copy)]
pub struct Hash<'a> {
    /// Where each field ends.
    ends: &'a [[u8; END_BYTES]],
    fields: &'a [u8],
}

/// A changed hash.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Edited {
    /// Its bytes; none if it has no field any more.
    pub bytes: Vec<u8>,
    /// How many fields are new, or are gone.
    pub count: u64,
    /// Whether anything was set or removed.
    pub is_changed: bool,
}

/// What is done at one place of a hash.
struct Change<'a> {
    /// The fields before it.
    at: usize,
    /// Whether the field at this place goes.
    removes: bool,
    /// The name and the value that come there.
    field: Option<(&'a [u8], &'a [u8])>,
}

impl<'a> Hash<'a> {
    /// Checks all bytes of a value. `None`: they are no hash.
    pub fn read(bytes: &'a [u8]) -> Option<Self> {
        let hash = Self::open(bytes)?;
        let mut before = None;
        for at in 0..hash.len() {
            let (name, _) = hash.at(at)?;
            if before.is_some_and(|before| before >= name) {
                return None;
            }
            before = Some(name);
        }
        Some(hash)
    }

    /// Takes bytes that were checked when they came in: so it looks at their first ones only. `None`: they are no hash.
    pub fn open(bytes: &'a [u8]) -> Option<Self> {
        let (head, rest) = bytes.split_first_chunk::<HEAD_BYTES>()?;
        let [version, count @ ..] = *head;
        let count = usize::try_from(u32::from_le_bytes(count)).ok()?;
        let (ends, fields) = rest.split_at_checked(count.checked_mul(END_BYTES)?)?;
        let (ends, _) = ends.as_chunks();
        let is_whole = u32::from_le_bytes(*ends.last()?) as usize == fields.len();
        (version == VERSION && is_whole).then_some(Self { ends, fields })
    }

    /// How many fields there are: at least one.
    #[expect(clippy::len_without_is_empty, reason = "a hash without fields is none")]
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Name and value of the field at this place.
    pub fn at(&self, at: usize) -> Option<(&'a [u8], &'a [u8])> {
        let field = self.fields.get(self.end(at.checked_sub(1))?..self.end(Some(at))?)?;
        let (length, rest) = split_length(field)?;
        rest.split_at_checked(length)
    }

    /// The value of a field.
    pub fn get(&self, name: &[u8]) -> Option<&'a [u8]> {
        self.at(self.place(name)?).map(|(_, value)| value)
    }

    /// The place of a field.
    pub fn place(&self, name: &[u8]) -> Option<usize> {
        self.find(name, 0).ok()
    }

    /// Names and values of all fields, in the order of their names.
    pub fn fields(self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
        (0..self.len()).map_while(move |at| self.at(at))
    }

    /// The place of a field, or the one where it would be; it is not before `from`.
    fn find(&self, name: &[u8], from: usize) -> Result<usize, usize> {
        let (mut low, mut high) = (from, self.len());
        while low < high {
            let middle = low + (high - low) / 2;
            match self.at(middle).map(|(other, _)| other.cmp(name)) {
                Some(std::cmp::Ordering::Equal) => return Ok(middle),
                Some(std::cmp::Ordering::Less) => low = middle + 1,
                _ => high = middle,
            }
        }
        Err(low)
    }

    /// Where the field at this place ends; `None` is the place before the first.
    fn end(&self, at: Option<usize>) -> Option<usize> {
        let Some(at) = at else { return Some(0) };
        self.ends.get(at).map(|end| u32::from_le_bytes(*end) as usize)
    }

    /// The bytes of the fields in these places.
    fn range(&self, places: &Range<usize>) -> Option<Range<usize>> {
        Some(self.end(places.start.checked_sub(1))?..self.end(places.end.checked_sub(1))?)
    }
}

/// Sets fields, one after another; with `only_new` only those that are not there. `None` for `before` is a hash that is not there yet.
/// `None`: its bytes are damaged.
pub(super) fn set(before: Option<Hash<'_>>, fields: &[(Bytes, Bytes)], only_new: bool) -> Option<Edited> {
    let mut wanted: Vec<(&[u8], &[u8])> =
        fields.iter().map(|(name, value)| (&name[..], &value[..])).collect();
    // Of fields with the same name, the one that counts comes first.
    if !only_new {
        wanted.reverse();
    }
    wanted.sort_by_key(|(name, _)| *name);
    wanted.dedup_by_key(|(name, _)| *name);
    let mut changes = Vec::with_capacity(wanted.len());
    let mut from = 0;
    for (name, value) in wanted {
        let place = before.map_or(Err(0), |before| before.find(name, from));
        let (Ok(at) | Err(at)) = place;
        from = at;
        if !(only_new && place.is_ok()) {
            changes.push(Change { at, removes: place.is_ok(), field: Some((name, value)) });
        }
    }
    let count = changes.iter().filter(|change| !change.removes).count() as u64;
    let bytes = changed(before, &changes)?;
    Some(Edited { bytes, count, is_changed: !changes.is_empty() })
}

/// Removes fields. `None`: the bytes are damaged.
pub(super) fn delete(before: Hash<'_>, names: &[Bytes]) -> Option<Edited> {
    let mut names: Vec<&[u8]> = names.iter().map(|name| &name[..]).collect();
    names.sort_unstable();
    names.dedup();
    let places = names.into_iter().filter_map(|name| before.find(name, 0).ok());
    let changes: Vec<Change<'_>> = places.map(|at| Change { at, removes: true, field: None }).collect();
    let bytes = changed(Some(before), &changes)?;
    Some(Edited { bytes, count: changes.len() as u64, is_changed: !changes.is_empty() })
}

/// At most how many bytes a hash has once fields with these names and values were set in one of `before` bytes.
pub(super) fn bytes_max<'a>(before: usize, fields: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> usize {
    let field = |(name, value): (&[u8], &[u8])| name.len() + value.len() + END_BYTES + LENGTH_BYTES_MAX;
    before.max(HEAD_BYTES) + fields.map(field).sum::<usize>()
}

/// A hash with these changes, which are in the order of their places.
fn changed(before: Option<Hash<'_>>, changes: &[Change<'_>]) -> Option<Vec<u8>> {
    let old_count = before.map_or(0, |before| before.len());
    let added = changes.iter().filter(|change| change.field.is_some()).count();
    let removed = changes.iter().filter(|change| change.removes).count();
    let count = (old_count + added).checked_sub(removed)?;
    if count == 0 {
        return Some(Vec::new());
    }
    let fields = changes.iter().filter_map(|change| change.field);
    let before_bytes =
        before.map_or(0, |before| HEAD_BYTES + before.ends.as_flattened().len() + before.fields.len());
    let mut out = Writer::new(count, bytes_max(before_bytes, fields))?;
    let mut next = 0;
    for change in changes {
        out.copy(before, next..change.at)?;
        if let Some((name, value)) = change.field {
            out.push(name, value)?;
        }
        next = change.at + usize::from(change.removes);
    }
    out.copy(before, next..old_count)?;
    Some(out.bytes)
}

/// Writes a hash, field after field.
struct Writer {
    bytes: Vec<u8>,
    /// Where the end of the next field is noted, and where the first field begins.
    next_end: usize,
    start: usize,
}

impl Writer {
    fn new(count: usize, capacity: usize) -> Option<Self> {
        let start = HEAD_BYTES + count * END_BYTES;
        let mut bytes = Vec::with_capacity(capacity);
        bytes.push(VERSION);
        bytes.extend_from_slice(&u32::try_from(count).ok()?.to_le_bytes());
        bytes.resize(start, 0);
        Some(Self { bytes, next_end: HEAD_BYTES, start })
    }

    fn push(&mut self, name: &[u8], value: &[u8]) -> Option<()> {
        put_length(&mut self.bytes, name.len());
        self.bytes.extend_from_slice(name);
        self.bytes.extend_from_slice(value);
        self.note_end(self.bytes.len() - self.start)
    }

    /// Copies the fields of these places.
    fn copy(&mut self, before: Option<Hash<'_>>, places: Range<usize>) -> Option<()> {
        let Some(before) = before.filter(|_| !places.is_empty()) else { return Some(()) };
        let range = before.range(&places)?;
        let (old_start, new_start) = (range.start, self.bytes.len() - self.start);
        self.bytes.extend_from_slice(before.fields.get(range)?);
        for end in before.ends.get(places)? {
            let end = u32::from_le_bytes(*end) as usize;
            self.note_end(new_start + end.checked_sub(old_start)?)?;
        }
        Some(())
    }

    fn note_end(&mut self, end: usize) -> Option<()> {
        let place = self.bytes.get_mut(self.next_end..self.next_end + END_BYTES)?;
        place.copy_from_slice(&u32::try_from(end).ok()?.to_le_bytes());
        self.next_end += END_BYTES;
        Some(())
    }
}

fn put_length(out: &mut Vec<u8>, mut length: usize) {
    while length >= 0x80 {
        out.push((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    out.push(length as u8);
}

fn split_length(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let last = bytes.iter().take(LENGTH_BYTES_MAX).position(|byte| byte & 0x80 == 0)?;
    let (length, rest) = bytes.split_at_checked(last + 1)?;
    // The highest bits come last, and are not all 0.
    if last > 0 && length.last() == Some(&0) {
        return None;
    }
    Some((length.iter().rev().fold(0, |sum, byte| sum << 7 | usize::from(byte & 0x7f)), rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::{btree_map, vec};
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    type Map = BTreeMap<Vec<u8>, Vec<u8>>;

    fn name() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![8 => vec(0..4u8, 0..3), 1 => vec(any::<u8>(), 120..140)]
    }

    fn value() -> impl Strategy<Value = Vec<u8>> {
        vec(any::<u8>(), 0..6)
    }

    fn map() -> impl Strategy<Value = Map> {
        btree_map(name(), value(), 0..20)
    }

    fn pairs(fields: &[(Vec<u8>, Vec<u8>)]) -> Vec<(Bytes, Bytes)> {
        fields.iter().map(|(name, value)| (name.clone().into(), value.clone().into())).collect()
    }

    fn encoded(map: &Map) -> Vec<u8> {
        let fields: Vec<_> = map.clone().into_iter().collect();
        set(None, &pairs(&fields), false).unwrap().bytes
    }

    fn decoded(bytes: &[u8]) -> Option<Map> {
        let hash = Hash::read(bytes)?;
        Some(hash.fields().map(|(name, value)| (name.to_vec(), value.to_vec())).collect())
    }

    #[test]
    fn a_hash_has_the_bytes_that_the_format_says() {
        let edited = set(None, &pairs(&[(b"b".into(), b"xy".into()), (b"".into(), b"z".into())]), false);
        let bytes =
            [&[1, 2, 0, 0, 0][..], &[2, 0, 0, 0], &[6, 0, 0, 0], &[0], b"z", &[1], b"b", b"xy"].concat();
        assert_eq!(edited, Some(Edited { bytes, count: 2, is_changed: true }));
    }

    #[test]
    fn what_is_no_hash_is_refused() {
        let end = |number: u32| number.to_le_bytes();
        let hash = |version: u8, ends: &[u32], fields: &[u8]| {
            let ends = ends.iter().flat_map(|number| end(*number));
            [version]
                .into_iter()
                .chain(end(ends.clone().count() as u32 / 4))
                .chain(ends)
                .chain(fields.to_vec())
                .collect::<Vec<u8>>()
        };
        assert!(Hash::read(&hash(1, &[2, 4], &[1, b'a', 1, b'b'])).is_some());
        for (bytes, why) in [
            (Vec::new(), "nothing"),
            (hash(1, &[], &[]), "no field"),
            (hash(2, &[2], &[1, b'a']), "another version"),
            (hash(1, &[2], &[1, b'a', 0]), "bytes behind its end"),
            (hash(1, &[3], &[1, b'a']), "too few bytes"),
            (hash(1, &[2, 4], &[1, b'b', 1, b'a']), "another order"),
            (hash(1, &[2, 4], &[1, b'a', 1, b'a']), "a name twice"),
            (hash(1, &[4, 2], &[1, b'a', 1, b'b']), "ends that fall"),
            (hash(1, &[0, 2], &[1, b'a']), "a field without a length"),
            (hash(1, &[2], &[2, b'a']), "a name that is longer than its field"),
            (hash(1, &[3], &[0x81, 0, b'a']), "a length that is longer than it needs to be"),
            (hash(1, &[5], &[0x81, 0x80, 0x80, 0x80, 0]), "a length without end"),
            (b"\x01\xff\xff\xff\xff".to_vec(), "a count without fields"),
        ] {
            assert!(Hash::read(&bytes).is_none(), "{why}");
        }
    }

    proptest! {
        #[test]
        fn a_hash_is_what_its_fields_are(map in map(), names in vec(name(), 0..5)) {
            let bytes = encoded(&map);
            prop_assert_eq!(bytes.is_empty(), map.is_empty());
            if let Some(hash) = Hash::read(&bytes) {
                prop_assert_eq!(hash.len(), map.len());
                for name in names.iter().chain(map.keys()) {
                    prop_assert_eq!(hash.get(name), map.get(name).map(|value| &value[..]));
                }
                prop_assert_eq!(decoded(&bytes), Some(map));
            }
        }

        #[test]
        fn fields_are_set_one_after_another(
            map in map(), fields in vec((name(), value()), 0..12), only_new: bool,
        ) {
            let bytes = encoded(&map);
            let edited = set(Hash::read(&bytes), &pairs(&fields), only_new).unwrap();
            let (mut after, mut changed) = (map.clone(), false);
            for (name, value) in fields.clone() {
                if !only_new || !after.contains_key(&name) {
                    changed = true;
                    after.insert(name, value);
                }
            }
            prop_assert_eq!(edited.count as usize, after.len() - map.len());
            prop_assert_eq!(edited.is_changed, changed);
            prop_assert_eq!(&edited.bytes, &encoded(&after));
            let given = fields.iter().map(|(name, value)| (&name[..], &value[..]));
            prop_assert!(edited.bytes.len() <= bytes_max(bytes.len(), given));
        }

        #[test]
        fn fields_are_removed(map in map(), names in vec(name(), 0..12)) {
            let bytes = encoded(&map);
            let Some(hash) = Hash::read(&bytes) else { return Ok(()) };
            let named: Vec<Bytes> = names.iter().cloned().map(Bytes::from).collect();
            let edited = delete(hash, &named).unwrap();
            let mut after = map.clone();
            after.retain(|name, _| !names.contains(name));
            prop_assert_eq!(edited.count as usize, map.len() - after.len());
            prop_assert_eq!(edited.is_changed, after != map);
            prop_assert_eq!(edited.bytes, encoded(&after));
        }

        /// Whatever the bytes are, nothing panics, and what is read as a hash has no other encoding.
        #[test]
        fn any_bytes_are_taken(
            map in map(), at: prop::sample::Index, flip in 1..=255u8, noise in vec(any::<u8>(), 0..40), cut: bool,
        ) {
            let mut bytes = encoded(&map);
            if bytes.is_empty() {
                bytes = [&[1, 2, 0, 0, 0], &noise[..]].concat();
            }
            let at = at.index(bytes.len());
            bytes[at] ^= flip;
            if cut {
                bytes.truncate(at);
            }
            if let Some(map) = decoded(&bytes) {
                prop_assert_eq!(encoded(&map), bytes.clone());
            }
            if let Some(hash) = Hash::open(&bytes) {
                let some: Vec<Bytes> = map.keys().take(3).cloned().map(Bytes::from).collect();
                let _ = hash.fields().count();
                let _ = delete(hash, &some);
                let pairs: Vec<_> = some.into_iter().map(|name| (name, Bytes::new())).collect();
                let _ = set(Some(hash), &pairs, false);
            }
        }
    }
}
