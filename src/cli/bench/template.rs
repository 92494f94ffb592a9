//! Text that is prepared once, and in which only the digits of keys are written anew.

use super::keys::{DIGITS, write_number};
use bytes::Bytes;
use std::ops::Range;

/// Text with places for the digits of keys.
#[derive(Clone, Default)]
pub struct Template {
    text: Vec<u8>,
    digits: Vec<Range<usize>>,
}

impl Template {
    pub fn text(mut self, text: &str) -> Self {
        self.text.extend_from_slice(text.as_bytes());
        self
    }

    pub fn digits(mut self) -> Self {
        let start = self.text.len();
        self.text.resize(start + DIGITS, b'0');
        self.digits.push(start..self.text.len());
        self
    }

    /// The text for these keys, one for each place.
    pub fn with(&self, numbers: impl IntoIterator<Item = u64>) -> Bytes {
        let mut text = self.text.clone();
        for (place, number) in self.digits.iter().zip(numbers) {
            write_number(&mut text[place.clone()], number);
        }
        text.into()
    }
}
