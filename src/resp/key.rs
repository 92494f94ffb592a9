//! Redis keys and Lockstep's. A Redis key is any bytes, in one of sixteen databases; a Lockstep key is text without control characters,
//! which every other interface can show and name. So most Redis keys are named by themselves, and what cannot be is escaped:
//!
//! | Redis | Lockstep |
//! |---|---|
//! | `user:1` | `user:1` |
//! | bytes `ac ed 00 05`, then `k` | `␛ac␛ed␛00␛05k` |
//! | the empty key | `␛_` |
//! | `user:1` of database 3 | `␛#3:user:1` |
//!
//! `␛` is U+241B. What is escaped: bytes that are no UTF-8, control characters, `␛` itself, and the keys `.` and `..`.

use crate::cache::{Key, KeyError};

const ESCAPE: char = '\u{241b}';
const EMPTY: &str = "_";
/// How many databases there are.
pub(super) const DATABASES: u8 = 16;

/// The prefix of a database's keys: empty for database 0.
pub(super) fn database_prefix(database: u8) -> String {
    if database == 0 { String::new() } else { format!("{ESCAPE}#{database}:") }
}

/// What the keys of all databases but 0 begin with.
pub(super) fn other_databases() -> String {
    format!("{ESCAPE}#")
}

/// The name of a key of a database.
///
/// # Errors
/// [`KeyError::TooLong`]: with its escapes it is longer than keys may be.
pub(super) fn name_of(database: u8, key: &[u8]) -> Result<Key, KeyError> {
    // Most keys need no escape.
    if database == 0
        && !key.is_empty()
        && ![b".".as_slice(), b".."].contains(&key)
        && let Ok(text) = std::str::from_utf8(key)
        && !text.chars().any(|letter| letter.is_control() || letter == ESCAPE)
    {
        return Key::new(text);
    }
    let mut name = database_prefix(database);
    match key {
        b"" => name.extend([ESCAPE, '_']),
        b"." | b".." if database == 0 => key.iter().for_each(|byte| escape(&mut name, *byte)),
        _ => name.push_str(&escaped(key)),
    }
    Key::new(&name)
}

/// With what the names of all keys begin that begin so.
pub(super) fn name_prefix_of(database: u8, prefix: &[u8]) -> String {
    // The last letter may not be whole: its first bytes would be escaped, and the letter is not.
    let end = prefix.utf8_chunks().last().map_or(b"".as_slice(), |chunk| chunk.invalid());
    let is_begun = |end| std::str::from_utf8(end).is_err_and(|error| error.error_len().is_none());
    let whole = if is_begun(end) { &prefix[..prefix.len() - end.len()] } else { prefix };
    let is_dots = |prefix: &[u8]| matches!(prefix, b"." | b"..");
    // `.` is escaped, and `.a` is not.
    let whole = if database == 0 && is_dots(whole) { b"".as_slice() } else { whole };
    database_prefix(database) + &escaped(whole)
}

/// The key that has this name in this database; `None` if it has none there: it is of another, or no Redis client made it.
pub(super) fn key_of(database: u8, name: &str) -> Option<Vec<u8>> {
    let inside = name.strip_prefix(database_prefix(database).as_str())?;
    let key = match inside.strip_prefix(ESCAPE) {
        Some(EMPTY) => Vec::new(),
        _ if inside.contains(ESCAPE) => unescaped(inside)?,
        _ => inside.as_bytes().to_vec(),
    };
    // One key has one name.
    let is_its_name = || name_of(database, &key).is_ok_and(|known| known.as_str() == name);
    let is_plain = !inside.contains(ESCAPE) && !["", ".", ".."].contains(&inside);
    (is_plain || is_its_name()).then_some(key)
}

/// The database and the key of a name, if it is one of a Redis key.
pub(super) fn any_key_of(name: &str) -> Option<(u8, Vec<u8>)> {
    let database = match name.strip_prefix(other_databases().as_str()) {
        Some(rest) => {
            rest.split_once(':')?.0.parse().ok().filter(|database| (1..DATABASES).contains(database))?
        }
        None => 0,
    };
    key_of(database, name).map(|key| (database, key))
}

