//! Which key a request is for: evenly, or by Zipf's law, and the same for the same seed.

use super::args::Distribution;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use rand_distr::{Distribution as _, Uniform, Zipf};

/// Digits of a key's number: every key has the same length, so that requests differ in nothing else.
pub const DIGITS: usize = 10;
/// What keys begin with. Counters have names of their own: they cannot be counted up from a value.
pub const VALUES: &str = "bench-";
pub const COUNTERS: &str = "bench-count-";

/// Writes a key's number over the digits that stand there.
pub fn write_number(digits: &mut [u8], mut number: u64) {
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

/// One connection's choice of keys.
pub struct Keys {
    random: SmallRng,
    law: Law,
    count: u64,
}

enum Law {
    Uniform(Uniform<u64>),
    Zipf(Zipf<f64>),
}

impl Keys {
    /// Choosers among `count` keys for `connections`. Each has a stream of random numbers of its own, and all
    /// together depend on the seed only.
    pub fn for_each(
        connections: u32,
        count: u64,
        distribution: Distribution,
        seed: u64,
    ) -> anyhow::Result<Vec<Self>> {
        let mut seeds = SmallRng::seed_from_u64(seed);
        let one = |_| {
            let law = match distribution {
                Distribution::Uniform => Law::Uniform(Uniform::new(0, count)?),
                Distribution::Zipf(exponent) => Law::Zipf(Zipf::new(count as f64, exponent)?),
            };
            Ok(Self { random: SmallRng::from_rng(&mut seeds), law, count })
        };
        (0..connections).map(one).collect()
    }

    /// The next key's number, from 0.
    pub fn next(&mut self) -> u64 {
        match &self.law {
            Law::Uniform(uniform) => uniform.sample(&mut self.random),
            // Ranks begin at 1, and are whole numbers in a float.
            Law::Zipf(zipf) => (zipf.sample(&mut self.random) as u64).clamp(1, self.count) - 1,
        }
    }

    /// True for so many requests in a hundred.
    pub fn percent(&mut self, percent: u8) -> bool {
        self.random.random_range(0..100) < percent
    }

    /// How many keys there are.
    pub fn count(&self) -> u64 {
        self.count
    }
}

/// A value of so many bytes that is text in JSON as it is.
pub fn value(bytes: u32, seed: u64) -> String {
    let mut random = SmallRng::seed_from_u64(seed);
    (0..bytes).map(|_| char::from(random.sample(rand_distr::Alphanumeric))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(distribution: Distribution, keys: u64, seed: u64, draws: usize) -> Vec<u64> {
        let mut one = Keys::for_each(1, keys, distribution, seed).unwrap().remove(0);
        (0..draws).map(|_| one.next()).collect()
    }

    /// Each rank is drawn about as often as Zipf's law says, for exponents below, at and above 1.
    #[test]
    fn zipf_has_its_shape() {
        const KEYS: u64 = 1_000;
        const DRAWS: usize = 200_000;
        for exponent in [0.5, 0.99, 1.0, 1.5] {
            let mut counts = vec![0_u32; KEYS as usize];
            for key in drawn(Distribution::Zipf(exponent), KEYS, 7, DRAWS) {
                counts[key as usize] += 1;
            }
            let weight = |rank: usize| (rank as f64).powf(-exponent);
            let all: f64 = (1..=KEYS as usize).map(weight).sum();
            for rank in [1, 2, 3, 10, 30] {
                let expected = DRAWS as f64 * weight(rank) / all;
                let seen = f64::from(counts[rank - 1]);
                // Six standard deviations of a count.
                assert!(
                    (seen - expected).abs() < 6.0 * expected.sqrt(),
                    "rank {rank} of zipf:{exponent}: {seen} times, expected {expected:.0}"
                );
            }
        }
    }

    #[test]
    fn uniform_is_even_and_reaches_all() {
        let mut counts = [0_u32; 10];
        for key in drawn(Distribution::Uniform, 10, 7, 100_000) {
            counts[key as usize] += 1;
        }
        assert!(counts.iter().all(|count| (9_400..10_600).contains(count)), "{counts:?}");
    }

    #[test]
    fn a_seed_decides_and_connections_differ() {
        for distribution in [Distribution::Uniform, Distribution::Zipf(0.99)] {
            assert_eq!(drawn(distribution, 1_000, 3, 100), drawn(distribution, 1_000, 3, 100));
            assert_ne!(drawn(distribution, 1_000, 3, 100), drawn(distribution, 1_000, 4, 100));
            let mut all = Keys::for_each(2, 1_000, distribution, 3).unwrap();
            let of = |keys: &mut Keys| (0..100).map(|_| keys.next()).collect::<Vec<_>>();
            assert_ne!(of(&mut all[0]), of(&mut all[1]));
            assert_eq!(drawn(distribution, 1, 3, 100), [0; 100]);
        }
        assert_eq!(value(40, 1), value(40, 1));
        assert_eq!(value(40, 1).len(), 40);
    }

    #[test]
    fn numbers_are_written_with_all_digits() {
        let mut digits = *b"xxxxxxxxxx";
        write_number(&mut digits, 1_203);
        assert_eq!(&digits, b"0000001203");
    }
}
