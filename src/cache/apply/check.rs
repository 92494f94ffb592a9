//! Checks that several operations share. The HTTP layer has made most of them before; they are made again here because
//! an invalid entry that got into the log must not harm the replicas.

use super::checked_op::CheckedOp;
use crate::cache::decimal::DecimalError;
use crate::cache::entry::{DEADLINE_MAX_MS, Entry, Lifetime, entry_cost};
use crate::cache::hash::Hash;
use crate::cache::limits::{
    CONDITION_REVISIONS_MAX, CONTENT_TYPE_BYTES_MAX, TTL_MS_MAX, TTL_MS_MIN, VALUE_BYTES_MAX,
};
use crate::cache::record::Record;
use crate::cache::{
    Cache, CommandError, Condition, DeadlineCondition, InvalidField, Key, Kind, Outcome, Ttl, Value,
    is_origin, value_digest,
};
use std::num::NonZeroU64;

/// Until when an entry lives.
#[derive(Debug, Clone, Copy)]
pub(super) enum Until {
    Live(Lifetime),
    /// Until this log time, which has passed.
    Past(u64),
}

/// Checks one operation against the state.
pub(super) struct Check<'a> {
    cache: &'a Cache,
    /// The client's name for itself.
    origin: Option<&'a str>,
    /// The operation's position in its batch.
    op: Option<u32>,
}

/// What is stored under a key, and in which slot.
#[derive(Debug, Clone, Copy)]
pub(super) enum Lookup<'a> {
    Absent,
    /// An entry that has expired and is not removed yet.
    Expired(u32),
    Live(u32, &'a Entry),
}

impl Lookup<'_> {
    pub fn slot(self) -> Option<u32> {
        match self {
            Self::Absent => None,
            Self::Expired(slot) | Self::Live(slot, _) => Some(slot),
        }
    }
}

impl<'a> Check<'a> {
    pub fn of_single(cache: &'a Cache, origin: Option<&'a str>) -> Self {
        Self { cache, origin, op: None }
    }

    pub fn of_batch(cache: &'a Cache, origin: Option<&'a str>, op: u32) -> Self {
        Self { cache, origin, op: Some(op) }
    }

    /// Index of the log entry.
    pub fn index(&self) -> u64 {
        self.cache.index
    }

    pub fn op_position(&self) -> Option<u32> {
        self.op
    }

