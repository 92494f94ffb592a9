//! How much one log entry may do: it copies values to change them, and tells values, within bounds. What does not fit is refused by itself,
//! and what follows is carried out; so a pipeline is taken apart before, by what this node knows of the values. If they grow
//! meanwhile, a command can be refused all the same: nothing was done for it then. What is carried out as a whole is refused as a whole.

use super::plan::Plan;
use crate::api::Consistency;
use crate::cache::limits::{
    BATCH_OUTCOME_BYTES_MAX, COPIED_BYTES_PER_APPLY_MAX, TOLD_BYTES_PER_APPLY_MAX, VALUE_BYTES_MAX,
};
use crate::cache::{Key, Op};
use crate::node::Session;
use std::collections::BTreeMap;

/// Half of what an entry may copy, and less than what it may tell watchers: values may have grown.
const COPIED_MAX: u64 = COPIED_BYTES_PER_APPLY_MAX / 2;
const TOLD_MAX: u64 = TOLD_BYTES_PER_APPLY_MAX - VALUE_BYTES_MAX as u64 / 2;
/// What an operation's result takes, and what a value in it takes beside its bytes.
const RESULT_BYTES: u64 = 128;
const VALUE_OVERHEAD_BYTES: u64 = 512;

/// How many of these plans go into one log entry: at least one.
pub(super) async fn fitting(session: &Session, plans: &[Plan]) -> usize {
    let ops = || plans.iter().flat_map(|plan| &plan.ops);
    if plans.len() < 2 || !ops().any(|op| copies(op).is_some() || op.takes_digest() || op.reads().is_some()) {
        return plans.len();
    }
    let mut keys: Vec<Key> = ops().map(|op| op.key().clone()).collect();
    keys.sort_unstable();
    keys.dedup();
    let session = session.clone().with_consistency(Consistency::Stale);
    // Who may not read is not told. Then it is taken as it comes.
    let known = match session.get_many_as(&keys, |_| false, u64::MAX).await {
        Ok(read) => read.value,
        Err(_) => return plans.len(),
    };
    let size =
        |found: Result<crate::cache::Found, _>| found.map_or(0, |found| found.value.bytes.len() as u64);
    let mut work =
        Work { sizes: keys.into_iter().zip(known.into_iter().map(size)).collect(), ..Work::default() };
    plans.iter().take_while(|plan| work.takes(plan)).count().max(1)
}

/// What a log entry does.
#[derive(Debug, Default)]
pub(super) struct Work {
    /// How long the values are that it found and made.
    sizes: BTreeMap<Key, u64>,
    copied: u64,
    told: u64,
    answers: u64,
    /// The keys whose values it has told.
    changed: std::collections::BTreeSet<Key>,
}

impl Work {
    /// Notes how long a value is.
    pub fn found(&mut self, key: Key, bytes: u64) {
        self.sizes.insert(key, bytes);
    }

    /// Whether one log entry can do all of it, if the values are as long as it knows.
    pub fn fits(&self) -> bool {
        self.copied <= COPIED_BYTES_PER_APPLY_MAX
            && self.told <= TOLD_BYTES_PER_APPLY_MAX
            && self.answers <= BATCH_OUTCOME_BYTES_MAX
    }

    /// Adds a plan. False if it does not fit any more.
    fn takes(&mut self, plan: &Plan) -> bool {
        plan.ops.iter().for_each(|op| self.add(op));
        self.copied <= COPIED_MAX && self.told <= TOLD_MAX && self.answers <= BATCH_OUTCOME_BYTES_MAX
    }

    /// Adds an operation.
    pub fn add(&mut self, op: &Op) {
        let before = self.sizes.get(op.key()).copied().unwrap_or(0);
        self.answers += RESULT_BYTES;
        if op.reads().is_some() {
            self.answers += before + VALUE_OVERHEAD_BYTES;
        }
        if op.takes_digest() {
            self.copied += before;
        }
        let after = match (op, copies(op)) {
            (Op::SetRange { offset, .. }, Some(bytes)) => before.max(offset.saturating_add(bytes)),
            (_, Some(bytes)) => before.saturating_add(bytes),
            (Op::Put { value, .. }, None) => value.bytes.len() as u64,
            (Op::Delete { .. }, None) => 0,
            (_, None) => before,
        };
        if copies(op).is_some() {
            // What is longer than a value is refused.
            let made = after.min(VALUE_BYTES_MAX as u64);
            self.copied += made;
            let is_new = self.changed.insert(op.key().clone());
            self.told += if is_new { made } else { made.saturating_sub(before) };
        }
        if op.writes_key() {
            self.sizes.insert(op.key().clone(), after.min(VALUE_BYTES_MAX as u64));
        }
    }
}

