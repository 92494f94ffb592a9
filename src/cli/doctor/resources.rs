//! What the nodes have left: certificates, room, files, and the age of backups.

use super::asked::{Cluster, NodeAnswers};
use super::finding::Finding;
use super::metrics::Metrics;
use chrono::{DateTime, SecondsFormat};

const DAY_S: i64 = 24 * 3600;
/// How many days before a certificate expires that is a warning, as nodes themselves have it, and is bad.
const DAYS_WARNED: i64 = 30;
const DAYS_BAD: i64 = 7;
/// Which part of a limit may be used before that is a warning. The alerts have the same limits.
const CAPACITY_MAX: f64 = 0.9;
const FILES_MAX: f64 = 0.8;

/// The nodes whose figures are known, and why those of the others are not.
fn measured(cluster: &Cluster) -> (Vec<(&NodeAnswers, &Metrics)>, Vec<String>) {
    let (mut known, mut silent) = (Vec::new(), Vec::new());
    for node in cluster.answers() {
        match &node.metrics {
            Ok(metrics) => known.push((node, metrics)),
            Err(reason) => silent.push(format!("{} ({reason})", node.name())),
        }
    }
    (known, silent)
}

/// The certificates of the nodes' ports, for clients and for peers.
pub(super) fn certificates(cluster: &Cluster, now_s: i64) -> Finding {
    let (known, silent) = measured(cluster);
    let all = known.iter().flat_map(|(node, metrics)| {
        let ports = metrics.labelled("lockstep_certificate_expiry_timestamp_seconds");
        ports.into_iter().map(|(port, at)| (at as i64, format!("{} for {port}", node.name())))
    });
    let Some((at, whose)) = all.min() else {
        return Finding::ok("certificates", "none: the nodes do not use TLS").without(&silent);
    };
    expiry("certificates", &whose, at, now_s).without(&silent)
}

/// What to say of the certificate that expires first.
pub(super) fn expiry(check: &'static str, whose: &str, at: i64, now_s: i64) -> Finding {
    let left = at.saturating_sub(now_s);
    let until =
        DateTime::from_timestamp(at, 0).unwrap_or_default().to_rfc3339_opts(SecondsFormat::Secs, true);
    let seen = match left.div_euclid(DAY_S) {
        ..0 => format!("that of {whose} has expired ({until})"),
        0 => format!("that of {whose} expires within a day ({until})"),
        days => format!("the first to expire is that of {whose}, in {days} days ({until})"),
    };
    let why = "When it has expired, nobody can connect to that port any more";
    let mend = "lockstep cert renew FILE, then replace the node's file: it is read again within ten seconds";
    match left {
        _ if left > DAYS_WARNED * DAY_S => Finding::ok(check, seen),
        _ if left > DAYS_BAD * DAY_S => Finding::warn(check, seen, why, mend),
        _ => Finding::bad(check, seen, why, mend),
    }
}

/// How full the cache is. With most policies a full one is normal: it evicts.
pub(super) fn capacity(cluster: &Cluster) -> Finding {
    let check = "capacity";
    let Some(node) = cluster.parts().max_by_key(|node| node.status.applied_index) else {
        return Finding::unknown(check, "no member answers");
    };
    let status = &node.status;
    let part = |used: u64, limit: u64| used as f64 / limit.max(1) as f64;
    let used = part(status.entries, status.config.capacity_entries);
    let used = used.max(part(status.bytes, status.config.capacity_bytes));
    let evicted = status.cache.counts.evicted_by_entries + status.cache.counts.evicted_by_bytes;
    let policy = status.config.policy.name();
    let seen = format!("{:.0} % used, {evicted} evicted so far by {policy}", used * 100.0);
    if policy == "noeviction" && used > CAPACITY_MAX {
        return Finding::warn(
            check,
            seen,
            "A full cache that evicts nothing refuses writes",
            "lockstep config --capacity-bytes, --capacity-entries or --policy",
        );
    }
    Finding::ok(check, seen)
}

/// How many files each node may still open.
pub(super) fn open_files(cluster: &Cluster) -> Finding {
    let (known, silent) = measured(cluster);
    let parts = known.iter().filter_map(|(node, metrics)| {
        let (open, limit) = (metrics.value("process_open_fds")?, metrics.value("process_max_fds")?);
        Some((open / limit.max(1.0), format!("{} has {open} of {limit} open", node.name())))
    });
    let Some((part, seen)) = parts.max_by(|one, other| one.0.total_cmp(&other.0)) else {
        return Finding::unknown("files", "no node says how many it has open").without(&silent);
    };
    if part > FILES_MAX {
        return Finding::warn(
            "files",
            seen,
            "A node without files refuses connections, and cannot write snapshots",
            "raise its limit (LimitNOFILE=, ulimit -n), or lower --connections",
        );
    }
    Finding::ok("files", seen).without(&silent)
}

/// How old the newest backups are, of the nodes that make them by themselves.
pub(super) fn backups(cluster: &Cluster, now_s: i64) -> Finding {
    let check = "backups";
    let (known, silent) = measured(cluster);
    let mut late = Vec::new();
    let mut made = Vec::new();
    for (node, metrics) in known {
        let at = metrics.value("lockstep_backup_last_success_timestamp_seconds");
        let every = metrics.value("lockstep_backup_interval_seconds");
        let (Some(at), Some(every), None) = (at, every, &node.status.detached) else { continue };
        let said = match at as i64 {
            0 => format!("{} has made none yet", node.name()),
            at => format!("that of {} is {} minutes old", node.name(), now_s.saturating_sub(at) / 60),
        };
        let failures = metrics.value("lockstep_backup_failures_total").unwrap_or(0.0);
        let started_s = now_s - i64::try_from(node.status.uptime_ms / 1_000).unwrap_or(0);
        let since = (at as i64).max(if at == 0.0 { started_s } else { 0 });
        if now_s.saturating_sub(since) as f64 > 2.0 * every || (at == 0.0 && failures > 0.0) {
            late.push(format!("{said}, {failures} failures"));
        } else {
            made.push(said);
        }
    }
    if !late.is_empty() {
        return Finding::warn(
            check,
            late.join("; "),
            "What is lost with all nodes comes back from a backup only",
            "see its log: the folder of --backup-dir is full or gone, or the node has no majority",
        );
    }
    match made.is_empty() {
        true => Finding::unknown(check, "no node makes them by itself (--backup-dir)"),
        false => Finding::ok(check, made.join("; ")),
    }
    .without(&silent)
}

/// What nobody can tell from here.
pub(super) fn not_reported() -> Finding {
    Finding::unknown(
        "machine",
        "nodes do not report free disk space and limits of memory: see df and free there",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::doctor::finding::Level;

    #[test]
    fn a_certificate_gets_worse_as_it_expires() {
        let at = 1_000 * DAY_S;
        let level = |days| expiry("certificates", "n1 for peers", at, at - days * DAY_S);
        for (days, wanted, text) in [
            (31, Level::Ok, "in 31 days"),
            (30, Level::Warn, "in 30 days"),
            (8, Level::Warn, "in 8 days"),
            (7, Level::Bad, "in 7 days"),
            (0, Level::Bad, "within a day"),
            (-1, Level::Bad, "has expired"),
        ] {
            let found = level(days);
            assert_eq!(found.level, wanted, "{days}: {found}");
            assert!(found.seen.contains(text), "{days}: {found}");
        }
    }
}
