//! Numbers in six or seven bytes, for what every entry has several of.

/// A number in `N` bytes, of any alignment. What is more is stored as the greatest.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct ShortInt<const N: usize>([u8; N]);

/// Below 2 to the power of 48: as a log time it is not reached before the year 10,889, as a count of uses not in 80 years of
/// 100,000 a second.
pub(super) type U48 = ShortInt<6>;

/// Below 2 to the power of 56: more than any log index, of which all are below 2 to the power of 53 (see
/// [`crate::lineage::Lineage::fork`]).
pub(super) type U56 = ShortInt<7>;

impl<const N: usize> ShortInt<N> {
    pub const MAX: u64 = (1 << (8 * N)) - 1;

    #[inline]
    pub fn get(self) -> u64 {
        let mut bytes = [0; size_of::<u64>()];
        bytes[..N].copy_from_slice(&self.0);
        u64::from_le_bytes(bytes)
    }
}

impl<const N: usize> From<u64> for ShortInt<N> {
    #[inline]
    fn from(number: u64) -> Self {
        let mut bytes = [0; N];
        bytes.copy_from_slice(&number.min(Self::MAX).to_le_bytes()[..N]);
        Self(bytes)
    }
}

impl<const N: usize> std::fmt::Debug for ShortInt<N> {
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
        for number in [0, 1, 0x0102_0304_0506_0708 >> 8, U56::MAX] {
            assert_eq!(U56::from(number).get(), number);
        }
        assert_eq!(U48::from(u64::MAX).get(), U48::MAX);
        assert_eq!(U56::from(u64::MAX).get(), U56::MAX);
    }
}