/// For an operation that copies a value: by how much it may grow.
fn copies(op: &Op) -> Option<u64> {
    const FIELD_BYTES: usize = 16;
    const NUMBER_BYTES: usize = 48;
    let bytes = match op {
        Op::Append { bytes, .. } | Op::SetRange { bytes, .. } => bytes.len(),
        Op::SetFields { fields, .. } => {
            fields.iter().map(|(name, value)| FIELD_BYTES + name.len() + value.len()).sum()
        }
        Op::IncrField { field, .. } | Op::IncrFieldDecimal { field, .. } => {
            FIELD_BYTES + NUMBER_BYTES + field.len()
        }
        Op::DeleteFields { .. } => 0,
        _ => return None,
    };
    Some(bytes as u64)
}

#[cfg(test)]
mod tests {
    use super::super::plan::Shape;
    use super::*;
    use crate::cache::{Condition, Ttl, Value};
    use bytes::Bytes;

    fn key(name: &str) -> Key {
        Key::new(name).unwrap()
    }

    /// How many of these fit, where keys have values of these lengths.
    fn fit(sizes: &[(&str, u64)], ops: Vec<Op>) -> usize {
        let sizes = sizes.iter().map(|(name, size)| (key(name), *size)).collect();
        let mut work = Work { sizes, ..Work::default() };
        ops.into_iter().take_while(|op| work.takes(&Plan::one(op.clone(), Shape::Length))).count()
    }

    fn set(name: &str, value: usize) -> Op {
        let fields = vec![(Bytes::from_static(b"f"), Bytes::from(vec![0; value]))];
        Op::SetFields { key: key(name), fields, only_new: false }
    }

    fn get(name: &str) -> Op {
        Op::Get { key: key(name) }
    }

    #[test]
    fn changes_of_large_values_take_several_entries() {
        assert_eq!(fit(&[("h", 1 << 20)], vec![set("h", 1); 1_000]), 31);
        assert_eq!(fit(&[("h", 1_000)], vec![set("h", 1); 1_000]), 1_000);
        // It grows.
        assert!((200..300).contains(&fit(&[], vec![set("h", 1_000); 1_000])));
        // Watchers are told each key.
        assert_eq!(fit(&[("a", 2 << 20), ("b", 2 << 20)], vec![set("a", 1), set("a", 1), set("b", 1)]), 2);
        let range = |offset| Op::SetRange { key: key("s"), offset, bytes: "x".into() };
        assert_eq!(fit(&[], vec![range(1 << 20); 100]), 31);
        assert_eq!(fit(&[], vec![range(u64::MAX); 100]), 16);
        // A digest reads all of a value.
        let condition = Condition::DigestIsNot(1);
        let expire = |condition| Op::Persist { key: key("a"), condition };
        assert_eq!(fit(&[("a", 1 << 20)], vec![expire(condition); 1_000]), 32);
        assert_eq!(fit(&[("a", 1 << 20)], vec![expire(Condition::Always); 1_000]), 1_000);
    }

    #[test]
    fn what_is_told_takes_several_entries() {
        assert_eq!(fit(&[("a", 1 << 20)], vec![get("a"); 9]), 2);
        let value = Value { bytes: vec![0; 1 << 20].into(), content_type: None };
        let put =
            Op::Put { key: key("a"), value, ttl: Ttl::Never, condition: Condition::Always, previous: false };
        assert_eq!(fit(&[], vec![get("a"), put, get("a"), get("a"), get("a")]), 4);
        assert_eq!(fit(&[("a", 100)], vec![get("a"); 1_000]), 1_000);
    }
}
