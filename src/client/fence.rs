//! Fences a node whose cluster goes on without it.

use super::ClientError;
use super::http::{Client, Retry};
use reqwest::Method;
use serde_json::Value;

impl Client {
    /// Ends a node's part in its history, if it has heard of the recovered one that goes on without it. Asking twice changes
    /// nothing more.
    ///
    /// # Errors
    /// [`ClientError`]; a conflict if it has not heard of any.
    pub async fn fence(&self) -> Result<(), ClientError> {
        self.json::<Value>(Method::POST, "/v1/fence", Retry::Always, |builder| builder).await.map(drop)
    }
}
