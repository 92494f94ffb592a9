//! Brings in the changes of another side of a fork.

use super::ClientError;
use super::http::{Client, Retry};
use crate::api::{MergeEndRequest, MergeStepAnswer, MergeStepRequest, Reconciliations};
use reqwest::Method;

impl Client {
    /// The newest merges, and the open forks.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn reconciliations(&self) -> Result<Reconciliations, ClientError> {
        self.json(Method::GET, "/v1/reconcile", Retry::Always, |builder| builder).await
    }

    /// Closes the fork to a history without bringing anything in; false if none is open.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn forget_history(&self, history: &str) -> Result<bool, ClientError> {
        let told = self.reconciliations().await?;
        if !told.forks.iter().any(|fork| fork.history == history) {
            return Ok(false);
        }
        let step = MergeStepRequest {
            merge: uuid::Uuid::new_v4().to_string(),
            history: history.to_owned(),
            step: 0,
            after: told.decided.get(history).copied().unwrap_or(0),
            planned_at: 0,
            ops: Vec::new(),
            end: Some(MergeEndRequest::Forgotten),
        };
        self.merge_step(&step).await?;
        Ok(true)
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
