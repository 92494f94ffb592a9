//! How much of what clients cause is told in the log: somebody who asks fast must not fill the disk.

use std::sync::Mutex;
use std::time::{Duration, Instant};

const INTERVAL: Duration = Duration::from_secs(1);

/// Bounds the lines of one kind.
pub(super) struct LineRate {
    most: u32,
    now: Mutex<Option<Told>>,
}

struct Told {
    since: Instant,
    lines: u32,
    left_out: u64,
}

impl LineRate {
    /// At most so many lines a second.
    pub const fn new(most: u32) -> Self {
        Self { most, now: Mutex::new(None) }
    }

    /// Whether one more may be told, with how many were left out since the last one.
    pub fn admit(&self) -> Option<u64> {
        let mut told = self.now.lock().expect("no panic while held");
        let told = told.get_or_insert_with(|| Told { since: Instant::now(), lines: 0, left_out: 0 });
        if told.since.elapsed() >= INTERVAL {
            (told.since, told.lines) = (Instant::now(), 0);
        }
        if told.lines == self.most {
            told.left_out += 1;
            return None;
        }
        told.lines += 1;
        Some(std::mem::take(&mut told.left_out))
    }
}

/// The beginning of a text, of at most so many bytes.
pub(super) fn cut(text: &str, bytes_max: usize) -> &str {
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
        let told: Vec<Option<u64>> = (0..5).map(|_| rate.admit()).collect();
        assert_eq!(told, [Some(0), Some(0), None, None, None]);
        rate.now.lock().unwrap().as_mut().unwrap().since -= INTERVAL;
        assert_eq!((rate.admit(), rate.admit(), rate.admit()), (Some(3), Some(0), None));
    }

    #[test]
    fn a_text_is_cut_between_characters() {
        assert_eq!((cut("a\u{e9}b", 2), cut("a\u{e9}b", 3), cut("ab", 9)), ("a", "a\u{e9}", "ab"));
    }
}
