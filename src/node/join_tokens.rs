//! Join tokens: making one, and what a node does that has one.
//!
//! Whoever shows one is nobody yet, so it is this node that asks the cluster, as the program that it is. It reads the token by a
//! linearizable read, and the state machine sees to it that the token is used by one key and one data folder only.

use super::access::NewToken;
use super::addresses::{check_host, check_name};
use super::error::NodeError;
use super::newcomer::AddMemberMessage;
use super::session::{Session, SessionError};
use crate::api::{AddMember, CreateJoinToken, JoinTokenInfo, JoinTokenText, Joined, MadeToken};
use crate::cache::{Cache, CommandError, JoinToken, JoinUse, Need, Role, SecretHash, TokenChange};

impl Session {
    /// Whether a join token can be made that is asked for.
    ///
    /// # Errors
    /// [`SessionError`]; nothing was done.
    pub fn check_join_token(&self, request: &CreateJoinToken) -> Result<(), SessionError> {
        self.refuse_when_detached()?;
        let hosts = || request.hosts.iter().try_for_each(|host| check_host(host));
        let checked = check_name(&request.node).and_then(|()| hosts());
        checked.map_err(|reason| self.fail(NodeError::Invalid(reason)))
    }

    /// Makes a join token, of which [`Session::check_join_token`] was asked. Its holder may believe the authority whose key has this
    /// SHA-256, in hexadecimal digits.
    ///
    /// # Errors
    /// [`SessionError`]. If the outcome is unknown, there may be a token that nobody has.
    pub async fn create_join_token(
        &self,
        request: CreateJoinToken,
        pin: String,
    ) -> Result<MadeToken, SessionError> {
        let CreateJoinToken { node, hosts, ttl_ms } = request;
        let made = self.new_token(NewToken::random())?;
        let token = JoinTokenText { pin, id: made.id.clone(), secret: made.secret_text().to_owned() };
        let (id, secret) = (made.id.clone(), made.secret());
        let revision = self.change_token(TokenChange::CreateJoin { id, secret, node, hosts, ttl_ms }).await?;
        Ok(MadeToken { id: made.id, token: token.text().reveal().to_owned(), revision })
    }

    /// A node that has left its cluster on purpose has a copy of its tokens, and does not know what they were used for since.
    fn refuse_when_detached(&self) -> Result<(), SessionError> {
        match self.node.inner.is_detached() {
            true => Err(self
                .fail(NodeError::Conflict("this node is detached from its cluster: nobody joins it".into()))),
            false => Ok(()),
        }
    }

    /// What a join token allows, if it is good, whoever has used it.
    ///
    /// # Errors
    /// [`SessionError`]; unauthorized if it is not known, has expired or was revoked.
    pub async fn known_join_token(&self, token: &JoinTokenText) -> Result<JoinTokenInfo, SessionError> {
        self.look_at_join_token(token, |_| true).await
    }

    /// What a join token allows, if it is good for this use.
    ///
    /// # Errors
    /// [`SessionError`]; unauthorized if it is not known, has expired, was revoked, or was used by another node.
    pub async fn join_token(
        &self,
        token: &JoinTokenText,
        by: &JoinUse,
    ) -> Result<JoinTokenInfo, SessionError> {
        self.look_at_join_token(token, |found| found.is_good_for(by)).await
    }

    async fn look_at_join_token(
        &self,
        token: &JoinTokenText,
        is_good: impl Fn(&JoinToken) -> bool,
    ) -> Result<JoinTokenInfo, SessionError> {
        let secret = SecretHash::of(&token.secret);
        let find = |cache: &Cache| {
            let found = cache.tokens().join_shown(&token.id, &secret, cache.now_ms());
            found.filter(|found| is_good(found)).map(info_of)
        };
        let found = self.read(&Need::Role(Role::Admin), find).await?.value;
        found.ok_or_else(|| self.fail(not_good()))
    }

    /// Refuses a node at once whose name or addresses a member has, as far as this node knows. The leader decides about others, and
    /// about a member that is to be replaced.
    ///
    /// # Errors
    /// [`SessionError`]; nothing was done.
    pub fn refuse_taken_place(&self, request: &AddMember) -> Result<(), SessionError> {
        let members = self.node.inner.consensus.status().members;
        let is_member = members.iter().any(|known| known.member.store_uuid == request.store_uuid);
        if is_member || request.replace_silent_ms.is_some() {
            return Ok(());
        }
        let taken = AddMemberMessage::from(request.clone()).refuse_taken(members.iter());
        taken.map_err(|reason| self.fail(NodeError::Conflict(reason)))
    }

    /// Gives a join token, which has been looked at, to the key with this SHA-256, for a certificate.
    ///
    /// # Errors
    /// [`SessionError`]; unauthorized if it is not good any more, or another key has it. The same request can be repeated.
    pub async fn certify_join(&self, token: &JoinTokenText, key: [u8; 32]) -> Result<(), SessionError> {
        self.use_join_token(token, JoinUse::Key(key)).await
    }

    /// Whether this node may join with this join token.
    ///
    /// # Errors
    /// [`SessionError`]; unauthorized if the token is not good, or another data folder has it; forbidden if it is for a node of another
    /// name.
    pub async fn check_joining(
        &self,
        token: &JoinTokenText,
        request: &AddMember,
    ) -> Result<(), SessionError> {
        let info = self.join_token(token, &JoinUse::Folder(request.store_uuid.clone())).await?;
        if request.name.as_ref() == Some(&info.node) {
            return Ok(());
        }
        let reason = format!("the join token is for a node with the name {}", info.node);
        Err(self.fail(NodeError::Forbidden(reason)))
    }

    /// Adds the node with this join token, of which [`Session::check_joining`] was asked, as a learner.
    ///
    /// # Errors
    /// [`SessionError`]; unauthorized if the token is not good any more, or another data folder has it. The same request can be
    /// repeated.
    pub async fn join(&self, token: &JoinTokenText, request: AddMember) -> Result<Joined, SessionError> {
        let checked = AddMemberMessage::from(request.clone()).check();
        checked.map_err(|reason| self.fail(NodeError::Invalid(reason)))?;
        self.use_join_token(token, JoinUse::Folder(request.store_uuid.clone())).await?;
        // The token is the permission: whoever shows it need not be an admin.
        self.node.admin().add_member(request).await
    }

    async fn use_join_token(&self, token: &JoinTokenText, by: JoinUse) -> Result<(), SessionError> {
        self.refuse_when_detached()?;
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
    let (certified, claimed) = (key.is_some(), folder.is_some());
    JoinTokenInfo { id, node, hosts, expires_at_ms, certified, claimed }
}

/// Whoever guesses learns nothing from which of these it was.
fn not_good() -> NodeError {
    let reason = "the join token is not known, has expired, was revoked, or was used by another node: make another one with \
                  `lockstep token join`";
    NodeError::Unauthorized(reason.into())
}
