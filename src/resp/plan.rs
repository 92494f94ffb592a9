//! What a command does with data, and how that is told: operations of the state machine, and the shape of the reply. The same operations
//! are carried out by the log, or, where all only read, by this node's own copy.

use super::channels::Channels;
use super::errors::{NOT_A_FLOAT, NOT_FINITE, WRONG_KIND, of_command};
use super::hash_scan::is_small;
use super::hash_shape::HashShape;
use super::key::key_of;
use super::number::parse_i64;
use super::reply::Reply;
use crate::cache::{
    CommandError, Hash, KeyInfo, KeyState, Kind, Op, OpRefusal, Outcome, Value, value_digest,
};
use bytes::Bytes;

/// About how many bytes an entry takes beside its value: docs/performance.md.
const ENTRY_BYTES: u64 = 128;

/// What became of one operation.
pub(super) type Done = Result<Outcome, Box<OpRefusal>>;

/// A command that is about data, or whose reply is known already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Plan {
    pub ops: Vec<Op>,
    pub shape: Shape,
}

/// How the results of its operations become a command's reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Shape {
    /// Nothing is done for it.
    Known(Reply),
    /// `OK`, or nothing if a condition did not hold.
    Stored,
    /// Whether it was stored.
    WasStored,
    /// The value from before, whether it was replaced or not.
    Previous,
    /// The value.
    Value,
    /// The value's digest.
    Digest,
    /// The values of several keys.
    Values,
    /// `OK` if all were carried out.
    All,
    /// 1 if all were carried out.
    AllStored,
    /// How many keys were there and are gone.
    Removed,
    /// How many keys are there.
    Present,
    Integer,
    Decimal,
    /// A number, and what was added to it.
    Sum {
        is_decimal: bool,
    },
    Length,
    /// Whether the lifetime was set.
    WasSet,
    /// What is left of a lifetime, or when it ends.
    Lifetime {
        in_ms: bool,
        is_absolute: bool,
    },
    Type,
    /// What is told of a hash.
    Hash(HashShape),
    /// How Redis would keep the value.
    Encoding,
    /// How often it is referred to: once.
    References,
    /// About how many bytes it takes.
    Memory,
    /// Nothing without a key, and otherwise that the command makes no sense.
    Refused(Reply),
    /// So many clients of this node are sent a message.
    Receivers(u64),
    /// A part of a value.
    Part {
        start: i64,
        end: i64,
    },
}

impl Plan {
    pub fn known(reply: Reply) -> Self {
        Self { ops: Vec::new(), shape: Shape::Known(reply) }
    }

    pub fn one(op: Op, shape: Shape) -> Self {
        Self { ops: vec![op], shape }
    }

    /// Notes how many clients of this node are sent its message, if it is one.
    pub fn counted(mut self, channels: &Channels) -> Self {
        if let (Shape::Receivers(count), [Op::Publish { channel, .. }]) = (&mut self.shape, &self.ops[..])
            && let Some(channel) = key_of(0, channel.as_str())
        {
            *count = channels.receivers(&channel);
        }
        self
    }

    /// Whether it may change something.
    pub fn writes(&self) -> bool {
        self.ops.iter().any(Op::is_write)
    }
}

impl Shape {
    /// About how many bytes the reply takes until it is sent.
    pub fn bytes_told(&self, done: &[Done]) -> usize {
        let told = |value: &Value| match self {
            Self::Hash(shape) => shape.bytes_told(value),
            _ => value.bytes.len(),
        };
        done.iter().filter_map(value_of).map(told).sum()
    }

    /// Bytes that a reply may take beyond what the values and the command have.
    pub fn extra_bytes(&self) -> usize {
        match self {
            Self::Hash(shape) => shape.extra_bytes(),
            _ => 0,
        }
    }

    /// The reply. `now_ms`: log time.
    pub fn reply(&self, done: &[Done], now_ms: u64) -> Reply {
        match self {
            Self::Known(reply) => reply.clone(),
            // A hash has no value that could be told with others.
            Self::Values => {
                Reply::Array(done.iter().map(|done| bulk_or_null(string_of(done).unwrap_or(None))).collect())
            }
            Self::Removed | Self::Present => match done {
                [Err(refusal)] if !is_condition(&refusal.error) => of_command(&refusal.error),
                done => count(done),
            },
            Self::All | Self::AllStored => match done.iter().find_map(|done| done.as_ref().err()) {
                Some(refusal) => of_command(&refusal.error),
                None if *self == Self::AllStored => Reply::Integer(1),
                None => Reply::OK,
            },
            _ => match done.first() {
                Some(done) => self.reply_of_one(done, now_ms),
                // Each of these has an operation.
                None => Reply::Null,
            },
        }
    }

