//! Bodies of requests: JSON, or a form with nested names (`items[0][key]=a`), which becomes JSON text. Any other body counts
//! as empty, as with Express, so no plain HTML form of another site can pretend to be JSON.

use super::super::api_error::ApiError;
use super::super::body::{body_bytes, from_object};
use super::answer::{Context, Refusal};
use crate::api::ErrorCode;
use crate::front::MemoryPermit;
use axum::body::Body;
use axum::http::{HeaderMap, StatusCode, header};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::Value;

const JSON_BYTES_MAX: usize = 10 * 1024 * 1024;
/// As in Express. Forms are for people; programs send JSON.
const FORM_BYTES_MAX: usize = 100 * 1024;

/// The body of a request as JSON text, and its part of the memory of all bodies.
pub(super) struct Text {
    bytes: Bytes,
    _permit: MemoryPermit,
}

impl Text {
    /// # Errors
    /// 413, 429, 400.
    pub async fn of(context: &Context, headers: &HeaderMap, body: Body) -> Result<Self, Refusal> {
        let is = |media: &str| media_type(headers).eq_ignore_ascii_case(media);
        let is_form = is("application/x-www-form-urlencoded");
        let limit = if is_form { FORM_BYTES_MAX } else { JSON_BYTES_MAX };
        let received = body_bytes(&context.state, headers, body, limit).await;
        let (bytes, permit) = received.map_err(|error| refusal(context, error))?.into_parts();
        let bytes = match bytes.trim_ascii() {
            [] => Bytes::from_static(b"{}"),
            _ if is("application/json") => bytes,
            form if is_form => Bytes::from(form_to_json(form)?),
            _ => Bytes::from_static(b"{}"),
        };
        Ok(Self { bytes, _permit: permit })
    }

    /// Parses it. Other fields are ignored, as with Express.
    ///
    /// # Errors
    /// 400.
    pub fn read<'a, T: Deserialize<'a>>(&'a self) -> Result<T, Refusal> {
        from_object(&self.bytes).map_err(|error| Refusal::bad(format!("Malformed JSON: {error}")))
    }
}

fn refusal(context: &Context, error: ApiError) -> Refusal {
    match error.problem().code {
        ErrorCode::TooLarge => Refusal::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("Request entity too large: {}", error.problem().detail),
        ),
        _ => context.refuse(error),
    }
}

fn media_type(headers: &HeaderMap) -> &str {
    let text = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    text.split(';').next().unwrap_or_default().trim()
}

/// A form's fields; all values are text.
fn form_to_json(form: &[u8]) -> Result<Vec<u8>, Refusal> {
    let config = serde_qs::Config::new().use_form_encoding(true);
    let fields: Value =
        config.deserialize_bytes(form).map_err(|error| Refusal::bad(format!("Malformed form: {error}")))?;
    serde_json::to_vec(&fields).map_err(|error| Refusal::bad(format!("Malformed form: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(form: &str) -> Value {
        serde_json::from_slice(&form_to_json(form.as_bytes()).unwrap()).unwrap()
    }

    #[test]
    fn forms_nest_as_in_express() {
        assert_eq!(json("key=a&value=b+c%21"), serde_json::json!({"key": "a", "value": "b c!"}));
        let items =
            serde_json::json!({"items": [{"key": "a", "value": "1"}, {"key": "b", "value": {"x": "2"}}]});
        let form = "items[0][key]=a&items[0][value]=1&items[1][key]=b&items[1][value][x]=2";
        assert_eq!(json(form), items);
        assert_eq!(json(&form.replace('[', "%5B").replace(']', "%5D")), items);
        assert_eq!(json("key="), serde_json::json!({"key": ""}));
    }
}
