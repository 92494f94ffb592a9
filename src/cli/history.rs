//! `lockstep history`: where logs come from, as a tree.

use super::common_args::Target;
use super::kv::connect;
use crate::api::LineageReport;
use crate::lineage::History;
use crate::node::{lineage_of_backup, lineage_of_folder};
use anyhow::{Context, Result, bail};
use chrono::{DateTime, SecondsFormat};
use clap::Args;
use serde::Serialize;
use std::fmt::Write;
use std::path::Path;

#[derive(Debug, Args)]
pub struct HistoryArgs {
    /// URLs of nodes, data folders of nodes that do not run, and backups; by default the node at --url
    pub sources: Vec<String>,
    #[command(flatten)]
    pub target: Target,
}

/// What one source says.
#[derive(Debug, Serialize)]
struct Told {
    source: String,
    #[serde(flatten)]
    report: LineageReport,
}

/// Runs the command.
pub async fn history(args: HistoryArgs) -> Result<()> {
    let (client, output) = connect(&args.target)?;
    let mut told = Vec::new();
    if args.sources.is_empty() {
        told.push(Told { source: args.target.url.join(","), report: client.lineage().await? });
    }
    for source in args.sources {
        let report = ask(&source, &args.target).await.with_context(|| source.clone())?;
        told.push(Told { source, report });
    }
    let cluster = told[0].report.lineage.cluster_id();
    if let Some(other) = told.iter().find(|told| told.report.lineage.cluster_id() != cluster) {
        bail!("{} belongs to another cluster than {}", other.source, told[0].source);
    }
    output.print(&told, || tree(&told))
}

async fn ask(source: &str, target: &Target) -> Result<LineageReport> {
    if source.starts_with("http://") || source.starts_with("https://") {
        let client = target.client_of(&[source.to_owned()], target.timeout())?;
        return Ok(client.lineage().await?);
    }
    let path = Path::new(source);
    let report = if path.is_dir() { lineage_of_folder(path) } else { lineage_of_backup(path) };
    Ok(report?)
}

/// All histories, each under the one it forked from, and under each the sources whose log ends in it.
fn tree(told: &[Told]) -> String {
    let mut out = format!("cluster {}", told[0].report.lineage.cluster_id());
    let first = &told[0].report.lineage.histories()[0];
    describe(&mut out, told, first, 0);
    out
}

fn describe(out: &mut String, told: &[Told], history: &History, depth: usize) {
    let indent = "  ".repeat(depth);
    let began = i64::try_from(history.began_at_ms).ok().and_then(DateTime::from_timestamp_millis);
    let began = began.map_or_else(String::new, |at| at.to_rfc3339_opts(SecondsFormat::Secs, true));
    let (number, id) = (history.number, &history.id);
    let kind = serde_json::to_value(history.kind).unwrap_or_default();
    let kind = kind.as_str().unwrap_or_default();
    // Writing to a string does not fail.
    let _ = match depth {
        0 => write!(out, "\n{number} {id}\n  {kind} {began}"),
        _ => write!(
            out,
            "\n{indent}{number} {id}\n{indent}  {kind} {began}, forked after index {}, begins at {}",
            history.fork_index, history.start_index
        ),
    };
    if !history.reason.is_empty() {
        let _ = write!(out, "\n{indent}  {}", history.reason);
    }
    for Told { source, report } in told.iter().filter(|told| told.report.lineage.current().id == history.id) {
        let name = report.node.as_ref().map_or("backup", |node| node.name.as_str());
        let (applied, last) = (report.applied_index, report.last_log_index);
        let _ = write!(out, "\n{indent}  - {name} ({source}): applied up to {applied}, log up to {last}");
    }
    let mut shown: Vec<&str> = Vec::new();
    for child in told.iter().filter_map(|told| child_of(told, history)) {
        if !shown.contains(&child.id.as_str()) {
            shown.push(&child.id);
            describe(out, told, child, depth + 1);
        }
    }
}

/// The history after this one in a lineage.
fn child_of<'a>(told: &'a Told, history: &History) -> Option<&'a History> {
    let histories = told.report.lineage.histories();
    let at = histories.iter().position(|known| known.id == history.id)?;
    histories.get(at + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lineage::{HistoryKind, Lineage};

    fn told(source: &str, lineage: &Lineage) -> Told {
        let report = LineageReport {
            node: None,
            lineage: lineage.clone(),
            applied_index: 7,
            last_log_index: 9,
            term_starts: Vec::new(),
        };
        Told { source: source.into(), report }
    }

    #[test]
    fn forks_stand_under_what_they_forked_from() {
        let first = Lineage::founded("c", 0);
        let fork = |from: &Lineage, id: &str| {
            from.fork(id.into(), HistoryKind::Restored, from.current().start_index + 5, 0, 0, "why")
                .expect("room")
        };
        let (left, right) = (fork(&first, "left"), fork(&first, "right"));
        let last = fork(&left, "last");
        let text = tree(&[told("a", &last), told("b", &right), told("d", &left), told("e", &last)]);
        let lines: Vec<&str> = text.lines().filter(|line| !line.contains("why")).collect();
        assert_eq!(
            lines,
            [
                "cluster c",
                "1 c",
                "  founded 1970-01-01T00:00:00Z",
                "  2 left",
                "    restored 1970-01-01T00:00:00Z, forked after index 5, begins at 10000000000000",
                "    - backup (d): applied up to 7, log up to 9",
                "    3 last",
                "      restored 1970-01-01T00:00:00Z, forked after index 10000000000005, begins at 20000000000000",
                "      - backup (a): applied up to 7, log up to 9",
                "      - backup (e): applied up to 7, log up to 9",
                "  2 right",
                "    restored 1970-01-01T00:00:00Z, forked after index 5, begins at 10000000000000",
                "    - backup (b): applied up to 7, log up to 9",
            ]
        );
    }
}
