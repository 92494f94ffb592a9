//! Keys and values: parsed once at the edge, valid from then on.

use super::limits::{CONTENT_TYPE_BYTES_MAX, KEY_BYTES_MAX, VALUE_BYTES_MAX};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// A key: 1 to [`KEY_BYTES_MAX`] bytes of UTF-8 without control characters. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Key(Arc<str>);

/// Why a text is no key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    #[error("a key has at least 1 byte")]
    Empty,
    #[error("a key has at most {KEY_BYTES_MAX} bytes, this one has {0}")]
    TooLong(usize),
    #[error("a key has no control characters, this one has U+{0:04X}")]
    Control(u32),
}

impl Key {
    /// Checks a text and makes it a key.
    ///
    /// # Errors
    /// [`KeyError`] says which rule it breaks.
    pub fn new(text: &str) -> Result<Self, KeyError> {
        if text.is_empty() {
            return Err(KeyError::Empty);
        }
        if text.len() > KEY_BYTES_MAX {
            return Err(KeyError::TooLong(text.len()));
        }
        match text.chars().find(|c| c.is_control()) {
            Some(c) => Err(KeyError::Control(u32::from(c))),
            None => Ok(Self(text.into())),
        }
    }

    /// A text that was a key before.
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

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for Key {
    type Error = KeyError;
    fn try_from(text: String) -> Result<Self, KeyError> {
        Self::new(&text)
    }
}

impl From<Key> for String {
    fn from(key: Key) -> Self {
        key.as_str().to_owned()
    }
}

/// A value: bytes, and the media type they came with. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Value {
    pub bytes: Bytes,
    pub content_type: Option<Arc<str>>,
}

/// Why something is no value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ValueError {
    #[error("a value has at most {VALUE_BYTES_MAX} bytes, this one has {0}")]
    TooLarge(usize),
    #[error("a content type is 1 to {CONTENT_TYPE_BYTES_MAX} visible ASCII characters")]
    ContentType,
}

impl Value {
    /// Checks bytes and media type and makes them a value.
    ///
    /// # Errors
    /// [`ValueError`] says which rule is broken.
    pub fn new(bytes: Bytes, content_type: Option<&str>) -> Result<Self, ValueError> {
        if bytes.len() > VALUE_BYTES_MAX {
            return Err(ValueError::TooLarge(bytes.len()));
        }
        if let Some(text) = content_type {
            let visible = text.bytes().all(|b| (0x20..0x7f).contains(&b));
            if text.is_empty() || text.len() > CONTENT_TYPE_BYTES_MAX || !visible {
                return Err(ValueError::ContentType);
            }
        }
        Ok(Self { bytes, content_type: content_type.map(Arc::from) })
    }
}
