//! The arguments of a command, read one after another.

use super::errors::{not_an_integer, syntax};
use super::key::name_of;
use super::number::parse_i64;
use super::reply::Reply;
use crate::cache::Key;
use bytes::Bytes;

/// What follows the name of a command.
pub(super) struct Arguments<'a> {
    rest: &'a [Bytes],
    pub database: u8,
}

impl<'a> Arguments<'a> {
    pub fn new(rest: &'a [Bytes], database: u8) -> Self {
        Self { rest, database }
    }

    /// All that are left.
    pub fn rest(&self) -> &'a [Bytes] {
        self.rest
    }

    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub fn len(&self) -> usize {
        self.rest.len()
    }

    /// The next one.
    ///
    /// # Errors
    /// A syntax error: there is none.
    pub fn next(&mut self) -> Result<&'a Bytes, Reply> {
        let (next, rest) = self.rest.split_first().ok_or_else(syntax)?;
        self.rest = rest;
        Ok(next)
    }

    pub fn key(&mut self) -> Result<Key, Reply> {
        let key = self.next()?;
        self.name(key)
    }

    pub fn name(&self, key: &[u8]) -> Result<Key, Reply> {
        name_of(self.database, key).map_err(|error| Reply::error(format!("ERR {error}")))
    }

    /// All that are left, as keys.
    pub fn keys(&mut self) -> Result<Vec<Key>, Reply> {
        std::mem::take(&mut self.rest).iter().map(|key| self.name(key)).collect()
    }

    pub fn integer(&mut self) -> Result<i64, Reply> {
        parse_i64(self.next()?).ok_or_else(not_an_integer)
    }

    /// The next word in capital letters, if there is one.
    pub fn option(&mut self) -> Option<String> {
        let (next, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(String::from_utf8_lossy(next).to_ascii_uppercase())
    }
}
