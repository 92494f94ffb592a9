//! What of a synchronizer has to survive a crash, and the lines in which it is written: a checksum and JSON, the same in all
//! implementations.

use super::cluster::Place;
use super::decide::ChangeKind;
use super::types::SyncValue;
use crate::api::WireValue;
use bytes::Bytes;
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use tokio::time::Instant;

/// What both sides last agreed upon.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Base {
    /// `None`: the key was absent.
    pub(super) revision: Option<u64>,
    /// The index as of which that is known.
    pub(super) at: u64,
    /// Of the value that the local caches have then; `None`: none.
    pub(super) hash: Option<String>,
    pub(super) history: String,
    pub(super) version: u64,
    /// Log time.
    #[serde(deserialize_with = "whole")]
    pub(super) modified_at_ms: i64,
}

/// A local change that the cluster has not confirmed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Intent {
    /// Rises with each.
    pub(super) seq: u64,
    pub(super) kind: ChangeKind,
    #[serde(default, skip_serializing_if = "Option::is_none", with = "stored_value")]
    pub(super) value: Option<SyncValue>,
    /// Of an addition, in decimal.
    #[serde(default, skip_serializing_if = "is_zero", with = "decimal")]
    pub(super) by: i64,
    /// This machine's clock; `None`: of unknown age.
    #[serde(default, deserialize_with = "maybe_whole")]
    pub(super) at_ms: Option<i64>,
    /// Log time minus that clock, if it was known.
    #[serde(default, deserialize_with = "maybe_whole")]
    pub(super) offset_ms: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) ttl_ms: Option<u64>,
    /// Of an addition: the hashes of the value that it met in the caches, and of that which it put there. None of them: another
    /// release made it, which did not note them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) made: Vec<String>,
    /// When it was made, if that was in this process.
    #[serde(skip)]
    pub(super) made_at: Moment,
}

/// A moment of this process. All are equal: it does not tell one change from another.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Moment(pub(super) Option<Instant>);

impl PartialEq for Moment {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Moment {}

/// What is kept of a key.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct KeyRecord {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) base: Option<Base>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) intent: Option<Intent>,
    /// An earlier intent that was sent, if its outcome is not known yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) in_flight: Option<InFlight>,
    /// Hash of a value that a hint has put into the caches; `None` in it: the hint was a delete.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub(super) hint: Option<Option<String>>,
}

impl KeyRecord {
    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether there is a local change that the cluster has not confirmed.
    pub(super) fn is_dirty(&self) -> bool {
        self.intent.is_some() || self.in_flight.is_some()
    }

    pub(super) fn is_in_flight(&self, batch: &str) -> bool {
        self.in_flight.as_ref().is_some_and(|sent| sent.id == batch)
    }
}

/// A local change that was sent, and in which batch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct InFlight {
    pub(super) id: String,
    pub(super) intent: Intent,
}

/// An operation of a batch, with what was seen when it was sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct BatchItem {
    pub(super) key: String,
    pub(super) intent: Intent,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) if_revision: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) if_absent_since: Option<u64>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) if_present: bool,
    /// What was left of the TTL when it was sent: a batch that is repeated has to be the same, byte for byte.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) ttl_ms: Option<u64>,
}

/// A batch that was sent, or is about to be, under this idempotency key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct BatchRecord {
    pub(super) id: String,
    /// The history that it is for, and an index that was known before it was first sent.
    pub(super) history: String,
    pub(super) sent_after: u64,
    pub(super) items: Vec<BatchItem>,
}

/// What is known of the cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Meta {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) cluster_id: Option<String>,
    /// The histories that the cluster was in, oldest first.
    pub(super) histories: Vec<String>,
    /// Up to where all changes of others are applied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) place: Option<Place>,
}

/// A line that was read.
#[derive(Deserialize)]
#[serde(tag = "t")]
pub(super) enum Line {
    #[serde(rename = "m")]
    Meta(Meta),
    #[serde(rename = "k")]
    Key {
        k: String,
        #[serde(flatten)]
        record: Box<KeyRecord>,
    },
    #[serde(rename = "b")]
    Begin(BatchRecord),
    #[serde(rename = "e")]
    End { id: String },
}

