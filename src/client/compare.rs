//! Finds the keys in which two nodes differ, by the digests of ranges of keys: only ranges that differ are looked into.
//!
//! Clients may write meanwhile, so a key whose revisions differ is read again from both, until they are equal, or until the
//! indexes of the two reads show that no write in between explains it.

use super::error::ClientError;
use super::http::{Client, Retry};
use super::kv::PLAIN;
use crate::api::{Consistency, ErrorCode, RangeDigest, RangeDigests};
use percent_encoding::utf8_percent_encode;
use reqwest::Method;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;
use tokio::time::sleep;

/// Ranges that differ and have at most so many keys are listed, and not divided again.
const LISTED_MAX: u64 = 100;
/// How many ranges one is divided into at least.
const SPLIT: usize = 16;
/// How often a key is read that differs, if it may have changed between two reads.
const READS: usize = 10;
/// After about so many keys that differ nobody looks for more.
const DIFFERING_MAX: usize = 1_000;
const READ_INTERVAL: Duration = Duration::from_millis(50);
/// How often a node is asked that is busy with another such request.
const ASKED: usize = 100;

/// Which keys to sum up: those with `prefix` after `after` and up to `until`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeySpan {
    pub prefix: String,
    pub after: Option<String>,
    pub until: Option<String>,
}

/// How two nodes' keys compare.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Comparison {
    /// Keys that the first node has, counted while they were compared.
    pub keys: u64,
    /// Keys whose revisions differ, or that only one of them has.
    pub differing: Vec<String>,
    /// Whether so much differs that the rest was not compared.
    pub is_cut: bool,
}

/// A part to be looked into.
struct Part {
    span: KeySpan,
    /// Whether its keys were counted before.
    is_within_another: bool,
    /// Whether the other node divides it into ranges.
    by_other: bool,
}

