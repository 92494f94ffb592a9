//! The model's other operations: those that build values out of what is there, that look, and that set deadlines.

use crate::model::{Model, invalid};
use crate::model_hashes::{check_value, is_hash, string};
use lockstep::cache::{
    Cause, CommandError, Condition, DeadlineCondition, Event, Found, InvalidField, Key, KeyInfo, Kind, Op,
    Outcome, RemovalCause, Ttl, Value, limits,
};

type Lifetime = (Option<u64>, u64);

impl Model {
    pub fn further_op(
        &mut self,
        op: Op,
        current: Option<Found>,
        position: Option<u32>,
        events: &mut Vec<Event>,
    ) -> Result<Outcome, CommandError> {
        let key = op_key(&op).clone();
        match op {
            Op::Append { bytes, .. } => {
                let end = current.as_ref().map_or(0, |found| found.value.bytes.len());
                self.write_at(&key, current, end, &bytes, position, events)
            }
            Op::SetRange { bytes, .. } if bytes.is_empty() && current.is_none() => {
                Ok(Outcome::Length { revision: 0, bytes: 0 })
            }
            Op::SetRange { offset, bytes, .. } => {
                self.write_at(&key, current, offset as usize, &bytes, position, events)
            }
            Op::IncrDecimal { by, .. } => self.add_decimal(&key, current, &by, position, events),
            Op::IncrWithin { step, saturates, ttl, keeps_deadline, .. } => {
                self.add_within(&key, current, (step, saturates), (ttl, keeps_deadline), position, events)
            }
            #[cfg(feature = "next-level")]
            Op::Double { .. } => {
                let text = current.map(|found| String::from_utf8_lossy(&found.value.bytes).into_owned());
                let by = text.and_then(|text| text.parse().ok()).unwrap_or(0);
                let (ttl, condition) = (Ttl::Default, Condition::Always);
                self.op(Op::Incr { key, by, initial: 0, ttl, condition }, position, events)
            }
            Op::Publish { channel, message } if message.len() <= limits::VALUE_BYTES_MAX => {
                events.push(Event::Message { channel, message });
                Ok(Outcome::Published { revision: self.index })
            }
            Op::Publish { .. } => Err(invalid(position, InvalidField::Value)),
            Op::Look { .. } => Ok(Outcome::Looked(current.map(|found| KeyInfo {
                bytes: found.value.bytes.len() as u64,
                kind: if is_hash(&found.value) { Kind::Hash } else { Kind::String },
                entry: found.info,
            }))),
            op @ (Op::SetFields { .. }
            | Op::DeleteFields { .. }
            | Op::IncrField { .. }
            | Op::IncrFieldDecimal { .. }) => self.hash_op(&key, current, op, position, events),
            Op::GetEx { ttl, .. } => {
                if let Some(found) = &current {
                    string(found, position)?;
                }
                let now_ms = self.now_ms;
                let past = matches!(ttl, Some(Ttl::At(at_ms)) if at_ms <= now_ms);
                let lifetime = match ttl {
                    Some(ttl) if !past => Some(self.lifetime_over(&key, ttl, position)?),
                    _ => None,
                };
                if current.is_none() {
                    return Ok(Outcome::Got(None));
                }
                if past {
                    self.delete(&key, events);
                    return Ok(Outcome::Got(current));
                }
                let is_new = |(until, sliding_ms): &Lifetime| {
                    (*until, *sliding_ms)
                        != (self.held[&key].found.info.expires_at_ms, self.held[&key].sliding_ms)
                };
                match lifetime.filter(is_new) {
                    Some(lifetime) => {
                        self.set_lifetime(key.clone(), lifetime, events);
                        Ok(Outcome::Got(self.get(&key).cloned()))
                    }
                    None => {
                        let mut read = self.ops(vec![Op::Get { key }], false, events)?;
                        Ok(read.remove(0))
                    }
                }
            }
            Op::Expire { ttl, condition, only, .. } => {
                let past = match ttl {
                    Ttl::At(at_ms) if at_ms <= self.now_ms => Some(at_ms),
                    _ => None,
                };
                let lifetime = match past {
                    Some(at_ms) => (Some(at_ms), 0),
                    None => self.lifetime_over(&key, ttl, position)?,
                };
                self.check(&key, &condition, current.as_ref(), position)?;
                let Some(found) = current else { return Ok(Outcome::NotFound(self.absence(&key))) };
                let applies = match (only, found.info.expires_at_ms, lifetime.0) {
                    (DeadlineCondition::Always, ..) => true,
                    (DeadlineCondition::None, old, _) => old.is_none(),
                    (DeadlineCondition::Some, old, _) => old.is_some(),
                    (DeadlineCondition::Later, Some(old), Some(new)) => new > old,
                    (DeadlineCondition::Earlier, Some(old), Some(new)) => new < old,
                    (DeadlineCondition::EarlierThanSome, Some(old), Some(new)) => new < old,
                    (DeadlineCondition::EarlierThanSome, ..) => false,
                    (DeadlineCondition::Later, old, new) => old.is_some() && new.is_none(),
                    (DeadlineCondition::Earlier, old, new) => old.is_none() && new.is_some(),
                };
                if !applies {
                    let current = Some(found.info.revision);
                    return Err(CommandError::PreconditionFailed { op: position, current, absence: None });
                }
                if past.is_some() {
                    self.delete(&key, events);
                    return Ok(Outcome::Deleted { revision: self.index, previous: None });
                }
                Ok(self.set_lifetime(key, lifetime, events))
            }
            other => unreachable!("{other:?} is in model.rs"),
        }
    }

