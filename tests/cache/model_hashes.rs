//! The model's hashes: maps, which are read from the value and written to it as a whole.

use crate::model::{Model, invalid};
use crate::model_ops::{shown, units};
use lockstep::cache::{CommandError, Event, Found, InvalidField, Key, Op, Outcome, Ttl, Value, limits};
use std::collections::BTreeMap;

/// The content type of hashes.
pub const HASH: &str = "application/vnd.lockstep.hash";

pub type Fields = BTreeMap<Vec<u8>, Vec<u8>>;

/// The bytes of a hash.
pub fn encode(fields: &Fields) -> Vec<u8> {
    let mut bytes = vec![1];
    bytes.extend((fields.len() as u32).to_le_bytes());
    let mut content = Vec::new();
    for (name, value) in fields {
        let mut length = name.len();
        while length > 127 {
            content.push(128 + (length % 128) as u8);
            length /= 128;
        }
        content.push(length as u8);
        content.extend(name);
        content.extend(value);
        bytes.extend((content.len() as u32).to_le_bytes());
    }
    bytes.extend(content);
    bytes
}

/// The fields that have these bytes, and no others.
pub fn decode(bytes: &[u8]) -> Option<Fields> {
    let number = |at: usize| Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?) as usize);
    let count = number(1)?;
    let content = bytes.get(5 + 4 * count..)?;
    let (mut fields, mut start) = (Fields::new(), 0);
    for position in 0..count {
        let end = number(5 + 4 * position)?;
        let field = content.get(start..end)?;
        let digits = 1 + field.iter().take_while(|byte| **byte > 127).count();
        let length =
            field.get(..digits)?.iter().rev().fold(0, |sum, digit| sum * 128 + usize::from(digit % 128));
        let (name, value) = field[digits..].split_at_checked(length)?;
        fields.insert(name.into(), value.into());
        start = end;
    }
    (!fields.is_empty() && encode(&fields) == bytes).then_some(fields)
}

pub fn is_hash(value: &Value) -> bool {
    value.content_type.as_deref() == Some(HASH)
}

/// What is found, if it is no hash.
pub fn string(found: &Found, op: Option<u32>) -> Result<&[u8], CommandError> {
    if is_hash(&found.value) { Err(CommandError::WrongKind { op }) } else { Ok(&found.value.bytes) }
}

/// Only what is a hash can be stored as one.
pub fn check_value(value: &Value, op: Option<u32>) -> Result<(), CommandError> {
    match is_hash(value) && decode(&value.bytes).is_none() {
        true => Err(invalid(op, InvalidField::ContentType)),
        false => Ok(()),
    }
}

impl Model {
    pub fn hash_op(
        &mut self,
        key: &Key,
        current: Option<Found>,
        op: Op,
        position: Option<u32>,
        events: &mut Vec<Event>,
    ) -> Result<Outcome, CommandError> {
        let wrong_kind = CommandError::WrongKind { op: position };
        let not_a_number = CommandError::NotANumber { op: position };
        let mut fields = match &current {
            Some(found) if is_hash(&found.value) => decode(&found.value.bytes).expect("it is a hash"),
            Some(_) => return Err(wrong_kind),
            None => Fields::new(),
        };
        let before = fields.clone();
        let mut touched = true;
        let mut outcome = None;
        match op {
            Op::SetFields { fields: pairs, only_new, .. } => {
                touched = false;
                for (name, value) in pairs {
                    if !only_new || !fields.contains_key(&name[..]) {
                        fields.insert(name.to_vec(), value.to_vec());
                        touched = true;
                    }
                }
            }
            Op::DeleteFields { fields: names, .. } => {
                names.iter().for_each(|name| drop(fields.remove(&name[..])));
                touched = fields.len() < before.len();
            }
            Op::IncrField { field, by, .. } => {
                let mut number = 0i64;
                if let Some(value) = fields.get(&field[..]) {
                    let text = String::from_utf8_lossy(value);
                    number = text.parse().map_err(|_| not_a_number.clone())?;
                    if number.to_string() != text {
                        return Err(not_a_number);
                    }
                }
                let value = number.checked_add(by).ok_or(CommandError::Overflow { op: position })?;
                fields.insert(field.to_vec(), value.to_string().into());
                outcome = Some(Outcome::Counter { revision: self.index, value, created: current.is_none() });
            }
            Op::IncrFieldDecimal { field, by, .. } => {
                let by = units(&by).ok_or(not_a_number.clone())?;
                let number = match fields.get(&field[..]) {
                    Some(value) => units(&String::from_utf8_lossy(value)).ok_or(not_a_number)?,
                    None => 0,
                };
                let text = shown(number + by);
                fields.insert(field.to_vec(), text.clone().into());
                outcome = Some(Outcome::Decimal { revision: self.index, text });
            }
            other => unreachable!("{other:?} is about no hash"),
        }
        let count = fields.len().abs_diff(before.len()) as u64;
        if !touched {
            let revision = current.map_or(0, |found| found.info.revision);
            return Ok(Outcome::Fields { revision, count });
        }
        let revision = self.index;
        let outcome = outcome.unwrap_or(Outcome::Fields { revision, count });
        if fields.is_empty() {
            self.delete(key, events);
            return Ok(outcome);
        }
        let bytes = encode(&fields);
        if bytes.len() > limits::VALUE_BYTES_MAX {
            return Err(invalid(position, InvalidField::Value));
        }
        let lifetime = match current {
            Some(_) => self.renewed(key),
            None => self.lifetime(Ttl::Default, position)?,
        };
        let value = Value { bytes: bytes.into(), content_type: Some(HASH.into()) };
        self.store(key, value, lifetime, position, events)?;
        Ok(outcome)
    }
}
