//! A set of small numbers, as bits.

/// Which of some numbered things are chosen.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Bits {
    words: Vec<u64>,
}

impl Bits {
    /// None of `len` things is chosen.
    pub fn new(len: usize) -> Self {
        Self { words: vec![0; len.div_ceil(64)] }
    }

    pub fn has(&self, bit: usize) -> bool {
        self.words[bit / 64] >> (bit % 64) & 1 == 1
    }

    pub fn set(&mut self, bit: usize) {
        self.words[bit / 64] |= 1 << (bit % 64);
    }

    pub fn clear(&mut self, bit: usize) {
        self.words[bit / 64] &= !(1 << (bit % 64));
    }

    /// The words, apart from the full ones at the beginning, which are counted, and the empty ones at the end.
    pub fn middle(&self) -> (usize, &[u64]) {
        let full = self.words.iter().take_while(|word| **word == u64::MAX).count();
        let rest = &self.words[full..];
        let end = rest.iter().rposition(|word| *word != 0).map_or(0, |last| last + 1);
        (full, &rest[..end])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_and_what_is_before_it_say_all() {
        let mut bits = Bits::new(200);
        assert_eq!(bits.middle(), (0, &[][..]));
        (0..64).for_each(|bit| bits.set(bit));
        assert_eq!(bits.middle(), (1, &[][..]));
        bits.set(130);
        assert_eq!(bits.middle(), (1, &[0, 4][..]));
        assert!(bits.has(130) && bits.has(63) && !bits.has(64));
        bits.clear(3);
        assert_eq!(bits.middle(), (0, &[!8, 0, 4][..]));
    }
}
