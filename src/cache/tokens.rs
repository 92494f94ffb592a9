//! Tokens: who may do what. The table is part of the state, so that every node knows the same ones at the same log index.
//!
//! `apply` changes the table and never judges by it: a node judges a request before it is proposed, and a read by the state that
//! it reads. If `apply` judged, replicas that know different rules would differ.

use super::blocks::{Block, Blocks};
use super::digest::{Sum, halves, hash_text, hash_words};
use super::grants::{self, Grant, Need};
use super::join_tokens::{JoinToken, JoinTokens, NotCreated};
use super::limits::{TOKEN_NAME_BYTES_MAX, TOKENS_MAX, TTL_MS_MAX, TTL_MS_MIN};
use super::quota::TokenLimits;
use super::secret::SecretHash;
use super::sessions::{BrowserSession, Sessions};
use super::token_change::TokenChange;
use super::token_id::is_token_id;
use super::{CommandError, InvalidField};
use std::collections::BTreeMap;
use std::sync::Arc;
use xxhash_rust::xxh3::Xxh3Default;

/// A token. Its secret is known to its holder only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// Public: ten letters and digits.
    pub id: String,
    /// Given by whoever made it; no two have the same.
    pub name: String,
    pub secret: SecretHash,
    /// The secret before a rotation, and until when it is good, in log time.
    pub previous: Option<(SecretHash, u64)>,
    pub grants: Vec<Grant>,
    pub limits: TokenLimits,
    /// Index of the log entry that made it, and of the one that last changed it.
    pub created_revision: u64,
    pub revision: u64,
    /// Log time, in milliseconds since the Unix epoch.
    pub created_at_ms: u64,
    /// In log time; `None` never expires.
    pub expires_at_ms: Option<u64>,
}

impl Token {
    /// Whether this is its secret at this log time.
    pub fn has_secret(&self, secret: &SecretHash, now_ms: u64) -> bool {
        let is_previous =
            self.previous.as_ref().is_some_and(|(old, until)| old.equals(secret) && now_ms < *until);
        self.secret.equals(secret) || is_previous
    }

    pub fn is_expired(&self, now_ms: u64) -> bool {
        self.expires_at_ms.is_some_and(|at| at <= now_ms)
    }

    pub fn allows(&self, need: &Need) -> bool {
        grants::allows(&self.grants, need)
    }

    fn hash(&self) -> u128 {
        let mut hash = Xxh3Default::new();
        hash.update(&self.secret.0);
        let (old, until) = self.previous.as_ref().map_or(([0; 32], 0), |(old, until)| (old.0, *until));
        hash.update(&old);
        for grant in &self.grants {
            hash.update(&[grant.role.number()]);
            hash.update(&(grant.prefix.len() as u64).to_le_bytes());
            hash.update(grant.prefix.as_bytes());
        }
        let [low, high] = halves(hash.digest128());
        let ([id_low, id_high], [name_low, name_high]) = (hash_text(&self.id), hash_text(&self.name));
        let expires = self.expires_at_ms.unwrap_or(0);
        let times = [self.created_revision, self.revision, self.created_at_ms, expires, until];
        let [times_low, times_high] = halves(hash_words(times));
        let [limits_low, limits_high] = halves(hash_words(self.limits.words()));
        hash_words([
            low,
            high,
            id_low,
            id_high,
            name_low,
            name_high,
            times_low,
            times_high,
            limits_low,
            limits_high,
        ])
    }
}

/// All tokens, by their ids.
#[derive(Debug, Default)]
pub struct Tokens {
    by_id: BTreeMap<String, Arc<Token>>,
    sessions: Sessions,
    blocks: Blocks,
    joins: JoinTokens,
    /// Index of the log entry that last changed one; 0 if none ever did. Requests need a token from then on.
    revision: u64,
    /// For the digest: every log entry asks for it, and changes are rare.
    sum: Sum,
}

