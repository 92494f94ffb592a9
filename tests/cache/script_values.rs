//! How values and deadlines are shown in the transcripts.

use lockstep::cache::{Hash, Kind, Value};

/// A value, or how long it is.
pub fn show_value(value: &Value) -> String {
    if let Some(hash) = Hash::read(&value.bytes).filter(|_| value.kind() == Kind::Hash) {
        let shown =
            |(name, value): (&[u8], &[u8])| format!("{}={}", name.escape_ascii(), value.escape_ascii());
        return format!("{{{}}}", hash.fields().map(shown).collect::<Vec<_>>().join(" "));
    }
    let media = value.content_type.as_ref().map_or(String::new(), |media| format!(" ({media})"));
    match value.bytes.len() {
        0..=40 => format!("{:?}{media}", String::from_utf8_lossy(&value.bytes)),
        length => format!("{length} bytes{media}"),
    }
}

/// Until when an entry lives.
pub fn show_deadline(expires_at_ms: Option<u64>) -> String {
    expires_at_ms.map_or(String::new(), |deadline| format!(" until={deadline}"))
}
