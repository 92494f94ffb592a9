//! Who asks, and whether they may.
//!
//! A request is judged where its answer is decided: a read by the very state that it reads, a write by the leader before it is
//! proposed, once the leader has applied an entry of its own term. So a request that begins after a revocation was
//! acknowledged is refused on every node: the read's index, and that entry, are later than the revocation. A node judges its
//! own clients' writes as well, so that most that are refused cost the leader nothing. `apply` judges nothing.
//!
//! Stale reads are judged by what the node knows, until that is too old: [`super::freshness`]. What only observes is judged so for
//! as long as one likes: it shows no keys, and a node without a majority must be seen. Where there is no majority, what needs more
//! is refused, but for what an admin does with this node alone.

use super::error::NodeError;
use super::inner::Inner;
use super::start::Node;
use super::subject::Subject;
use crate::cache::limits::TOKEN_ID_BYTES;
use crate::cache::{
    Cache, Command, Guard, IdempotencyKey, Key, Need, Op, Role, SecretHash, SessionChange, Token,
    TokenChange, grants_allow,
};
use crate::replica::Envelope;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// What a token begins with, so that scanners of repositories and logs know one when they see it.
const TOKEN_START: &str = "lsk_";
/// How long a node that knows of no tokens looks for a newer state, once.
const FIRST_LOOK_TIMEOUT: Duration = Duration::from_secs(1);
/// Letters of a digest that stand for a subject: 132 bits.
const SUBJECT_LETTERS: usize = 22;
/// A secret has so many random bytes.
const SECRET_BYTES: usize = 32;
/// What ids are made of.
const ID_LETTERS: &[u8] = b"abcdefghijklmnopqrstuvwxyz0123456789";

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Principal {
    /// Somebody who does not say who they are. That is enough as long as the cluster has no tokens.
    Anyone,
    /// The program that a node is part of, which may do everything.
    Program,
    /// Whoever has the secret of a token.
    Bearer(Arc<Bearer>),
    /// Whoever a token speaks of that somebody else has signed, and that this node has verified.
    Subject(Arc<Subject>),
}

/// A token as it was shown by a client.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bearer {
    id: String,
    /// `None`: the client has a certificate that names the token, which its node has checked.
    secret: Option<SecretHash>,
}

impl Principal {
    /// The holder of this token. `None` if it is none.
    pub fn of_token(text: &str) -> Option<Self> {
        let (id, secret) = text.strip_prefix(TOKEN_START)?.split_once('_')?;
        let is_whole = id.len() == TOKEN_ID_BYTES && secret.len() == secret_letters();
        let secret = || Some(SecretHash::of(secret));
        is_whole.then(|| Self::Bearer(Arc::new(Bearer { id: id.to_owned(), secret: secret() })))
    }

    /// The owner of a certificate that names this token.
    pub fn of_certificate(token_id: &str) -> Self {
        Self::Bearer(Arc::new(Bearer { id: token_id.to_owned(), secret: None }))
    }

    /// The id of the token.
    pub fn token_id(&self) -> Option<&str> {
        match self {
            Self::Anyone | Self::Program | Self::Subject(_) => None,
            Self::Bearer(bearer) => Some(&bearer.id),
        }
    }

    /// As whom operators are noted: the id of a token, or the name of a subject.
    pub fn name(&self) -> String {
        match self {
            Self::Anyone | Self::Program => String::new(),
            Self::Bearer(bearer) => bearer.id.clone(),
            Self::Subject(subject) => format!("jwt:{}", subject.name),
        }
    }

    /// The token that this principal has shown, if this state knows it and it has not expired.
    pub(super) fn token_in<'a>(&self, cache: &'a Cache, now_ms: u64) -> Option<&'a Arc<Token>> {
        let Self::Bearer(bearer) = self else { return None };
        cache.tokens().shown(&bearer.id, bearer.secret.as_ref(), now_ms)
    }

    /// The id and the hash of the secret, if a token is shown with its secret.
    pub(super) fn parts(&self) -> Option<(String, SecretHash)> {
        match self {
            Self::Anyone | Self::Program | Self::Subject(_) => None,
            Self::Bearer(bearer) => Some((bearer.id.clone(), bearer.secret?)),
        }
    }

    /// A client's idempotency key as the cluster remembers it: two tokens can use the same one. No header has a line feed.
    pub(super) fn own_key(&self, key: IdempotencyKey) -> IdempotencyKey {
        let IdempotencyKey { text, sent_after } = key;
        let text = match self {
            Self::Anyone | Self::Program => text,
            Self::Bearer(bearer) => format!("{}\n{text}", bearer.id),
            // A name can be long, and no id of a token begins like this.
            Self::Subject(subject) => {
                let digest = URL_SAFE_NO_PAD.encode(Sha256::digest(&subject.name));
                format!("~{}\n{text}", &digest[..SUBJECT_LETTERS])
            }
        };
        IdempotencyKey { text, sent_after }
    }
}

