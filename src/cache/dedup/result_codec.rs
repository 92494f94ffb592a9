//! The result of a command as bytes. Tags are persisted: a tag never gets another meaning. A batch holds no batch, so
//! that damaged bytes cannot nest without end.

use super::session_codec::{lock, name, put_lock, put_session, session};
use crate::cache::codec::{DecodeError, Decoder, put_bool, put_bytes, put_option, put_u8, put_u32, put_u64};
use crate::cache::limits::{
    BATCH_OPS_MAX, CONTENT_TYPE_BYTES_MAX, DECIMAL_BYTES_MAX, LOCKS_PER_SESSION_MAX, ORIGIN_BYTES_MAX,
    SEQUENCE_OPS_MAX, VALUE_BYTES_MAX,
};
use crate::cache::outcome::CommandResult;
use crate::cache::{
    Absence, BatchFault, CacheConfig, CommandError, EntryInfo, Found, InvalidField, KeyInfo, KeyState, Kind,
    MergeResult, OpRefusal, Outcome, Removal, RemovalCause, Value,
};
use std::io::{BufRead, Result, Write};

pub(super) fn encode(result: &CommandResult, out: &mut impl Write) -> Result<()> {
    match result {
        Ok(outcome) => {
            put_u8(out, 0)?;
            put_outcome(out, outcome)
        }
        Err(error) => {
            put_u8(out, 1)?;
            put_error(out, error)
        }
    }
}

/// Decodes what [`encode`] wrote, and nothing else.
pub(super) fn decode_all(encoded: &[u8]) -> Option<CommandResult> {
    let mut source = Decoder(encoded);
    let result = decode(&mut source).ok()?;
    source.0.is_empty().then_some(result)
}

pub(in crate::cache) fn decode(
    source: &mut Decoder<impl BufRead>,
) -> std::result::Result<CommandResult, DecodeError> {
    Ok(if source.bool()? { Err(error(source)?) } else { Ok(outcome(source)?) })
}

fn put_outcome(out: &mut impl Write, outcome: &Outcome) -> Result<()> {
    match outcome {
        Outcome::Batch { revision, outcomes } => {
            put_u8(out, 7)?;
            put_u64(out, *revision)?;
            put_u32(out, outcomes.len() as u32)?;
            outcomes.iter().try_for_each(|outcome| put_single(out, outcome))
        }
        Outcome::Sequence { revision, results } => {
            put_u8(out, 14)?;
            put_u64(out, *revision)?;
            put_u32(out, results.len() as u32)?;
            results.iter().try_for_each(|result| {
                put_bool(out, result.is_err())?;
                match result {
                    Ok(outcome) => put_single(out, outcome),
                    Err(refusal) => {
                        put_error(out, &refusal.error)?;
                        put_key_state(out, &refusal.key)
                    }
                }
            })
        }
        single => put_single(out, single),
    }
}

