//! Which keys a session may use, and how its keys are stored. Every key that enters or leaves the cache through a front
//! door passes here. What operators see of the whole cache ([`super::Admin`]: reports, snapshots) does not.

use super::Operation;
use super::error::NodeError;
use crate::cache::{Command, Event, Key};
use std::borrow::Cow;

/// The keys of a session. So far there is one scope, so nothing is refused or rewritten.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum KeyScope {
    /// Every key, stored under the name that the client uses.
    #[default]
    All,
}

impl KeyScope {
    /// The key under which a client's key is stored.
    ///
    /// # Errors
    /// The key is outside the scope. Nothing was done.
    pub(super) fn stored_key<'a>(&self, key: &'a Key) -> Result<Cow<'a, Key>, NodeError> {
        match self {
            Self::All => Ok(Cow::Borrowed(key)),
        }
    }

    /// The prefix that the stored keys of this scope have, if the client's keys have `prefix`. It also serves for the
    /// cursor of a listing.
    ///
    /// # Errors
    /// No key with the prefix is in the scope. Nothing was done.
    pub(super) fn stored_prefix(&self, prefix: String) -> Result<String, NodeError> {
        match self {
            Self::All => Ok(prefix),
        }
    }

    /// A client's command, with its keys as they are stored.
    ///
    /// # Errors
    /// One of its keys is outside the scope. Nothing was done.
    pub(super) fn stored_command(&self, command: Command) -> Result<Command, NodeError> {
        match self {
            Self::All => Ok(command),
        }
    }

    /// A stored key as the client knows it.
    pub(super) fn client_key(&self, key: Key) -> Key {
        match self {
            Self::All => key,
        }
    }

    /// An event of stored keys as the client knows it.
    pub(super) fn client_event<'a>(&self, event: &'a Event) -> Cow<'a, Event> {
        match self {
            Self::All => Cow::Borrowed(event),
        }
    }

    /// An operation as the client knows it; `None` if the client must not see it.
    pub(super) fn client_operation(&self, operation: Operation) -> Option<Operation> {
        match self {
            Self::All => Some(operation),
        }
    }
}