/// A new token: its id, and its text, which is shown once.
pub struct NewToken {
    pub id: String,
    text: String,
}

impl NewToken {
    /// With a random id.
    ///
    /// # Errors
    /// The system gives no random numbers.
    pub fn random() -> io::Result<Self> {
        let numbers: [u8; TOKEN_ID_BYTES] = random_bytes()?;
        // Some letters come a little more often. An id need not be hard to guess.
        let letter = |number: u8| char::from(ID_LETTERS[usize::from(number) % ID_LETTERS.len()]);
        Self::with_id(numbers.into_iter().map(letter).collect())
    }

    /// With a new secret for an id that there is.
    ///
    /// # Errors
    /// The system gives no random numbers.
    pub fn with_id(id: String) -> io::Result<Self> {
        let secret: [u8; SECRET_BYTES] = random_bytes()?;
        let text = format!("{TOKEN_START}{id}_{}", URL_SAFE_NO_PAD.encode(secret));
        Ok(Self { id, text })
    }

    /// What its holder keeps.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// What the cluster keeps.
    pub fn secret(&self) -> SecretHash {
        SecretHash::of(self.secret_text())
    }

    pub(super) fn secret_text(&self) -> &str {
        &self.text[TOKEN_START.len() + self.id.len() + 1..]
    }
}

impl fmt::Debug for NewToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NewToken({})", self.id)
    }
}

fn random_bytes<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    Ok(bytes)
}

fn secret_letters() -> usize {
    (SECRET_BYTES * 8).div_ceil(6)
}

/// What a command needs, in the order of its parts.
pub(super) fn needs_of(command: &Command) -> Vec<Need> {
    let need = |op: &Op| Need::Key(if op.is_write() { Role::Write } else { Role::Read }, op.key().clone());
    match command {
        Command::One(op) => vec![need(op)],
        Command::Batch(ops) => ops.iter().map(need).collect(),
        Command::Sequence { guards, ops } => {
            let read = |guard: &Guard| match guard {
                Guard::Key { key, .. } => Need::Key(Role::Read, key.clone()),
                Guard::Keys { prefix, .. } => Need::Prefix(Role::Read, prefix.clone()),
            };
            guards.iter().map(read).chain(ops.iter().map(need)).collect()
        }
        Command::Sessions(change) => {
            let write = |name: &Key| Need::Key(Role::Write, name.clone());
            match &**change {
                SessionChange::Open { name, .. }
                | SessionChange::Renew { name, .. }
                | SessionChange::End { name, .. }
                | SessionChange::Unlock { name, .. } => vec![write(name)],
                SessionChange::Lock { name, session_name, .. } => vec![write(name), write(session_name)],
            }
        }
        Command::Clear { prefix, unless } => {
            let cleared = Need::Prefix(Role::Write, prefix.clone().unwrap_or_default());
            let looked_at = unless.clone().map(|unless| Need::Prefix(Role::Read, unless));
            std::iter::once(cleared).chain(looked_at).collect()
        }
        Command::Configure(_)
        | Command::Merge(_)
        | Command::Tick
        | Command::RaiseFeatureLevel { .. }
        | Command::OpenFork { .. }
        | Command::CloseFork { .. }
        | Command::NoteAdminAction(_) => vec![Need::Role(Role::Admin)],
        Command::Tokens(change) => vec![match &**change {
            TokenChange::BeginSession { parent: id, .. } | TokenChange::EndSession { id } => {
                Need::Holder(id.clone())
            }
            TokenChange::Block { .. }
            | TokenChange::Unblock { .. }
            | TokenChange::Create { .. }
            | TokenChange::CreateJoin { .. }
            | TokenChange::UseJoin { .. }
            | TokenChange::Rotate { .. }
            | TokenChange::Limit { .. }
            | TokenChange::Revoke { .. } => Need::Role(Role::Admin),
        }],
    }
}

/// What the command in an envelope needs.
pub(super) fn needs_in(body: &[u8]) -> Vec<Need> {
    // Only this program encodes them, or has decoded them before: it cannot fail. If it did, nobody but an admin would pass.
    Envelope::decode(body)
        .map_or_else(|_| vec![Need::Role(Role::Admin)], |envelope| needs_of(&envelope.command))
}

impl Node {
    /// Whether requests need a token, as far as this node knows.
    pub fn needs_token(&self) -> bool {
        self.inner.needs_token()
    }

