//! Keys: parsed once in the HTTP layer, valid from then on.

use super::limits::KEY_BYTES_MAX;
use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize, Serializer};
use std::fmt;
use std::sync::Arc;

/// A key: 1 to [`KEY_BYTES_MAX`] bytes of UTF-8 without control characters, neither `.` nor `..`. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(Arc<str>);

/// Why a text is no valid key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    #[error("a key has at least 1 byte")]
    Empty,
    #[error("a key has at most {KEY_BYTES_MAX} bytes, this one has {0}")]
    TooLong(usize),
    #[error("a key has no control characters, this one has U+{0:04X}")]
    Control(u32),
    /// In a URL's path they are relative, and clients resolve them before they send a request.
    #[error("`.` and `..` are no keys: in a URL they lead to another path")]
    Dots,
}

impl Key {
    /// Checks a text and makes it a key.
    ///
    /// # Errors
    /// [`KeyError`] says which rule it breaks.
    pub fn new(text: &str) -> Result<Self, KeyError> {
        if [".", ".."].contains(&text) {
            return Err(KeyError::Dots);
        }
        Self::stored(text)
    }

    /// The same for a text from a log or a snapshot: what was a key there stays one, whatever clients may ask for today.
    ///
    /// # Errors
    /// [`KeyError`] says which rule it breaks.
    pub(super) fn stored(text: &str) -> Result<Self, KeyError> {
        Self::check(text)?;
        Ok(Self(text.into()))
    }

    /// Whether a text could be a key in a log or a snapshot.
    pub(super) fn check(text: &str) -> Result<(), KeyError> {
        if text.is_empty() {
            return Err(KeyError::Empty);
        }
        if text.len() > KEY_BYTES_MAX {
            return Err(KeyError::TooLong(text.len()));
        }
        // Most keys are plain ASCII, which can be seen without decoding them.
        let plain = text.bytes().all(|byte| (0x20..0x7f).contains(&byte));
        let control = if plain { None } else { text.chars().find(|c| c.is_control()) };
        match control {
            Some(c) => Err(KeyError::Control(u32::from(c))),
            None => Ok(()),
        }
    }

    /// A text that is known to be a valid key.
    pub(super) fn trusted(text: &str) -> Self {
        Self(text.into())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::borrow::Borrow<str> for Key {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// As a text, so that decoding copies it only once.
impl Serialize for Key {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;

        impl Visitor<'_> for Text {
            type Value = Key;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Key, E> {
                Key::stored(text).map_err(E::custom)
            }
        }

        deserializer.deserialize_str(Text)
    }
}

impl From<Key> for String {
    fn from(key: Key) -> Self {
        key.as_str().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_url_resolves_is_no_key_and_stays_one_where_it_was() {
        for text in [".", ".."] {
            assert_eq!(Key::new(text), Err(KeyError::Dots));
            let in_a_log = postcard::to_stdvec(&Key::trusted(text)).unwrap();
            assert_eq!(
                postcard::from_bytes::<Key>(&in_a_log).unwrap().as_str(),
                text,
                "an entry is read as it is"
            );
        }
        for text in ["...", ". ", "a.", ".a", "%2e"] {
            assert!(Key::new(text).is_ok(), "{text}");
        }
        assert!(Key::stored("").is_err() && Key::stored("a\n").is_err());
    }
}