fn escape(name: &mut String, byte: u8) {
    let digit = |number: u8| char::from_digit(u32::from(number), 16).unwrap_or('0');
    name.extend([ESCAPE, digit(byte >> 4), digit(byte & 15)]);
}

fn escaped(key: &[u8]) -> String {
    let mut name = String::with_capacity(key.len());
    for chunk in key.utf8_chunks() {
        for letter in chunk.valid().chars() {
            if letter.is_control() || letter == ESCAPE {
                let mut bytes = [0; 4];
                letter.encode_utf8(&mut bytes).bytes().for_each(|byte| escape(&mut name, byte));
            } else {
                name.push(letter);
            }
        }
        chunk.invalid().iter().for_each(|byte| escape(&mut name, *byte));
    }
    name
}

fn unescaped(text: &str) -> Option<Vec<u8>> {
    let mut key = Vec::with_capacity(text.len());
    let mut parts = text.split(ESCAPE);
    key.extend(parts.next()?.bytes());
    for part in parts {
        let (digits, rest) = part.split_at_checked(2)?;
        key.push(u8::from_str_radix(digits, 16).ok()?);
        key.extend(rest.bytes());
    }
    Some(key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn keys_are_named_as_documented() {
        for (database, key, name) in [
            (0, b"user:1".as_slice(), "user:1"),
            (0, b"\xac\xed\x00\x05k", "␛ac␛ed␛00␛05k"),
            (0, b"", "␛_"),
            (3, b"user:1", "␛#3:user:1"),
            (15, b"", "␛#15:␛_"),
            (0, b".", "␛2e"),
            (0, b"..", "␛2e␛2e"),
            (1, b"..", "␛#1:.."),
            (0, "␛#3:x".as_bytes(), "␛e2␛90␛9b#3:x"),
            (0, "\u{85}".as_bytes(), "␛c2␛85"),
            (0, b"caf\xc3\xa9", "café"),
        ] {
            assert_eq!(name_of(database, key).unwrap().as_str(), name);
            assert_eq!(key_of(database, name).as_deref(), Some(key), "{name}");
            assert_eq!(any_key_of(name), Some((database, key.to_vec())), "{name}");
        }
        // Names that no Redis client makes are none of its keys.
        for name in ["␛41", "␛", "␛zz", "␛2", "␛#3:", "␛AC", "␛é", "␛#16:x", "␛#03:x"] {
            assert_eq!(key_of(0, name), None, "{name}");
        }
        assert_eq!((key_of(3, "user:1"), key_of(0, "␛#3:user:1")), (None, None));
        assert!(matches!(name_of(0, &[0xff; 4_096]), Err(KeyError::TooLong(_))));
    }

    proptest! {
        #[test]
        fn one_key_has_one_name(
            keys in prop::collection::vec((0..DATABASES, prop::collection::vec(any::<u8>(), 0..12)), 2),
            text in "[.␛#_a-f0-9é\u{1}]{0,9}",
        ) {
            let names: Vec<Key> = keys.iter().map(|(database, key)| name_of(*database, key).unwrap()).collect();
            for ((database, key), name) in keys.iter().zip(&names) {
                prop_assert_eq!(key_of(*database, name.as_str()), Some(key.clone()));
                for end in 0..=key.len() {
                    let prefix = name_prefix_of(*database, &key[..end]);
                    prop_assert!(end == 0 || name.as_str().starts_with(&prefix), "{name} {prefix}");
                }
            }
            prop_assert_eq!(keys[0] == keys[1], names[0] == names[1]);
            if Key::new(&text).is_ok() && let Some(key) = key_of(0, &text) {
                let name = name_of(0, &key).unwrap();
                prop_assert_eq!(name.as_str(), text);
            }
        }
    }
}
