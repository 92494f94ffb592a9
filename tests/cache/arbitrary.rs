//! Arbitrary commands over few keys and small capacities, so that they meet each other often.

use crate::model_hashes::{HASH, encode};
use bytes::Bytes;
use lockstep::cache::{
    CacheConfig, Command, Condition, ConfigChange, DeadlineCondition, EntryId, Guard, Key, Op, Policy, Step,
    Touch, Ttl, Value, limits, value_digest,
};
use proptest::collection::vec;
use proptest::option::weighted;
use proptest::prelude::*;

/// One thing that happens to a replica.
#[derive(Debug, Clone)]
pub enum Happening {
    /// A command is committed; the leader's clock moved by so much. A retry repeats the id and command of an
    /// earlier one.
    Commit {
        clock: i64,
        id: Option<u8>,
        /// Reads of a slot and of one of the entries it had.
        touches: Vec<Touch>,
        command: Command,
    },
    Retry {
        clock: i64,
        back: usize,
    },
    /// A log entry without a command.
    Advance,
    /// The second replica is restored from its own snapshot.
    Restart,
}

pub fn config() -> impl Strategy<Value = CacheConfig> {
    (policy(), 1..9u64, 150..1_500u64, weighted(0.3, 1..100u64)).prop_map(
        |(policy, capacity_entries, capacity_bytes, default_ttl_ms)| CacheConfig {
            policy,
            capacity_entries,
            capacity_bytes,
            default_ttl_ms,
            ..CacheConfig::default()
        },
    )
}

pub fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        20 => (clock(), weighted(0.2, 0..6u8), touches(), command())
            .prop_map(|(clock, id, touches, command)| Happening::Commit { clock, id, touches, command }),
        2 => (clock(), 0..8usize).prop_map(|(clock, back)| Happening::Retry { clock, back }),
        1 => Just(Happening::Advance),
        3 => Just(Happening::Restart),
    ]
}

pub fn touches() -> impl Strategy<Value = Vec<Touch>> {
    let touch =
        (0..9u32, prop_oneof![6 => 0..4u32, 1 => any::<u32>()], prop_oneof![9 => 1..5u16, 1 => any::<u16>()]);
    let touch =
        touch.prop_map(|(slot, generation, count)| Touch { entry: EntryId { slot, generation }, count });
    prop_oneof![2 => Just(Vec::new()), 3 => vec(touch, 1..10)]
}

fn clock() -> impl Strategy<Value = i64> {
    prop_oneof![6 => 0..40i64, 2 => -100..0i64, 1 => 100..2_000i64, 1 => 500_000..700_000i64]
}

fn prefix() -> impl Strategy<Value = String> {
    prop_oneof![Just("a".to_owned()), Just("ab".to_owned()), Just(String::new())]
}

pub fn command() -> impl Strategy<Value = Command> {
    prop_oneof![
        16 => op().prop_map(Command::One),
        4 => vec(op(), 0..6).prop_map(Command::Batch),
        6 => (guards(), vec(op(), 0..8)).prop_map(|(guards, ops)| Command::Sequence { guards, ops }),
        2 => (weighted(0.8, prefix()), weighted(0.3, prefix()))
            .prop_map(|(prefix, unless)| Command::Clear { prefix, unless }),
        1 => config_change().prop_map(Command::Configure),
        1 => (0..4u32).prop_map(|level| Command::RaiseFeatureLevel { level }),
        1 => Just(Command::Tick),
    ]
}

