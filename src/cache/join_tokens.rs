//! Join tokens: each lets one node into the cluster, once, within an hour.
//!
//! Such a token names the node, and the hosts for which its certificate will be good, so that whoever holds it cannot become
//! another. It is used twice by the same: for a certificate, and for the membership. The state remembers for which key and for
//! which data folder that was. So a request can be repeated when its outcome is unknown, and nobody else can use the token.

use super::digest::{Sum, halves, hash_text, hash_words};
use super::limits::{
    HOST_BYTES_MAX, JOIN_HOSTS_MAX, JOIN_TOKENS_MAX, JOIN_TTL_MS_MAX, NODE_NAME_BYTES_MAX,
    STORE_ID_BYTES_MAX, TTL_MS_MIN,
};
use super::secret::SecretHash;
use super::token_id::is_token_id;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use xxhash_rust::xxh3::Xxh3Default;

/// A join token. Its secret is known to its holder only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinToken {
    /// Formed as that of a token, and never one's.
    pub id: String,
    pub secret: SecretHash,
    /// The name of the node that may join.
    pub node: String,
    /// Host names and addresses at which clients will reach it.
    pub hosts: Vec<String>,
    /// In log time.
    pub expires_at_ms: u64,
    /// SHA-256 of the public key that has a certificate.
    pub key: Option<[u8; 32]>,
    /// The UUID of the data folder that is a member.
    pub folder: Option<String>,
}

/// What a join token is used for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum JoinUse {
    /// A certificate for the public key with this SHA-256.
    Key([u8; 32]),
    /// The membership of the data folder with this UUID.
    Folder(String),
}

impl JoinToken {
    /// Whether the limits allow it.
    fn is_valid(&self) -> bool {
        is_token_id(&self.id)
            && is_text(&self.node, NODE_NAME_BYTES_MAX)
            && self.hosts.len() <= JOIN_HOSTS_MAX
            && self.hosts.iter().all(|host| is_text(host, HOST_BYTES_MAX))
            && self.folder.as_ref().is_none_or(|folder| is_text(folder, STORE_ID_BYTES_MAX))
    }

    /// Whether this use is the first one of its kind, or the same again.
    pub fn is_good_for(&self, by: &JoinUse) -> bool {
        match by {
            JoinUse::Key(key) => self.key.is_none_or(|known| known == *key),
            JoinUse::Folder(folder) => {
                is_text(folder, STORE_ID_BYTES_MAX)
                    && self.folder.as_ref().is_none_or(|known| known == folder)
            }
        }
    }

    fn hash(&self) -> u128 {
        let mut hash = Xxh3Default::new();
        let mut add = |bytes: &[u8]| {
            hash.update(&(bytes.len() as u64).to_le_bytes());
            hash.update(bytes);
        };
        add(&self.secret.0);
        add(self.key.as_ref().map_or(&[], |key| key));
        add(self.folder.as_deref().unwrap_or_default().as_bytes());
        self.hosts.iter().for_each(|host| add(host.as_bytes()));
        let [low, high] = halves(hash.digest128());
        let ([id_low, id_high], [node_low, node_high]) = (hash_text(&self.id), hash_text(&self.node));
        hash_words([low, high, id_low, id_high, node_low, node_high, self.expires_at_ms])
    }
}

fn is_text(text: &str, bytes_max: usize) -> bool {
    (1..=bytes_max).contains(&text.len()) && !text.chars().any(char::is_control)
}

/// All join tokens, by their ids.
#[derive(Debug, Default)]
pub(super) struct JoinTokens(BTreeMap<String, JoinToken>);

/// Why there is no other one.
pub(super) enum NotCreated {
    Invalid,
    TooMany,
}

impl JoinTokens {
    /// `None` when one is there twice, is none, or there are too many.
    pub fn restore(tokens: Vec<JoinToken>) -> Option<Self> {
        let count = tokens.len();
        let by_id: BTreeMap<_, _> = tokens.into_iter().map(|token| (token.id.clone(), token)).collect();
        let fits =
            by_id.len() == count && count <= JOIN_TOKENS_MAX && by_id.values().all(JoinToken::is_valid);
        fits.then_some(Self(by_id))
    }

    pub fn get(&self, id: &str) -> Option<&JoinToken> {
        self.0.get(id)
    }

    /// In the order of their ids.
    pub fn all(&self) -> impl ExactSizeIterator<Item = &JoinToken> {
        self.0.values()
    }

    /// Adds one that is good for so long. Those that have expired are forgotten.
    pub fn create(&mut self, mut token: JoinToken, ttl_ms: u64, now_ms: u64) -> Result<(), NotCreated> {
        token.expires_at_ms = now_ms.saturating_add(ttl_ms);
        if !token.is_valid() || !(TTL_MS_MIN..=JOIN_TTL_MS_MAX).contains(&ttl_ms) {
            return Err(NotCreated::Invalid);
        }
        self.0.retain(|_, other| other.expires_at_ms > now_ms);
        if self.0.len() >= JOIN_TOKENS_MAX {
            return Err(NotCreated::TooMany);
        }
        self.0.insert(token.id.clone(), token);
        Ok(())
    }

