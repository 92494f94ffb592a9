//! Bytes from strangers: whatever reads them refuses or takes them, does not panic, and asks for memory in proportion to them.
//!
//! Each target has valid samples. Inputs are samples that were changed, so most get past the first check. An input that is
//! taken must come out the same if it is written and read again. `LOCKSTEP_FUZZ_INPUTS` sets how many inputs there are,
//! `LOCKSTEP_FUZZ_SEED` repeats a run, and `LOCKSTEP_FUZZ_TARGET` runs one target only.

mod foreign_tokens;
#[path = "../support/jwt.rs"]
mod jwt;
mod memory;
mod mutate;
mod redis;
mod samples;
mod targets;

use fastrand::Rng;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;
use targets::{Target, targets};

#[global_allocator]
static ALLOCATOR: memory::Measured = memory::Measured;

/// Inputs in a run that sets no number: a few seconds.
const INPUTS: u64 = 200_000;

fn setting(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// What a target did with its inputs.
#[derive(Default)]
struct Tally {
    inputs: u64,
    taken: u64,
    bytes: usize,
    most: usize,
}

/// Gives a target one input.
///
/// # Panics
/// If it panics itself, asks for too much memory, or does not read what it has written.
fn give(target: &Target, input: &[u8], tally: &mut Tally) -> bool {
    let (outcome, most) = memory::most(|| catch_unwind(AssertUnwindSafe(|| (target.run)(input))));
    let shown = || format!("{}, {} bytes: {}", target.name, input.len(), input.escape_ascii());
    let outcome = outcome.unwrap_or_else(|_| panic!("it panics: {}", shown()));
    let taken = outcome.unwrap_or_else(|reason| panic!("{reason}: {}", shown()));
    let bound = target.bytes_fixed + target.bytes_each * input.len();
    assert!(most <= bound, "{most} bytes are allocated at a time, at most {bound}: {}", shown());
    tally.inputs += 1;
    tally.taken += u64::from(taken);
    tally.bytes += input.len();
    tally.most = tally.most.max(most);
    taken
}

fn fuzz(target: &Target, inputs: u64, seed: u64) -> Tally {
    let mut tally = Tally::default();
    for sample in &target.samples {
        assert!(
            give(target, sample, &mut tally),
            "{}: a sample is refused: {}",
            target.name,
            sample.escape_ascii()
        );
    }
    // Of its own, so that a target does the same whether the others run or not.
    let mut rng = Rng::with_seed(seed ^ xxhash_rust::xxh3::xxh3_64(target.name.as_bytes()));
    for _ in 0..inputs {
        give(target, &mutate::input(&mut rng, &target.samples, target.magic), &mut tally);
    }
    tally
}

#[test]
fn whatever_strangers_send_is_refused_or_read_as_it_was_written() {
    let number = |name, otherwise| setting(name).map_or(otherwise, |text| text.parse().expect("a number"));
    let (inputs, seed) =
        (number("LOCKSTEP_FUZZ_INPUTS", INPUTS), number("LOCKSTEP_FUZZ_SEED", fastrand::u64(..)));
    println!("{inputs} inputs, LOCKSTEP_FUZZ_SEED={seed}");
    let dir = tempfile::tempdir().expect("a folder");
    let only = setting("LOCKSTEP_FUZZ_TARGET");
    let mut targets = targets(dir.path());
    targets.retain(|target| only.as_ref().is_none_or(|only| target.name == only));
    assert!(!targets.is_empty(), "there is no target {only:?}");
    let weights: u64 = targets.iter().map(|target| target.weight).sum();
    for target in &targets {
        let begun = Instant::now();
        let tally = fuzz(target, inputs * target.weight / weights, seed);
        let Tally { inputs, taken, bytes, most } = tally;
        let took = begun.elapsed().as_secs_f64();
        println!(
            "{}: {inputs} inputs of {} bytes in {took:.1} s, {taken} taken, at most {most} bytes at a time",
            target.name,
            bytes / inputs as usize
        );
        // If all were refused, or none, the inputs would try little.
        assert!(
            inputs < 1_000 || (taken > inputs / 100 && taken < inputs),
            "{}: {taken} of {inputs}",
            target.name
        );
    }
}
