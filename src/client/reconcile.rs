//! Brings in the changes of another side of a fork.

use super::ClientError;
use super::http::{Client, Retry};
use crate::api::{MergeStepAnswer, MergeStepRequest, Reconciliations};
use reqwest::Method;

impl Client {
    /// The newest merges, and the open forks.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn reconciliations(&self) -> Result<Reconciliations, ClientError> {
        self.json(Method::GET, "/v1/reconcile", Retry::Always, |builder| builder).await
    }

    /// Sends a step of a merge. Each is applied once; [`Client::reconciliations`] tells which is due, and the results of the
    /// newest one.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn merge_step(&self, step: &MergeStepRequest) -> Result<MergeStepAnswer, ClientError> {
        self.json(Method::POST, "/v1/reconcile", Retry::WithKey, |builder| builder.json(step)).await
    }
}
