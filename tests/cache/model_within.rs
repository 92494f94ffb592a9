//! The model's numbers within bounds.

use crate::model::Model;
use crate::model_hashes::string;
use crate::model_ops::{shown, units};
use lockstep::cache::{CommandError, Event, Found, Key, Outcome, Step, Ttl, Value};

impl Model {
    /// Adds, in units of the number's kind, where bounds and sums are all far from the ends of 128 bits.
    pub fn add_within(
        &mut self,
        key: &Key,
        current: Option<Found>,
        (step, saturates): (Step, bool),
        (ttl, keeps_deadline): (Option<Ttl>, bool),
        op: Option<u32>,
        events: &mut Vec<Event>,
    ) -> Result<Outcome, CommandError> {
        let now_ms = self.now_ms;
        let is_past = matches!(ttl, Some(Ttl::At(at_ms)) if at_ms <= now_ms);
        let asked = match ttl {
            Some(ttl) if !is_past => Some(self.lifetime_over(key, ttl, op)?),
            _ => None,
        };
        let not_a_number = CommandError::NotANumber { op };
        let mut before = None;
        if let Some(found) = &current {
            before = Some(String::from_utf8(string(found, op)?.to_vec()).unwrap_or_default());
        }
        let is_decimal = matches!(step, Step::Decimal { .. });
        let limit = if is_decimal { 17 * 10i128.pow(37) - 1 } else { i128::from(i64::MAX) };
        let read = |text: &str| match is_decimal {
            true => units(text),
            false => text.parse::<i64>().ok().filter(|number| number.to_string() == text).map(i128::from),
        };
        let start = match &before {
            Some(text) => read(text).ok_or(not_a_number.clone())?,
            None => 0,
        };
        let (by, lower, upper) = match step {
            Step::Integer { by, lower, upper } => (by.into(), lower.into(), upper.into()),
            Step::Decimal { by, lower, upper } => {
                let parsed = [Some(by), lower, upper].map(|text| text.map(|text| units(&text).ok_or(())));
                let [by, lower, upper] = parsed.map(Option::transpose);
                let failed = |()| not_a_number.clone();
                let by = by.map_err(failed)?.expect("it was given");
                (by, lower.map_err(failed)?.unwrap_or(-limit), upper.map_err(failed)?.unwrap_or(limit))
            }
        };
        let show = |number: i128| if is_decimal { shown(number) } else { number.to_string() };
        let mut sum = start + by;
        if sum < lower || sum > upper {
            if !saturates {
                let revision = current.map_or(0, |found| found.info.revision);
                return Ok(Outcome::Sum { revision, value: show(start), added: "0".into() });
            }
            if sum < lower {
                sum = lower;
            }
            if sum > upper {
                sum = upper;
            }
        }
        if !is_decimal && i64::try_from(sum - start).is_err() {
            return Err(CommandError::Overflow { op });
        }
        let had_deadline = current.as_ref().is_some_and(|found| found.info.expires_at_ms.is_some());
        let stays = ttl.is_none() || keeps_deadline && had_deadline;
        let lifetime = match (&current, stays) {
            (Some(_), true) => self.renewed(key),
            (None, true) => self.lifetime(Ttl::Default, op)?,
            (_, false) => asked.unwrap_or((None, 0)),
        };
        let content_type = current.as_ref().and_then(|found| found.value.content_type.clone());
        let value = Value { bytes: show(sum).into(), content_type };
        let outcome = |revision| Outcome::Sum { revision, value: show(sum), added: show(sum - start) };
        if is_past && !stays {
            // What could not be stored is refused all the same.
            self.clone().store(key, value, (None, 0), op, &mut Vec::new())?;
            if current.is_none() {
                return Ok(outcome(0));
            }
            self.delete(key, events);
        } else {
            self.store(key, value, lifetime, op, events)?;
        }
        Ok(outcome(self.index))
    }
}
