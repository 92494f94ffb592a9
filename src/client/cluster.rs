//! The client's requests about the cluster and its nodes.

use super::error::{ClientError, garbled};
use super::http::{Client, PAUSE_FIRST, PAUSE_LAST, Retry, answer};
use crate::api::{
    ConfigBody, ConfigUpdate, Digests, ErrorCode, FeatureLevel, LineageReport, Members, Nodes, Status,
    TransferLeader,
};
use reqwest::{Method, Response};
use std::time::Instant;

impl Client {
    /// # Errors
    /// [`ClientError`].
    pub async fn config(&self) -> Result<ConfigBody, ClientError> {
        self.json(Method::GET, "/v1/config", Retry::Always, |builder| builder).await
    }

    /// Changes the replicated settings that are named.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn set_config(&self, update: &ConfigUpdate) -> Result<ConfigBody, ClientError> {
        self.json(Method::PUT, "/v1/config", Retry::WithKey, |builder| builder.json(update)).await
    }

    /// The status of one node.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn status(&self) -> Result<Status, ClientError> {
        self.json(Method::GET, "/v1/status", Retry::Always, |builder| builder).await
    }

    /// Where a node's log comes from.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn lineage(&self) -> Result<LineageReport, ClientError> {
        self.json(Method::GET, "/v1/lineage", Retry::Always, |builder| builder).await
    }

    /// # Errors
    /// [`ClientError`].
    pub async fn digests(&self) -> Result<Digests, ClientError> {
        self.json(Method::GET, "/v1/digest", Retry::Always, |builder| builder).await
    }

    /// # Errors
    /// [`ClientError`].
    pub async fn members(&self) -> Result<Members, ClientError> {
        self.json(Method::GET, "/v1/members", Retry::Always, |builder| builder).await
    }

    /// Gives a learner a vote.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn promote(&self, id: u64) -> Result<(), ClientError> {
        let path = format!("/v1/members/{id}/promote");
        self.send(Method::POST, &path, Retry::Never, |builder| builder).await.map(drop)
    }

    /// Removes a node from the cluster.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn remove(&self, id: u64) -> Result<(), ClientError> {
        let path = format!("/v1/members/{id}");
        self.send(Method::DELETE, &path, Retry::Never, |builder| builder).await.map(drop)
    }

    /// Removes a member whose data folder is lost, so that a node with an empty folder can take its name and its addresses.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn replace(&self, id: u64) -> Result<(), ClientError> {
        let path = format!("/v1/members/{id}/replace");
        self.send(Method::POST, &path, Retry::Never, |builder| builder).await.map(drop)
    }

    /// The status of every member, as each reports it.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn nodes(&self) -> Result<Nodes, ClientError> {
        self.json(Method::GET, "/v1/nodes", Retry::Always, |builder| builder).await
    }

    /// Raises the feature level to the newest one that all members know.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn finish_upgrade(&self) -> Result<FeatureLevel, ClientError> {
        self.json(Method::POST, "/v1/upgrade", Retry::Never, |builder| builder).await
    }

    /// Transfers leadership; to the most up-to-date voter if `to` is `None`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn transfer_leader(&self, to: Option<u64>) -> Result<(), ClientError> {
        let body = TransferLeader { to };
        self.send(Method::POST, "/v1/leader", Retry::Never, |builder| builder.json(&body)).await.map(drop)
    }

    /// A node's figures, in Prometheus' text format.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn metrics(&self) -> Result<String, ClientError> {
        let answered = self.send(Method::GET, "/metrics", Retry::Always, |builder| builder).await?;
        String::from_utf8(answered.body.into()).map_err(|error| garbled(&answered.url, &error.to_string()))
    }

    /// Asks for a fresh snapshot and returns its answer as it comes, for a backup. Only its beginning has a time limit: how long
    /// the rest takes depends on how much there is.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn backup(&self) -> Result<Response, ClientError> {
        let deadline = Instant::now() + self.limit();
        let mut pause = PAUSE_FIRST;
        loop {
            let url = self.any_url();
            let request = self.insisting(self.streams().get(format!("{url}/v1/snapshot")));
            let late = || ClientError::Unreachable { url: url.clone(), reason: "not in time".into() };
            let left = deadline.saturating_duration_since(Instant::now());
            let asked = tokio::time::timeout(left, answer(&url, request, &[])).await;
            let error = match asked.unwrap_or_else(|_| Err(late())) {
                Ok(response) => return Ok(response),
                Err(error) => error,
            };
            let passes = error.code().retry_is_safe(true)
                || self.has_others() && matches!(error.code(), ErrorCode::Detached | ErrorCode::Superseded);
            let wait = pause.max(error.retry_after());
            if !passes || Instant::now() + wait >= deadline {
                return Err(error);
            }
            self.try_another(&url);
            tokio::time::sleep(wait).await;
            pause = (pause * 2).min(PAUSE_LAST);
        }
    }

    /// Asks one node to write a snapshot.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn take_snapshot(&self) -> Result<serde_json::Value, ClientError> {
        self.json(Method::POST, "/v1/snapshot", Retry::Never, |builder| builder).await
    }
}
