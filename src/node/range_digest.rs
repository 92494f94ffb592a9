//! Digests of ranges of keys, for a session.
//!
//! They are computed when they are asked for, and nothing is kept for them, because a write must not pay for what hardly
//! anybody asks. Keys are read some at a time, so that writes go on in between.

use super::error::NodeError;
use super::read::ReadAt;
use super::session::{Session, SessionError};
use crate::api::{RangeDigest, RangeDigests};
use crate::cache::{Cache, Key, KeyRange, Need, Ranges, Role};
use tokio::task::yield_now;

/// How many keys are read at a time.
const CHUNK: usize = 1_000;
/// How many keys one request reads at most.
const KEYS_MAX: usize = 1_000_000;
/// How many such requests a node carries out at a time. Each takes about a second of one core for a million keys.
pub(super) const READING_MAX: usize = 1;

/// Which ranges to sum up.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DigestRanges {
    /// Only keys that begin with this.
    pub prefix: String,
    /// Only keys after this one.
    pub after: Option<String>,
    /// Only keys up to this one.
    pub until: Option<String>,
    /// At least so many ranges where there are as many keys, and less than twice as many.
    pub split: usize,
}

impl Session {
    /// The digests of ranges of keys. That counts as a use of none.
    ///
    /// # Errors
    /// [`SessionError`]; busy while another such request is being answered.
    pub async fn range_digests(&self, request: DigestRanges) -> Result<ReadAt<RangeDigests>, SessionError> {
        let DigestRanges { prefix, after, until, split } = request;
        let inner = &self.node.inner;
        let stored = |text: String| self.scope.stored_prefix(text).map_err(|error| self.fail(error));
        let (prefix, last_wanted) = (stored(prefix)?, until.clone().map(stored).transpose()?);
        let mut after = after.map(stored).transpose()?;
        let need = Need::Prefix(Role::Read, prefix.clone());
        let chunk = |cache: &Cache, after: Option<&str>| cache.keys(&prefix, after, CHUNK);
        let ReadAt { value: mut found, index, term, now_ms } =
            self.read(&need, |cache| chunk(cache, after.as_deref())).await?;
        // From here on nothing is waited for.
        let _reading = inner.range_digests.try_acquire().map_err(|_| self.fail(NodeError::Busy))?;
        let (mut ranges, mut read) = (Ranges::new(split), 0);
        let is_in = |key: &Key| last_wanted.as_deref().is_none_or(|until| key.as_str() <= until);
        let more = loop {
            found.retain(|(key, _)| is_in(key));
            read += found.len();
            let may_follow = found.len() == CHUNK;
            after = found.last().map(|(key, _)| key.as_str().to_owned());
            for (key, info) in found {
                ranges.add(key, info.entry.revision);
            }
            if !may_follow || read >= KEYS_MAX {
                break may_follow;
            }
            // The state only goes on, so nothing that was asked for is missing in what follows.
            yield_now().await;
            found = inner.consensus.replica().with_cache(|cache| chunk(cache, after.as_deref()));
        };
        let told = |KeyRange { last, keys, digest }| RangeDigest {
            until: last.map(|key| self.scope.client_key(key).as_str().to_owned()),
            keys,
            digest: format!("{digest:032x}"),
        };
        let mut ranges: Vec<RangeDigest> = ranges.into_ranges().into_iter().map(told).collect();
        let next = ranges.last().filter(|_| more).and_then(|last| last.until.clone());
        if !more {
            // What another copy has after the last key belongs to the last range.
            let last = ranges.pop().unwrap_or_else(|| told(KeyRange::default()));
            ranges.push(RangeDigest { until, ..last });
        }
        Ok(ReadAt { value: RangeDigests { ranges, next, index }, index, term, now_ms })
    }
}
