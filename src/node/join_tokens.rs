//! Join tokens: making one, and what a node does that has one.
//!
//! Whoever shows one is nobody yet, so it is this node that asks the cluster, as the program that it is. It reads the token by a
//! linearizable read, and the state machine sees to it that the token is used by one key and one data folder only.

use super::access::NewToken;
use super::addresses::{check_host, check_name};
use super::error::NodeError;
use super::session::{Session, SessionError};
use crate::api::{AddMember, CreateJoinToken, JoinTokenInfo, JoinTokenText, Joined, MadeToken};
use crate::cache::{Cache, CommandError, JoinToken, JoinUse, Need, Role, SecretHash, TokenChange};

impl Session {
    /// Makes a join token. Its holder may believe the authority whose key has this SHA-256, in hexadecimal digits.
    ///
    /// # Errors
    /// [`SessionError`]. If the outcome is unknown, there may be a token that nobody has.
    pub async fn create_join_token(
        &self,
        request: CreateJoinToken,
        pin: String,
    ) -> Result<MadeToken, SessionError> {
        let CreateJoinToken { node, hosts, ttl_ms } = request;
        let checked = check_name(&node).and_then(|()| hosts.iter().try_for_each(|host| check_host(host)));
        checked.map_err(|reason| self.fail(NodeError::Invalid(reason)))?;
        let made = self.new_token(NewToken::random())?;
        let token = JoinTokenText { pin, id: made.id.clone(), secret: made.secret_text().to_owned() };
        let (id, secret) = (made.id.clone(), made.secret());
        let revision = self.change_token(TokenChange::CreateJoin { id, secret, node, hosts, ttl_ms }).await?;
        Ok(MadeToken { id: made.id, token: token.text().reveal().to_owned(), revision })
    }

    /// What a join token allows, if it is good.
    ///
    /// # Errors
    /// [`SessionError`]; unauthorized if it is not known, has expired or was revoked.
    pub async fn join_token(&self, token: &JoinTokenText) -> Result<JoinTokenInfo, SessionError> {
        let secret = SecretHash::of(&token.secret);
        let find = |cache: &Cache| cache.tokens().join_shown(&token.id, &secret, cache.now_ms()).map(info_of);
        let found = self.read(&Need::Role(Role::Admin), find).await?.value;
        found.ok_or_else(|| self.fail(not_good()))
    }

    /// Gives a join token, which has been looked at, to the key with this SHA-256, for a certificate.
    ///
    /// # Errors
    /// [`SessionError`]; unauthorized if it is not good any more, or another key has it. The same request can be repeated.
    pub async fn certify_join(&self, token: &JoinTokenText, key: [u8; 32]) -> Result<(), SessionError> {
        self.use_join_token(token, JoinUse::Key(key)).await
    }

    /// Adds the node with this join token as a learner.
    ///
    /// # Errors
    /// [`SessionError`]; unauthorized if the token is not good, is for a node of another name, or another data folder has it. The
    /// same request can be repeated.
    pub async fn join(&self, token: &JoinTokenText, request: AddMember) -> Result<Joined, SessionError> {
        let info = self.join_token(token).await?;
        if request.name.as_ref() != Some(&info.node) {
            let reason = format!("the join token is for a node with the name {}", info.node);
            return Err(self.fail(NodeError::Forbidden(reason)));
        }
        self.use_join_token(token, JoinUse::Folder(request.store_uuid.clone())).await?;
        self.admin().add_member(request).await
    }

    async fn use_join_token(&self, token: &JoinTokenText, by: JoinUse) -> Result<(), SessionError> {
        let used = self.change_token(TokenChange::UseJoin { id: token.id.clone(), by }).await;
        match used {
            Err(SessionError {
                error: NodeError::Refused { error: CommandError::NoSuchToken, .. }, ..
            }) => Err(self.fail(not_good())),
            used => used.map(drop),
        }
    }
}

/// What is known of a join token.
pub(super) fn info_of(token: &JoinToken) -> JoinTokenInfo {
    let JoinToken { id, node, hosts, expires_at_ms, key, folder, secret: _ } = token.clone();
    let (certified, joined) = (key.is_some(), folder.is_some());
    JoinTokenInfo { id, node, hosts, expires_at_ms, certified, joined }
}

/// Whoever guesses learns nothing from which of these it was.
fn not_good() -> NodeError {
    let reason = "the join token is not known, has expired, was revoked, or was used by another node";
    NodeError::Unauthorized(reason.into())
}
