//! How entries become database records, and back.
//!
//! A record holds a run of whole entries, or one part of an entry that is too large for a record. Its key is `e`, the
//! index of its first entry and the number of the part, both big-endian, so keys sort like the log. Its value ends in
//! a 128-bit hash of key and content; the hash is the checksum and also what the manifest adds up.

use bytes::Bytes;
use xxhash_rust::xxh3::Xxh3;

/// The key of the node's own record.
pub(super) const IDENTITY_KEY: &[u8] = b"identity";
const RUN: u8 = 1;
const PART: u8 = 2;
/// Bytes of the hash at the end of every value.
pub(super) const HASH: usize = 16;
/// Bytes of an entry record's key.
pub(super) const KEY_BYTES: usize = 1 + 8 + 4;

/// The key of part `part` of the record whose first entry is `first`.
pub(super) fn key(first: u64, part: u32) -> Vec<u8> {
    let mut key = Vec::with_capacity(KEY_BYTES);
    key.push(b'e');
    key.extend_from_slice(&first.to_be_bytes());
    key.extend_from_slice(&part.to_be_bytes());
    key
}

/// First entry and part number of an entry record's key.
pub(super) fn parse_key(key: &[u8]) -> Option<(u64, u32)> {
    let (tag, rest) = key.split_first()?;
    let (first, rest) = rest.split_first_chunk::<8>()?;
    let part: [u8; 4] = rest.try_into().ok()?;
    (*tag == b'e').then(|| (u64::from_be_bytes(*first), u32::from_be_bytes(part)))
}

/// What a record holds.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// Whole entries, in order.
    Run(Vec<Bytes>),
    /// One part of the only entry of the record, which has `parts` parts.
    Part { parts: u32, bytes: Bytes },
}

/// Appends the hash of `key` and `value` to `value` and returns it.
pub(super) fn seal(key: &[u8], value: &mut Vec<u8>) -> u128 {
    let hash = hash(key, value);
    value.extend_from_slice(&hash.to_le_bytes());
    hash
}

/// The content of a sealed value and its hash; `None` when a single bit of key or value is wrong.
pub(super) fn open<'a>(key: &[u8], value: &'a [u8]) -> Option<(&'a [u8], u128)> {
    let (content, stored) = value.split_last_chunk::<HASH>()?;
    let hash = hash(key, content);
    (hash.to_le_bytes() == *stored).then_some((content, hash))
}

fn hash(key: &[u8], content: &[u8]) -> u128 {
    let mut hasher = Xxh3::new();
    hasher.update(&(key.len() as u64).to_le_bytes());
    hasher.update(key);
    hasher.update(content);
    hasher.digest128()
}

/// Bytes that an entry takes inside a run.
pub(super) fn size_in_run(entry: &[u8]) -> usize {
    4 + entry.len()
}

/// The value of a run of entries, not yet sealed.
pub(super) fn encode_run(entries: &[Bytes]) -> Vec<u8> {
    let size = entries.iter().map(|entry| size_in_run(entry)).sum::<usize>();
    let mut value = Vec::with_capacity(5 + size + HASH);
    value.push(RUN);
    value.extend_from_slice(&(entries.len() as u32).to_le_bytes());
    for entry in entries {
        value.extend_from_slice(&(entry.len() as u32).to_le_bytes());
        value.extend_from_slice(entry);
    }
    value
}

/// The value of one part of a large entry, not yet sealed.
pub(super) fn encode_part(parts: u32, bytes: &[u8]) -> Vec<u8> {
    let mut value = Vec::with_capacity(5 + bytes.len() + HASH);
    value.push(PART);
    value.extend_from_slice(&parts.to_le_bytes());
    value.extend_from_slice(bytes);
    value
}

/// Decodes the content that [`open`] returned; the entries share one allocation. `None` when it makes no sense.
pub(super) fn decode(content: &[u8]) -> Option<Content> {
    let (tag, rest) = content.split_first()?;
    let (number, rest) = rest.split_first_chunk::<4>()?;
    let number = u32::from_le_bytes(*number);
    let mut rest = Bytes::copy_from_slice(rest);
    match *tag {
        PART => Some(Content::Part { parts: number, bytes: rest }),
        RUN => {
            let mut entries = Vec::new();
            for _ in 0..number {
                let len = u32::from_le_bytes(*rest.first_chunk::<4>()?) as usize;
                if rest.len() - 4 < len {
                    return None;
                }
                let mut entry = rest.split_to(4 + len);
                entries.push(entry.split_off(4));
            }
            (rest.is_empty() && number > 0).then_some(Content::Run(entries))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_sort_like_the_log() {
        let keys = [key(0, 0), key(1, 0), key(255, 0), key(256, 0), key(256, 1), key(u64::MAX, 0)];
        assert!(keys.is_sorted());
        assert_eq!(parse_key(&keys[4]), Some((256, 1)));
        assert_eq!(parse_key(b"identity"), None);
    }

    #[test]
    fn a_flip_in_key_or_value_is_noticed() {
        let entries = vec![Bytes::from_static(b"one"), Bytes::new(), Bytes::from_static(b"three")];
        let name = key(5, 0);
        let mut value = encode_run(&entries);
        let sealed = seal(&name, &mut value);
        let (content, hash) = open(&name, &value).unwrap();
        assert_eq!((decode(content), hash), (Some(Content::Run(entries)), sealed));
        for bit in 0..value.len() * 8 {
            let mut damaged = value.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(open(&name, &damaged), None, "bit {bit}");
        }
        assert_eq!(open(&key(6, 0), &value), None);
    }

    #[test]
    fn nonsense_does_not_panic() {
        for bytes in [
            &[][..],
            &[1],
            &[1, 0, 0, 0, 0],
            &[1, 255, 255, 255, 255],
            &[1, 1, 0, 0, 0, 9, 0, 0, 0, 1],
            &[3; 9],
        ] {
            assert_eq!(decode(bytes), None, "{bytes:?}");
        }
    }
}