    /// Uses one. False if there is none that is good, or if somebody else has used it for this.
    pub fn take(&mut self, id: &str, by: JoinUse, now_ms: u64) -> bool {
        let good = self.0.get_mut(id).filter(|token| token.expires_at_ms > now_ms && token.is_good_for(&by));
        let Some(token) = good else { return false };
        match by {
            JoinUse::Key(key) => token.key = Some(key),
            JoinUse::Folder(folder) => token.folder = Some(folder),
        }
        true
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// Whether it was there.
    pub fn revoke(&mut self, id: &str) -> bool {
        self.0.remove(id).is_some()
    }

    pub fn add_to(&self, sum: &mut Sum) {
        self.all().for_each(|token| sum.add(token.hash()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(id: &str) -> JoinToken {
        JoinToken {
            id: id.into(),
            secret: SecretHash::of(id),
            node: "n4".into(),
            hosts: vec!["10.0.0.4".into()],
            expires_at_ms: 0,
            key: None,
            folder: None,
        }
    }

    fn id(number: usize) -> String {
        format!("{number:010}")
    }

    #[test]
    fn the_first_to_use_it_may_repeat_it_and_nobody_else() {
        let mut tokens = JoinTokens::default();
        assert!(tokens.create(token(&id(1)), 1_000, 50).is_ok());
        let mut sums = Vec::new();
        let mut sum = |tokens: &JoinTokens| {
            let mut sum = Sum::default();
            tokens.add_to(&mut sum);
            sums.push(sum.words());
        };
        sum(&tokens);
        for (by, now_ms, wanted) in [
            (JoinUse::Key([1; 32]), 60, true),
            (JoinUse::Key([2; 32]), 60, false),
            (JoinUse::Key([1; 32]), 1_049, true),
            (JoinUse::Folder("a".into()), 70, true),
            (JoinUse::Folder("b".into()), 70, false),
            (JoinUse::Folder("a".into()), 70, true),
            (JoinUse::Folder(String::new()), 70, false),
            (JoinUse::Folder("x".repeat(STORE_ID_BYTES_MAX + 1)), 70, false),
            (JoinUse::Folder("a".into()), 1_050, false),
            (JoinUse::Key([1; 32]), 1_050, false),
        ] {
            assert_eq!(tokens.take(&id(1), by.clone(), now_ms), wanted, "{by:?} at {now_ms}");
            sum(&tokens);
        }
        assert!(!tokens.take(&id(2), JoinUse::Key([1; 32]), 60), "there is no such token");
        sums.dedup();
        assert_eq!(sums.len(), 3, "each use is in the digest, once");
        assert!(tokens.revoke(&id(1)) && !tokens.revoke(&id(1)));
    }

    /// A snapshot that cannot be restored would be the end of a cluster.
    #[test]
    fn whatever_uses_a_token_it_can_be_restored() {
        for folder in ["a\u{7}b", "\n", "\u{85}", "\0", "é", " ", &"x".repeat(65), &"ä".repeat(33), ""] {
            let mut tokens = JoinTokens::default();
            assert!(tokens.create(token(&id(1)), 1_000, 50).is_ok());
            let used = tokens.take(&id(1), JoinUse::Folder(folder.to_owned()), 60);
            let restored = JoinTokens::restore(tokens.all().cloned().collect()).expect("it can be restored");
            assert_eq!(
                restored.get(&id(1)).and_then(|token| token.folder.clone()).is_some(),
                used,
                "{folder:?}"
            );
        }
    }

    #[test]
    fn there_are_only_so_many_and_none_lives_longer_than_an_hour() {
        let mut tokens = JoinTokens::default();
        for (ttl_ms, wanted) in [(0, false), (JOIN_TTL_MS_MAX + 1, false), (JOIN_TTL_MS_MAX, true)] {
            assert_eq!(tokens.create(token(&id(0)), ttl_ms, 5).is_ok(), wanted, "{ttl_ms}");
        }
        for number in 1..JOIN_TOKENS_MAX {
            assert!(tokens.create(token(&id(number)), 100, 5).is_ok());
        }
        assert!(matches!(tokens.create(token(&id(999)), 100, 104), Err(NotCreated::TooMany)));
        assert!(tokens.create(token(&id(999)), 100, 105).is_ok(), "those that have expired make room");
        assert_eq!(tokens.all().len(), 2);
        for wrong in [
            JoinToken { node: String::new(), ..token(&id(3)) },
            JoinToken { node: "x".repeat(NODE_NAME_BYTES_MAX + 1), ..token(&id(3)) },
            JoinToken { hosts: vec!["a\n".into()], ..token(&id(3)) },
            JoinToken { hosts: vec!["a".into(); JOIN_HOSTS_MAX + 1], ..token(&id(3)) },
            token("no id"),
        ] {
            assert!(matches!(tokens.create(wrong.clone(), 100, 105), Err(NotCreated::Invalid)), "{wrong:?}");
            assert!(JoinTokens::restore(vec![wrong]).is_none());
        }
        assert!(JoinTokens::restore(vec![token(&id(3)), token(&id(3))]).is_none());
        assert!(JoinTokens::restore(vec![token(&id(3))]).is_some());
    }
}
