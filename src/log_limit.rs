//! Limits log lines that a client or a peer can cause: few lines of each kind, and none longer than a reader needs.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Most characters of a text from outside.
const TEXT_CHARS_MAX: usize = 128;
/// Most kinds that are counted separately. All others count as one kind.
const KINDS_MAX: usize = 64;
/// The shortest time between two lines of one kind.
const PAUSE: Duration = Duration::from_secs(60);

/// A text from outside, shortened for a log line and without control characters.
pub fn clipped(text: &str) -> String {
    let plain = |char: char| if char.is_control() { '\u{fffd}' } else { char };
    let mut cut: String = text.chars().take(TEXT_CHARS_MAX).map(plain).collect();
    if text.chars().nth(TEXT_CHARS_MAX).is_some() {
        cut.push('…');
    }
    cut
}

/// Decides which of many similar lines to write: the first of a kind immediately, then one a minute with the number of
/// lines that were omitted.
#[derive(Debug, Default)]
pub struct LogLimit {
    kinds: Mutex<HashMap<String, Seen>>,
}

#[derive(Debug)]
struct Seen {
    written: Instant,
    omitted: u64,
}

impl LogLimit {
    /// The number of lines of this kind that were omitted since the last one that was written; `None` to omit this one,
    /// too.
    pub fn pass(&self, kind: &str) -> Option<u64> {
        self.pass_at(kind, Instant::now())
    }

    fn pass_at(&self, kind: &str, now: Instant) -> Option<u64> {
        let mut kinds = self.kinds.lock().expect("no panic while held");
        let kind = if kinds.contains_key(kind) || kinds.len() < KINDS_MAX { kind } else { "" };
        match kinds.get_mut(kind) {
            Some(seen) if now.saturating_duration_since(seen.written) < PAUSE => {
                seen.omitted += 1;
                None
            }
            Some(seen) => {
                seen.written = now;
                Some(std::mem::take(&mut seen.omitted))
            }
            None => {
                kinds.insert(kind.to_owned(), Seen { written: now, omitted: 0 });
                Some(0)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_of_a_kind_passes_and_then_one_a_minute() {
        let (limit, start) = (LogLimit::default(), Instant::now());
        assert_eq!(limit.pass_at("a", start), Some(0));
        assert_eq!((0..500).filter_map(|_| limit.pass_at("a", start)).count(), 0);
        assert_eq!(limit.pass_at("b", start), Some(0), "another kind");
        assert_eq!(limit.pass_at("a", start + PAUSE), Some(500));
    }

    #[test]
    fn ever_new_kinds_take_no_memory_and_write_no_lines() {
        let (limit, start) = (LogLimit::default(), Instant::now());
        let passed =
            (0..100_000).filter(|number| limit.pass_at(&number.to_string(), start).is_some()).count();
        assert!(passed <= KINDS_MAX + 1, "{passed} lines");
        assert!(limit.kinds.lock().unwrap().len() <= KINDS_MAX + 1);
    }

    #[test]
    fn texts_from_outside_are_cut_and_have_no_control_characters() {
        assert_eq!(clipped("a\nb\u{1b}[31m"), "a\u{fffd}b\u{fffd}[31m");
        assert_eq!(clipped(&"é".repeat(60_000)).chars().count(), TEXT_CHARS_MAX + 1);
    }
}
