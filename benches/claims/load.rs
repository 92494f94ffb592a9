//! The same load on two clusters, or before and after a change of one.

use crate::support::{Cluster, PROGRAM};
use serde_json::Value;
use std::collections::BTreeMap;
use std::process::Command;

/// How long each load runs that is measured.
pub const SECONDS: &str = "4";

/// What is done, over how many connections.
pub type Work = (&'static str, &'static str);

/// Each of them once.
pub const WORKS: [Work; 4] = [("put", "1"), ("put", "64"), ("get", "1"), ("get", "64")];

/// Operations a second at all nodes.
pub async fn load(cluster: &Cluster, (work, connections): Work, more: &[&str]) -> f64 {
    let urls = cluster.nodes.iter().map(|node| node.http.clone()).collect::<Vec<_>>().join(",");
    let more: Vec<String> = more.iter().map(|argument| (*argument).to_owned()).collect();
    let running = tokio::task::spawn_blocking(move || {
        let arguments = ["bench", work, "--json", "--warm-up", "1", "--seconds", SECONDS];
        let target = ["--connections", connections, "--url", &urls];
        Command::new(PROGRAM).args(arguments).args(target).args(more).output().expect("it runs")
    });
    let done = running.await.expect("it ends");
    let report: Value = serde_json::from_slice(&done.stdout).expect("a report");
    report["operations_per_s"].as_f64().expect("a number")
}

/// Prints the median of the ratios of each work, and the span.
pub fn print_ratios(ratios: BTreeMap<Work, Vec<f64>>) {
    for ((work, connections), mut all) in ratios {
        all.sort_by(f64::total_cmp);
        let (median, low, high) = (all[all.len() / 2], all[0], all[all.len() - 1]);
        println!(
            "  {work}, {connections} connections: {median:.3} of what it is without ({low:.3} to {high:.3})"
        );
    }
}
