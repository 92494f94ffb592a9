//! A number in six bytes, for what every entry has several of.

/// A number below 2 to the power of 48: as a log index it is not reached in 80 years of 100,000 entries a second, as a log
/// time not before the year 10,889. What is more is stored as the greatest.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct U48([u8; 6]);

impl U48 {
    pub const MAX: u64 = (1 << 48) - 1;

    pub fn get(self) -> u64 {
        let [a, b, c, d, e, f] = self.0;
        u64::from_le_bytes([a, b, c, d, e, f, 0, 0])
    }
}

impl From<u64> for U48 {
    fn from(number: u64) -> Self {
        let [a, b, c, d, e, f, ..] = number.min(Self::MAX).to_le_bytes();
        Self([a, b, c, d, e, f])
    }
}

impl std::fmt::Debug for U48 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.get().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back_up_to_the_greatest() {
        for number in [0, 1, 0x0102_0304_0506, U48::MAX] {
            assert_eq!(U48::from(number).get(), number);
        }
        assert_eq!(U48::from(u64::MAX).get(), U48::MAX);
    }
}