/// On the heap: what it would take on the stack of a test is too much.
fn op() -> BoxedStrategy<Op> {
    prop_oneof![
        8 => (key(), value(), ttl(), condition(), any::<bool>())
            .prop_map(|(key, value, ttl, condition, previous)| Op::Put { key, value, ttl, condition, previous }),
        3 => (key(), condition(), any::<bool>())
            .prop_map(|(key, condition, previous)| Op::Delete { key, condition, previous }),
        3 => (key(), amount(), amount(), ttl(), condition()).prop_map(|(key, by, initial, ttl, condition)| {
            Op::Incr { key, by, initial, ttl, condition }
        }),
        3 => (key(), ttl(), condition(), only())
            .prop_map(|(key, ttl, condition, only)| Op::Expire { key, ttl, condition, only }),
        2 => (key(), vec(any::<u8>(), 0..30)).prop_map(|(key, bytes)| Op::Append { key, bytes: bytes.into() }),
        2 => (key(), offset(), vec(any::<u8>(), 0..30))
            .prop_map(|(key, offset, bytes)| Op::SetRange { key, offset, bytes: bytes.into() }),
        2 => (key(), decimal()).prop_map(|(key, by)| Op::IncrDecimal { key, by }),
        4 => (key(), step(), any::<bool>(), weighted(0.6, ttl()), any::<bool>()).prop_map(
            |(key, step, saturates, ttl, keeps_deadline)| Op::IncrWithin { key, step, saturates, ttl, keeps_deadline }
        ),
        2 => (key(), weighted(0.8, ttl())).prop_map(|(key, ttl)| Op::GetEx { key, ttl }),
        1 => key().prop_map(|key| Op::Look { key }),
        1 => (key(), vec(any::<u8>(), 0..30))
            .prop_map(|(channel, bytes)| Op::Publish { channel, message: bytes.into() }),
        5 => (key(), fields(), any::<bool>())
            .prop_map(|(key, fields, only_new)| Op::SetFields { key, fields, only_new }),
        3 => (key(), vec(name(), 0..4)).prop_map(|(key, fields)| Op::DeleteFields { key, fields }),
        2 => (key(), name(), amount()).prop_map(|(key, field, by)| Op::IncrField { key, field, by }),
        2 => (key(), name(), decimal()).prop_map(|(key, field, by)| Op::IncrFieldDecimal { key, field, by }),
        1 => (key(), condition()).prop_map(|(key, condition)| Op::Persist { key, condition }),
        2 => key().prop_map(|key| Op::Get { key }),
    ]
    .boxed()
}

/// The last has the place of the first in the table of the keys that were lost.
pub const KEYS: [&str; 10] =
    ["a", "ab", "abc", "b", "ba", "c", "ä", "z", "z/long/enough/to/count/for/bytes", "wzi"];

pub fn key() -> impl Strategy<Value = Key> {
    proptest::sample::select(&KEYS[..]).prop_map(|text| Key::new(text).expect("a key"))
}

/// Bounds that are met, and some that no number lies within.
fn step() -> impl Strategy<Value = Step> {
    let integer =
        (amount(), -4..40i64, 0..900i64, 0..4u8).prop_map(|(by, lower, upper, open)| Step::Integer {
            by,
            lower: if open == 1 { i64::MIN } else { lower },
            upper: if open == 2 { i64::MAX } else { upper },
        });
    let bound = || weighted(0.7, decimal());
    let decimal =
        (decimal(), bound(), bound()).prop_map(|(by, lower, upper)| Step::Decimal { by, lower, upper });
    prop_oneof![2 => integer, 1 => decimal]
}

/// Few, so that they meet.
fn name() -> impl Strategy<Value = Bytes> {
    prop_oneof![6 => vec(0..3u8, 0..2), 1 => vec(any::<u8>(), 100..160)].prop_map(Bytes::from)
}

fn fields() -> impl Strategy<Value = Vec<(Bytes, Bytes)>> {
    let value = prop_oneof![
        4 => (-3..1_000i64).prop_map(|number| number.to_string().into_bytes()),
        2 => vec(any::<u8>(), 0..20),
        1 => Just(i64::MAX.to_string().into_bytes()),
    ];
    vec((name(), value.prop_map(Bytes::from)), 0..5)
}

/// A hash, or bytes that say that they are one.
fn hash() -> impl Strategy<Value = Value> {
    let encoded = |fields: Vec<(Bytes, Bytes)>| {
        encode(&fields.into_iter().map(|(name, value)| (name.to_vec(), value.to_vec())).collect())
    };
    let bytes = prop_oneof![4 => fields().prop_map(encoded), 1 => vec(any::<u8>(), 0..20)];
    bytes.prop_map(|bytes| Value { bytes: bytes.into(), content_type: Some(HASH.into()) })
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![5 => string(), 1 => hash()]
}

fn string() -> impl Strategy<Value = Value> {
    let bytes = prop_oneof![
        3 => (-3..1_000i64).prop_map(|number| number.to_string().into_bytes()),
        3 => vec(any::<u8>(), 0..40),
        1 => vec(any::<u8>(), 200..900),
        1 => Just(i64::MAX.to_string().into_bytes()),
    ];
    let media = prop_oneof![4 => Just(None), 1 => Just(Some("text/plain")), 1 => Just(Some(""))];
    (bytes, media).prop_map(|(bytes, media)| Value {
        bytes: Bytes::from(bytes),
        // An empty type never passes the edge; `apply` has to refuse it, which `bounds.rs` shows.
        content_type: media.filter(|media| !media.is_empty()).map(Into::into),
    })
}

