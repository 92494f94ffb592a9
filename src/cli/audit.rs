//! `lockstep audit`: what operators did last.

use super::common_args::Target;
use super::kv::connect;
use crate::api::AdminActionInfo;
use anyhow::Result;
use chrono::{DateTime, SecondsFormat};
use clap::Args;

#[derive(Debug, Args)]
pub struct AuditArgs {
    /// Show at most so many
    #[arg(long, default_value_t = 20)]
    pub limit: usize,
    #[command(flatten)]
    pub target: Target,
}

pub async fn audit(args: AuditArgs) -> Result<()> {
    let (client, output) = connect(&args.target)?;
    let log = client.admin_log(args.limit).await?;
    output.print(&log, || match log.actions.is_empty() {
        true => "no operator has changed anything yet".to_owned(),
        false => log.actions.iter().map(line).collect::<Vec<_>>().join("\n"),
    })
}

fn line(action: &AdminActionInfo) -> String {
    let AdminActionInfo { index, at_ms, times, principal, token_name, address, node, action } = action;
    let at = i64::try_from(*at_ms).ok().and_then(DateTime::from_timestamp_millis).unwrap_or_default();
    let at = at.to_rfc3339_opts(SecondsFormat::Millis, true);
    let who = match token_name.as_deref().unwrap_or(principal) {
        "" => "anybody",
        who => who,
    };
    // The action has what the client sent as a path.
    let again = if *times > 1 { format!(", {times} times in a row") } else { String::new() };
    format!("{at}  {index:>8}  {who} at {address}, node {node}: {}{again}", action.escape_debug())
}
