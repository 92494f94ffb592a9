//! Bounds the work that the operations of one log entry make beyond the bytes in it.

use super::splice::spliced_length;
use crate::cache::entry::Entry;
use crate::cache::hash;
use crate::cache::limits::{
    COPIED_BYTES_PER_APPLY_MAX, REPLACED_BYTES_PER_APPLY_MAX, TOLD_BYTES_PER_APPLY_MAX,
};
use crate::cache::{Cache, Op, Ttl};

/// The longest number that is stored in a field.
const NUMBER_BYTES_MAX: usize = 48;

/// What the operations of a log entry have made so far, in bytes.
#[derive(Default)]
pub(super) struct Work {
    /// Of values that were built out of others, or hashed.
    copied: u64,
    /// Of such values as watchers are told them: a key that is written several times is told once.
    told: u64,
    /// Of entries that were replaced or removed.
    replaced: u64,
}

impl Work {
    /// Adds an operation before it is checked; false, and adds nothing, if it is too much.
    pub fn add(&mut self, cache: &Cache, op: &Op) -> bool {
        let entry = cache.store.find(op.key().as_str()).map(|(_, entry)| entry);
        let entry = entry.filter(|entry| !entry.is_expired(cache.now_ms));
        let before = entry.map_or(0, |entry| entry.record.bytes().len());
        let spliced = match op {
            Op::Append { bytes, .. } => spliced_length(before, before, bytes.len()),
            Op::SetRange { offset, bytes, .. } => {
                usize::try_from(*offset).ok().and_then(|offset| spliced_length(before, offset, bytes.len()))
            }
            Op::SetFields { fields, .. } => {
                let fields = fields.iter().map(|(name, value)| (&name[..], &value[..]));
                Some(hash::bytes_max(before, fields))
            }
            Op::IncrField { field, .. } | Op::IncrFieldDecimal { field, .. } => {
                Some(hash::bytes_max(before, [(&field[..], &[0; NUMBER_BYTES_MAX][..])].into_iter()))
            }
            Op::DeleteFields { .. } => Some(before),
            _ => None,
        };
        let copied = spliced.unwrap_or(0) as u64;
        // A digest reads all of a value, as a copy does.
        let hashed = if op.takes_digest() { before as u64 } else { 0 };
        // What this log entry has written is told already.
        let is_told = entry.is_some_and(|entry| entry.revision.get() == cache.index);
        let told = if is_told { copied.saturating_sub(before as u64) } else { copied };
        let replaces = match op {
            Op::Get { .. } | Op::Look { .. } | Op::Persist { .. } | Op::Publish { .. } => false,
            // They remove it, or leave the value alone.
            Op::Expire { ttl, .. } | Op::GetEx { ttl: Some(ttl), .. } => matches!(ttl, Ttl::At(_)),
            Op::GetEx { ttl: None, .. } => false,
            _ => true,
        };
        let replaced = if replaces { entry.map_or(0, Entry::cost) } else { 0 };
        let sum = Self {
            copied: self.copied + copied + hashed,
            told: self.told + told,
            replaced: self.replaced + replaced,
        };
        let fits = sum.copied <= COPIED_BYTES_PER_APPLY_MAX
            && sum.told <= TOLD_BYTES_PER_APPLY_MAX
            && sum.replaced <= REPLACED_BYTES_PER_APPLY_MAX;
        if fits {
            *self = sum;
        }
        fits
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::{CacheConfig, Command, Condition, Key, Stamp, Value};

    /// To reach the limit takes gigabytes of entries.
    #[test]
    fn what_is_replaced_is_bounded() {
        let mut cache = Cache::new(CacheConfig::default());
        let key = || Key::new("k").expect("a key");
        let value = Value::new(vec![7; 1_000].into(), None).expect("a value");
        let put = |key, condition| {
            let (value, ttl, previous) = (value.clone(), Ttl::Never, false);
            Op::Put { key, value, ttl, condition, previous }
        };
        let at = Stamp { index: 1, at_ms: 5, idempotency_key: None, origin: None, touches: Vec::new() };
        cache.apply(at, Command::One(put(key(), Condition::Always))).outcome.expect("it is stored");
        let cost = cache.bytes();
        let adds = |left: u64, op: Op| {
            let mut work = Work { replaced: REPLACED_BYTES_PER_APPLY_MAX - left, ..Work::default() };
            work.add(&cache, &op)
        };
        let delete = || Op::Delete { key: key(), condition: Condition::Always, previous: false };
        assert!(adds(cost, delete()) && !adds(cost - 1, delete()));
        assert!(!adds(cost - 1, put(key(), Condition::Always)));
        assert!(!adds(cost - 1, Op::GetEx { key: key(), ttl: Some(Ttl::At(1)) }));
        assert!(adds(0, Op::GetEx { key: key(), ttl: Some(Ttl::Ms(1)) }) && adds(0, Op::Get { key: key() }));
        let hashed = |count| {
            let mut work = Work { copied: COPIED_BYTES_PER_APPLY_MAX - 1_000, ..Work::default() };
            (0..count).all(|_| work.add(&cache, &put(key(), Condition::DigestIs(1))))
        };
        assert!(hashed(1) && !hashed(2));
        let other = Key::new("other").expect("a key");
        assert!(adds(0, put(other, Condition::Always)), "nothing is replaced");
    }
}
