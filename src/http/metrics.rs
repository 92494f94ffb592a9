//! `/metrics`: figures in Prometheus' text format. No label ever holds a key.

use super::access::CameTooEarly;
use super::metrics_backups::write_backups;
use super::metrics_cache::write_cache;
use super::metrics_memory::write_memory;
use super::metrics_process::write_process;
use super::state::AppState;
use crate::api::{Warning, WarningCode};
use crate::front::{BUCKETS_US, RateLimit, RateLimits, RequestStats, Series};
use crate::node::Principal;
use crate::storage::{FLUSH_BOUNDS_US, FlushStats};
use crate::tls::Certificates;
use axum::Extension;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use std::fmt::Write;

/// `GET /metrics`.
pub(super) async fn metrics(
    State(state): State<AppState>,
    early: Option<Extension<CameTooEarly>>,
) -> Response {
    let mut out = String::new();
    // Writing into a string does not fail.
    let _ = write_process(&mut out);
    let _ = write_requests(&mut out, &state.front.requests);
    let _ = write_rate_limits(&mut out, &state.front.rates);
    let _ = state.backups.iter().try_for_each(|backups| write_backups(&mut out, backups));
    // Before the node has its cluster, there are figures about the process only.
    if early.is_none()
        && let Some(session) = state.session(Principal::Anyone)
    {
        let admin = session.admin();
        let status = admin.status().await;
        let differs = u64::from(status.differs_at.is_some());
        // A leader that nobody follows any more does not know that by itself.
        let leads = u64::from(status.role == "leader" && status.majority);
        let majority = u64::from(status.majority);
        let (sessions, locks) = admin.sessions_and_locks();
        let old_nodes = state.old_nodes.reports().len() as u64;
        let gauges = [
            ("lockstep_sessions", "Client sessions of the cluster.", sessions),
            ("lockstep_locks", "Locks that client sessions hold.", locks),
            ("lockstep_old_nodes", "Nodes of the original server that are attached to this node.", old_nodes),
            ("lockstep_watchers", "Clients that watch this node.", state.front.watchers.count()),
            (
                "lockstep_redis_clients",
                "Clients that are connected to this node by the Redis protocol.",
                state.front.redis_clients.count() as u64,
            ),
            ("lockstep_is_leader", "Whether this node leads a majority.", leads),
            ("lockstep_majority", "Whether a majority of the voters answers this node.", majority),
            ("lockstep_raft_term", "Raft term.", status.term),
            ("lockstep_raft_last_log_index", "Index of the last log entry.", status.last_log_index),
            ("lockstep_raft_committed_index", "Index of the last committed entry.", status.committed_index),
            ("lockstep_raft_applied_index", "Index of the last applied entry.", status.applied_index),
            (
                "lockstep_raft_snapshot_index",
                "Index of the last log entry that the last snapshot covers.",
                status.snapshot_index,
            ),
            (
                "lockstep_log_bytes",
                "Approximate size of the entries in the log, in bytes.",
                admin.log_bytes(),
            ),
            ("lockstep_raft_members", "Members of the cluster.", status.members.len() as u64),
            ("lockstep_differs", "Whether this node's digest differs from the other nodes'.", differs),
            ("lockstep_entries", "Entries in the cache.", status.entries),
            ("lockstep_bytes", "Bytes that the entries count against the capacity.", status.bytes),
            ("lockstep_capacity_entries", "Capacity in entries.", status.config.capacity_entries),
            ("lockstep_capacity_bytes", "Capacity in bytes.", status.config.capacity_bytes),
        ];
        for (name, help, value) in gauges {
            let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} gauge\n{name} {value}");
        }
        let _ = write_warnings(&mut out, &status.warnings);
        let _ = write_certificates(&mut out, admin.certificates());
        let _ = write_cache(&mut out, &status.cache);
        let _ = write_memory(&mut out, &state.front, admin.memory());
        let _ = write_flushes(&mut out, &admin.flushes());
        let _ = writeln!(
            out,
            "# HELP lockstep_watchers_cut_total Watches that this node closed: the client was too slow, or the node was stopping.\n\
             # TYPE lockstep_watchers_cut_total counter\nlockstep_watchers_cut_total {}",
            state.front.watchers.closed()
        );
        if let Some(ahead_ms) = status.log_time_ahead_ms {
            let name = "lockstep_log_time_ahead_seconds";
            let help = "Log time minus this node's wall clock, in seconds.";
            let value = ahead_ms as f64 / 1_000.0;
            let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} gauge\n{name} {value}");
        }
        let (round_trip, election_timeout) = admin.round_trip();
        let _ = writeln!(
            out,
            "# HELP lockstep_round_trip_seconds A typical round trip between this node and a majority.\n\
             # TYPE lockstep_round_trip_seconds gauge\nlockstep_round_trip_seconds {}\n\
             # HELP lockstep_election_timeout_seconds How long this node hears nothing from a leader before it may elect \
             another one.\n\
             # TYPE lockstep_election_timeout_seconds gauge\nlockstep_election_timeout_seconds {}",
            round_trip.as_secs_f64(),
            election_timeout.as_secs_f64()
        );
        let applies = admin.apply_stats();
        let _ = writeln!(
            out,
            "# HELP lockstep_apply_seconds Time spent applying log entries, a few at a time.\n\
             # TYPE lockstep_apply_seconds summary\n\
             lockstep_apply_seconds_sum {}\nlockstep_apply_seconds_count {}\n\
             # HELP lockstep_apply_longest_seconds The longest of these times since this node started.\n\
             # TYPE lockstep_apply_longest_seconds gauge\nlockstep_apply_longest_seconds {}",
            applies.total.as_secs_f64(),
            applies.count,
            applies.longest.as_secs_f64()
        );
        let (version, name) = (&status.version, &status.node.name);
        let _ = writeln!(
            out,
            "# HELP lockstep_build_info Version and node.\n# TYPE lockstep_build_info gauge\n\
             lockstep_build_info{{version=\"{version}\",node=\"{}\"}} 1",
            escape(name)
        );
    }
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], out).into_response()
}