    /// The same, or whether it is not sure that they need none: it has just started.
    pub fn may_need_token(&self) -> bool {
        self.inner.needs_token() || !self.inner.freshness.is_known()
    }
}

impl Inner {
    /// Whether requests need a token, as far as this node knows.
    pub(super) fn needs_token(&self) -> bool {
        self.options.require_tokens.is_some() || self.consensus.replica().has_tokens()
    }

    /// Whether this node refuses requests without a token, and the cluster has none yet.
    pub(super) fn lacks_first_token(&self) -> bool {
        self.options.require_tokens.is_some() && !self.consensus.replica().has_tokens()
    }

    /// Whether requests need a token by this state.
    fn asks_for_token(&self, cache: &Cache) -> bool {
        self.options.require_tokens.is_some() || cache.tokens().are_required()
    }

    /// Whether this state allows it.
    ///
    /// # Errors
    /// [`NodeError::Unauthorized`], [`NodeError::Forbidden`].
    pub(super) fn judge(&self, cache: &Cache, principal: &Principal, need: &Need) -> Result<(), NodeError> {
        if !self.asks_for_token(cache) {
            return Ok(());
        }
        // Between two log entries log time does not advance, but a token must expire.
        let now_ms = self.consensus.clock().now_ms().unwrap_or(0).max(cache.now_ms());
        let bearer = match principal {
            Principal::Program => return Ok(()),
            Principal::Subject(subject) => return judge_subject(cache, subject, need, now_ms),
            Principal::Anyone => return Err(NodeError::Unauthorized("this cluster asks for a token".into())),
            Principal::Bearer(bearer) => bearer,
        };
        let token = principal.token_in(cache, now_ms).ok_or_else(not_good)?;
        let is_allowed = match need {
            Need::Holder(id) => *id == bearer.id,
            need => token.allows(need),
        };
        allowed(is_allowed, need)
    }

    /// Whether this state allows to read a key.
    ///
    /// # Errors
    /// As [`Inner::judge`].
    pub(super) fn judge_key(&self, cache: &Cache, principal: &Principal, key: &Key) -> Result<(), NodeError> {
        #[cfg(feature = "sabotage")]
        if crate::sabotage::Sabotage::EdgeOnly.is_chosen() {
            return Ok(());
        }
        // Most clusters have no tokens: nothing is made for them.
        if !self.asks_for_token(cache) {
            return Ok(());
        }
        self.judge(cache, principal, &Need::Key(Role::Read, key.clone()))
    }

    /// Whether this node's state allows all of it, which is about keys. For that what it knows can be too old.
    ///
    /// # Errors
    /// As [`Inner::judge`], or that no newer state can be had.
    pub(super) async fn judge_own(
        &self,
        principal: &Principal,
        needs: &[Need],
        until: Instant,
    ) -> Result<(), NodeError> {
        if let Err(too_old) = self.refuse_when_out_of_touch(principal) {
            // At once where nobody answers, so that a client soon asks another node.
            if !self.audit.health.has_majority() {
                return Err(too_old);
            }
            self.catch_up(until).await.map_err(|error| match error {
                NodeError::Unavailable(_) => too_old,
                error => error,
            })?;
            return self.judge_all(principal, needs);
        }
        self.judge_known(principal, needs, until).await
    }

    /// Whether this node's state allows all of it. Where it does not, a newer state is looked at: the token may have been made
    /// a moment ago, at another node.
    ///
    /// # Errors
    /// As [`Inner::judge`], or that no newer state can be had.
    pub(super) async fn judge_known(
        &self,
        principal: &Principal,
        needs: &[Need],
        until: Instant,
    ) -> Result<(), NodeError> {
        let Err(refusal) = self.judge_all(principal, needs) else { return Ok(()) };
        if !matches!(principal, Principal::Bearer(_) | Principal::Subject(_)) {
            return Err(refusal);
        }
        self.catch_up(until).await?;
        self.judge_all(principal, needs)
    }

    /// Whether a state allows it that has everything that was acknowledged before.
    ///
    /// A node that knows of no tokens makes sure once that there are none. If it finds nobody to ask, it goes by what it knows:
    /// a cluster without tokens must stay usable. A node that has applied nothing knows nothing.
    ///
    /// # Errors
    /// As [`Inner::judge`], or that no such state can be had.
    pub(super) async fn judge_newest(
        &self,
        principal: &Principal,
        need: &Need,
        until: Instant,
    ) -> Result<(), NodeError> {
        let needs = std::slice::from_ref(need);
        match (self.needs_token(), principal) {
            (_, Principal::Program) => return Ok(()),
            (true, Principal::Anyone) => return self.judge_all(principal, needs),
            (true, Principal::Bearer(_) | Principal::Subject(_)) => self.catch_up(until).await?,
            (false, _) if self.freshness.is_known() => {}
            (false, _) => {
                let soon = until.min(Instant::now() + FIRST_LOOK_TIMEOUT);
                let looked = self.catch_up(soon).await;
                if looked.is_err() && self.consensus.replica().applied_index() == 0 {
                    return looked;
                }
            }
        }
        self.judge_all(principal, needs)
    }