impl Tokens {
    /// `None` when they do not fit together.
    pub(super) fn restore(
        tokens: Vec<Token>,
        sessions: Vec<BrowserSession>,
        blocks: Vec<Block>,
        joins: Vec<JoinToken>,
        revision: u64,
    ) -> Option<Self> {
        let count = tokens.len();
        let by_id: BTreeMap<String, Arc<Token>> =
            tokens.into_iter().map(|token| (token.id.clone(), Arc::new(token))).collect();
        let mut names: Vec<&str> = by_id.values().map(|token| token.name.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        let is_valid = |token: &Arc<Token>| {
            is_token_id(&token.id)
                && is_name(&token.name)
                && grants::are_valid(&token.grants)
                && token.limits.are_valid()
                && token.revision <= revision
        };
        let fits = by_id.len() == count
            && names.len() == count
            && count <= TOKENS_MAX
            && by_id.values().all(is_valid)
            && sessions.iter().all(|session| is_token_id(&session.id) && by_id.contains_key(&session.parent));
        let (sessions, blocks) = (Sessions::restore(sessions)?, Blocks::restore(blocks)?);
        let joins = JoinTokens::restore(joins)?;
        let mut tokens = Self { by_id, sessions, blocks, joins, revision, sum: Sum::default() };
        tokens.sum = tokens.recompute_sum();
        fits.then_some(tokens)
    }

    /// Whether requests need a token.
    pub fn are_required(&self) -> bool {
        self.revision > 0
    }

    /// Index of the log entry that last changed one; 0 if none ever did.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// The token with this id, expired or not.
    pub fn get(&self, id: &str) -> Option<&Arc<Token>> {
        self.by_id.get(id)
    }

    /// The token that somebody has who shows this secret under this id: its own, or that of a session of it. Without a secret,
    /// somebody has vouched for them.
    pub fn shown(&self, id: &str, secret: Option<&SecretHash>, now_ms: u64) -> Option<&Arc<Token>> {
        let is_good = |token: &&Arc<Token>| !token.is_expired(now_ms);
        let Some(secret) = secret else { return self.by_id.get(id).filter(is_good) };
        if let Some(token) = self.by_id.get(id) {
            return Some(token).filter(|token| token.has_secret(secret, now_ms)).filter(is_good);
        }
        let session = self.sessions.get(id)?;
        let is_shown = session.secret.equals(secret) && session.expires_at_ms > now_ms;
        self.by_id.get(&session.parent).filter(|_| is_shown).filter(is_good)
    }

    /// All sessions, in the order of their ids.
    pub fn sessions(&self) -> impl ExactSizeIterator<Item = &BrowserSession> {
        self.sessions.all()
    }

    /// Whether a token about this subject, with this id, that somebody else has signed is refused.
    pub fn block(&self, subject: &str, jwt_id: Option<&str>, now_ms: u64) -> bool {
        self.blocks.hold(subject, jwt_id, now_ms)
    }

    /// All blocks, over or not, in the order of what is blocked.
    pub fn blocks(&self) -> impl ExactSizeIterator<Item = Block> {
        self.blocks.all()
    }

    /// The join token that somebody has who shows this secret under this id.
    pub fn join_shown(&self, id: &str, secret: &SecretHash, now_ms: u64) -> Option<&JoinToken> {
        self.joins.get(id).filter(|token| token.secret.equals(secret) && token.expires_at_ms > now_ms)
    }

    /// All join tokens, expired or not, in the order of their ids.
    pub fn joins(&self) -> impl ExactSizeIterator<Item = &JoinToken> {
        self.joins.all()
    }

    /// All of them, expired or not, in the order of their ids.
    pub fn all(&self) -> impl ExactSizeIterator<Item = &Arc<Token>> {
        self.by_id.values()
    }

    /// Changes one, in the log entry at `index`.
    ///
    /// # Errors
    /// [`CommandError`]; nothing changed.
    pub(super) fn change(
        &mut self,
        change: TokenChange,
        index: u64,
        now_ms: u64,
    ) -> Result<(), CommandError> {
        match change {
            TokenChange::Create { id, name, secret, grants, limits, ttl_ms } => {
                let is_ttl = ttl_ms.is_none_or(|ttl| (TTL_MS_MIN..=TTL_MS_MAX).contains(&ttl));
                let is_allowed = grants::are_valid(&grants) && limits.are_valid();
                if !is_token_id(&id) || !is_name(&name) || !is_allowed || !is_ttl {
                    return Err(CommandError::Invalid { op: None, field: InvalidField::Token });
                }
                // One that has expired does not keep its name.
                let is_kept = |token: &Arc<Token>| !token.is_expired(now_ms);
                if self.has_id(&id) || self.all().any(|token| token.name == name && is_kept(token)) {
                    return Err(CommandError::TokenExists);
                }
                if self.all().filter(|token| is_kept(token)).count() >= TOKENS_MAX {
                    return Err(CommandError::TooManyTokens);
                }
                self.by_id.retain(|_, token| is_kept(token));
                let token = Token {
                    id: id.clone(),
                    name,
                    secret,
                    previous: None,
                    grants,
                    limits,
                    created_revision: index,
                    revision: index,
                    created_at_ms: now_ms,
                    expires_at_ms: ttl_ms.map(|ttl| now_ms.saturating_add(ttl)),
                };
                self.by_id.insert(id, Arc::new(token));
            }
            TokenChange::Rotate { id, secret, overlap_ms } => {
                if overlap_ms > TTL_MS_MAX {
                    return Err(CommandError::Invalid { op: None, field: InvalidField::Token });
                }
                let token = self.by_id.get_mut(&id).filter(|token| !token.is_expired(now_ms));
                let token = Arc::make_mut(token.ok_or(CommandError::NoSuchToken)?);
                let old = std::mem::replace(&mut token.secret, secret);
                token.previous = (overlap_ms > 0).then(|| (old, now_ms.saturating_add(overlap_ms)));
                token.revision = index;
                self.sessions.retain_of(|parent| parent != id);
            }
            TokenChange::Limit { id, limits } => {
                if !limits.are_valid() {
                    return Err(CommandError::Invalid { op: None, field: InvalidField::Token });
                }
                let token = self.by_id.get_mut(&id).filter(|token| !token.is_expired(now_ms));
                let token = Arc::make_mut(token.ok_or(CommandError::NoSuchToken)?);
                token.limits = limits;
                token.revision = index;
            }
            TokenChange::Revoke { id } => {
                if !self.joins.revoke(&id) {
                    self.by_id.remove(&id).ok_or(CommandError::NoSuchToken)?;
                }
            }
            TokenChange::BeginSession { id, secret, parent, ttl_ms } => {
                if !is_token_id(&id) || !(TTL_MS_MIN..=TTL_MS_MAX).contains(&ttl_ms) {
                    return Err(CommandError::Invalid { op: None, field: InvalidField::Token });
                }
                if self.has_id(&id) {
                    return Err(CommandError::TokenExists);
                }
                let token = self.by_id.get(&parent).filter(|token| !token.is_expired(now_ms));
                token.ok_or(CommandError::NoSuchToken)?;
                let expires_at_ms = now_ms.saturating_add(ttl_ms);
                let session = BrowserSession { id, secret, parent, begun_revision: index, expires_at_ms };
                self.sessions.begin(session, now_ms);
            }
            TokenChange::Block { blocked, ttl_ms } => {
                let is_ttl = ttl_ms.is_none_or(|ttl| (TTL_MS_MIN..=TTL_MS_MAX).contains(&ttl));
                if !blocked.is_valid() || !is_ttl {
                    return Err(CommandError::Invalid { op: None, field: InvalidField::Token });
                }
                let until_ms = ttl_ms.map(|ttl| now_ms.saturating_add(ttl));
                if !self.blocks.add(Block { blocked, until_ms }, now_ms) {
                    return Err(CommandError::TooManyTokens);
                }
            }
            TokenChange::Unblock { blocked } => {
                if !self.blocks.lift(&blocked) {
                    return Err(CommandError::NoSuchToken);
                }
            }
            TokenChange::CreateJoin { id, secret, node, hosts, ttl_ms } => {
                if self.has_id(&id) {
                    return Err(CommandError::TokenExists);
                }
                let token = JoinToken { id, secret, node, hosts, expires_at_ms: 0, key: None, folder: None };
                self.joins.create(token, ttl_ms, now_ms).map_err(|reason| match reason {
                    NotCreated::Invalid => CommandError::Invalid { op: None, field: InvalidField::JoinToken },
                    NotCreated::TooMany => CommandError::TooManyTokens,
                })?;
            }
            TokenChange::UseJoin { id, by } => {
                if !self.joins.take(&id, by, now_ms) {
                    return Err(CommandError::NoSuchToken);
                }
            }
            TokenChange::EndSession { id } => {
                if !self.sessions.end(&id) {
                    return Err(CommandError::NoSuchToken);
                }
            }
        }
        self.sessions.retain_of(|parent| self.by_id.contains_key(parent));
        self.revision = index;
        self.sum = self.recompute_sum();
        Ok(())
    }

    /// Whether a token, a session or a join token has this id.
    fn has_id(&self, id: &str) -> bool {
        self.by_id.contains_key(id) || self.sessions.get(id).is_some() || self.joins.get(id).is_some()
    }

    pub(super) fn clear_joins(&mut self) {
        self.joins.clear();
        self.sum = self.recompute_sum();
    }

    pub(super) fn clear(&mut self) {
        self.by_id.clear();
        self.joins = JoinTokens::default();
        self.sessions = Sessions::default();
        self.sum = self.recompute_sum();
    }

    /// For the digest.
    pub(super) fn words(&self) -> [u64; 2] {
        self.sum.words()
    }

    /// The same, computed from scratch.
    pub(super) fn recompute_words(&self) -> [u64; 2] {
        self.recompute_sum().words()
    }

    fn recompute_sum(&self) -> Sum {
        let mut sum = Sum::default();
        self.all().for_each(|token| sum.add(token.hash()));
        self.sessions.add_to(&mut sum);
        self.blocks.add_to(&mut sum);
        self.joins.add_to(&mut sum);
        if self.revision > 0 {
            sum.add(hash_words([self.revision]));
        }
        sum
    }
}

fn is_name(name: &str) -> bool {
    (1..=TOKEN_NAME_BYTES_MAX).contains(&name.len()) && !name.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::super::{Blocked, Quota, Role};
    use super::*;

    const ID: &str = "abcdefghi0";

    fn create(id: &str, name: &str, ttl_ms: Option<u64>) -> TokenChange {
        let grants = vec![Grant { role: Role::Read, prefix: "a/".into() }];
        TokenChange::Create {
            id: id.into(),
            name: name.into(),
            secret: SecretHash::of(id),
            grants,
            limits: TokenLimits::default(),
            ttl_ms,
        }
    }

    #[test]
    fn the_old_secret_is_good_until_the_overlap_ends() {
        let mut tokens = Tokens::default();
        assert!(!tokens.are_required());
        tokens.change(create(ID, "app", None), 5, 100).expect("it is new");
        assert!(tokens.are_required());
        let (old, new) = (SecretHash::of(ID), SecretHash::of("new"));
        let has =
            |tokens: &Tokens, secret, now_ms| tokens.get(ID).expect("it is there").has_secret(secret, now_ms);
        assert!(has(&tokens, &old, 100) && !has(&tokens, &new, 100));
        let rotate = |overlap_ms| TokenChange::Rotate { id: ID.into(), secret: new, overlap_ms };
        tokens.change(rotate(50), 6, 100).expect("it is there");
        assert!(has(&tokens, &old, 149) && has(&tokens, &new, 149));
        assert!(!has(&tokens, &old, 150) && has(&tokens, &new, 150));
        tokens
            .change(TokenChange::Rotate { id: ID.into(), secret: old, overlap_ms: 0 }, 7, 160)
            .expect("again");
        assert!(!has(&tokens, &new, 160));
        assert_eq!(tokens.words(), tokens.recompute_words());
        tokens.change(TokenChange::Revoke { id: ID.into() }, 8, 170).expect("it is there");
        let again = tokens.change(TokenChange::Revoke { id: ID.into() }, 9, 170);
        assert_eq!(again, Err(CommandError::NoSuchToken));
        assert!(tokens.are_required() && tokens.revision() == 8, "without tokens nobody may do anything");
    }

    #[test]
    fn a_name_is_given_once_and_comes_free_when_its_token_expires() {
        let mut tokens = Tokens::default();
        tokens.change(create(ID, "app", Some(10)), 5, 100).expect("it is new");
        let other = || create("abcdefghi1", "app", None);
        assert_eq!(tokens.change(other(), 6, 109), Err(CommandError::TokenExists));
        assert_eq!(tokens.change(create(ID, "b", None), 6, 110), Err(CommandError::TokenExists), "not an id");
        tokens.change(other(), 7, 110).expect("the first one has expired");
        assert!(tokens.get(ID).is_none(), "and makes room");
        let invalid = Err(CommandError::Invalid { op: None, field: InvalidField::Token });
        for wrong in [create("ABCDEFGHI0", "c", None), create(ID, "", None), create(ID, "a\n", None)] {
            assert_eq!(tokens.change(wrong, 8, 110), invalid);
        }
        let everything = vec![Grant { role: Role::Admin, prefix: "a".into() }];
        let wrong = TokenChange::Create {
            id: ID.into(),
            name: "c".into(),
            secret: SecretHash::of(""),
            grants: everything,
            limits: TokenLimits::default(),
            ttl_ms: None,
        };
        assert_eq!(tokens.change(wrong, 8, 110), invalid, "an admin is one of the whole cluster");
    }

    #[test]
    fn limits_can_be_changed() {
        let mut tokens = Tokens::default();
        tokens.change(create(ID, "app", Some(10)), 5, 100).expect("it is new");
        let (before, limits) =
            (tokens.words(), TokenLimits { requests: "5/s".parse().ok(), body_bytes: "1000/m".parse().ok() });
        let limit = |limits| TokenChange::Limit { id: ID.into(), limits };
        tokens.change(limit(limits), 6, 100).expect("it is there");
        let token = tokens.get(ID).expect("it is there");
        assert_eq!((token.limits, token.revision, tokens.revision()), (limits, 6, 6));
        assert!(token.has_secret(&SecretHash::of(ID), 100), "the secret stays");
        assert_eq!(tokens.words(), tokens.recompute_words());
        assert_ne!(tokens.words(), before);
        let endless = TokenLimits { requests: Some(Quota { count: 0, window_ms: 1 }), body_bytes: None };
        let invalid = Err(CommandError::Invalid { op: None, field: InvalidField::Token });
        assert_eq!(tokens.change(limit(endless), 7, 100), invalid);
        assert_eq!(tokens.change(limit(limits), 7, 110), Err(CommandError::NoSuchToken), "it has expired");
    }

    /// A backup that is restored gives nobody back what was taken.
    #[test]
    fn blocks_outlive_the_tokens() {
        let mut tokens = Tokens::default();
        tokens.change(create(ID, "app", None), 5, 100).expect("it is new");
        let blocked = Blocked::Subject("app".into());
        tokens.change(TokenChange::Block { blocked, ttl_ms: None }, 6, 100).expect("room");
        tokens.clear();
        assert!(tokens.get(ID).is_none() && tokens.block("app", None, 100));
        assert_eq!(tokens.words(), tokens.recompute_words());
    }

    #[test]
    fn there_are_only_so_many() {
        let mut tokens = Tokens::default();
        for number in 0..TOKENS_MAX {
            tokens
                .change(create(&format!("{number:010}"), &format!("{number}"), None), 5, 100)
                .expect("room");
        }
        assert_eq!(tokens.change(create(ID, "more", None), 6, 100), Err(CommandError::TooManyTokens));
    }
}