fn guards() -> impl Strategy<Value = Vec<Guard>> {
    let of_key = (key(), condition()).prop_map(|(key, condition)| Guard::Key { key, condition });
    let of_keys = (prefix(), 0..200u64, 0..6u64);
    let of_keys = of_keys.prop_map(|(prefix, since, count)| Guard::Keys { prefix, since, count });
    let guard = prop_oneof![2 => of_key, 1 => of_keys];
    prop_oneof![4 => Just(Vec::new()), 1 => vec(guard, 1..3)]
}

fn only() -> impl Strategy<Value = DeadlineCondition> {
    use DeadlineCondition::{Always, Earlier, EarlierThanSome, Later, None, Some};
    prop_oneof![5 => Just(Always), 1 => Just(None), 1 => Just(Some), 1 => Just(Later), 1 => Just(Earlier), 1 => Just(EarlierThanSome)]
}

fn offset() -> impl Strategy<Value = u64> {
    prop_oneof![8 => 0..60u64, 1 => Just(limits::VALUE_BYTES_MAX as u64), 1 => Just(u64::MAX)]
}

/// Small ones, some with too many digits, and some that are none.
fn decimal() -> impl Strategy<Value = String> {
    prop_oneof!["[-+]?[0-9]{1,4}", "-?[0-9]{0,3}\\.[0-9]{0,20}", "[0-9]{1,3}[eE][-+]?[0-9]", "x?[0-9]{1,2}"]
}

fn amount() -> impl Strategy<Value = i64> {
    prop_oneof![8 => -5..20i64, 1 => Just(i64::MAX), 1 => Just(i64::MIN)]
}

fn ttl_ms() -> impl Strategy<Value = u64> {
    prop_oneof![10 => 1..80u64, 2 => 500..700_000u64, 1 => Just(0), 1 => Just(limits::TTL_MS_MAX + 1)]
}

fn ttl() -> impl Strategy<Value = Ttl> {
    let at_ms = prop_oneof![4 => 999_900..1_000_400u64, 1 => 0..1_000_000u64, 2 => 1_000_400..3_000_000u64];
    prop_oneof![
        4 => Just(Ttl::Default),
        2 => Just(Ttl::Never),
        4 => ttl_ms().prop_map(Ttl::Ms),
        3 => ttl_ms().prop_map(Ttl::Sliding),
        3 => at_ms.prop_map(Ttl::At),
        2 => Just(Ttl::Keep),
    ]
}

fn condition() -> impl Strategy<Value = Condition> {
    prop_oneof![
        12 => Just(Condition::Always),
        2 => Just(Condition::Absent),
        2 => Just(Condition::Present),
        3 => (1..40u64).prop_map(Condition::Revision),
        2 => revisions().prop_map(Condition::AnyOf),
        2 => revisions().prop_map(Condition::NoneOf),
        3 => (0..60u64).prop_map(Condition::AbsentSince),
        2 => (-3..20i64).prop_map(|number| Condition::ValueIs(number.to_string().into())),
        2 => (-3..20i64).prop_map(|number| Condition::ValueIsNot(number.to_string().into())),
        1 => (-3..20i64).prop_map(|number| Condition::DigestIs(value_digest(number.to_string().as_bytes()))),
        1 => (-3..20i64).prop_map(|number| Condition::DigestIsNot(value_digest(number.to_string().as_bytes()))),
        1 => Just(Condition::NoHash),
        1 => Just(Condition::PresentNoHash),
    ]
}

/// Seldom more than are taken.
fn revisions() -> impl Strategy<Value = Box<[u64]>> {
    prop_oneof![
        12 => vec(1..40u64, 0..6),
        1 => vec(1..40u64, limits::CONDITION_REVISIONS_MAX..limits::CONDITION_REVISIONS_MAX + 3),
    ]
    .prop_map(Into::into)
}

fn policy() -> impl Strategy<Value = Policy> {
    prop_oneof![2 => Just(Policy::Lru), 1 => Just(Policy::NoEviction), 2 => Just(Policy::Lfu), 3 => Just(Policy::S3Fifo)]
}

fn config_change() -> impl Strategy<Value = ConfigChange> {
    (
        weighted(0.5, policy()),
        weighted(0.5, 0..7u64),
        weighted(0.5, 0..1_500u64),
        weighted(0.3, weighted(0.5, 0..100u64)),
    )
        .prop_map(|(policy, capacity_entries, capacity_bytes, default_ttl_ms)| ConfigChange {
            policy,
            capacity_entries,
            capacity_bytes,
            default_ttl_ms,
            ..ConfigChange::default()
        })
}
