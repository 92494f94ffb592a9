//! Whether the nodes are of one cluster and have the same state, time and release, and what was left half done between them.

use super::asked::{Cluster, NodeAnswers};
use super::finding::Finding;
use crate::api::WarningCode;
use std::collections::{BTreeMap, BTreeSet};

/// How much the clocks may differ, in milliseconds. Certificates and TTLs after a restart of all nodes go by them.
const CLOCKS_MAX_MS: i64 = 2_000;
/// How far log time may be ahead of all clocks, in milliseconds. The alerts have the same limit.
const AHEAD_MAX_MS: i64 = 60_000;

/// One cluster, one history.
pub(super) fn histories(cluster: &Cluster) -> Finding {
    let check = "history";
    let ids: BTreeSet<&str> = cluster.answers().map(|node| node.status.cluster_id.as_str()).collect();
    if ids.len() > 1 {
        let of = |node: &NodeAnswers| format!("{} is of cluster {}", node.name(), node.status.cluster_id);
        return Finding::bad(
            check,
            cluster.answers().map(of).collect::<Vec<_>>().join(", "),
            "Clients may write to both, and neither has all",
            "stop the node that founded a cluster of its own; see docs/operations.md, a cluster of one by accident",
        );
    }
    let gone: Vec<&str> =
        cluster.answers().filter(|node| node.status.removed).map(|node| node.name()).collect();
    if !gone.is_empty() {
        return Finding::bad(
            check,
            format!("removed from the cluster and still running: {}", gone.join(", ")),
            "It refuses its clients",
            "stop it, and delete its data folder",
        );
    }
    let histories: BTreeSet<&str> = cluster.parts().map(|node| node.status.history.id.as_str()).collect();
    match &histories.into_iter().collect::<Vec<_>>()[..] {
        [] => Finding::unknown(check, "no member answers"),
        [one] => Finding::ok(check, format!("all are of history {one}")),
        several => Finding::bad(
            check,
            format!("nodes are of different histories: {}", several.join(", ")),
            "Clients may write to both, and neither has all",
            "stop the nodes of the old one, or: lockstep fence; lockstep history shows which is which",
        ),
    }
}

/// At the same index, the same state.
pub(super) fn digests(cluster: &Cluster) -> Finding {
    let check = "digests";
    let mend = "keep its data folder for a bug report, and restart it; if it differs again, join it with an empty folder";
    let why = "Nodes that have applied the same log must have the same state";
    let said = cluster.parts().filter_map(|node| Some((node.name(), node.status.differs_at?)));
    let said: Vec<String> = said.map(|(name, index)| format!("{name} differs at index {index}")).collect();
    if !said.is_empty() {
        return Finding::bad(check, said.join(", "), why, mend);
    }
    let mut seen: BTreeMap<u64, BTreeMap<&str, Vec<&str>>> = BTreeMap::new();
    let mut silent = Vec::new();
    for node in cluster.parts() {
        match &node.digests {
            Ok(digests) => digests.digests.iter().for_each(|at| {
                seen.entry(at.index).or_default().entry(&at.digest).or_default().push(node.name());
            }),
            Err(reason) => silent.push(format!("{} ({reason})", node.name())),
        }
    }
    if let Some((index, sides)) = seen.iter().find(|(_, sides)| sides.len() > 1) {
        let sides: Vec<String> = sides.values().map(|names| names.join(" and ")).collect();
        return Finding::bad(check, format!("at index {index}: {}", sides.join(" differ from ")), why, mend);
    }
    let all = cluster.parts().count() - silent.len();
    let shared = seen.iter().rfind(|(_, sides)| sides.values().map(Vec::len).sum::<usize>() == all);
    match shared {
        Some((index, _)) if all > 0 => Finding::ok(check, format!("equal at index {index}")),
        _ => Finding::unknown(check, "the nodes have no index in common just now: ask again"),
    }
    .without(&silent)
}

/// The clocks of the nodes, by how far log time is ahead of each.
pub(super) fn clocks(cluster: &Cluster) -> Finding {
    let known = cluster.parts().filter_map(|node| Some((node.status.log_time_ahead_ms?, node.name())));
    compare_clocks(&known.collect::<Vec<_>>())
}

/// `ahead`: by how many milliseconds log time is ahead of each node's clock.
fn compare_clocks(ahead: &[(i64, &str)]) -> Finding {
    let check = "clocks";
    let (Some(least), Some(most)) = (ahead.iter().min(), ahead.iter().max()) else {
        return Finding::unknown(check, "no node knows log time yet");
    };
    let apart = most.0.saturating_sub(least.0);
    if apart > CLOCKS_MAX_MS {
        return Finding::warn(
            check,
            format!("the clock of {} is {apart} ms behind that of {}", most.1, least.1),
            "When all nodes restart together, log time goes on from one of the clocks, and certificates go by them",
            "have all machines take their time from the same place (chronyc tracking, timedatectl)",
        );
    }
    if least.0 > AHEAD_MAX_MS {
        return Finding::warn(
            check,
            format!("log time is {} s ahead of all clocks", least.0 / 1_000),
            "The cluster was started by a clock that was ahead, or the clocks were set back since",
            "set the clocks right; log time goes on evenly, so nothing else is to be done",
        );
    }
    Finding::ok(check, format!("at most {apart} ms apart"))
}

