//! A limit of log lines that clients cause: a client that sends many requests must not fill the disk.

use std::sync::Mutex;
use std::time::{Duration, Instant};

const INTERVAL: Duration = Duration::from_secs(1);

/// Limits the lines of one kind.
#[derive(Debug)]
pub struct LineRate {
    max: u32,
    current: Mutex<Option<Interval>>,
}

#[derive(Debug)]
struct Interval {
    since: Instant,
    lines: u32,
    omitted: u64,
}

impl LineRate {
    /// At most `max` lines a second.
    pub const fn new(max: u32) -> Self {
        Self { max, current: Mutex::new(None) }
    }

    /// Whether one more line can be written; if so, how many were left out since the last one.
    pub fn admit(&self) -> Option<u64> {
        let mut current = self.current.lock().expect("no panic while held");
        let current = current.get_or_insert_with(|| Interval { since: Instant::now(), lines: 0, omitted: 0 });
        if current.since.elapsed() >= INTERVAL {
            (current.since, current.lines) = (Instant::now(), 0);
        }
        if current.lines == self.max {
            current.omitted += 1;
            return None;
        }
        current.lines += 1;
        Some(std::mem::take(&mut current.omitted))
    }
}

/// The beginning of a text, of at most `bytes_max` bytes.
pub fn truncate(text: &str, bytes_max: usize) -> &str {
    let mut end = bytes_max.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_much_is_counted() {
        let rate = LineRate::new(2);
        let admitted: Vec<Option<u64>> = (0..5).map(|_| rate.admit()).collect();
        assert_eq!(admitted, [Some(0), Some(0), None, None, None]);
        rate.current.lock().unwrap().as_mut().unwrap().since -= INTERVAL;
        assert_eq!((rate.admit(), rate.admit(), rate.admit()), (Some(3), Some(0), None));
    }

    #[test]
    fn a_text_is_cut_between_characters() {
        assert_eq!(
            (truncate("a\u{e9}b", 2), truncate("a\u{e9}b", 3), truncate("ab", 9)),
            ("a", "a\u{e9}", "ab")
        );
    }
}
