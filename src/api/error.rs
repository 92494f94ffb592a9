//! The table of errors: for every way in which a request can fail, the HTTP status and whether the request had an
//! effect. The HTTP layer answers with it, the client decides by it whether to retry, and the consistency tests check
//! it.

use serde::{Deserialize, Serialize};

/// Whether a failed request changed anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Effect {
    /// It did not happen and will not.
    None,
    /// It may have happened, or may still.
    Unknown,
}

macro_rules! error_codes {
    ($($(#[$doc:meta])* $variant:ident = $code:literal, $status:literal, $effect:ident;)*) => {
        /// What went wrong.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum ErrorCode {
            $($(#[$doc])* #[serde(rename = $code)] $variant,)*
        }

        impl ErrorCode {
            /// Every code there is.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// The code as text, as in a problem's `code`.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $code,)* }
            }

            /// The HTTP status it is answered with.
            pub const fn status(self) -> u16 {
                match self { $(Self::$variant => $status,)* }
            }

            /// Whether the request may have happened.
            pub const fn effect(self) -> Effect {
                match self { $(Self::$variant => Effect::$effect,)* }
            }
        }
    };
}

error_codes! {
    /// The key breaks a rule.
    InvalidKey = "invalid_key", 400, None;
    /// The value or its content type breaks a rule.
    InvalidValue = "invalid_value", 400, None;
    /// The TTL is out of range or no number.
    InvalidTtl = "invalid_ttl", 400, None;
    /// A header can't be read.
    InvalidHeader = "invalid_header", 400, None;
    /// A query parameter is unknown or can't be read.
    InvalidQuery = "invalid_query", 400, None;
    /// The body is not the JSON that belongs here.
    InvalidBody = "invalid_body", 400, None;
    /// A batch is empty, too long, or writes a key twice.
    InvalidBatch = "invalid_batch", 400, None;
    /// A setting is out of range.
    InvalidConfig = "invalid_config", 400, None;
    /// It needs a token, or one that is known, has not expired and was not revoked.
    Unauthorized = "unauthorized", 401, None;
    /// The token does not allow it, or a page of another site asked.
    Forbidden = "forbidden", 403, None;
    /// No such path.
    NoRoute = "no_route", 404, None;
    /// The path knows other methods.
    MethodNotAllowed = "method_not_allowed", 405, None;
    /// No such key, or no such member.
    NotFound = "not_found", 404, None;
    /// `incr` on something that is no 64-bit decimal number.
    NotANumber = "not_a_number", 409, None;
    /// `incr` past the 64-bit range.
    Overflow = "overflow", 409, None;
    /// `incr` on a hash.
    WrongKind = "wrong_kind", 409, None;
    /// The request conflicts with the cluster's present state: a membership change is refused or in progress, or the
    /// cluster has not reached an index.
    Conflict = "conflict", 409, None;
    /// Another session holds the lock; `holder` is the one that does.
    Locked = "locked", 409, None;
    /// The request names another history of the cluster than the node's: a backup was restored since.
    OtherHistory = "other_history", 409, None;
    /// The request insists on the cluster's own values, and the node has left its cluster on purpose and goes on alone.
    Detached = "detached", 409, None;
    /// The cluster's feature level is lower than the request needs, until `lockstep upgrade finish`.
    FeatureLevel = "feature_level", 409, None;
    /// A condition did not hold; `revision` is the current one.
    PreconditionFailed = "precondition_failed", 412, None;
    /// Larger than a limit.
    TooLarge = "too_large", 413, None;
    /// The body has a content encoding that is not supported.
    UnsupportedEncoding = "unsupported_encoding", 415, None;
    /// `Expect` asks for something other than `100-continue`.
    ExpectationFailed = "expectation_failed", 417, None;
    /// The request is for a host that this node is not known as.
    Misdirected = "misdirected", 421, None;
    /// The idempotency key was used for another request.
    IdempotencyKeyReused = "idempotency_key_reused", 422, None;
    /// The request may have been sent before, and what became of requests of that time is forgotten. It was not carried out now.
    OutcomeForgotten = "outcome_forgotten", 422, Unknown;
    /// Too many requests are in flight.
    Busy = "busy", 429, None;
    /// More requests or bytes in a time than this address or this token may use.
    RateLimited = "rate_limited", 429, None;
    /// A transfer coding other than `chunked`.
    NotImplemented = "not_implemented", 501, None;
    /// No leader, no majority, or the node is starting or stopping.
    Unavailable = "unavailable", 503, None;
    /// The cluster was recovered without this node and goes on elsewhere; the node still answers `consistency=stale`.
    Superseded = "superseded", 503, None;
    /// The node's storage has failed; it is about to exit.
    Fatal = "fatal", 503, Unknown;
    /// Proposed, and then the answer was lost or late.
    OutcomeUnknown = "outcome_unknown", 504, Unknown;
    /// The policy is `noeviction`, and the cache is full.
    CacheFull = "cache_full", 507, None;
}

impl ErrorCode {
    /// Whether the very same request may be sent again at once or after a pause and be applied at most
    /// once. With an idempotency key an unknown effect is safe to retry too.
    pub const fn retry_is_safe(self, has_idempotency_key: bool) -> bool {
        match self {
            Self::Busy | Self::RateLimited | Self::Unavailable | Self::CacheFull => true,
            Self::OutcomeUnknown | Self::Fatal => has_idempotency_key,
            _ => false,
        }
    }

    /// How many seconds a client should wait, if the error passes by itself.
    pub const fn retry_after_s(self) -> Option<u64> {
        match self {
            Self::Busy | Self::RateLimited | Self::Unavailable => Some(1),
            _ => None,
        }
    }
}

impl std::fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An error's body: `application/problem+json` (RFC 9457) with our own members.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    #[serde(rename = "type")]
    pub kind: String,
    pub title: String,
    pub status: u16,
    pub detail: String,
    pub code: ErrorCode,
    pub effect: Effect,
    /// The field at fault, where there is one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub field: Option<String>,
    /// The leader, if this node knows it and asking it may help.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub leader: Option<super::Leader>,
    /// The key's current revision, for a failed precondition; absent when the key is.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub revision: Option<u64>,
    /// Of a key that is absent: its last removal, `null` if none is known. Not there for other errors.
    #[serde(skip_serializing_if = "Option::is_none", default, flatten)]
    pub absent: Option<super::AbsentKey>,
    /// Who holds the lock, where another session wanted it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub holder: Option<Box<super::LockInfo>>,
    /// Position in the batch of the operation at fault.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub op: Option<u32>,
    /// When the client can try again, if that is known: from now on, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub retry_after_ms: Option<u64>,
}

impl Problem {
    pub fn new(code: ErrorCode, detail: impl Into<String>) -> Self {
        Self {
            kind: format!("urn:lockstep:error:{code}"),
            title: code.as_str().replace('_', " "),
            status: code.status(),
            detail: detail.into(),
            code,
            effect: code.effect(),
            field: None,
            leader: None,
            revision: None,
            absent: None,
            holder: None,
            op: None,
            retry_after_ms: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_effect_is_retried_only_with_an_idempotency_key() {
        for &code in ErrorCode::ALL {
            if code.effect() == Effect::Unknown {
                assert!(!code.retry_is_safe(false), "{code}");
                // What is forgotten stays forgotten.
                assert_eq!(code.retry_is_safe(true), code != ErrorCode::OutcomeForgotten, "{code}");
            }
            assert!((400..600).contains(&code.status()), "{code}");
        }
    }
}
