//! What a side has under a key, as it stands in a plan.

use super::knowledge::{Entry, Fate, Knowledge, Lifetime};
use super::plan_file::malformed;
use crate::cache::Stored;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use std::io;

/// A side's state of a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case", try_from = "StateFields")]
pub enum KeyState {
    Unchanged(Written),
    Changed(Written),
    Deleted { stamp_ms: u64 },
    Lost { stamp_ms: u64 },
    Absent,
    Unknown,
}

/// An entry in a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Written {
    pub revision: u64,
    pub version: u64,
    /// Log time of the last change, on live's scale.
    pub stamp_ms: u64,
    /// On live's scale; `None` never expires.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub sliding_ms: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// The value, where it is text without many escapes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// The value, where it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value_base64: Option<String>,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde wants a reference")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// Whether a text takes no more in JSON than in base64: one of control characters takes six times as much as it has bytes.
fn is_plain(text: &str) -> bool {
    let escapes = text.bytes().filter(|byte| *byte < 0x20 || matches!(byte, b'"' | b'\\' | 0x7f)).count();
    escapes * 15 <= text.len()
}

impl Written {
    /// With its times on live's scale.
    fn of(entry: &Entry, stored: &Stored) -> Self {
        let expires_at_ms = Some(entry.lifetime.expires_at_ms).filter(|at| *at != Lifetime::NEVER_MS);
        Self { stamp_ms: entry.stamp_ms, expires_at_ms, ..Self::as_stored(stored) }
    }

    /// With the times that it has.
    pub(super) fn as_stored(stored: &Stored) -> Self {
        let bytes = stored.record.bytes();
        let text = std::str::from_utf8(bytes).ok().filter(|text| is_plain(text)).map(str::to_owned);
        Self {
            revision: stored.revision,
            version: stored.version,
            stamp_ms: stored.modified_at_ms,
            expires_at_ms: stored.expires_at_ms,
            sliding_ms: stored.sliding_ms,
            content_type: stored.record.content_type().map(str::to_owned),
            value_base64: text.is_none().then(|| STANDARD.encode(bytes)),
            value: text,
        }
    }

    /// The value's bytes.
    ///
    /// # Errors
    /// The line has none, or they are not base64.
    pub fn bytes(&self) -> io::Result<Vec<u8>> {
        match (&self.value, &self.value_base64) {
            (Some(text), None) => Ok(text.clone().into_bytes()),
            (None, Some(encoded)) => STANDARD.decode(encoded).map_err(malformed),
            _ => Err(malformed("a value is missing, or is there twice")),
        }
    }
}

impl KeyState {
    pub(super) fn of(known: Knowledge, stored: Option<&Stored>) -> Self {
        match (known.fate, stored) {
            (Fate::Unchanged(entry), Some(stored)) => Self::Unchanged(Written::of(&entry, stored)),
            (Fate::Changed(entry), Some(stored)) => Self::Changed(Written::of(&entry, stored)),
            (Fate::Deleted { stamp_ms }, _) => Self::Deleted { stamp_ms },
            (Fate::Lost { stamp_ms }, _) => Self::Lost { stamp_ms },
            (Fate::Unknown { .. }, _) => Self::Unknown,
            (Fate::Absent | Fate::Unchanged(_) | Fate::Changed(_), _) => Self::Absent,
        }
    }

    /// Log time of the change or removal; 0 where there was none.
    pub fn stamp_ms(&self) -> u64 {
        match self {
            Self::Unchanged(written) | Self::Changed(written) => written.stamp_ms,
            Self::Deleted { stamp_ms } | Self::Lost { stamp_ms } => *stamp_ms,
            Self::Absent | Self::Unknown => 0,
        }
    }

    /// Its entry, if it has one.
    pub fn written(&self) -> Option<&Written> {
        match self {
            Self::Unchanged(written) | Self::Changed(written) => Some(written),
            _ => None,
        }
    }
}

/// The fields of any [`KeyState`]. Serde would copy an internally tagged enum's fields before it reads them, and a plan can
/// have millions of these.
#[derive(Deserialize)]
struct StateFields {
    state: StateName,
    stamp_ms: Option<u64>,
    revision: Option<u64>,
    version: Option<u64>,
    expires_at_ms: Option<u64>,
    #[serde(default)]
    sliding_ms: u32,
    content_type: Option<String>,
    value: Option<String>,
    value_base64: Option<String>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum StateName {
    Unchanged,
    Changed,
    Deleted,
    Lost,
    Absent,
    Unknown,
}

impl TryFrom<StateFields> for KeyState {
    type Error = &'static str;

    fn try_from(fields: StateFields) -> Result<Self, Self::Error> {
        let stamp_ms = fields.stamp_ms.ok_or("missing field `stamp_ms`");
        Ok(match fields.state {
            StateName::Unchanged => Self::Unchanged(fields.written()?),
            StateName::Changed => Self::Changed(fields.written()?),
            StateName::Deleted => Self::Deleted { stamp_ms: stamp_ms? },
            StateName::Lost => Self::Lost { stamp_ms: stamp_ms? },
            StateName::Absent => Self::Absent,
            StateName::Unknown => Self::Unknown,
        })
    }
}

impl StateFields {
    fn written(self) -> Result<Written, &'static str> {
        Ok(Written {
            revision: self.revision.ok_or("missing field `revision`")?,
            version: self.version.ok_or("missing field `version`")?,
            stamp_ms: self.stamp_ms.ok_or("missing field `stamp_ms`")?,
            expires_at_ms: self.expires_at_ms,
            sliding_ms: self.sliding_ms,
            content_type: self.content_type,
            value: self.value,
            value_base64: self.value_base64,
        })
    }
}