fn write_flushes(out: &mut String, flushes: &FlushStats) -> std::fmt::Result {
    let name = "lockstep_log_flush_seconds";
    writeln!(out, "# HELP {name} How long flushes of the log to disk took.\n# TYPE {name} histogram")?;
    let mut below = 0;
    for (bound, count) in FLUSH_BOUNDS_US.iter().zip(flushes.buckets) {
        below += count;
        writeln!(out, "{name}_bucket{{le=\"{}\"}} {below}", *bound as f64 / 1e6)?;
    }
    writeln!(out, "{name}_bucket{{le=\"+Inf\"}} {}", flushes.count)?;
    writeln!(out, "{name}_sum {}\n{name}_count {}", flushes.total.as_secs_f64(), flushes.count)
}

fn write_warnings(out: &mut String, warnings: &[Warning]) -> std::fmt::Result {
    let name = "lockstep_warnings";
    writeln!(out, "# HELP {name} Warnings for the operator, by kind.\n# TYPE {name} gauge")?;
    for code in WarningCode::ALL {
        let count = warnings.iter().filter(|warning| warning.code == code).count();
        writeln!(out, "{name}{{code=\"{}\"}} {count}", code.name())?;
    }
    Ok(())
}

/// When the certificates of each port expire; nothing without TLS.
fn write_certificates(out: &mut String, certificates: &Certificates) -> std::fmt::Result {
    let name = "lockstep_certificate_expiry_timestamp_seconds";
    if !certificates.is_empty() {
        writeln!(
            out,
            "# HELP {name} When the first certificate of a port expires, as seconds since 1970.\n# TYPE {name} gauge"
        )?;
    }
    for (port, at) in certificates.expiries() {
        writeln!(out, "{name}{{port=\"{port}\"}} {at}")?;
    }
    Ok(())
}

fn escape(label: &str) -> String {
    label.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

fn write_rate_limits(out: &mut String, rates: &RateLimits) -> std::fmt::Result {
    let name = "lockstep_rate_limit_exceeded_total";
    writeln!(
        out,
        "# HELP {name} Requests that exceeded a rate limit, refused or not.\n# TYPE {name} counter"
    )?;
    for limit in RateLimit::ALL {
        writeln!(out, "{name}{{limit=\"{}\"}} {}", limit.name(), rates.exceeded(limit))?;
    }
    let name = "lockstep_rate_limit_forgotten_total";
    let help = "Addresses that were forgotten before they had regained all, because too many were counted.";
    writeln!(out, "# HELP {name} {help}\n# TYPE {name} counter\n{name} {}", rates.forgotten())
}

fn write_requests(out: &mut String, requests: &RequestStats) -> std::fmt::Result {
    let name = "lockstep_http_request_duration_seconds";
    writeln!(out, "# HELP {name} HTTP requests by route, method and status.\n# TYPE {name} histogram")?;
    for Series { route, method, status, latencies, sum_us } in requests.series() {
        let labels = format!("route=\"{route}\",method=\"{method}\",status=\"{status}\"");
        let mut below = 0;
        for (bound, count) in BUCKETS_US.iter().zip(latencies) {
            below += count;
            writeln!(out, "{name}_bucket{{{labels},le=\"{}\"}} {below}", *bound as f64 / 1e6)?;
        }
        let all: u64 = latencies.iter().sum();
        writeln!(out, "{name}_bucket{{{labels},le=\"+Inf\"}} {all}")?;
        writeln!(out, "{name}_sum{{{labels}}} {}", sum_us as f64 / 1e6)?;
        writeln!(out, "{name}_count{{{labels}}} {all}")?;
    }
    Ok(())
}
