//! What `GET /v1/watch` is asked for. A prefix may stand there several times.

use super::api_error::ApiError;
use super::extract::{bad_query, flag};
use crate::cache::limits::KEY_BYTES_MAX;
use crate::front::Priority;
use crate::node::WatchFilter;
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use std::fmt::Formatter;

/// Most prefixes of one watch.
const PREFIXES_MAX: usize = 16;

/// The query as it was sent.
#[derive(Debug, Default)]
pub(super) struct WatchQuery {
    pub prefixes: Vec<String>,
    pub from: Option<String>,
    pub values: Option<String>,
    pub priority: Option<String>,
    pub keys: Option<String>,
    pub sessions: Option<String>,
    pub locks: Option<String>,
}

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "lowercase")]
enum Parameter {
    Prefix,
    From,
    Values,
    Priority,
    Keys,
    Sessions,
    Locks,
}

impl WatchQuery {
    /// # Errors
    /// `invalid_query`.
    pub fn filter(&self) -> Result<WatchFilter, ApiError> {
        if self.prefixes.len() > PREFIXES_MAX {
            return Err(bad_query("prefix", format!("expected at most {PREFIXES_MAX} of them")));
        }
        if self.prefixes.iter().any(|prefix| prefix.len() > KEY_BYTES_MAX) {
            return Err(bad_query("prefix", format!("expected at most {KEY_BYTES_MAX} bytes")));
        }
        let prefixes = if self.prefixes.is_empty() { vec![String::new()] } else { self.prefixes.clone() };
        let keys = self.keys.is_none() || flag("keys", self.keys.as_deref())?;
        let sessions = flag("sessions", self.sessions.as_deref())?;
        let locks = flag("locks", self.locks.as_deref())?;
        if !keys && !sessions && !locks {
            return Err(bad_query("keys", "expected keys, sessions or locks to be watched".into()));
        }
        Ok(WatchFilter { prefixes, keys, sessions, locks, messages: false })
    }

    /// Whether messages have values.
    ///
    /// # Errors
    /// `invalid_query`.
    pub fn values(&self) -> Result<bool, ApiError> {
        Ok(self.values.is_none() || flag("values", self.values.as_deref())?)
    }

    /// # Errors
    /// `invalid_query`.
    pub fn priority(&self) -> Result<Priority, ApiError> {
        match self.priority.as_deref() {
            None | Some("normal") => Ok(Priority::Normal),
            Some("low") => Ok(Priority::Low),
            Some(_) => Err(bad_query("priority", "expected `normal` or `low`".into())),
        }
    }
}

impl<'de> Deserialize<'de> for WatchQuery {
    fn deserialize<D: Deserializer<'de>>(query: D) -> Result<Self, D::Error> {
        query.deserialize_map(Parameters)
    }
}

struct Parameters;

impl<'de> Visitor<'de> for Parameters {
    type Value = WatchQuery;

    fn expecting(&self, out: &mut Formatter<'_>) -> std::fmt::Result {
        out.write_str("parameters")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<WatchQuery, A::Error> {
        let mut query = WatchQuery::default();
        while let Some(parameter) = map.next_key::<Parameter>()? {
            let (field, name) = match parameter {
                Parameter::Prefix => {
                    query.prefixes.push(map.next_value()?);
                    continue;
                }
                Parameter::From => (&mut query.from, "from"),
                Parameter::Values => (&mut query.values, "values"),
                Parameter::Priority => (&mut query.priority, "priority"),
                Parameter::Keys => (&mut query.keys, "keys"),
                Parameter::Sessions => (&mut query.sessions, "sessions"),
                Parameter::Locks => (&mut query.locks, "locks"),
            };
            if field.replace(map.next_value()?).is_some() {
                return Err(A::Error::duplicate_field(name));
            }
        }
        Ok(query)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<WatchQuery, String> {
        serde_urlencoded::from_str(text).map_err(|error| error.to_string())
    }

    #[test]
    fn a_prefix_may_stand_several_times_and_nothing_else() {
        let query = parse("prefix=a%2F&values=false&prefix=b&priority=low").unwrap();
        assert_eq!(query.filter().unwrap().prefixes, ["a/", "b"]);
        assert!(!query.values().unwrap());
        assert_eq!(query.priority().unwrap(), Priority::Low);
        assert_eq!(parse("").unwrap().filter().unwrap().prefixes, [""]);
        assert!(parse("values=true&values=false").unwrap_err().contains("duplicate field"));
        assert!(parse("prefixes=a").unwrap_err().contains("expected one of `prefix`"));
        assert!(parse(&"prefix=a&".repeat(PREFIXES_MAX)).unwrap().filter().is_ok());
        assert!(parse(&"prefix=a&".repeat(PREFIXES_MAX + 1)).unwrap().filter().is_err());
        assert!(parse("keys=false").unwrap().filter().is_err(), "nothing is left");
        let locks = parse("keys=false&locks=true").unwrap().filter().unwrap();
        assert_eq!((locks.keys, locks.sessions, locks.locks), (false, false, true));
        assert!(parse("priority=high").unwrap().priority().is_err());
    }
}
