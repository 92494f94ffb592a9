//! `lockstep fence`: ends a node's part in a history that was recovered elsewhere.

use super::common_args::Target;
use super::kv::connect;
use anyhow::Result;
use clap::Args;
use serde_json::json;

#[derive(Debug, Args)]
pub struct FenceArgs {
    #[command(flatten)]
    pub target: Target,
}

/// Runs the command.
pub async fn fence(args: FenceArgs) -> Result<()> {
    let (client, output) = connect(&args.target)?;
    client.fence().await?;
    output.print(&json!({"fenced": true}), || {
        "it takes no part in its cluster any more; bring its changes in with `lockstep reconcile`".to_owned()
    })
}
