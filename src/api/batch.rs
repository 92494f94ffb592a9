//! Body and answer of `POST /v1/batch`.

use serde::{Deserialize, Serialize};

/// Several operations, all or none, in one log entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BatchRequest {
    pub ops: Vec<OpRequest>,
}

/// One operation. Values are text in `value` or base64 in `value_base64`, never both. Conditions: at most
/// one of `if_revision`, `if_absent`, `if_present`.
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
        #[serde(default, skip_serializing_if = "Option::is_none")]
        if_revision: Option<u64>,
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        if_absent: bool,
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        if_present: bool,
    },
    Delete {
        key: String,
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
        #[serde(default, skip_serializing_if = "Option::is_none")]
        if_revision: Option<u64>,
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        if_absent: bool,
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        if_present: bool,
    },
}

/// A value in JSON: text where it is UTF-8, base64 where it is not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum WireValue {
    Text { value: String },
    Base64 { value_base64: String },
}

/// What one operation did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "lowercase")]
pub enum OpAnswer {
    Get {
        found: bool,
        #[serde(flatten, skip_serializing_if = "Option::is_none")]
        value: Option<WireValue>,
        #[serde(skip_serializing_if = "Option::is_none")]
        content_type: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        revision: Option<u64>,
    },
    Put {
        created: bool,
    },
    Delete {
        found: bool,
    },
    Incr {
        value: i64,
        created: bool,
    },
}

/// What the batch did; `revision` is the revision of everything it wrote.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchAnswer {
    pub revision: u64,
    pub results: Vec<OpAnswer>,
}
