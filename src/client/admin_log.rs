//! The log of operators' actions.

use super::error::ClientError;
use super::http::{Client, Retry};
use crate::api::AdminLogReport;
use reqwest::Method;

impl Client {
    /// The newest actions of operators, at most so many.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn admin_log(&self, limit: usize) -> Result<AdminLogReport, ClientError> {
        self.json(Method::GET, &format!("/v1/audit?limit={limit}"), Retry::Always, |builder| builder).await
    }
}
