//! The registry of policies.

use super::eviction_policy::{EvictionPolicy, Registration};
use super::{lfu, lru, noeviction, s3fifo};
use serde::de::{self, Deserialize, Deserializer};
use serde::{Serialize, Serializer};

macro_rules! policies {
    ($($(#[$doc:meta])* $policy:ident = $module:ident,)+) => {
        /// Which entry is evicted when there is no room.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Policy {
            $($(#[$doc])* $policy,)+
        }

        const REGISTRY: [Registration; Policy::ALL.len()] = [$($module::REGISTRATION,)+];
        const NAMES: [&str; Policy::ALL.len()] = [$($module::REGISTRATION.name,)+];

        impl Policy {
            /// Every policy, in the order of their numbers.
            pub const ALL: [Self; [$($module::REGISTRATION.number,)+].len()] = [$(Self::$policy,)+];
        }
    };
}

// Every policy there is. The order is that of the numbers, so a new policy comes last.
policies! {
    /// The entry used longest ago.
    Lru = lru,
    /// None: a write that does not fit is refused.
    NoEviction = noeviction,
    /// The entry used least often, where uses long ago count less.
    Lfu = lfu,
    /// S3-FIFO: an entry that was not used again soon after it came, else one not used for long.
    S3Fifo = s3fifo,
}

/// The order decides which of several policies gives up its entries first, so it must not depend on how the list above
/// happens to be sorted.
const _: () = {
    let mut at = 1;
    while at < REGISTRY.len() {
        assert!(REGISTRY[at - 1].number < REGISTRY[at].number, "the policies are sorted by number");
        at += 1;
    }
};

impl Policy {
    /// As it is written in settings.
    pub fn name(self) -> &'static str {
        NAMES[self.position()]
    }

    /// The policy of a name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|policy| policy.name() == name)
    }

    /// Whether it evicts entries. Where not, a write that does not fit is refused.
    pub fn evicts(self) -> bool {
        REGISTRY[self.position()].evicts
    }

    /// The first feature level that has it. An earlier release cannot decode its number.
    pub(in crate::cache) fn level(self) -> u32 {
        REGISTRY[self.position()].level
    }

    /// The policy's number in logs, snapshots and digests.
    pub(in crate::cache) fn number(self) -> u8 {
        REGISTRY[self.position()].number
    }

    pub(in crate::cache) fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|policy| policy.number() == number)
    }

    /// Where it is in [`Policy::ALL`].
    pub(super) fn position(self) -> usize {
        self as usize
    }

    /// The policy's order, without entries.
    pub(super) fn new_order(self) -> Box<dyn EvictionPolicy> {
        (REGISTRY[self.position()].new)()
    }
}

/// By name where people read it, by number in the log.
impl Serialize for Policy {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.serialize_str(self.name())
        } else {
            serializer.serialize_u8(self.number())
        }
    }
}

