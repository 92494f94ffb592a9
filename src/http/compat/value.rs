//! JSON values and stored values. A string is stored as its text, every other value as its JSON text. So what a client stores
//! through these routes it reads back unchanged, and `/v1/kv` shows plain text or JSON with the right content type.

use crate::cache::{Listed, Value, ValueError};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};

const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";

/// Nested arrays and objects. Recursive parsers fail on more, and then on a whole list.
pub(super) const DEPTH_MAX: usize = 128;

/// Whether JSON is nested deeper than `max`.
pub(super) fn is_deeper(json: &str, max: usize) -> bool {
    let (mut depth, mut in_text, mut escaped) = (0_usize, false, false);
    for byte in json.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_text => escaped = true,
            b'"' => in_text = !in_text,
            b'[' | b'{' if !in_text => {
                depth += 1;
                if depth > max {
                    return true;
                }
            }
            b']' | b'}' if !in_text => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    false
}

/// A JSON value as it is stored.
///
/// # Errors
/// It is too large.
pub(super) fn stored(json: &RawValue) -> Result<Value, ValueError> {
    // A string that UTF-8 cannot encode, such as half of a surrogate pair, stays JSON.
    let text = json.get().starts_with('"').then(|| serde_json::from_str::<String>(json.get()).ok()).flatten();
    match text {
        Some(text) => Value::new(text.into(), Some(TEXT)),
        None => Value::new(json.get().to_owned().into(), Some(JSON)),
    }
}

/// A stored value with its metadata, as these routes show it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Shown {
    value: Box<RawValue>,
    /// When it was stored.
    timestamp: String,
    access_count: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<String>,
    /// `base64` where the value is neither text nor JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    encoding: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content_type: Option<String>,
}

impl Shown {
    /// The value alone.
    pub fn into_value(self) -> Box<RawValue> {
        self.value
    }

    pub fn of(entry: &Listed) -> Result<Self, serde_json::Error> {
        let found = &entry.found;
        let (value, is_base64) = shown(&found.value)?;
        let content_type = found.value.content_type.as_deref().filter(|_| is_base64);
        Ok(Self {
            value,
            timestamp: crate::http::time::iso(found.info.modified_at_ms),
            access_count: entry.uses,
            expires_at: found.info.expires_at_ms.map(crate::http::time::iso),
            encoding: is_base64.then_some("base64"),
            content_type: content_type.map(str::to_owned),
        })
    }
}

/// A stored value as JSON: itself if it is JSON by its content type and not too deep, text if it is UTF-8, else base64.
pub(super) fn shown(value: &Value) -> Result<(Box<RawValue>, bool), serde_json::Error> {
    let Ok(text) = std::str::from_utf8(&value.bytes) else {
        return Ok((to_raw_value(&BASE64.encode(&value.bytes))?, true));
    };
    if value.content_type.as_deref().is_some_and(is_json)
        && !is_deeper(text, DEPTH_MAX)
        && let Ok(json) = serde_json::from_str::<&RawValue>(text)
    {
        return Ok((json.to_owned(), false));
    }
    Ok((to_raw_value(text)?, false))
}

fn is_json(content_type: &str) -> bool {
    let media = content_type.split(';').next().unwrap_or_default().trim();
    media.eq_ignore_ascii_case(JSON) || media.to_ascii_lowercase().ends_with("+json")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(json: &str) -> Box<RawValue> {
        RawValue::from_string(json.to_owned()).unwrap()
    }

    #[test]
    fn every_json_value_comes_back_as_it_was() {
        let values = [
            r#""text""#,
            r#""""#,
            r#""ü\u0000\"""#,
            "null",
            "true",
            "0",
            "-1.5e300",
            "12345678901234567890123",
            "[]",
            r#"{"b":1,"a":[null,{"c":"d"}]}"#,
            r#""\ud800""#,
        ];
        for json in values {
            let (back, is_base64) = shown(&stored(&raw(json)).unwrap()).unwrap();
            let same = back.get() == json
                || serde_json::from_str::<String>(back.get()).unwrap()
                    == serde_json::from_str::<String>(json).unwrap();
            assert!(same && !is_base64, "{json} became {back}");
        }
        let text = stored(&raw(r#""a\nb""#)).unwrap();
        assert_eq!((&text.bytes[..], text.content_type.as_deref()), (&b"a\nb"[..], Some(TEXT)));
        let number = stored(&raw("5")).unwrap();
        assert_eq!((&number.bytes[..], number.content_type.as_deref()), (&b"5"[..], Some(JSON)));
    }

    #[test]
    fn brackets_in_texts_are_no_levels() {
        for (json, depth) in [("1", 0), ("[]", 1), (r#"[{"a":[1]},[]]"#, 3), (r#"["[[[","\\\"[[["]"#, 1)] {
            assert!(!is_deeper(json, depth), "{json}");
            assert!(depth == 0 || is_deeper(json, depth - 1), "{json}");
        }
        let deep = format!("{}{}", "[".repeat(DEPTH_MAX + 1), "]".repeat(DEPTH_MAX + 1));
        let (shown, _) = shown(&Value::new(deep.clone().into(), Some(JSON)).unwrap()).unwrap();
        assert_eq!(serde_json::from_str::<String>(shown.get()).unwrap(), deep, "it is shown as text");
    }

    #[test]
    fn what_others_stored_is_text_json_or_base64() {
        let seen = |bytes: &'static [u8], content_type: Option<&str>| {
            let (json, is_base64) = shown(&Value::new(bytes.into(), content_type).unwrap()).unwrap();
            (json.get().to_owned(), is_base64)
        };
        assert_eq!(seen(b"{}", None), (r#""{}""#.into(), false));
        assert_eq!(
            seen(b" {\"a\": 1}", Some("Application/Problem+JSON; charset=utf-8")),
            ("{\"a\": 1}".into(), false)
        );
        assert_eq!(seen(b"{broken", Some("application/json")), (r#""{broken""#.into(), false));
        assert_eq!(seen(b"\xff\x00", Some("image/png")), (r#""/wA=""#.into(), true));
    }
}
