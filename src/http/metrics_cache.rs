//! The part of `/metrics` about the cache.

use crate::api::CacheReport;
use std::fmt::{Result, Write};

/// Writes the figures. `counts` are of the whole cluster, so they are the same on every node at the same index; reads and
/// touches are this node's own.
pub(super) fn write_cache(out: &mut String, report: &CacheReport) -> Result {
    let CacheReport { counts, reads, touches, .. } = report;
    counters(
        out,
        "lockstep_changes_total",
        "Entries changed since the cluster began, by kind.",
        "kind",
        &[
            ("put", counts.puts),
            ("incr", counts.incrs),
            ("deadline", counts.deadlines),
            ("delete", counts.deletes),
            ("clear", counts.cleared),
        ],
    )?;
    counters(
        out,
        "lockstep_evictions_total",
        "Entries evicted since the cluster began, by the limit that was exceeded.",
        "reason",
        &[("entries", counts.evicted_by_entries), ("bytes", counts.evicted_by_bytes)],
    )?;
    counter(out, "lockstep_expirations_total", "Entries expired since the cluster began.", counts.expired)?;
    counters(
        out,
        "lockstep_reads_total",
        "Reads of single keys answered by this node.",
        "outcome",
        &[("hit", reads.hits), ("miss", reads.misses)],
    )?;
    counters(
        out,
        "lockstep_touches_total",
        "Reads that were to be reported for eviction, by what this node did with them.",
        "outcome",
        &[("sent", touches.sent), ("suppressed", touches.suppressed), ("dropped", touches.dropped)],
    )?;
    counters(
        out,
        "lockstep_touched_total",
        "Entries whose reads were reported in the log since the cluster began, by whether the entry still existed.",
        "outcome",
        &[("counted", counts.touched.saturating_sub(counts.touched_late)), ("late", counts.touched_late)],
    )?;
    let help = "Log entries proposed by this node that report reads.";
    counter(out, "lockstep_touch_log_entries_total", help, touches.log_entries)?;
    let help = "Bytes of the reports of reads in log entries proposed by this node.";
    counter(out, "lockstep_touch_log_bytes_total", help, touches.log_bytes)?;
    gauge_head(out, "lockstep_policy_info", "The eviction policy in force.")?;
    writeln!(out, "lockstep_policy_info{{policy=\"{}\"}} 1", report.policy.name())?;
    let help = "Entries that were cleared and whose memory is not freed yet.";
    gauge_head(out, "lockstep_entries_to_free", help)?;
    writeln!(out, "lockstep_entries_to_free {}", report.entries_to_free)?;
    gauge_head(
        out,
        "lockstep_entries_to_move",
        "Entries that are still in the order of the previous eviction policy.",
    )?;
    writeln!(out, "lockstep_entries_to_move {}", report.entries_to_move)?;
    gauge_head(out, "lockstep_feature_level", "Feature level: the set of replicated rules in force.")?;
    writeln!(out, "lockstep_feature_level {}", report.feature_level)?;
    if let Some(shadow) = &report.shadow {
        let name = "lockstep_shadow_hit_ratio";
        gauge_head(out, name, "Estimated hit ratio of each eviction policy, from a sample of the keys.")?;
        for (policy, percent) in &shadow.hit_percent {
            writeln!(out, "{name}{{policy=\"{policy}\"}} {}", percent / 100.0)?;
        }
        gauge_head(out, "lockstep_shadow_reads", "Reads on which the estimate is based.")?;
        writeln!(out, "lockstep_shadow_reads {}", shadow.reads)?;
    }
    Ok(())
}

fn gauge_head(out: &mut String, name: &str, help: &str) -> Result {
    writeln!(out, "# HELP {name} {help}\n# TYPE {name} gauge")
}

fn counter(out: &mut String, name: &str, help: &str, value: u64) -> Result {
    writeln!(out, "# HELP {name} {help}\n# TYPE {name} counter\n{name} {value}")
}

fn counters(out: &mut String, name: &str, help: &str, label: &str, values: &[(&str, u64)]) -> Result {
    writeln!(out, "# HELP {name} {help}\n# TYPE {name} counter")?;
    values.iter().try_for_each(|(which, value)| writeln!(out, "{name}{{{label}=\"{which}\"}} {value}"))
}
