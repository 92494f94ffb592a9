//! The replicated settings. Everything that controls eviction is here, and only a log entry changes it.

use super::codec::{DecodeError, Decoder, put_bool, put_option, put_u8, put_u64};
use super::eviction::Capacity;
use super::limits::{CAPACITY_ENTRIES_MAX, TOUCH_INTERVAL_MS, TOUCHES_MAX, TTL_MS_MAX, TTL_MS_MIN};
use super::{CommandError, InvalidField, Policy};
use serde::{Deserialize, Serialize};
use std::io::{self, BufRead, Write};

/// The cache's settings, equal on every node at equal index.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CacheConfig {
    pub policy: Policy,
    /// Most entries, at least 1.
    pub capacity_entries: u64,
    /// Most bytes, counted as key + value + content type + [`super::limits::ENTRY_OVERHEAD_BYTES`].
    pub capacity_bytes: u64,
    /// TTL of a put that sets none, in milliseconds; `None` never expires.
    pub default_ttl_ms: Option<u64>,
    pub touch: TouchConfig,
}

/// How reads come to count for eviction: the nodes report them to the leader, which writes them to the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TouchConfig {
    /// Whether reads count at all. If not, only writes do.
    pub enabled: bool,
    /// How long a node collects reads before it reports them, in milliseconds: 10 to 60,000.
    pub interval_ms: u64,
    /// Most entries of which one node reports reads in an interval, and of which the log takes reads in an interval, or in
    /// 100 ms where the interval is longer: 1 to 8,192. Whatever is set, at most 50 for each millisecond.
    pub max_per_flush: u64,
}

impl Default for TouchConfig {
    fn default() -> Self {
        Self { enabled: true, interval_ms: 100, max_per_flush: 4_096 }
    }
}

impl Default for CacheConfig {
    fn default() -> Self {
        Self {
            policy: Policy::Lru,
            capacity_entries: 100_000,
            capacity_bytes: 1024 * 1024 * 1024,
            default_ttl_ms: None,
            touch: TouchConfig::default(),
        }
    }
}

impl CacheConfig {
    /// Checks the settings' ranges.
    ///
    /// # Errors
    /// [`CommandError::Invalid`] names the field and its range.
    pub fn check(&self) -> Result<(), CommandError> {
        let invalid = |field| Err(CommandError::Invalid { op: None, field });
        if !(1..=CAPACITY_ENTRIES_MAX).contains(&self.capacity_entries) {
            return invalid(InvalidField::CapacityEntries);
        }
        if self.capacity_bytes == 0 {
            return invalid(InvalidField::CapacityBytes);
        }
        if self.default_ttl_ms.is_some_and(|ttl_ms| !(TTL_MS_MIN..=TTL_MS_MAX).contains(&ttl_ms)) {
            return invalid(InvalidField::DefaultTtl);
        }
        if !TOUCH_INTERVAL_MS.contains(&self.touch.interval_ms) {
            return invalid(InvalidField::TouchInterval);
        }
        if !(1..=TOUCHES_MAX).contains(&self.touch.max_per_flush) {
            return invalid(InvalidField::TouchMaxPerFlush);
        }
        Ok(())
    }

    pub(super) fn capacity(&self) -> Capacity {
        Capacity { entries: self.capacity_entries, bytes: self.capacity_bytes }
    }

    /// Writes the settings as snapshots and stored results hold them.
    pub(super) fn encode(&self, out: &mut impl Write) -> io::Result<()> {
        put_u8(out, self.policy.number())?;
        put_u64(out, self.capacity_entries)?;
        put_u64(out, self.capacity_bytes)?;
        put_option(out, self.default_ttl_ms)?;
        put_bool(out, self.touch.enabled)?;
        put_u64(out, self.touch.interval_ms)?;
        put_u64(out, self.touch.max_per_flush)
    }

    /// Reads what [`encode`](Self::encode) wrote. The ranges are not checked.
    pub(super) fn decode(source: &mut Decoder<impl BufRead>) -> Result<Self, DecodeError> {
        let policy = Policy::from_number(source.u8()?)
            .ok_or(DecodeError::Damaged("a policy has an unknown number"))?;
        Ok(Self {
            policy,
            capacity_entries: source.u64()?,
            capacity_bytes: source.u64()?,
            default_ttl_ms: source.option()?,
            touch: TouchConfig {
                enabled: source.bool()?,
                interval_ms: source.u64()?,
                max_per_flush: source.u64()?,
            },
        })
    }
}
