//! Has a node leave its cluster on purpose, and come back.

use super::ClientError;
use super::http::{Client, Retry};
use crate::api::{DetachRequest, DetachStatus};
use reqwest::Method;
use serde_json::Value;

impl Client {
    /// Whether a node has left its cluster.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn detach_status(&self) -> Result<DetachStatus, ClientError> {
        self.json(Method::GET, "/v1/detached", Retry::Always, |builder| builder).await
    }

    /// Has a node leave its cluster. It may not be done when this returns: see [`Client::detach_status`].
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn detach(&self, request: &DetachRequest) -> Result<DetachStatus, ClientError> {
        self.json(Method::POST, "/v1/detach", Retry::Never, |builder| builder.json(request)).await
    }

    /// Has a detached node come back. It may not be done when this returns: see [`Client::detach_status`].
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn attach(&self, request: &Value) -> Result<Value, ClientError> {
        self.json(Method::POST, "/v1/attach", Retry::Never, |builder| builder.json(request)).await
    }
}
