//! Finds the keys in which two nodes differ, by the digests of ranges of keys: only ranges that differ are looked into.
//!
//! Both are asked for linearizable reads, so every difference that stays is real. Clients may write meanwhile: a key whose
//! revision differs is read again from both until it does not, or until it has differed too often.

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
/// How often a key is read that differs.
const READS: usize = 20;
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

    /// Compares the keys that two nodes have, and their revisions.
    ///
    /// # Errors
    /// [`ClientError`] of either.
    pub async fn compare(&self, other: &Self, prefix: &str) -> Result<Comparison, ClientError> {
        let mut comparison = Comparison::default();
        let mut suspects = Vec::new();
        let mut spans = vec![KeySpan { prefix: prefix.to_owned(), ..KeySpan::default() }];
        while let Some(mut span) = spans.pop() {
            let is_whole = span.after.is_none() && span.until.is_none();
            let RangeDigests { ranges, next, .. } = self.digests_when_free(&span, SPLIT).await?;
            for range in ranges {
                if is_whole {
                    comparison.keys += range.keys;
                }
                let part = KeySpan { until: range.until.clone(), ..span.clone() };
                span.after = range.until.clone();
                let theirs = other.sum(&part).await?;
                if (theirs.keys, &theirs.digest) == (range.keys, &range.digest) {
                    continue;
                }
                if range.keys.max(theirs.keys) > LISTED_MAX {
                    spans.push(part);
                    continue;
                }
                let (ours, theirs) = (self.revisions(&part).await?, other.revisions(&part).await?);
                let keys = ours.keys().chain(theirs.keys().filter(|key| !ours.contains_key(*key)));
                suspects.extend(keys.filter(|key| ours.get(*key) != theirs.get(*key)).cloned());
            }
            if let Some(after) = next {
                spans.push(KeySpan { after: Some(after), ..span });
            }
        }
        for key in suspects {
            if self.differs_in(other, &key).await? {
                comparison.differing.push(key);
            }
        }
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
                page.keys.into_iter().filter(|key| is_in(&key.key)).map(|key| (key.key, key.revision)),
            );
            match page.next.filter(|_| !is_past) {
                Some(next) => after = Some(next),
                None => return Ok(found),
            }
        }
    }

    async fn differs_in(&self, other: &Self, key: &str) -> Result<bool, ClientError> {
        for _ in 0..READS {
            let ours = self.revision_of(key).await?;
            if ours == other.revision_of(key).await? {
                return Ok(false);
            }
            sleep(READ_INTERVAL).await;
        }
        Ok(true)
    }

    async fn revision_of(&self, key: &str) -> Result<Option<u64>, ClientError> {
        // A listing counts as a use of none. The first key that begins with a key is that key.
        let page = self.keys(key, None, 1, Consistency::Linearizable).await?;
        Ok(page.keys.into_iter().find(|found| found.key == key).map(|found| found.revision))
    }
}