    /// Removes a key as a client asked for.
    pub fn delete(&mut self, key: &Key, events: &mut Vec<Event>) {
        self.remove(key, Cause::Delete, events);
        self.removed_now(key, RemovalCause::Delete);
        self.graves.push((Ok(key.clone()), self.index, self.now_ms));
    }

    /// A put whose deadline has passed. What could not be stored is refused all the same.
    pub fn put_in_the_past(
        &mut self,
        key: &Key,
        (value, condition, previous): (Value, Condition, bool),
        position: Option<u32>,
        events: &mut Vec<Event>,
    ) -> Result<Outcome, CommandError> {
        let current = self.get(key).cloned();
        self.check(key, &condition, current.as_ref(), position)?;
        check_value(&value, position)?;
        self.clone().store(key, value, (None, 0), position, &mut Vec::new())?;
        if current.is_some() {
            self.delete(key, events);
        }
        let previous = current.filter(|_| previous);
        Ok(Outcome::Put { revision: self.index, created: false, previous })
    }

    /// The lifetime that a TTL means for a key that may be there.
    pub fn lifetime_over(&self, key: &Key, ttl: Ttl, op: Option<u32>) -> Result<Lifetime, CommandError> {
        if ttl == Ttl::Keep && self.get(key).is_some() {
            return Ok(self.renewed(key));
        }
        self.lifetime(ttl, op)
    }

    /// The lifetime of a key after a use.
    pub fn renewed(&self, key: &Key) -> Lifetime {
        let held = &self.held[key];
        match held.sliding_ms {
            0 => (held.found.info.expires_at_ms, 0),
            sliding_ms => (Some(self.now_ms + sliding_ms), sliding_ms),
        }
    }

