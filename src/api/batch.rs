//! Body and answer of `POST /v1/batch`.

use super::cluster::present;
use super::error::ErrorCode;
use super::kv::{AbsentKey, EntryMeta, ValueDetails};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use serde::de::Visitor;
use serde::{Deserialize, Deserializer, Serialize};
use std::fmt::Formatter;

/// Several operations in one log entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BatchRequest {
    #[serde(default)]
    pub mode: BatchMode,
    pub ops: Vec<OpRequest>,
}

/// Whether operations depend on each other.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BatchMode {
    /// All are carried out, or none.
    #[default]
    All,
    /// Each is carried out or refused by itself.
    Each,
}

/// One operation. Values are text in `value` or base64 in `value_base64`, never both. Conditions: at most
/// one of `if_revision`, `if_absent`, `if_present`, `if_absent_since`. `previous` asks for the value that is
/// replaced or removed; with `sliding`, uses restart the TTL.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "lowercase", deny_unknown_fields)]
pub enum OpRequest {
    Get {
        key: String,
    },
    Put {
        key: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        value: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        value_base64: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        content_type: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ttl_ms: Option<u64>,
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        sliding: bool,
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        previous: bool,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        if_revision: Option<u64>,
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        if_absent: bool,
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        if_present: bool,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        if_absent_since: Option<LogIndex>,
    },
    Delete {
        key: String,
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        previous: bool,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        if_revision: Option<u64>,
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        if_present: bool,
    },
    Incr {
        key: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by: Option<i64>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        initial: Option<i64>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ttl_ms: Option<u64>,
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        sliding: bool,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        if_revision: Option<u64>,
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        if_absent: bool,
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        if_present: bool,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        if_absent_since: Option<LogIndex>,
    },
}

/// A log index, as `42`, or with the beginning of its history's id, as `"42@1f0c9a3b"`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum LogIndex {
    Number(u64),
    Text(String),
}

impl From<u64> for LogIndex {
    fn from(index: u64) -> Self {
        Self::Number(index)
    }
}

impl<'de> Deserialize<'de> for LogIndex {
    fn deserialize<D: Deserializer<'de>>(source: D) -> Result<Self, D::Error> {
        struct NumberOrText;

        impl Visitor<'_> for NumberOrText {
            type Value = LogIndex;

            fn expecting(&self, out: &mut Formatter<'_>) -> std::fmt::Result {
                out.write_str("a log index, or a text of one and its history")
            }

            fn visit_u64<E>(self, index: u64) -> Result<LogIndex, E> {
                Ok(LogIndex::Number(index))
            }

            fn visit_str<E>(self, text: &str) -> Result<LogIndex, E> {
                Ok(LogIndex::Text(text.to_owned()))
            }
        }

        source.deserialize_any(NumberOrText)
    }
}

impl OpRequest {
    /// Its name, as in `op`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Get { .. } => "get",
            Self::Put { .. } => "put",
            Self::Delete { .. } => "delete",
            Self::Incr { .. } => "incr",
        }
    }

    /// Whether its answer contains a value.
    pub fn asks_for_a_value(&self) -> bool {
        matches!(
            self,
            Self::Get { .. } | Self::Put { previous: true, .. } | Self::Delete { previous: true, .. }
        )
    }
}

/// A value in JSON: text where it is UTF-8, base64 where it is not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum WireValue {
    Text { value: String },
    Base64 { value_base64: String },
}

impl WireValue {
    /// # Errors
    /// It is not base64.
    pub fn into_bytes(self) -> Result<Bytes, base64::DecodeError> {
        match self {
            Self::Text { value } => Ok(value.into()),
            Self::Base64 { value_base64 } => BASE64.decode(value_base64).map(Bytes::from),
        }
    }
}

impl From<Bytes> for WireValue {
    fn from(bytes: Bytes) -> Self {
        match String::from_utf8(bytes.into()) {
            Ok(value) => Self::Text { value },
            Err(bytes) => Self::Base64 { value_base64: BASE64.encode(bytes.into_bytes()) },
        }
    }
}

/// What one operation did. `previous` is absent where it was not asked for, and `null` where there was none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "lowercase")]
pub enum OpAnswer {
    Get {
        found: bool,
        #[serde(flatten)]
        value: Option<ValueDetails>,
    },
    Put {
        created: bool,
        #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
        previous: Option<Option<ValueDetails>>,
    },
    Delete {
        found: bool,
        #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
        previous: Option<Option<ValueDetails>>,
    },
    Incr {
        value: i64,
        created: bool,
    },
}

/// What became of one of several independent operations.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum OpResult {
    Refused { op: String, refused: RefusedOp },
    Done(OpAnswer),
}

/// Why an operation was refused, and what its key has. It changed nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedOp {
    pub code: ErrorCode,
    pub detail: String,
    /// Whether the key is present.
    pub found: bool,
    #[serde(flatten)]
    pub meta: Option<EntryMeta>,
    /// The value, where the operation asked for the previous one.
    #[serde(flatten)]
    pub value: Option<WireValue>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    #[serde(flatten)]
    pub absent: Option<AbsentKey>,
}

/// What the batch did; `revision` is the revision of everything it wrote. In mode `all`, each result is an [`OpAnswer`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchAnswer<T = OpAnswer> {
    pub revision: u64,
    pub results: Vec<T>,
}