/// A line to write.
#[derive(Serialize)]
#[serde(tag = "t")]
pub(super) enum LineRef<'a> {
    #[serde(rename = "m")]
    Meta(&'a Meta),
    #[serde(rename = "k")]
    Key {
        k: &'a str,
        #[serde(flatten)]
        record: &'a KeyRecord,
    },
    #[serde(rename = "b")]
    Begin(&'a BatchRecord),
    #[serde(rename = "e")]
    End { id: &'a str },
}

impl LineRef<'_> {
    pub(super) fn text(&self) -> String {
        let json = serde_json::to_string(self).expect("these types have no map with other keys than text");
        format!("{:08x} {json}", crc32fast::hash(json.as_bytes()))
    }
}

/// What a line says; `None` if it is damaged.
pub(super) fn parse_line(text: &str) -> Option<Line> {
    let (checksum, json) = text.split_once(' ')?;
    let is_whole = checksum == format!("{:08x}", crc32fast::hash(json.as_bytes()));
    if is_whole { serde_json::from_str(json).ok() } else { None }
}

/// Another implementation writes times with fractions.
fn whole<'de, D: Deserializer<'de>>(from: D) -> Result<i64, D::Error> {
    Ok(maybe_whole(from)?.unwrap_or(0))
}

fn maybe_whole<'de, D: Deserializer<'de>>(from: D) -> Result<Option<i64>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Number {
        Whole(i64),
        Fraction(f64),
    }
    Ok(Option::<Number>::deserialize(from)?.map(|number| match number {
        Number::Whole(ms) => ms,
        Number::Fraction(ms) => ms.round() as i64,
    }))
}

/// Tells a member that is `null` from one that is not there.
fn present<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Option<String>>, D::Error> {
    Option::<String>::deserialize(from).map(Some)
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
fn is_zero(number: &i64) -> bool {
    *number == 0
}

mod decimal {
    use super::{Deserialize, Deserializer, Error, Serializer};

    pub(super) fn serialize<S: Serializer>(number: &i64, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(number)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<i64, D::Error> {
        String::deserialize(from)?.parse().map_err(D::Error::custom)
    }
}

/// A value in JSON: `text` or `base64`, and `type`.
mod stored_value {
    use super::{Bytes, Deserialize, Deserializer, Error, Serialize, Serializer, SyncValue, WireValue};

    #[derive(Serialize, Deserialize)]
    struct Stored {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        text: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        base64: Option<String>,
        #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
        content_type: Option<String>,
    }

    pub(super) fn serialize<S: Serializer>(value: &Option<SyncValue>, to: S) -> Result<S::Ok, S::Error> {
        let Some(SyncValue { bytes, content_type }) = value else { return to.serialize_none() };
        let (text, base64) = match WireValue::from(Bytes::clone(bytes)) {
            WireValue::Text { value } => (Some(value), None),
            WireValue::Base64 { value_base64 } => (None, Some(value_base64)),
        };
        Stored { text, base64, content_type: content_type.clone() }.serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<SyncValue>, D::Error> {
        let Some(Stored { text, base64, content_type }) = Option::deserialize(from)? else { return Ok(None) };
        let value = match (text, base64) {
            (Some(value), _) => WireValue::Text { value },
            (None, base64) => WireValue::Base64 { value_base64: base64.unwrap_or_default() },
        };
        let value = SyncValue::of_wire(value, content_type);
        value.map(Some).ok_or_else(|| D::Error::custom("a value is no base64"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the TypeScript implementation writes them.
    #[test]
    fn lines_of_the_other_implementation_are_read() {
        for (json, key) in [
            (r#"{"t":"m","histories":["h"],"clusterId":"c","place":{"index":7,"history":"h"}}"#, false),
            (r#"{"t":"e","id":"x-1"}"#, false),
            (
                r#"{"t":"k","k":"a","base":{"revision":null,"at":3,"hash":null,"history":"h","version":0,"modifiedAtMs":1.5},"intent":{"seq":1,"kind":"add","by":"-9223372036854775808","atMs":17,"offsetMs":-0.5},"hint":null}"#,
                true,
            ),
            (
                r#"{"t":"b","id":"x-1","history":"h","sentAfter":5,"items":[{"key":"a","intent":{"seq":1,"kind":"set","value":{"base64":"AP8=","type":"x"},"atMs":null,"offsetMs":null,"ttlMs":9},"ifAbsentSince":4}]}"#,
                false,
            ),
        ] {
            let text = format!("{:08x} {json}", crc32fast::hash(json.as_bytes()));
            let line = parse_line(&text).expect(json);
            let Line::Key { k, record } = line else {
                assert!(!key);
                continue;
            };
            assert_eq!((k.as_str(), record.hint.clone()), ("a", Some(None)));
            assert_eq!(
                record.intent.as_ref().map(|intent| (intent.by, intent.offset_ms)),
                Some((i64::MIN, Some(-1)))
            );
            let again = LineRef::Key { k: &k, record: &record }.text();
            assert!(matches!(parse_line(&again), Some(Line::Key { record: other, .. }) if other == record));
        }
        assert!(parse_line("00000000 {}").is_none());
        assert!(parse_line("").is_none());
    }
}
