//! What an admin does with tokens.

use super::access::{NewToken, Principal};
use super::error::NodeError;
use super::session::{Session, SessionError};
use super::subject::Subject;
use crate::api::{
    BlockInfo, BlockList, BlockRequest, ChangedToken, CreateToken, MadeToken, RotateToken, TokenInfo,
    TokenList,
};
use crate::cache::limits::JWT_LIFE_MS_MAX;
use crate::cache::{Block, Blocked, Cache, Command, Need, Outcome, Role, TokenChange, TokenLimits};
use std::io;

/// How much longer the block of a token holds than a token can live: the clocks of who signs it and of the nodes may differ.
const BLOCK_SLACK_MS: u64 = 60 * 60 * 1_000;

/// How long a session lasts, in milliseconds.
pub const SESSION_MS: u64 = 12 * 60 * 60 * 1_000;

impl Session {
    /// The tokens that are good.
    ///
    /// # Errors
    /// [`SessionError`].
    pub async fn tokens(&self) -> Result<TokenList, SessionError> {
        let list = |cache: &Cache| {
            let (tokens, now_ms) = (cache.tokens(), cache.now_ms());
            let good = tokens.all().filter(|token| !token.is_expired(now_ms));
            let mut good: Vec<TokenInfo> = good.map(|token| TokenInfo::of(token, now_ms)).collect();
            good.sort_by(|left, right| left.name.cmp(&right.name));
            let joins = tokens.joins().filter(|token| token.expires_at_ms > now_ms);
            let join_tokens = joins.map(super::join_tokens::info_of).collect();
            TokenList { required: tokens.are_required(), tokens: good, join_tokens }
        };
        Ok(self.read(&Need::Role(Role::Admin), list).await?.value)
    }

    /// The token that is shown, or that of the browser's session; `None` if none is.
    ///
    /// # Errors
    /// [`SessionError`].
    pub async fn own_token(&self) -> Result<Option<TokenInfo>, SessionError> {
        let find = |cache: &Cache| {
            if let Principal::Subject(subject) = self.principal() {
                return Some(info_of(subject));
            }
            let token = self.principal().token_in(cache, cache.now_ms());
            token.map(|token| TokenInfo::of(token, cache.now_ms()))
        };
        Ok(self.read(&Need::Role(Role::Observe), find).await?.value)
    }

    /// Makes a token.
    ///
    /// # Errors
    /// [`SessionError`]. If the outcome is unknown, there may be a token that nobody has.
    pub async fn create_token(&self, request: CreateToken) -> Result<MadeToken, SessionError> {
        let CreateToken { name, grants, limits, ttl_ms } = request;
        let made = self.new_token(NewToken::random())?;
        let (id, secret) = (made.id.clone(), made.secret());
        let change = TokenChange::Create { id, name, secret, grants, limits, ttl_ms };
        let revision = self.change_token(change).await?;
        Ok(MadeToken { id: made.id.clone(), token: made.text().to_owned(), revision })
    }

    /// Gives a token a new secret.
    ///
    /// # Errors
    /// [`SessionError`]. If the outcome is unknown, the old secret may be good until the overlap ends only.
    pub async fn rotate_token(&self, id: &str, request: RotateToken) -> Result<MadeToken, SessionError> {
        let RotateToken { overlap_ms } = request;
        let made = self.new_token(NewToken::with_id(id.to_owned()))?;
        let (id, secret) = (made.id.clone(), made.secret());
        let revision = self.change_token(TokenChange::Rotate { id, secret, overlap_ms }).await?;
        Ok(MadeToken { id: made.id.clone(), token: made.text().to_owned(), revision })
    }

    /// Gives a token other limits. Sessions of it go on.
    ///
    /// # Errors
    /// [`SessionError`].
    pub async fn limit_token(&self, id: &str, limits: TokenLimits) -> Result<ChangedToken, SessionError> {
        let id = id.to_owned();
        let revision = self.change_token(TokenChange::Limit { id: id.clone(), limits }).await?;
        Ok(ChangedToken { id, revision })
    }