fn put_single(out: &mut impl Write, outcome: &Outcome) -> Result<()> {
    match outcome {
        Outcome::Put { revision, created, previous } => {
            put_u8(out, 0)?;
            put_u64(out, *revision)?;
            put_bool(out, *created)?;
            put_found(out, previous.as_ref())
        }
        Outcome::Deleted { revision, previous } => {
            put_u8(out, 1)?;
            put_u64(out, *revision)?;
            put_found(out, previous.as_ref())
        }
        // A batch holds no batch; were there one, its result would be lost.
        Outcome::Batch { .. } | Outcome::Sequence { .. } => put_u8(out, 6),
        Outcome::Session(session) => {
            put_u8(out, 15)?;
            put_session(out, session)
        }
        Outcome::SessionEnded { released } => {
            put_u8(out, 16)?;
            put_u32(out, released.len() as u32)?;
            released.iter().try_for_each(|name| put_bytes(out, name.as_str().as_bytes()))
        }
        Outcome::Locked { lock, session_name, acquired } => {
            put_u8(out, 17)?;
            put_lock(out, lock)?;
            put_bytes(out, session_name.as_str().as_bytes())?;
            put_bool(out, *acquired)
        }
        Outcome::Unlocked => put_u8(out, 18),
        Outcome::Length { revision, bytes } => {
            put_u8(out, 19)?;
            put_u64(out, *revision)?;
            put_u64(out, *bytes)
        }
        Outcome::Decimal { revision, text } => {
            put_u8(out, 20)?;
            put_u64(out, *revision)?;
            put_bytes(out, text.as_bytes())
        }
        Outcome::Looked(looked) => {
            put_u8(out, 21)?;
            put_bool(out, looked.is_some())?;
            let Some(KeyInfo { entry, bytes, kind }) = looked else { return Ok(()) };
            put_info(out, entry)?;
            put_u64(out, *bytes)?;
            put_bool(out, *kind == Kind::Hash)
        }
        Outcome::Fields { revision, count } => {
            put_u8(out, 22)?;
            put_u64(out, *revision)?;
            put_u64(out, *count)
        }
        Outcome::Sum { revision, value, added } => {
            put_u8(out, 24)?;
            put_u64(out, *revision)?;
            put_bytes(out, value.as_bytes())?;
            put_bytes(out, added.as_bytes())
        }
        Outcome::Published { revision } => {
            put_u8(out, 25)?;
            put_u64(out, *revision)
        }
        Outcome::NotFound(absence) => {
            put_u8(out, 2)?;
            put_absence(out, absence)
        }
        Outcome::Counter { revision, value, created } => {
            put_u8(out, 3)?;
            put_u64(out, *revision)?;
            put_u64(out, value.cast_unsigned())?;
            put_bool(out, *created)
        }
        Outcome::Deadline { revision, expires_at_ms } => {
            put_u8(out, 4)?;
            put_u64(out, *revision)?;
            put_option(out, *expires_at_ms)
        }
        Outcome::Got(found) => {
            put_u8(out, 5)?;
            put_found(out, found.as_ref())
        }
        Outcome::NotCleared { count } => {
            put_u8(out, 23)?;
            put_u64(out, *count)
        }
        Outcome::Cleared { revision, removed } => {
            put_u8(out, 8)?;
            put_u64(out, *revision)?;
            put_u64(out, *removed)
        }
        Outcome::Configured(config) => {
            put_u8(out, 9)?;
            config.encode(out)
        }
        Outcome::Ticked => put_u8(out, 10),
        Outcome::FeatureLevel(level) => {
            put_u8(out, 11)?;
            put_u32(out, *level)
        }
        Outcome::Merged { revision, results } => {
            put_u8(out, 12)?;
            put_u64(out, *revision)?;
            put_u32(out, results.len() as u32)?;
            results.iter().try_for_each(|result| put_u8(out, result.number()))
        }
        Outcome::TokensChanged { revision } => {
            put_u8(out, 13)?;
            put_u64(out, *revision)
        }
    }
}

fn outcome(source: &mut Decoder<impl BufRead>) -> std::result::Result<Outcome, DecodeError> {
    let tag = source.u8()?;
    if tag != 7 && tag != 14 {
        return single(source, tag);
    }
    let revision = source.u64()?;
    if tag == 14 {
        let mut results = Vec::new();
        for _ in 0..source.length(SEQUENCE_OPS_MAX)? {
            results.push(if source.bool()? {
                Err(Box::new(OpRefusal { error: error(source)?, key: key_state(source)? }))
            } else {
                let tag = source.u8()?;
                Ok(single(source, tag)?)
            });
        }
        return Ok(Outcome::Sequence { revision, results });
    }
    let length = source.length(BATCH_OPS_MAX)?;
    let mut outcomes = Vec::with_capacity(length);
    for _ in 0..length {
        let tag = source.u8()?;
        outcomes.push(single(source, tag)?);
    }
    Ok(Outcome::Batch { revision, outcomes })
}

