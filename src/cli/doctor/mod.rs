//! `lockstep doctor`: what is wrong with a cluster, or with the folder of a stopped node, and what mends it.
//!
//! It judges what nodes report, and changes nothing. `asked` collects the answers, the other files judge them.

mod agreement;
mod asked;
#[cfg(test)]
mod cases_test;
mod finding;
mod folder;
mod members;
mod metrics;
mod resources;
mod security;

use super::common_args::Target;
use super::exit::NotWell;
use super::output::Output;
use anyhow::Result;
use asked::Cluster;
use clap::Args;
use finding::{Finding, Level};
use serde::Serialize;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// Look at the data folder of a node that does not run, instead of asking nodes. --cert-file, --key-file and --ca-file name
    /// certificates of that node to look at
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    #[command(flatten)]
    pub target: Target,
}

/// All of what was found.
#[derive(Debug, Serialize)]
struct Report<'a> {
    level: Level,
    findings: &'a [Finding],
}

/// Runs the command.
pub async fn doctor(args: DoctorArgs) -> Result<()> {
    let findings = match args.data_dir {
        Some(folder) => {
            let tls = args.target.tls.clone();
            tokio::task::spawn_blocking(move || folder::examine(&folder, &tls, now_s())).await?
        }
        None => examine(&Cluster::ask(&args.target).await?),
    };
    let level = findings.iter().map(|finding| finding.level).max().unwrap_or(Level::Ok);
    let report = Report { level, findings: &findings };
    Output { json: args.target.json }
        .print(&report, || findings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))?;
    match level {
        Level::Ok | Level::Unknown => Ok(()),
        Level::Warn => Err(NotWell::Warnings.into()),
        Level::Bad => Err(NotWell::Bad.into()),
    }
}

/// Every check of a running cluster. Where nobody answers, only that can be said.
fn examine(cluster: &Cluster) -> Vec<Finding> {
    if cluster.answers().next().is_none() {
        return vec![members::answer(cluster)];
    }
    let now = now_s();
    let mut findings = vec![
        members::answer(cluster),
        members::ready(cluster),
        members::leader(cluster),
        members::quorum(cluster),
        members::lag(cluster),
        agreement::histories(cluster),
        agreement::digests(cluster),
        agreement::clocks(cluster),
        agreement::releases(cluster),
        agreement::detached(cluster),
        agreement::reconciliation(cluster),
        resources::certificates(cluster, now),
        resources::capacity(cluster),
        resources::open_files(cluster),
        resources::backups(cluster, now),
        resources::not_reported(),
        security::access(cluster),
    ];
    findings.extend(agreement::warnings(cluster));
    findings
}

/// Seconds since 1970, by this machine's clock.
fn now_s() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
    i64::try_from(now).unwrap_or(i64::MAX)
}
