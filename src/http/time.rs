//! Times in ISO 8601.

use chrono::{DateTime, SecondsFormat};

/// Milliseconds since the Unix epoch as ISO 8601 in UTC, as JavaScript's `toISOString` writes them.
pub(super) fn iso(at_ms: u64) -> String {
    let time = i64::try_from(at_ms).ok().and_then(DateTime::from_timestamp_millis);
    time.unwrap_or(DateTime::UNIX_EPOCH).to_rfc3339_opts(SecondsFormat::Millis, true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_look_as_in_javascript() {
        assert_eq!(iso(1_760_000_000_123), "2025-10-09T08:53:20.123Z");
        assert_eq!(iso(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(iso(u64::MAX), iso(0), "a time beyond all calendars");
    }
}