    /// Refuses tokens that somebody else has signed; for ever without `ttl_ms`. A request that begins after this returns is refused on
    /// every node.
    ///
    /// # Errors
    /// [`SessionError`].
    pub async fn block(&self, request: BlockRequest) -> Result<u64, SessionError> {
        let BlockRequest { blocked, ttl_ms } = request;
        // No token lives longer, so the block of a single one can be forgotten.
        let life_ms = matches!(blocked, Blocked::JwtId(_)).then_some(JWT_LIFE_MS_MAX + BLOCK_SLACK_MS);
        self.change_token(TokenChange::Block { blocked, ttl_ms: ttl_ms.or(life_ms) }).await
    }

    /// Lifts a block.
    ///
    /// # Errors
    /// [`SessionError`]; not found if there is none.
    pub async fn unblock(&self, blocked: Blocked) -> Result<u64, SessionError> {
        self.change_token(TokenChange::Unblock { blocked }).await
    }

    /// The blocks that hold.
    ///
    /// # Errors
    /// [`SessionError`].
    pub async fn blocks(&self) -> Result<BlockList, SessionError> {
        let list = |cache: &Cache| {
            let holds = |block: &Block| block.until_ms.is_none_or(|until| until > cache.now_ms());
            let info = |Block { blocked, until_ms }| BlockInfo { blocked, until_ms };
            BlockList { blocks: cache.tokens().blocks().filter(holds).map(info).collect() }
        };
        Ok(self.read(&Need::Role(Role::Admin), list).await?.value)
    }

    /// Ends a token. A request that begins after this returns is refused on every node.
    ///
    /// # Errors
    /// [`SessionError`].
    pub async fn revoke_token(&self, id: &str) -> Result<ChangedToken, SessionError> {
        let id = id.to_owned();
        let revision = self.change_token(TokenChange::Revoke { id: id.clone() }).await?;
        Ok(ChangedToken { id, revision })
    }

    pub(super) fn new_token(&self, made: io::Result<NewToken>) -> Result<NewToken, SessionError> {
        made.map_err(|error| self.fail(NodeError::Unavailable(error.to_string())))
    }

    /// Begins a session of this token, which lasts for [`SESSION_MS`]: its secret, as a token.
    ///
    /// # Errors
    /// [`SessionError`]; not found if this is a session already, forbidden if no token is shown.
    pub async fn log_in(&self) -> Result<String, SessionError> {
        let made = self.new_token(NewToken::random())?;
        let parent = self.principal().token_id().unwrap_or_default().to_owned();
        let (id, secret, ttl_ms) = (made.id.clone(), made.secret(), SESSION_MS);
        self.change_token(TokenChange::BeginSession { id, secret, parent, ttl_ms }).await?;
        Ok(made.text().to_owned())
    }

    /// Ends the session that this is.
    ///
    /// # Errors
    /// [`SessionError`]; not found if it is none.
    pub async fn log_out(&self) -> Result<(), SessionError> {
        let id = self.principal().token_id().unwrap_or_default().to_owned();
        self.change_token(TokenChange::EndSession { id }).await.map(drop)
    }

    /// The index of the log entry.
    pub(super) async fn change_token(&self, change: TokenChange) -> Result<u64, SessionError> {
        // Before requests need a token, anybody could make the first one and lock all others out.
        if !self.needs_token() {
            let reason = "this cluster has no tokens yet: start its nodes with --tokens, or run `lockstep token recover` on the \
                          machine of one";
            return Err(self.fail(NodeError::Conflict(reason.into())));
        }
        let written = self.write(Command::Tokens(Box::new(change))).await?;
        match written.outcome {
            Outcome::TokensChanged { revision } => Ok(revision),
            _ => Err(self.fail(NodeError::OutcomeUnknown(
                "the state machine answered another kind of request".into(),
            ))),
        }
    }
}

/// What the token of a subject allows, as if it were one of the cluster's.
fn info_of(subject: &Subject) -> TokenInfo {
    TokenInfo {
        id: String::new(),
        name: format!("jwt:{}", subject.name),
        grants: subject.grants.clone(),
        limits: TokenLimits::default(),
        created_at_ms: 0,
        expires_at_ms: Some(subject.expires_at_ms),
        old_secret_until_ms: None,
    }
}
