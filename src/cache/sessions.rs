//! Sessions of browsers: short secrets in place of a token, which allow what it allows and end with it. A browser keeps one where no
//! script can read it, and the token itself nowhere.

use super::digest::{Sum, halves, hash_text, hash_words};
use super::limits::SESSIONS_MAX;
use super::secret::SecretHash;
use std::collections::BTreeMap;
use xxhash_rust::xxh3::xxh3_128;

/// A session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrowserSession {
    /// Formed as that of a token, and never one's.
    pub id: String,
    pub secret: SecretHash,
    /// The id of the token.
    pub parent: String,
    /// Index of the log entry that began it.
    pub begun_revision: u64,
    /// In log time.
    pub expires_at_ms: u64,
}

impl BrowserSession {
    fn hash(&self) -> u128 {
        let [low, high] = halves(xxh3_128(&self.secret.0));
        let ([id_low, id_high], [parent_low, parent_high]) = (hash_text(&self.id), hash_text(&self.parent));
        let times = [self.begun_revision, self.expires_at_ms];
        hash_words([low, high, id_low, id_high, parent_low, parent_high, times[0], times[1]])
    }
}

/// All sessions, by their ids.
#[derive(Debug, Default)]
pub(super) struct Sessions(BTreeMap<String, BrowserSession>);

impl Sessions {
    /// `None` when two have one id, or a token has too many.
    pub fn restore(sessions: Vec<BrowserSession>) -> Option<Self> {
        let count = sessions.len();
        let by_id: BTreeMap<String, BrowserSession> =
            sessions.into_iter().map(|session| (session.id.clone(), session)).collect();
        let mut of_each: BTreeMap<&str, usize> = BTreeMap::new();
        for session in by_id.values() {
            *of_each.entry(&session.parent).or_default() += 1;
        }
        let fits = by_id.len() == count && of_each.values().all(|count| *count <= SESSIONS_MAX);
        fits.then_some(Self(by_id))
    }

    pub fn get(&self, id: &str) -> Option<&BrowserSession> {
        self.0.get(id)
    }

    pub fn all(&self) -> impl ExactSizeIterator<Item = &BrowserSession> {
        self.0.values()
    }

    /// Adds one. Those that have expired go, and the oldest of its token if that has too many.
    pub fn begin(&mut self, session: BrowserSession, now_ms: u64) {
        self.0.retain(|_, other| other.expires_at_ms > now_ms);
        let of_token = || self.0.values().filter(|other| other.parent == session.parent);
        if of_token().count() >= SESSIONS_MAX {
            let oldest = of_token().min_by_key(|other| (other.begun_revision, &other.id));
            if let Some(id) = oldest.map(|oldest| oldest.id.clone()) {
                self.0.remove(&id);
            }
        }
        self.0.insert(session.id.clone(), session);
    }

    /// Whether there was one.
    pub fn end(&mut self, id: &str) -> bool {
        self.0.remove(id).is_some()
    }

    /// Ends those of tokens that do not go on.
    pub fn retain_of(&mut self, goes_on: impl Fn(&str) -> bool) {
        self.0.retain(|_, session| goes_on(&session.parent));
    }

    pub fn add_to(&self, sum: &mut Sum) {
        self.all().for_each(|session| sum.add(session.hash()));
    }
}