    fn reply_of_one(&self, done: &Done, now_ms: u64) -> Reply {
        if let Self::Previous = self {
            return match done {
                Err(refusal) if !is_condition(&refusal.error) => of_command(&refusal.error),
                done => string_of(done).map_or_else(|wrong| wrong, bulk_or_null),
            };
        }
        let outcome = match done {
            Ok(outcome) => outcome,
            Err(refusal) if is_condition(&refusal.error) => return self.refused(),
            Err(refusal) => return self.error(&refusal.error),
        };
        match (self, outcome) {
            (Self::Stored, Outcome::Put { .. }) => Reply::OK,
            (Self::WasStored, Outcome::Put { .. }) => Reply::Integer(1),
            (Self::Value, _) => string_of(done).map_or_else(|wrong| wrong, bulk_or_null),
            (Self::Digest, _) => string_of(done).map_or_else(
                |wrong| wrong,
                |value| {
                    value.map_or(Reply::Null, |value| Reply::bulk(format!("{:016x}", value_digest(value))))
                },
            ),
            (Self::Hash(shape), outcome) => shape.reply(outcome),
            (Self::Receivers(count), Outcome::Published { .. }) => integer(*count),
            (Self::Integer, Outcome::Counter { value, .. }) => Reply::Integer(*value),
            (Self::Decimal, Outcome::Decimal { text, .. }) => Reply::bulk(text),
            (Self::Sum { is_decimal }, Outcome::Sum { value, added, .. }) => {
                Reply::Array([value, added].map(|text| number(text, *is_decimal)).into())
            }
            (Self::Length, Outcome::Length { bytes, .. }) => integer(*bytes),
            (Self::Length, Outcome::Looked(Some(info))) if info.kind != Kind::String => {
                Reply::error(WRONG_KIND)
            }
            (Self::Length, Outcome::Looked(info)) => integer(info.as_ref().map_or(0, |info| info.bytes)),
            (Self::WasSet, Outcome::Deadline { .. } | Outcome::Deleted { .. }) => Reply::Integer(1),
            (Self::WasSet, Outcome::NotFound(_)) => Reply::Integer(0),
            (Self::Lifetime { in_ms, is_absolute }, Outcome::Looked(info)) => {
                lifetime(info.as_ref(), *in_ms, *is_absolute, now_ms)
            }
            (Self::Type, Outcome::Looked(info)) => {
                Reply::Status(info.as_ref().map_or("none", |info| name_of_kind(info.kind)))
            }
            (Self::Encoding, _) => value_of(done).map_or(Reply::Null, |value| Reply::bulk(encoding(value))),
            (Self::Refused(reply), Outcome::Looked(info)) => {
                info.as_ref().map_or(Reply::Null, |_| reply.clone())
            }
            (Self::References, Outcome::Looked(info)) => {
                info.as_ref().map_or(Reply::Null, |_| Reply::Integer(1))
            }
            (Self::Memory, Outcome::Looked(info)) => {
                info.as_ref().map_or(Reply::Null, |info| integer(info.bytes + ENTRY_BYTES))
            }
            (Self::Part { start, end }, _) => match string_of(done) {
                Ok(value) => Reply::Bulk(value.map_or_else(Bytes::new, |value| part(value, *start, *end))),
                Err(wrong) => wrong,
            },
            // A plan has the operations of its shape.
            _ => Reply::error("ERR the outcome is of another kind than the command"),
        }
    }

    /// A condition did not hold.
    fn refused(&self) -> Reply {
        match self {
            Self::Stored | Self::Value => Reply::Null,
            _ => Reply::Integer(0),
        }
    }

