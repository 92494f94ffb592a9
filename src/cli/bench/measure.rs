//! What is counted: by each connection for itself while the load runs, all together at the end.

use super::connection::{Answer, Broken};
use super::requests::Kind;
use anyhow::{Result, anyhow};
use hdrhistogram::Histogram;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Longest latency told apart from longer ones, in microseconds: an hour.
const LATENCY_US_MAX: u64 = 3_600_000_000;
/// How errors without an answer are counted.
const TRANSPORT: &str = "transport";

/// One connection's counts.
pub struct Tally {
    /// Requests that were answered as they should be, and how long that took, in microseconds.
    pub reads: Histogram<u64>,
    pub writes: Histogram<u64>,
    /// Those among them that found no key.
    pub misses: u64,
    pub errors: BTreeMap<String, u64>,
    /// What was wrong with the first request that got no answer.
    pub broken: Option<String>,
    /// Requests that were due, but not sent before time was up.
    pub behind: u64,
    /// When the last one was answered.
    pub last: Option<Instant>,
}

impl Tally {
    pub fn new() -> Result<Self> {
        let histogram = || Histogram::new_with_bounds(1, LATENCY_US_MAX, 3).map_err(|error| anyhow!(error));
        let (reads, writes) = (histogram()?, histogram()?);
        Ok(Self { reads, writes, misses: 0, errors: BTreeMap::new(), broken: None, behind: 0, last: None })
    }

    /// Counts a request that took so long, or failed.
    pub fn count(&mut self, kind: Kind, took: Duration, at: Instant, answer: &Result<Answer, Broken>) {
        self.last = Some(at);
        match answer {
            Ok(Answer { misses, refused }) => {
                self.misses += misses;
                match refused.is_empty() {
                    true => self.took(kind, took),
                    false => refused.iter().for_each(|code| self.failed(code.clone())),
                }
            }
            Err(broken) => {
                self.broken.get_or_insert_with(|| broken.to_string());
                self.failed(TRANSPORT.into());
            }
        }
    }

    fn took(&mut self, kind: Kind, took: Duration) {
        let histogram = match kind {
            Kind::Read => &mut self.reads,
            Kind::Write => &mut self.writes,
        };
        histogram.saturating_record(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
    }

    fn failed(&mut self, code: String) {
        *self.errors.entry(code).or_default() += 1;
    }

    pub fn merge(&mut self, other: &Self) -> Result<()> {
        self.reads.add(&other.reads).map_err(|error| anyhow!("{error}"))?;
        self.writes.add(&other.writes).map_err(|error| anyhow!("{error}"))?;
        self.misses += other.misses;
        for (code, count) in &other.errors {
            *self.errors.entry(code.clone()).or_default() += count;
        }
        self.broken = self.broken.take().or_else(|| other.broken.clone());
        self.behind += other.behind;
        self.last = self.last.max(other.last);
        Ok(())
    }

    /// Requests that were answered as they should be.
    pub fn requests(&self) -> u64 {
        self.reads.len() + self.writes.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn misses_are_no_errors_and_errors_have_names() {
        let mut tally = Tally::new().unwrap();
        let mut count = |kind, answer: Result<Answer, Broken>| {
            tally.count(kind, Duration::from_micros(70), Instant::now(), &answer);
        };
        let refused = |codes: &[&str]| {
            Ok(Answer { misses: 0, refused: codes.iter().map(|&code| code.to_owned()).collect() })
        };
        count(Kind::Read, refused(&[]));
        count(Kind::Read, Ok(Answer { misses: 2, refused: Vec::new() }));
        count(Kind::Write, refused(&[]));
        // A pipeline of which some commands were refused.
        count(Kind::Write, refused(&["busy", "OOM"]));
        count(Kind::Write, refused(&["busy"]));
        count(Kind::Write, Err(Broken::Closed));
        let errors =
            [("OOM", 1), ("busy", 2), ("transport", 1)].map(|(code, count)| (code.to_owned(), count));
        assert_eq!((tally.requests(), tally.misses, tally.errors.clone()), (3, 2, errors.into()));
        let mut all = Tally::new().unwrap();
        all.merge(&tally).unwrap();
        all.merge(&tally).unwrap();
        assert_eq!((all.reads.len(), all.writes.len(), all.misses, all.errors["busy"]), (4, 2, 4, 4));
    }
}
