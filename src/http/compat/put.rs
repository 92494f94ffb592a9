//! The key and the value of a request that stores.

use super::super::api_error::ApiError;
use super::super::extract::ttl;
use super::value::{DEPTH_MAX, is_deeper, stored};
use crate::api::ErrorCode;
use crate::cache::limits::{KEY_BYTES_MAX, TTL_MS_MAX};
use crate::cache::{Condition, Key, Op, Ttl};
use serde::{Deserialize, Deserializer};
use serde_json::Value as Json;
use serde_json::value::RawValue;

/// Longest JSON of a key: the longest key with each byte escaped.
const KEY_TEXT_MAX: usize = 6 * KEY_BYTES_MAX + 2;
/// Longest JSON of a number.
const NUMBER_TEXT_MAX: usize = 64;

/// `{key, value[, ttl]}`, not parsed further.
#[derive(Debug, Deserialize)]
pub(super) struct PutBody<'a> {
    #[serde(borrow, default, deserialize_with = "given")]
    key: Option<&'a RawValue>,
    /// `null` is a value like any other.
    #[serde(borrow, default, deserialize_with = "given")]
    value: Option<&'a RawValue>,
    /// In seconds.
    #[serde(borrow, default, deserialize_with = "given")]
    ttl: Option<&'a RawValue>,
}

/// Distinguishes `null` from absence.
fn given<'de: 'a, 'a, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'a RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

impl PutBody<'_> {
    /// The operation that stores the value.
    ///
    /// # Errors
    /// `invalid_body`, `invalid_key`, `invalid_value`, `invalid_ttl`, `too_large`.
    pub fn op(&self, value_bytes_max: usize) -> Result<Op, ApiError> {
        let required = || ApiError::new(ErrorCode::InvalidBody, "Key and value are required");
        let (Some(key), Some(value)) = (self.key, self.value) else { return Err(required()) };
        let key = key_of(key)?.ok_or_else(required)?;
        if is_deeper(value.get(), DEPTH_MAX) {
            let reason = format!("The value is nested deeper than {DEPTH_MAX}");
            return Err(ApiError::new(ErrorCode::InvalidValue, reason));
        }
        let invalid = |error: crate::cache::ValueError| ApiError::new(ErrorCode::TooLarge, error.to_string());
        let value = stored(value).map_err(invalid)?;
        let length = value.bytes.len();
        if length > value_bytes_max {
            let reason = format!("The value has {length} bytes, at most {value_bytes_max} are taken");
            return Err(ApiError::new(ErrorCode::TooLarge, reason));
        }
        let ttl = self.ttl.map_or(Ok(Ttl::Default), seconds)?;
        Ok(Op::Put { key, value, ttl, condition: Condition::Always, previous: false })
    }
}

/// The key; `None` if JavaScript would treat it as missing. A number is its digits, as in a URL.
fn key_of(json: &RawValue) -> Result<Option<Key>, ApiError> {
    if json.get().len() > KEY_TEXT_MAX {
        return Err(ApiError::new(ErrorCode::InvalidKey, "Key must be a string, and not so long"));
    }
    let text = match serde_json::from_str(json.get()) {
        Ok(Json::Null | Json::Bool(false)) => return Ok(None),
        Ok(Json::String(text)) if text.is_empty() => return Ok(None),
        Ok(Json::String(text)) => text,
        Ok(Json::Number(number)) if number.as_u64() == Some(0) => return Ok(None),
        Ok(Json::Number(number)) if !number.is_f64() => number.to_string(),
        _ => return Err(ApiError::new(ErrorCode::InvalidKey, "Key must be a string")),
    };
    Key::new(&text)
        .map(Some)
        .map_err(|error| ApiError::new(ErrorCode::InvalidKey, format!("Invalid key: {error}")))
}

/// A TTL in seconds, which can be a fraction. Forms have no numbers, so a string of digits is accepted, too.
fn seconds(json: &RawValue) -> Result<Ttl, ApiError> {
    let text = Some(json.get()).filter(|text| text.len() <= NUMBER_TEXT_MAX).unwrap_or("false");
    let seconds = match serde_json::from_str(text) {
        Ok(Json::Null) => return Ok(Ttl::Default),
        Ok(Json::Number(number)) => number.as_f64(),
        Ok(Json::String(text)) => serde_json::from_str(&text).ok(),
        _ => None,
    };
    let seconds_max = (TTL_MS_MAX / 1_000) as f64;
    let wrong = || {
        let reason = format!("Ttl must be a number of seconds, more than 0 and at most {seconds_max}");
        ApiError::new(ErrorCode::InvalidTtl, reason)
    };
    let seconds = seconds.filter(|seconds| *seconds > 0.0 && *seconds <= seconds_max).ok_or_else(wrong)?;
    // At least a millisecond.
    ttl(Some((seconds * 1_000.0).round().max(1.0) as u64), false)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn op(body: &str) -> Result<Op, String> {
        let body: PutBody = serde_json::from_str(body).unwrap();
        body.op(10).map_err(|error| error.problem().detail.clone())
    }

    #[test]
    fn a_key_and_a_value_are_required_as_in_javascript() {
        for body in [
            "{}",
            r#"{"key":"a"}"#,
            r#"{"value":1}"#,
            r#"{"key":"","value":1}"#,
            r#"{"key":0,"value":1}"#,
            r#"{"key":null,"value":1}"#,
            r#"{"key":false,"value":1}"#,
        ] {
            assert_eq!(op(body), Err("Key and value are required".into()), "{body}");
        }
        for value in ["null", "false", "0", r#""""#] {
            assert!(op(&format!(r#"{{"key":"a","value":{value}}}"#)).is_ok(), "{value}");
        }
        let Ok(Op::Put { key, .. }) = op(r#"{"key":7,"value":1}"#) else { panic!("a number is a key") };
        assert_eq!(key.as_str(), "7");
        assert_eq!(op(r#"{"key":["a"],"value":1}"#), Err("Key must be a string".into()));
        assert!(op(r#"{"key":"a\u0000","value":1}"#).unwrap_err().starts_with("Invalid key"));
        assert!(op(r#"{"key":"a","value":"12345678901"}"#).unwrap_err().contains("at most 10"));
    }

    #[test]
    fn a_ttl_is_in_seconds() {
        let ttl = |ttl: &str| match op(&format!(r#"{{"key":"a","value":1,"ttl":{ttl}}}"#)) {
            Ok(Op::Put { ttl, .. }) => Ok(ttl),
            Ok(_) => panic!("a put"),
            Err(reason) => Err(reason),
        };
        assert_eq!(ttl("3600"), Ok(Ttl::Ms(3_600_000)));
        assert_eq!(ttl("0.25"), Ok(Ttl::Ms(250)));
        assert_eq!(ttl(r#""60""#), Ok(Ttl::Ms(60_000)));
        assert_eq!(ttl("null"), Ok(Ttl::Default));
        for wrong in ["0", "-1", "1e99", "true", r#""soon""#, r#""+5""#, r#""inf""#, r#""0x5""#, "{}"] {
            assert!(ttl(wrong).unwrap_err().starts_with("Ttl must be"), "{wrong}");
        }
    }
}