    fn error(&self, error: &CommandError) -> Reply {
        match (self, error) {
            (Self::Hash(shape), error) => shape.error(error),
            (Self::Sum { .. }, CommandError::Overflow { .. }) => {
                Reply::error("ERR applied increment would overflow")
            }
            (Self::Decimal | Self::Sum { is_decimal: true }, CommandError::NotANumber { .. }) => {
                Reply::error(NOT_A_FLOAT)
            }
            (Self::Decimal, CommandError::Overflow { .. }) => Reply::error(NOT_FINITE),
            _ => of_command(error),
        }
    }
}

/// The results of a sequence.
pub(super) fn results(outcome: Outcome) -> Vec<Done> {
    match outcome {
        Outcome::Sequence { results, .. } => results,
        // The outcome of a sequence is one.
        _ => Vec::new(),
    }
}

fn is_condition(error: &CommandError) -> bool {
    matches!(error, CommandError::PreconditionFailed { .. })
}

/// The value that an operation found, replaced or removed, or that made it refuse.
fn value_of(done: &Done) -> Option<&Value> {
    match done {
        Ok(
            Outcome::Got(found)
            | Outcome::Put { previous: found, .. }
            | Outcome::Deleted { previous: found, .. },
        ) => found.as_ref().map(|found| &found.value),
        Err(refusal) => match &refusal.key {
            KeyState::Present { value, .. } => value.as_ref(),
            KeyState::Absent(_) => None,
        },
        Ok(_) => None,
    }
}

/// The same, if it is a string; else the error for a value of another kind.
fn string_of(done: &Done) -> Result<Option<&Bytes>, Reply> {
    match value_of(done) {
        Some(value) if value.kind() != Kind::String => Err(Reply::error(WRONG_KIND)),
        value => Ok(value.map(|value| &value.bytes)),
    }
}

/// As `TYPE` calls it.
pub(super) fn name_of_kind(kind: Kind) -> &'static str {
    match kind {
        Kind::String => "string",
        Kind::Hash => "hash",
    }
}

fn bulk_or_null(value: Option<&Bytes>) -> Reply {
    value.map_or(Reply::Null, |value| Reply::Bulk(value.clone()))
}

fn integer(number: u64) -> Reply {
    Reply::Integer(i64::try_from(number).unwrap_or(i64::MAX))
}

fn count(done: &[Done]) -> Reply {
    let counts = |done: &&Done| {
        matches!(done, Ok(Outcome::Deleted { .. } | Outcome::Looked(Some(_)) | Outcome::Got(Some(_))))
    };
    integer(done.iter().filter(counts).count() as u64)
}

fn number(text: &str, is_decimal: bool) -> Reply {
    let whole = parse_i64(text.as_bytes()).filter(|_| !is_decimal);
    whole.map_or_else(|| Reply::Double(text.to_owned()), Reply::Integer)
}

/// -2 without a key, -1 without an end.
fn lifetime(info: Option<&KeyInfo>, in_ms: bool, is_absolute: bool, now_ms: u64) -> Reply {
    let Some(info) = info else { return Reply::Integer(-2) };
    let Some(deadline_ms) = info.entry.expires_at_ms else { return Reply::Integer(-1) };
    let ms = if is_absolute { deadline_ms } else { deadline_ms.saturating_sub(now_ms) };
    integer(if in_ms { ms } else { ms.saturating_add(500) / 1_000 })
}

fn encoding(value: &Value) -> &'static str {
    const EMBEDDED_BYTES: usize = 44;
    if value.kind() == Kind::Hash {
        let is_small = Hash::open(&value.bytes).is_some_and(is_small);
        return if is_small { "listpack" } else { "hashtable" };
    }
    match parse_i64(&value.bytes) {
        Some(_) => "int",
        None if value.bytes.len() <= EMBEDDED_BYTES => "embstr",
        None => "raw",
    }
}

/// From one position to another, both included; negative ones count from the end.
fn part(value: &Bytes, start: i64, end: i64) -> Bytes {
    let length = i64::try_from(value.len()).unwrap_or(i64::MAX);
    if start < 0 && end < 0 && start > end {
        return Bytes::new();
    }
    let from_start = |at: i64| if at < 0 { (length.saturating_add(at)).max(0) } else { at };
    let (start, end) = (from_start(start), from_start(end).min(length - 1));
    if length == 0 || start > end {
        return Bytes::new();
    }
    value.slice(start as usize..=end as usize)
}