fn single(source: &mut Decoder<impl BufRead>, tag: u8) -> std::result::Result<Outcome, DecodeError> {
    Ok(match tag {
        0 => Outcome::Put { revision: source.u64()?, created: source.bool()?, previous: found(source)? },
        1 => Outcome::Deleted { revision: source.u64()?, previous: found(source)? },
        2 => Outcome::NotFound(absence(source)?),
        3 => Outcome::Counter {
            revision: source.u64()?,
            value: source.u64()?.cast_signed(),
            created: source.bool()?,
        },
        4 => Outcome::Deadline { revision: source.u64()?, expires_at_ms: source.option()? },
        5 => Outcome::Got(found(source)?),
        8 => Outcome::Cleared { revision: source.u64()?, removed: source.u64()? },
        9 => Outcome::Configured(CacheConfig::decode(source)?),
        10 => Outcome::Ticked,
        11 => Outcome::FeatureLevel(source.u32()?),
        12 => {
            let revision = source.u64()?;
            let mut results = Vec::new();
            for _ in 0..source.length(BATCH_OPS_MAX)? {
                let unknown = DecodeError::Damaged("a result of a merge has an unknown number");
                results.push(MergeResult::from_number(source.u8()?).ok_or(unknown)?);
            }
            Outcome::Merged { revision, results }
        }
        13 => Outcome::TokensChanged { revision: source.u64()? },
        15 => Outcome::Session(session(source)?),
        16 => {
            let mut released = Vec::new();
            for _ in 0..source.length(LOCKS_PER_SESSION_MAX)? {
                released.push(name(source)?);
            }
            Outcome::SessionEnded { released }
        }
        17 => Outcome::Locked { lock: lock(source)?, session_name: name(source)?, acquired: source.bool()? },
        18 => Outcome::Unlocked,
        19 => Outcome::Length { revision: source.u64()?, bytes: source.u64()? },
        20 => Outcome::Decimal { revision: source.u64()?, text: source.text(DECIMAL_BYTES_MAX)? },
        21 => {
            let is_found = source.bool()?;
            let looked = |source: &mut Decoder<_>| {
                let (entry, bytes) = (info(source)?, source.u64()?);
                let kind = if source.bool()? { Kind::Hash } else { Kind::String };
                Ok::<_, DecodeError>(KeyInfo { entry, bytes, kind })
            };
            Outcome::Looked(if is_found { Some(looked(source)?) } else { None })
        }
        22 => Outcome::Fields { revision: source.u64()?, count: source.u64()? },
        23 => Outcome::NotCleared { count: source.u64()? },
        24 => Outcome::Sum {
            revision: source.u64()?,
            value: source.text(DECIMAL_BYTES_MAX)?,
            added: source.text(DECIMAL_BYTES_MAX)?,
        },
        25 => Outcome::Published { revision: source.u64()? },
        _ => return Err(DecodeError::Damaged("an outcome has an unknown tag")),
    })
}

fn put_key_state(out: &mut impl Write, state: &KeyState) -> Result<()> {
    match state {
        KeyState::Absent(absence) => {
            put_u8(out, 0)?;
            put_absence(out, absence)
        }
        KeyState::Present { info, value } => {
            put_u8(out, 1)?;
            put_info(out, info)?;
            put_bool(out, value.is_some())?;
            value.as_ref().map_or(Ok(()), |value| put_value(out, value))
        }
    }
}

fn key_state(source: &mut Decoder<impl BufRead>) -> std::result::Result<KeyState, DecodeError> {
    if !source.bool()? {
        return Ok(KeyState::Absent(absence(source)?));
    }
    let info = info(source)?;
    let value = if source.bool()? { Some(value(source)?) } else { None };
    Ok(KeyState::Present { info, value })
}