    /// What is stored under a key.
    pub fn find(&self, key: &Key) -> Lookup<'a> {
        match self.cache.store.find(key.as_str()) {
            Some((slot, entry)) if entry.is_expired(self.cache.now_ms) => Lookup::Expired(slot),
            Some((slot, entry)) => Lookup::Live(slot, entry),
            None => Lookup::Absent,
        }
    }

    pub fn condition(&self, key: &Key, found: Lookup<'_>, condition: &Condition) -> Result<(), CommandError> {
        let live = match found {
            Lookup::Live(_, entry) => Some(entry),
            Lookup::Absent | Lookup::Expired(_) => None,
        };
        let current = live.map(|entry| entry.revision.get());
        let is_hash = live.is_some_and(|entry| entry.record.kind() == Kind::Hash);
        let is_value = |bytes: &[u8]| live.is_some_and(|entry| entry.record.bytes() == bytes);
        let has_digest = |digest| live.is_some_and(|entry| value_digest(entry.record.bytes()) == digest);
        let holds = match condition {
            Condition::Always => true,
            Condition::Absent => current.is_none(),
            Condition::Present => current.is_some(),
            Condition::Revision(revision) => current == Some(*revision),
            Condition::AnyOf(listed) | Condition::NoneOf(listed)
                if listed.len() > CONDITION_REVISIONS_MAX =>
            {
                return Err(self.invalid(InvalidField::Condition));
            }
            Condition::AnyOf(listed) => current.is_some_and(|revision| listed.contains(&revision)),
            Condition::NoneOf(listed) => current.is_none_or(|revision| !listed.contains(&revision)),
            Condition::ValueIs(bytes) | Condition::ValueIsNot(bytes) if bytes.len() > VALUE_BYTES_MAX => {
                return Err(self.invalid(InvalidField::Condition));
            }
            Condition::ValueIs(_)
            | Condition::ValueIsNot(_)
            | Condition::DigestIs(_)
            | Condition::DigestIsNot(_)
            | Condition::NoHash
            | Condition::PresentNoHash
                if is_hash =>
            {
                return Err(self.wrong_kind());
            }
            Condition::NoHash => true,
            Condition::PresentNoHash => current.is_some(),
            Condition::ValueIs(bytes) => is_value(bytes),
            Condition::ValueIsNot(bytes) => !is_value(bytes),
            Condition::DigestIs(digest) => has_digest(*digest),
            Condition::DigestIsNot(digest) => !has_digest(*digest),
            Condition::AbsentSince(index) => {
                // Nobody has seen anything at an index that is still to come.
                let is_past = *index < self.cache.index;
                is_past && current.is_none() && self.cache.absence(key.as_str()).is_since(*index)
            }
        };
        if holds {
            return Ok(());
        }
        let absence = current.is_none().then(|| self.cache.absence(key.as_str()));
        Err(CommandError::PreconditionFailed { op: self.op, current, absence })
    }

    /// Whether the deadline of an entry may be replaced by a new one.
    pub fn deadline_condition(
        &self,
        entry: &Entry,
        until: Until,
        only: DeadlineCondition,
    ) -> Result<(), CommandError> {
        // No deadline is later than all.
        let now = entry.expires_at_ms().unwrap_or(u64::MAX);
        let new = match until {
            Until::Live(lifetime) => lifetime.expires_at_ms().unwrap_or(u64::MAX),
            Until::Past(at_ms) => at_ms,
        };
        let holds = match only {
            DeadlineCondition::Always => true,
            DeadlineCondition::None => now == u64::MAX,
            DeadlineCondition::Some => now < u64::MAX,
            DeadlineCondition::Later => new > now,
            DeadlineCondition::Earlier => new < now,
            DeadlineCondition::EarlierThanSome => now < u64::MAX && new < now,
        };
        match holds {
            true => Ok(()),
            false => {
                let current = Some(entry.revision.get());
                Err(CommandError::PreconditionFailed { op: self.op, current, absence: None })
            }
        }
    }

    /// Until when an entry lives that is written now; `found` is what it replaces.
    pub fn until(&self, ttl: Ttl, found: Lookup<'_>) -> Result<Until, CommandError> {
        match (ttl, found) {
            (Ttl::At(at_ms), _) if at_ms <= self.cache.now_ms => Ok(Until::Past(at_ms)),
            (Ttl::Keep, Lookup::Live(_, entry)) => Ok(Until::Live(self.renewed(entry))),
            (ttl, _) => self.lifetime(ttl).map(Until::Live),
        }
    }

    /// The lifetime that a TTL means now, for a new entry. It lasts for a while: a deadline that has passed is refused.
    pub fn lifetime(&self, ttl: Ttl) -> Result<Lifetime, CommandError> {
        match ttl {
            Ttl::Never | Ttl::Keep => Ok(Lifetime::FOREVER),
            Ttl::At(at_ms) if at_ms <= self.cache.now_ms => Err(self.invalid(InvalidField::Ttl)),
            Ttl::At(at_ms) => {
                Ok(Lifetime { deadline: NonZeroU64::new(at_ms.min(DEADLINE_MAX_MS)), sliding_ms: 0 })
            }
            Ttl::Default => self.lifetime(self.cache.config.default_ttl_ms.map_or(Ttl::Never, Ttl::Ms)),
            Ttl::Ms(ttl_ms) => Ok(Lifetime { deadline: Some(self.deadline_in(ttl_ms)?), sliding_ms: 0 }),
            Ttl::Sliding(ttl_ms) => {
                // Not more than `SLIDING_TTL_MS_MAX`.
                let sliding_ms = u32::try_from(ttl_ms).map_err(|_| self.invalid(InvalidField::Ttl))?;
                Ok(Lifetime { deadline: Some(self.deadline_in(ttl_ms)?), sliding_ms })
            }
        }
    }

    /// The lifetime of an entry after a write that sets none: as it was, unless its TTL slides.
    pub fn renewed(&self, entry: &Entry) -> Lifetime {
        entry.lifetime().used_at(self.cache.now_ms)
    }

    /// The deadline that is this many milliseconds from now.
    fn deadline_in(&self, ttl_ms: u64) -> Result<NonZeroU64, CommandError> {
        if !is_ttl(ttl_ms) {
            return Err(self.invalid(InvalidField::Ttl));
        }
        // A leader whose clock was wrong may have moved log time to the end of its range.
        let deadline = self.cache.now_ms.saturating_add(ttl_ms).min(DEADLINE_MAX_MS);
        NonZeroU64::new(deadline).ok_or_else(|| self.invalid(InvalidField::Ttl))
    }

    /// Checks the limits of a value and packs it into a record.
    pub fn record(&self, key: &Key, value: &Value) -> Result<Record, CommandError> {
        let media = value.content_type.as_deref();
        if value.bytes.len() > VALUE_BYTES_MAX {
            return Err(self.invalid(InvalidField::Value));
        }
        let visible = |text: &str| text.bytes().all(|b| (0x20..0x7f).contains(&b));
        if media.is_some_and(|m| m.is_empty() || m.len() > CONTENT_TYPE_BYTES_MAX || !visible(m)) {
            return Err(self.invalid(InvalidField::ContentType));
        }
        if value.kind() == Kind::Hash && Hash::read(&value.bytes).is_none() {
            return Err(self.invalid(InvalidField::ContentType));
        }
        let record = self.packed(key, &value.bytes, media);
        self.fits_alone(&record)?;
        Ok(record)
    }

    /// Packs a value with the origin of the request.
    pub fn packed(&self, key: &Key, bytes: &[u8], content_type: Option<&str>) -> Record {
        // The HTTP layer refuses other names. In the log, one is left out: a value is worth more than its origin.
        let origin = self.origin.filter(|origin| is_origin(origin.as_bytes()));
        Record::new(key, bytes, content_type, origin)
    }

    /// What a request for a key that is absent does.
    pub fn not_found(&self, key: &Key) -> CheckedOp {
        CheckedOp::Nothing(Outcome::NotFound(self.cache.absence(key.as_str())))
    }

    /// Refuses an entry that would not fit even if it were the only one.
    pub fn fits_alone(&self, record: &Record) -> Result<(), CommandError> {
        let bytes = entry_cost(record);
        let capacity_bytes = self.cache.config.capacity_bytes;
        if bytes > capacity_bytes {
            return Err(CommandError::TooLarge { op: self.op, bytes, capacity_bytes });
        }
        Ok(())
    }

    /// The bytes of an entry, which is no hash.
    pub fn string<'b>(&self, entry: &'b Entry) -> Result<&'b [u8], CommandError> {
        match entry.record.kind() {
            Kind::String => Ok(entry.record.bytes()),
            Kind::Hash => Err(self.wrong_kind()),
        }
    }

    pub fn wrong_kind(&self) -> CommandError {
        CommandError::WrongKind { op: self.op }
    }

    pub fn decimal_error(&self, error: DecimalError) -> CommandError {
        match error {
            DecimalError::Malformed => CommandError::NotANumber { op: self.op },
            DecimalError::OutOfRange => CommandError::Overflow { op: self.op },
        }
    }

    pub fn invalid(&self, field: InvalidField) -> CommandError {
        CommandError::Invalid { op: self.op, field }
    }
}

fn is_ttl(ttl_ms: u64) -> bool {
    (TTL_MS_MIN..=TTL_MS_MAX).contains(&ttl_ms)
}