impl<'de> Deserialize<'de> for Policy {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            let name = String::deserialize(deserializer)?;
            Self::from_name(&name).ok_or_else(|| de::Error::unknown_variant(&name, &NAMES))
        } else {
            let number = u8::deserialize(deserializer)?;
            Self::from_number(number).ok_or_else(|| de::Error::custom("a policy has an unknown number"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::{
        Cache, CacheConfig, Command, Condition, ConfigChange, Key, Op, Stamp, Touch, Ttl, Value,
    };

    const CAPACITY: u64 = 40;

    fn apply(cache: &mut Cache, command: Command, touches: Vec<Touch>) {
        let index = cache.index() + 1;
        let at = Stamp { index, at_ms: index, idempotency_key: None, origin: None, touches };
        cache.apply(at, command).outcome.expect("it is applied");
    }

    fn put(cache: &mut Cache, number: u64) {
        let key = Key::new(&format!("k{number:05}")).expect("a key");
        let value = Value { bytes: "v".into(), content_type: None };
        let op = Op::Put { key, value, ttl: Ttl::Never, condition: Condition::Always, previous: false };
        let keys = cache.keys("", None, 3);
        let read = keys.iter().filter_map(|(key, _)| cache.read(key.as_str()));
        let touches = read.map(|seen| Touch { entry: seen.entry, count: 2 }).collect();
        apply(cache, Command::One(op), touches);
    }

    fn switch(cache: &mut Cache, policy: Policy) {
        let change = ConfigChange { policy: Some(policy), ..ConfigChange::default() };
        apply(cache, Command::Configure(change), Vec::new());
    }

    /// Full, used, and with evictions behind it where the policy evicts.
    fn filled(policy: Policy) -> Cache {
        let mut cache =
            Cache::new(CacheConfig { policy, capacity_entries: CAPACITY, ..CacheConfig::default() });
        let count = if policy.evicts() { 3 * CAPACITY } else { CAPACITY };
        (0..count).for_each(|number| put(&mut cache, number));
        assert_eq!((cache.len(), cache.stats().evicted()), (CAPACITY, count - CAPACITY));
        cache
    }

    fn restored(cache: &Cache) -> Cache {
        let mut bytes = Vec::new();
        cache.snapshot_view().encode(&mut bytes).expect("a Vec takes everything");
        let restored = Cache::restore(bytes.as_slice()).expect("it is intact");
        let mut again = Vec::new();
        restored.snapshot_view().encode(&mut again).expect("a Vec takes everything");
        assert_eq!(bytes, again, "equal states have equal snapshots");
        restored
    }

    /// C1, C7: what is registered here needs no line anywhere else. Its entries and its state are in the digest and in
    /// snapshots, and other policies take over its entries and give them back.
    #[test]
    fn to_be_registered_is_enough() {
        for policy in Policy::ALL {
            assert_eq!(Policy::from_name(policy.name()), Some(policy));
            assert_eq!(Policy::from_number(policy.number()), Some(policy));
            let mut cache = filled(policy);
            for other in Policy::ALL.into_iter().filter(|other| *other != policy) {
                for policy in [other, policy] {
                    switch(&mut cache, policy);
                    let mut replica = restored(&cache);
                    for _ in 0..2 * CAPACITY {
                        apply(&mut cache, Command::Tick, Vec::new());
                        apply(&mut replica, Command::Tick, Vec::new());
                        assert_eq!(cache.digest(), replica.digest(), "{policy:?}");
                    }
                    assert_eq!(cache.digest(), cache.recompute_digest(), "{policy:?}");
                    assert_eq!((cache.entries_to_move(), cache.next_due_ms()), (0, None), "{policy:?}");
                    let victims = cache.next_victims(usize::MAX).len() as u64;
                    assert_eq!(victims, if policy.evicts() { CAPACITY } else { 0 }, "{policy:?}");
                    assert_eq!(victims, replica.next_victims(usize::MAX).len() as u64);
                }
            }
        }
    }

    /// C1: the state of every policy counts in the digest: two caches that differ in nothing else differ in it.
    #[test]
    fn the_state_of_a_policy_is_in_the_digest() {
        let emptied = |policy| {
            let mut cache = filled(policy);
            let keys = cache.keys("", None, usize::MAX);
            let delete = |(key, _)| Op::Delete { key, condition: Condition::Always, previous: false };
            apply(&mut cache, Command::Batch(keys.into_iter().map(delete).collect()), Vec::new());
            cache
        };
        let words = |cache: &Cache| cache.store.policies().digest_words();
        assert_eq!(words(&emptied(Policy::Lru)), [0; 2], "a policy that knows nothing adds nothing");
        assert_ne!(words(&emptied(Policy::S3Fifo)), [0; 2], "ghosts outlive the entries");
        assert_eq!(words(&emptied(Policy::Lfu)), [0; 2], "the age does not");
        assert_ne!(words(&filled(Policy::Lfu)), [0; 2]);
    }

    #[test]
    fn settings_have_names_and_the_log_has_numbers() {
        for policy in Policy::ALL {
            let json = format!("\"{}\"", policy.name());
            assert_eq!(serde_json::to_string(&policy).unwrap(), json);
            assert_eq!(serde_json::from_str::<Policy>(&json).unwrap(), policy);
            let in_the_log = postcard::to_stdvec(&policy).unwrap();
            assert_eq!(in_the_log, [policy.number()]);
            assert_eq!(postcard::from_bytes::<Policy>(&in_the_log).unwrap(), policy);
        }
        let refusal = serde_json::from_str::<Policy>("\"fifo\"").unwrap_err().to_string();
        assert!(refusal.starts_with("unknown variant `fifo`, expected one of `lru`"), "{refusal}");
        assert!(postcard::from_bytes::<Policy>(&[u8::MAX]).is_err());
    }
}
