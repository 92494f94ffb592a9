//! Values: what is stored under a key.

use super::hash::{HASH_CONTENT_TYPE, Hash};
use super::limits::{CONTENT_TYPE_BYTES_MAX, VALUE_BYTES_MAX};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// A value: bytes, and their content type. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Value {
    pub bytes: Bytes,
    pub content_type: Option<Arc<str>>,
}

/// What a value is to the operations that look into it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// Bytes.
    #[default]
    String,
    /// Fields: [`Hash`].
    Hash,
}

/// Why something is no valid value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ValueError {
    #[error("a value has at most {VALUE_BYTES_MAX} bytes, this one has {0}")]
    TooLarge(usize),
    #[error("a content type is 1 to {CONTENT_TYPE_BYTES_MAX} visible ASCII characters")]
    ContentType,
    #[error("a value of the content type {HASH_CONTENT_TYPE} has the bytes of a hash")]
    Hash,
}

impl Kind {
    /// The kind of values of this content type.
    pub fn of(content_type: Option<&str>) -> Self {
        if content_type == Some(HASH_CONTENT_TYPE) { Self::Hash } else { Self::String }
    }
}

impl Value {
    /// Checks bytes and content type and makes them a value.
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
        if Kind::of(content_type) == Kind::Hash && Hash::read(&bytes).is_none() {
            return Err(ValueError::Hash);
        }
        Ok(Self { bytes, content_type: content_type.map(Arc::from) })
    }

    /// Its kind, by its content type.
    pub fn kind(&self) -> Kind {
        Kind::of(self.content_type.as_deref())
    }
}