impl Client {
    /// The digests of ranges of keys; at least `split` of them if there are as many keys, and less than twice as many.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn range_digests(
        &self,
        span: &KeySpan,
        split: usize,
        consistency: Consistency,
    ) -> Result<RangeDigests, ClientError> {
        let mut path = format!("/v1/digest/range?split={split}&consistency={}", consistency.as_str());
        let named =
            [("prefix", Some(&span.prefix)), ("after", span.after.as_ref()), ("until", span.until.as_ref())];
        for (name, text) in named {
            if let Some(text) = text {
                let _ = write!(path, "&{name}={}", utf8_percent_encode(text, PLAIN));
            }
        }
        self.json(Method::GET, &path, Retry::Always, |builder| builder).await
    }

    /// Compares the keys that two nodes of one cluster have, and their revisions.
    ///
    /// # Errors
    /// [`ClientError`] of either.
    pub async fn compare(&self, other: &Self, prefix: &str) -> Result<Comparison, ClientError> {
        let mut comparison = Comparison::default();
        let mut suspects = Vec::new();
        let whole = KeySpan { prefix: prefix.to_owned(), ..KeySpan::default() };
        let mut parts = vec![Part { span: whole, is_within_another: false, by_other: false }];
        while let Some(Part { mut span, is_within_another, by_other }) = parts.pop() {
            if suspects.len() >= DIFFERING_MAX {
                comparison.is_cut = true;
                break;
            }
            let (divided, compared) = if by_other { (other, self) } else { (self, other) };
            let RangeDigests { ranges, next, .. } = divided.digests_when_free(&span, SPLIT).await?;
            for range in ranges {
                if !is_within_another {
                    comparison.keys += range.keys;
                }
                let within = KeySpan { until: range.until.clone(), ..span.clone() };
                span.after = range.until.clone();
                let there = compared.sum(&within).await?;
                if (there.keys, &there.digest) == (range.keys, &range.digest) {
                    continue;
                }
                if range.keys.max(there.keys) > LISTED_MAX {
                    // By the one that has more: the other may have nothing to divide.
                    let by_other = by_other != (there.keys > range.keys);
                    parts.push(Part { span: within, is_within_another: true, by_other });
                    continue;
                }
                let (ours, theirs) = (self.revisions(&within).await?, other.revisions(&within).await?);
                let keys = ours.keys().chain(theirs.keys().filter(|key| !ours.contains_key(*key)));
                suspects.extend(keys.filter(|key| ours.get(*key) != theirs.get(*key)).cloned());
            }
            if let Some(after) = next {
                let span = KeySpan { after: Some(after), ..span };
                parts.push(Part { span, is_within_another, by_other });
            }
        }
        for _ in 0..READS {
            let mut undecided = Vec::new();
            for key in suspects {
                match differs(self.seen(&key).await?, other.seen(&key).await?) {
                    Some(true) => comparison.differing.push(key),
                    Some(false) => {}
                    None => undecided.push(key),
                }
            }
            suspects = undecided;
            if suspects.is_empty() {
                return Ok(comparison);
            }
            sleep(READ_INTERVAL).await;
        }
        comparison.differing.extend(suspects);
        Ok(comparison)
    }

    /// The sum of a whole span.
    async fn sum(&self, span: &KeySpan) -> Result<RangeDigest, ClientError> {
        let mut sum = RangeDigest { until: span.until.clone(), keys: 0, digest: String::new() };
        let mut digest = 0_u128;
        let mut span = span.clone();
        loop {
            let found = self.digests_when_free(&span, 1).await?;
            for range in found.ranges {
                sum.keys += range.keys;
                digest = digest.wrapping_add(u128::from_str_radix(&range.digest, 16).unwrap_or(0));
            }
            match found.next {
                Some(after) => span.after = Some(after),
                None => break,
            }
        }
        sum.digest = format!("{digest:032x}");
        Ok(sum)
    }

    async fn digests_when_free(&self, span: &KeySpan, split: usize) -> Result<RangeDigests, ClientError> {
        for _ in 1..ASKED {
            match self.range_digests(span, split, Consistency::Linearizable).await {
                Err(error) if error.code() == ErrorCode::Busy => sleep(READ_INTERVAL).await,
                other => return other,
            }
        }
        self.range_digests(span, split, Consistency::Linearizable).await
    }

    /// The keys of a span of at most about [`LISTED_MAX`] keys.
    async fn revisions(&self, span: &KeySpan) -> Result<BTreeMap<String, u64>, ClientError> {
        let (mut found, mut after) = (BTreeMap::new(), span.after.clone());
        loop {
            let page = self.keys(&span.prefix, after.as_deref(), 1_000, Consistency::Linearizable).await?;
            let is_in = |key: &str| span.until.as_deref().is_none_or(|until| key <= until);
            let is_past = page.keys.last().is_some_and(|last| !is_in(&last.key));
            found.extend(
                page.keys.into_iter().filter(|key| is_in(&key.key)).map(|key| (key.key, key.meta.revision)),
            );
            match page.next.filter(|_| !is_past) {
                Some(next) => after = Some(next),
                None => return Ok(found),
            }
        }
    }

    async fn seen(&self, key: &str) -> Result<Seen, ClientError> {
        // A listing counts as a use of none. The first key that begins with a key is that key.
        let page = self.keys(key, None, 1, Consistency::Linearizable).await?;
        let found = page.keys.into_iter().find(|found| found.key == key);
        Ok(Seen { revision: found.map(|found| found.meta.revision), index: page.index })
    }
}

/// A key as a node had it after the log entry at `index`.
#[derive(Debug, Clone, Copy)]
struct Seen {
    revision: Option<u64>,
    index: u64,
}

/// Whether two nodes of one cluster differ in a key, or `None` if it may have changed between the two reads. A revision is the index of
/// the entry that wrote it, so a node that has applied that entry has no earlier one.
fn differs(a: Seen, b: Seen) -> Option<bool> {
    match (a.revision, b.revision) {
        (a, b) if a == b => Some(false),
        _ if a.index == b.index => Some(true),
        (Some(older), Some(newer)) if older < newer && newer <= a.index => Some(true),
        (Some(newer), Some(older)) if older < newer && newer <= b.index => Some(true),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_cannot_have_changed_meanwhile_differs() {
        let seen = |revision, index| Seen { revision, index };
        for (a, b, expected) in [
            (seen(Some(5), 9), seen(Some(5), 12), Some(false)),
            (seen(None, 9), seen(None, 12), Some(false)),
            (seen(Some(5), 9), seen(None, 9), Some(true)),
            (seen(Some(5), 9), seen(Some(8), 12), Some(true)),
            (seen(Some(5), 9), seen(Some(10), 12), None),
            (seen(Some(5), 9), seen(None, 12), None),
        ] {
            assert_eq!((differs(a, b), differs(b, a)), (expected, expected), "{a:?} {b:?}");
        }
    }
}