    /// The same for what concerns this node alone, and is wanted where there is no majority: then it is judged by what this
    /// node knows.
    ///
    /// # Errors
    /// As [`Inner::judge`].
    pub(super) async fn judge_here(
        &self,
        principal: &Principal,
        need: &Need,
        until: Instant,
    ) -> Result<(), NodeError> {
        match self.judge_newest(principal, need, until).await {
            Err(NodeError::Unavailable(_) | NodeError::Superseded(_))
                if self.consensus.replica().applied_index() > 0 =>
            {
                self.judge_all(principal, std::slice::from_ref(need))
            }
            judged => judged,
        }
    }

    /// Whether the leader may propose it. `None` if it has not applied an entry of its own term yet, or does not lead: then it may
    /// not know of what was acknowledged before.
    pub(super) fn judge_as_leader(
        &self,
        principal: &Principal,
        needs: impl FnOnce() -> Vec<Need>,
    ) -> Option<Result<(), NodeError>> {
        if *principal == Principal::Program {
            return Some(Ok(()));
        }
        #[cfg(feature = "sabotage")]
        if crate::sabotage::Sabotage::EdgeOnly.is_chosen() {
            return Some(Ok(()));
        }
        let term = self.consensus.term();
        if !self.consensus.is_leader()
            || !self.freshness.has_applied(term, || self.consensus.replica().last_applied())
        {
            return None;
        }
        Some(if self.needs_token() { self.judge_all(principal, &needs()) } else { Ok(()) })
    }

    /// Whether what this node knows allows it.
    pub(super) fn allows_now(&self, principal: &Principal, need: &Need) -> bool {
        let judged = || self.judge_all(principal, std::slice::from_ref(need));
        self.refuse_when_out_of_touch(principal).and_then(|()| judged()).is_ok()
    }

    fn judge_all(&self, principal: &Principal, needs: &[Need]) -> Result<(), NodeError> {
        let judge = |cache: &Cache| needs.iter().try_for_each(|need| self.judge(cache, principal, need));
        self.consensus.replica().with_cache(judge)
    }

    /// Whether this node has come to know what was acknowledged before, within this time.
    pub(super) async fn look_for_tokens(&self, limit: Duration) -> bool {
        self.freshness.is_known() || self.catch_up(Instant::now() + limit).await.is_ok()
    }
}

/// Whether this state allows it to whoever a token speaks of that somebody else has signed.
fn judge_subject(cache: &Cache, subject: &Subject, need: &Need, now_ms: u64) -> Result<(), NodeError> {
    let Subject { name, jwt_id, expires_at_ms, grants } = subject;
    if *expires_at_ms <= now_ms || cache.tokens().block(name, jwt_id.as_deref(), now_ms) {
        return Err(not_good());
    }
    allowed(!matches!(need, Need::Holder(_)) && grants_allow(grants, need), need)
}

/// Whoever guesses learns nothing from which of these it was.
fn not_good() -> NodeError {
    NodeError::Unauthorized("the token is not known, has expired, or was revoked".into())
}

fn allowed(is_allowed: bool, need: &Need) -> Result<(), NodeError> {
    match is_allowed {
        true => Ok(()),
        false => Err(NodeError::Forbidden(format!("the token does not allow this: it needs {need}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_known_by_its_text_and_not_shown() {
        let token = NewToken::random().expect("random numbers");
        let Some(Principal::Bearer(bearer)) = Principal::of_token(token.text()) else { panic!("it is one") };
        assert_eq!((&bearer.id, bearer.secret), (&token.id, Some(token.secret())));
        // A secret may have an underscore itself.
        let secret = token.text().splitn(3, '_').nth(2).expect("three parts");
        assert!(!format!("{token:?}{bearer:?}").contains(&secret[..8]));
        let again = NewToken::with_id(token.id.clone()).expect("random numbers");
        assert_ne!(again.text(), token.text());
        for wrong in [
            "",
            "lsk_",
            "lsk_abcdefghij_",
            "lsk_abcdefghij",
            &token.text()[4..],
            &format!("{}x", token.text()),
        ] {
            assert_eq!(Principal::of_token(wrong), None, "{wrong}");
        }
    }
}