/// The same release everywhere, and the feature level that it knows.
pub(super) fn releases(cluster: &Cluster) -> Finding {
    let check = "release";
    let versions: BTreeSet<&str> = cluster.answers().map(|node| node.status.version.as_str()).collect();
    if versions.len() > 1 {
        let of = cluster.answers().map(|node| format!("{} {}", node.name(), node.status.version));
        return Finding::warn(
            check,
            format!("several: {}", of.collect::<Vec<_>>().join(", ")),
            "Nodes of two releases are for the time of an upgrade",
            "restart the others with the new release: lockstep upgrade status",
        );
    }
    let nodes = match &cluster.nodes {
        Ok(nodes) => nodes,
        Err(reason) => return Finding::unknown(check, reason),
    };
    let reports = || nodes.nodes.iter().map(|node| node.report.as_ref());
    let kept = reports().flatten().map(|report| report.feature_level).max();
    let known: Option<Vec<u32>> = reports().map(|report| Some(report?.feature_level_known)).collect();
    match (kept, known.and_then(|known| known.into_iter().min())) {
        (Some(kept), Some(known)) if known > kept => Finding::warn(
            check,
            format!("the cluster keeps feature level {kept}, and all members know {known}"),
            "The upgrade is not finished: what is new is refused",
            "lockstep upgrade finish",
        ),
        (Some(kept), Some(_)) => {
            let version = versions.into_iter().collect::<String>();
            Finding::ok(check, format!("{version} everywhere, feature level {kept}"))
        }
        _ => Finding::unknown(check, "not all members say which feature level they know"),
    }
}

/// Nodes that have left the cluster on purpose.
pub(super) fn detached(cluster: &Cluster) -> Finding {
    let gone = cluster.answers().filter_map(|node| Some((node, node.status.detached.as_ref()?)));
    let gone: Vec<(&NodeAnswers, u64)> = gone.map(|(node, left)| (node, left.fork_index)).collect();
    let Some((first, _)) = gone.first() else {
        return Finding::ok("detached", "no node that was asked is detached");
    };
    let said = gone.iter().map(|(node, index)| format!("{} left after index {index}", node.name()));
    Finding::warn(
        "detached",
        said.collect::<Vec<_>>().join(", "),
        "What is written there is not in the cluster, and the other way round",
        format!("lockstep attach {}", first.url),
    )
}

/// Forks whose other side has not come back, and merges that were not ended.
pub(super) fn reconciliation(cluster: &Cluster) -> Finding {
    let check = "forks";
    let known = match &cluster.reconciliations {
        Ok(known) => known,
        Err(reason) => return Finding::unknown(check, reason),
    };
    let merges = known.merges.iter().filter(|merge| merge.end.is_none());
    let merges: Vec<String> =
        merges.map(|merge| format!("merge {} waits for step {}", merge.id, merge.next_step)).collect();
    if !merges.is_empty() {
        return Finding::warn(
            check,
            merges.join(", "),
            "Some changes of the other side are in, and some are not",
            "run the same lockstep reconcile apply, or lockstep attach, again",
        );
    }
    let forks: Vec<&str> = known.forks.iter().map(|fork| fork.history.as_str()).collect();
    if forks.is_empty() {
        return Finding::ok(check, "none is open");
    }
    Finding::warn(
        check,
        format!("open: history {}", forks.join(", ")),
        "A side that went its own way has changes that the cluster lacks, and what happens meanwhile is noted in memory",
        "lockstep reconcile plan, or lockstep attach; if it will not come back: lockstep reconcile forget",
    )
}

/// What the nodes warn of themselves, in their words. Certificates and detached nodes have checks of their own.
pub(super) fn warnings(cluster: &Cluster) -> Vec<Finding> {
    let check = "warning";
    let all = cluster.answers().flat_map(|node| {
        let warnings = node.status.warnings.iter();
        let others = warnings.filter(move |warning| match warning.code {
            WarningCode::Detached => false,
            WarningCode::CertificateExpires => node.metrics.is_err(),
            _ => true,
        });
        others.map(move |warning| (node.name(), warning))
    });
    let finding = |(name, warning): (&str, &crate::api::Warning)| {
        let seen = format!("{name}: {}: {}", warning.code.name(), warning.detail);
        match warning.code {
            WarningCode::TwoHistories | WarningCode::MemberOfAnotherCluster | WarningCode::Superseded => {
                Finding::bad(check, seen, "", "docs/divergence.md, fencing")
            }
            _ => Finding::warn(check, seen, "", ""),
        }
    };
    let found: Vec<Finding> = all.map(finding).collect();
    if found.is_empty() { vec![Finding::ok(check, "no node warns of anything else")] } else { found }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::doctor::finding::Level;

    #[test]
    fn clocks_that_differ_and_log_time_that_is_ahead_are_warned_of() {
        let level = |ahead: &[(i64, &str)]| compare_clocks(ahead).level;
        assert_eq!(level(&[]), Level::Unknown);
        assert_eq!(level(&[(5, "n1"), (-7, "n2"), (1_900, "n3")]), Level::Ok);
        assert_eq!(level(&[(70_000, "n1"), (70_100, "n2")]), Level::Warn);
        let apart = compare_clocks(&[(5, "n1"), (3_005, "n2"), (0, "n3")]);
        assert_eq!(apart.level, Level::Warn);
        assert!(apart.seen.contains("the clock of n2 is 3005 ms behind that of n3"), "{apart}");
    }
}
