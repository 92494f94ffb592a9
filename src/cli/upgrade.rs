//! `lockstep upgrade`: which release each member runs, and the end of a rolling upgrade.

use super::common_args::Target;
use super::kv::connect;
use crate::api::{NodeState, Nodes};
use anyhow::Result;
use clap::{Args, Subcommand};
use serde_json::json;
use std::fmt::Write;

#[derive(Debug, Args)]
pub struct UpgradeArgs {
    #[command(subcommand)]
    pub command: UpgradeCommand,
    #[command(flatten)]
    pub target: Target,
}

#[derive(Debug, Subcommand)]
pub enum UpgradeCommand {
    /// Show the release of each member, and the feature level that the cluster keeps
    Status,
    /// Raise the feature level to the newest one that all members know; there is no way back to an earlier release
    Finish,
}

/// Runs one of them.
pub async fn upgrade(args: UpgradeArgs) -> Result<()> {
    let (client, output) = connect(&args.target)?;
    match args.command {
        UpgradeCommand::Status => {
            let nodes = client.nodes().await?;
            let (kept, known) = levels(&nodes);
            let reports: Vec<_> = nodes.nodes.iter().map(report).collect();
            let status = json!({"feature_level": kept, "feature_level_known": known, "nodes": reports});
            output.print(&status, || format!("{}\n{}", table(&nodes), next_step(kept, known)))
        }
        UpgradeCommand::Finish => {
            let done = client.finish_upgrade().await?;
            let level = done.feature_level;
            output.print(&done, || match done.raised {
                true => format!("the cluster keeps feature level {level} from now on"),
                false => format!(
                    "nothing to raise: all members know feature level {level}, which the cluster keeps"
                ),
            })
        }
    }
}

/// The level that the cluster keeps, and the newest that all members know; `None` where not enough members answered.
fn levels(nodes: &Nodes) -> (Option<u32>, Option<u32>) {
    let reports = || nodes.nodes.iter().map(|node| node.report.as_ref());
    let kept = reports().flatten().map(|report| report.feature_level).max();
    let known = reports().map(|report| report.map(|report| report.feature_level_known));
    let known: Option<Vec<u32>> = known.collect();
    (kept, known.and_then(|known| known.into_iter().min()))
}

fn report(node: &NodeState) -> serde_json::Value {
    let report = node.report.as_ref();
    json!({
        "id": node.id, "name": node.name, "error": node.error,
        "version": report.map(|report| &report.version),
        "protocol": report.map(|report| report.protocol),
        "feature_level": report.map(|report| report.feature_level),
        "feature_level_known": report.map(|report| report.feature_level_known),
    })
}

fn table(nodes: &Nodes) -> String {
    let mut text = format!("{:<12} {:<10} {:<9} {:<6} knows", "node", "release", "protocol", "keeps");
    for node in &nodes.nodes {
        let _ = match &node.report {
            Some(report) => {
                let protocol = format!("{}-{}", report.protocol.min, report.protocol.max);
                let (kept, known) = (report.feature_level, report.feature_level_known);
                write!(text, "\n{:<12} {:<10} {protocol:<9} {kept:<6} {known}", node.name, report.version)
            }
            None => write!(text, "\n{:<12} {}", node.name, node.error.as_deref().unwrap_or("no answer")),
        };
    }
    text
}

fn next_step(kept: Option<u32>, known: Option<u32>) -> String {
    match (kept, known) {
        (Some(kept), Some(known)) if known > kept => format!(
            "all members know feature level {known}, and the cluster keeps {kept}: `lockstep upgrade finish` raises it"
        ),
        (Some(kept), Some(_)) => {
            format!("the cluster keeps feature level {kept}, the newest that all members know")
        }
        _ => "not all members answer: the feature level cannot be raised now".into(),
    }
}