fn put_absence(out: &mut impl Write, absence: &Absence) -> Result<()> {
    put_u64(out, absence.known_after)?;
    let Some(Removal { cause, revision, at_ms }) = absence.removal else { return put_u8(out, 0) };
    put_u8(
        out,
        match cause {
            RemovalCause::Delete => 1,
            RemovalCause::Clear => 2,
            RemovalCause::Expire => 3,
            RemovalCause::Evict => 4,
        },
    )?;
    put_u64(out, revision)?;
    put_u64(out, at_ms)
}

fn absence(source: &mut Decoder<impl BufRead>) -> std::result::Result<Absence, DecodeError> {
    let known_after = source.u64()?;
    let cause = match source.u8()? {
        0 => return Ok(Absence { removal: None, known_after }),
        1 => RemovalCause::Delete,
        2 => RemovalCause::Clear,
        3 => RemovalCause::Expire,
        4 => RemovalCause::Evict,
        _ => return Err(DecodeError::Damaged("a removal has an unknown cause")),
    };
    let removal = Removal { cause, revision: source.u64()?, at_ms: source.u64()? };
    Ok(Absence { removal: Some(removal), known_after })
}

fn put_found(out: &mut impl Write, found: Option<&Found>) -> Result<()> {
    put_bool(out, found.is_some())?;
    let Some(found) = found else { return Ok(()) };
    put_value(out, &found.value)?;
    put_info(out, &found.info)
}

fn put_value(out: &mut impl Write, value: &Value) -> Result<()> {
    put_bytes(out, value.content_type.as_deref().unwrap_or_default().as_bytes())?;
    put_bytes(out, &value.bytes)
}

fn value(source: &mut Decoder<impl BufRead>) -> std::result::Result<Value, DecodeError> {
    let content_type = source.text(CONTENT_TYPE_BYTES_MAX)?;
    let bytes = source.bytes(VALUE_BYTES_MAX)?;
    let content_type = if content_type.is_empty() { None } else { Some(content_type.into()) };
    Ok(Value { bytes: bytes.into(), content_type })
}

fn put_info(out: &mut impl Write, info: &EntryInfo) -> Result<()> {
    put_u64(out, info.revision)?;
    put_u64(out, info.created_revision)?;
    put_u64(out, info.version)?;
    put_u64(out, info.created_at_ms)?;
    put_u64(out, info.modified_at_ms)?;
    put_option(out, info.expires_at_ms)?;
    put_u32(out, info.sliding_ms)?;
    put_bytes(out, info.origin.as_deref().unwrap_or_default().as_bytes())
}

fn info(source: &mut Decoder<impl BufRead>) -> std::result::Result<EntryInfo, DecodeError> {
    let mut info = EntryInfo {
        revision: source.u64()?,
        created_revision: source.u64()?,
        version: source.u64()?,
        created_at_ms: source.u64()?,
        modified_at_ms: source.u64()?,
        expires_at_ms: source.option()?,
        sliding_ms: source.u32()?,
        origin: None,
    };
    let origin = source.text(ORIGIN_BYTES_MAX)?;
    if !origin.is_empty() {
        info.origin = Some(origin.into());
    }
    Ok(info)
}

fn found(source: &mut Decoder<impl BufRead>) -> std::result::Result<Option<Found>, DecodeError> {
    if !source.bool()? {
        return Ok(None);
    }
    Ok(Some(Found { value: value(source)?, info: info(source)? }))
}