    fn write_at(
        &mut self,
        key: &Key,
        current: Option<Found>,
        offset: usize,
        bytes: &[u8],
        op: Option<u32>,
        events: &mut Vec<Event>,
    ) -> Result<Outcome, CommandError> {
        let (mut value, mut content_type) = (Vec::new(), None);
        let mut lifetime = self.lifetime(Ttl::Default, op)?;
        if let Some(found) = current {
            value = string(&found, op)?.to_vec();
            if bytes.is_empty() {
                return Ok(Outcome::Length { revision: found.info.revision, bytes: value.len() as u64 });
            }
            (content_type, lifetime) = (found.value.content_type, self.renewed(key));
        }
        if offset.saturating_add(bytes.len()) > limits::VALUE_BYTES_MAX {
            return Err(invalid(op, InvalidField::Value));
        }
        while value.len() < offset {
            value.push(0);
        }
        for (at, byte) in (offset..).zip(bytes) {
            if at < value.len() {
                value[at] = *byte;
            } else {
                value.push(*byte);
            }
        }
        let length = value.len() as u64;
        self.store(key, Value { bytes: value.into(), content_type }, lifetime, op, events)?;
        Ok(Outcome::Length { revision: self.index, bytes: length })
    }

    fn add_decimal(
        &mut self,
        key: &Key,
        current: Option<Found>,
        by: &str,
        op: Option<u32>,
        events: &mut Vec<Event>,
    ) -> Result<Outcome, CommandError> {
        let not_a_number = CommandError::NotANumber { op };
        if let Some(found) = &current {
            string(found, op)?;
        }
        let by = units(by).ok_or(not_a_number.clone())?;
        let (mut number, mut content_type) = (0, None);
        let mut lifetime = self.lifetime(Ttl::Default, op);
        if let Some(found) = current {
            let text = String::from_utf8(found.value.bytes.to_vec()).unwrap_or_default();
            number = units(&text).ok_or(not_a_number)?;
            (content_type, lifetime) = (found.value.content_type, Ok(self.renewed(key)));
        }
        let text = shown(number + by);
        let value = Value { bytes: text.clone().into(), content_type };
        self.store(key, value, lifetime?, op, events)?;
        Ok(Outcome::Decimal { revision: self.index, text })
    }
}

/// A number in units of 10^-17, by moving its point as text. Here they are all small.
pub fn units(text: &str) -> Option<i128> {
    let (sign, rest) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let lower = rest.to_lowercase();
    let (mantissa, exponent) = lower.split_once('e').unwrap_or((&lower, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let exponent: i32 = exponent.parse().ok()?;
    let mut number = digits;
    for _ in 0..(exponent + 17 - fraction.len() as i32).max(0) {
        number.push('0');
    }
    let cut = (fraction.len() as i32 - exponent - 17).max(0) as usize;
    let number = format!("{}{number}", "0".repeat(cut));
    let (kept, rest) = number.split_at(number.len() - cut);
    let up = i128::from(rest.as_bytes().first().is_some_and(|digit| *digit >= b'5'));
    let kept: i128 = if kept.is_empty() { 0 } else { kept.parse().ok()? };
    Some(sign * (kept + up))
}

pub fn shown(units: i128) -> String {
    let digits = format!("{:0>18}", units.abs());
    let (whole, fraction) = digits.split_at(digits.len() - 17);
    let sign = if units < 0 { "-" } else { "" };
    format!("{sign}{whole}.{fraction}").trim_end_matches('0').trim_end_matches('.').to_owned()
}

pub fn op_key(op: &Op) -> &Key {
    match op {
        Op::Get { key }
        | Op::Put { key, .. }
        | Op::Delete { key, .. }
        | Op::Incr { key, .. }
        | Op::Append { key, .. }
        | Op::SetRange { key, .. }
        | Op::IncrDecimal { key, .. }
        | Op::GetEx { key, .. }
        | Op::Look { key }
        | Op::SetFields { key, .. }
        | Op::DeleteFields { key, .. }
        | Op::IncrField { key, .. }
        | Op::IncrFieldDecimal { key, .. }
        | Op::IncrWithin { key, .. }
        | Op::Publish { channel: key, .. }
        | Op::Expire { key, .. }
        | Op::Persist { key, .. } => key,
        #[cfg(feature = "next-level")]
        Op::Double { key } => key,
    }
}
