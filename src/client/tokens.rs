//! Requests about tokens.

use super::error::ClientError;
use super::http::{Client, Retry};
use crate::api::{
    BlockList, BlockRequest, ChangedBlock, ChangedToken, CreateJoinToken, CreateToken, MadeToken,
    RotateToken, TokenInfo, TokenList,
};
use crate::cache::{Blocked, TokenLimits};
use reqwest::Method;

impl Client {
    /// The tokens that are good.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn tokens(&self) -> Result<TokenList, ClientError> {
        self.json(Method::GET, "/v1/tokens", Retry::Always, |builder| builder).await
    }

    /// The token of this client.
    ///
    /// # Errors
    /// [`ClientError`]; `not_found` if it needs none and has none.
    pub async fn own_token(&self) -> Result<TokenInfo, ClientError> {
        self.json(Method::GET, "/v1/token", Retry::Always, |builder| builder).await
    }

    /// Makes a token. It is not repeated: if the outcome is unknown, there may be a token of this name that nobody has.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn create_token(&self, request: &CreateToken) -> Result<MadeToken, ClientError> {
        self.json(Method::POST, "/v1/tokens", Retry::Never, |builder| builder.json(request)).await
    }

    /// Makes a join token. It is not repeated: if the outcome is unknown, there may be a token that nobody has.
    ///
    /// # Errors
    /// [`ClientError`]; `not_found` if the node has no authority of its own.
    pub async fn create_join_token(&self, request: &CreateJoinToken) -> Result<MadeToken, ClientError> {
        self.json(Method::POST, "/v1/join-tokens", Retry::Never, |builder| builder.json(request)).await
    }

    /// Gives a token a new secret. It is not repeated: each time makes another one.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn rotate_token(&self, id: &str, request: &RotateToken) -> Result<MadeToken, ClientError> {
        let path = format!("/v1/tokens/{id}/rotate");
        self.json(Method::POST, &path, Retry::Never, |builder| builder.json(request)).await
    }

    /// Gives a token other limits.
    ///
    /// # Errors
    /// [`ClientError`]; `not_found` if there is none.
    pub async fn limit_token(&self, id: &str, limits: &TokenLimits) -> Result<ChangedToken, ClientError> {
        let path = format!("/v1/tokens/{id}/limits");
        self.json(Method::PUT, &path, Retry::Always, |builder| builder.json(limits)).await
    }

    /// Refuses tokens that somebody else has signed.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn block(&self, request: &BlockRequest) -> Result<ChangedBlock, ClientError> {
        self.json(Method::POST, "/v1/blocks", Retry::Always, |builder| builder.json(request)).await
    }

    /// Lifts a block.
    ///
    /// # Errors
    /// [`ClientError`]; `not_found` if there is none.
    pub async fn unblock(&self, blocked: &Blocked) -> Result<ChangedBlock, ClientError> {
        let query = match blocked {
            Blocked::Subject(text) => [("subject", text)],
            Blocked::JwtId(text) => [("jwt_id", text)],
        };
        self.json(Method::DELETE, "/v1/blocks", Retry::Never, |builder| builder.query(&query)).await
    }

    /// The blocks that hold.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn blocks(&self) -> Result<BlockList, ClientError> {
        self.json(Method::GET, "/v1/blocks", Retry::Always, |builder| builder).await
    }

    /// Ends a token.
    ///
    /// # Errors
    /// [`ClientError`]; `not_found` if there is none.
    pub async fn revoke_token(&self, id: &str) -> Result<ChangedToken, ClientError> {
        self.json(Method::DELETE, &format!("/v1/tokens/{id}"), Retry::WithKey, |builder| builder).await
    }
}