fn put_error(out: &mut impl Write, error: &CommandError) -> Result<()> {
    let mut head = |tag: u8, op: &Option<u32>| {
        put_u8(out, tag)?;
        put_option(out, op.map(u64::from))
    };
    match error {
        CommandError::PreconditionFailed { op, current, absence } => {
            head(0, op)?;
            put_option(out, *current)?;
            put_bool(out, absence.is_some())?;
            absence.as_ref().map_or(Ok(()), |absence| put_absence(out, absence))
        }
        CommandError::TooLarge { op, bytes, capacity_bytes } => {
            head(1, op)?;
            put_u64(out, *bytes)?;
            put_u64(out, *capacity_bytes)
        }
        CommandError::CacheFull { op } => head(2, op),
        CommandError::NotANumber { op } => head(3, op),
        CommandError::Overflow { op } => head(4, op),
        CommandError::InvalidBatch { op, fault } => {
            head(5, op)?;
            put_u8(out, fault.number())
        }
        CommandError::Invalid { op, field } => {
            head(6, op)?;
            put_u8(out, field.number())
        }
        CommandError::IdempotencyKeyReused => head(7, &None),
        CommandError::FeatureLevel { needed, kept } => {
            head(8, &None)?;
            put_u32(out, *needed)?;
            put_u32(out, *kept)
        }
        CommandError::MergeOutOfTurn { next, ended } => {
            head(9, &None)?;
            put_u64(out, *next)?;
            put_bool(out, *ended)
        }
        CommandError::AnotherMerge => head(10, &None),
        CommandError::PlanOutdated => head(11, &None),
        CommandError::NoSuchToken => head(12, &None),
        CommandError::TokenExists => head(13, &None),
        CommandError::TooManyTokens => head(14, &None),
        CommandError::NoSuchSession => head(15, &None),
        CommandError::TooManySessions => head(16, &None),
        CommandError::LockHeld { lock, session_name } => {
            head(17, &None)?;
            put_lock(out, lock)?;
            put_bytes(out, session_name.as_str().as_bytes())
        }
        CommandError::LockNotHeld => head(18, &None),
        CommandError::TooManyLocks => head(19, &None),
        CommandError::OutcomeForgotten => head(20, &None),
        CommandError::GuardFailed { guard } => {
            head(21, &None)?;
            put_u32(out, *guard)
        }
        CommandError::WrongKind { op } => head(22, op),
    }
}

fn error(source: &mut Decoder<impl BufRead>) -> std::result::Result<CommandError, DecodeError> {
    let tag = source.u8()?;
    let too_far = |_| DecodeError::Damaged("a position in a batch is over its limit");
    let op = source.option()?.map(u32::try_from).transpose().map_err(too_far)?;
    Ok(match tag {
        0 => {
            let current = source.option()?;
            let absence = if source.bool()? { Some(absence(source)?) } else { None };
            CommandError::PreconditionFailed { op, current, absence }
        }
        1 => CommandError::TooLarge { op, bytes: source.u64()?, capacity_bytes: source.u64()? },
        2 => CommandError::CacheFull { op },
        3 => CommandError::NotANumber { op },
        4 => CommandError::Overflow { op },
        5 => CommandError::InvalidBatch {
            op,
            fault: BatchFault::from_number(source.u8()?)
                .ok_or(DecodeError::Damaged("a fault of a batch has an unknown number"))?,
        },
        6 => CommandError::Invalid {
            op,
            field: InvalidField::from_number(source.u8()?)
                .ok_or(DecodeError::Damaged("a field has an unknown number"))?,
        },
        7 => CommandError::IdempotencyKeyReused,
        8 => CommandError::FeatureLevel { needed: source.u32()?, kept: source.u32()? },
        9 => CommandError::MergeOutOfTurn { next: source.u64()?, ended: source.bool()? },
        10 => CommandError::AnotherMerge,
        11 => CommandError::PlanOutdated,
        12 => CommandError::NoSuchToken,
        13 => CommandError::TokenExists,
        14 => CommandError::TooManyTokens,
        15 => CommandError::NoSuchSession,
        16 => CommandError::TooManySessions,
        17 => CommandError::LockHeld { lock: Box::new(lock(source)?), session_name: name(source)? },
        18 => CommandError::LockNotHeld,
        19 => CommandError::TooManyLocks,
        20 => CommandError::OutcomeForgotten,
        21 => CommandError::GuardFailed { guard: source.u32()? },
        22 => CommandError::WrongKind { op },
        _ => return Err(DecodeError::Damaged("a refusal has an unknown tag")),
    })
}
