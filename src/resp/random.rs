//! Random numbers for what a client asks to be random. Nothing secret depends on them.

/// A generator: [SplitMix64](https://prng.di.unimi.it/splitmix64.c).
pub(super) struct Random(u64);

impl Random {
    /// One that begins anywhere.
    pub fn new() -> Self {
        Self(uuid::Uuid::new_v4().as_u128() as u64)
    }

    /// A number below this one, which is not 0.
    pub fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^= bits >> 31;
        ((u128::from(bits) * end as u128) >> 64) as usize
    }
}
