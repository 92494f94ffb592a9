//! `/v1/redis`: the clients of this node that speak the Redis protocol, and their commands.

use super::response_headers::no_store;
use super::state::AppState;
use crate::front::{BUCKETS_US, REDIS_ROUTE, RedisClient, RequestStats, percentile};
use crate::node::Session;
use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::Duration;

/// Clients in an answer.
const CLIENTS_MAX: usize = 1_000;
/// The statuses that a command's replies are counted under: what has no known outcome, and where refusals begin.
const OUTCOME_UNKNOWN: u16 = 504;
const REFUSED_MIN: u16 = 400;

/// The answer.
#[derive(Serialize)]
pub(super) struct RedisReport {
    /// The name of the node that was asked.
    node: String,
    connected: usize,
    /// How many have connected since the node started.
    connected_total: u64,
    /// Those that have been connected longest, oldest first.
    clients: Vec<ClientReport>,
    /// Each command that was sent since the node started.
    commands: Vec<CommandReport>,
}

#[derive(Serialize)]
struct ClientReport {
    id: u64,
    address: String,
    name: String,
    library: String,
    library_version: String,
    user: String,
    database: u8,
    protocol: u8,
    /// Its newest command; empty before the first.
    command: &'static str,
    age_ms: u64,
    idle_ms: u64,
    /// Commands that wait for `EXEC`; `None` outside a transaction.
    queued: Option<usize>,
    watched_keys: usize,
    /// Channels and patterns.
    subscriptions: usize,
}

#[derive(Default, Serialize)]
struct CommandReport {
    command: &'static str,
    replies: u64,
    /// Error replies, also those without a known outcome.
    errors: u64,
    outcomes_unknown: u64,
    p50_us: Option<u64>,
    p99_us: Option<u64>,
}

/// `GET /v1/redis`.
pub(super) async fn get(State(state): State<AppState>, session: Session) -> (HeaderMap, Json<RedisReport>) {
    let clients = &state.front.redis_clients;
    let report = RedisReport {
        node: session.node_name().to_owned(),
        connected: clients.count(),
        connected_total: clients.total(),
        clients: clients.oldest(CLIENTS_MAX).iter().map(|client| client_report(client)).collect(),
        commands: commands(&state.front.requests),
    };
    (no_store(), Json(report))
}

fn client_report(client: &RedisClient) -> ClientReport {
    let facts = client.facts();
    let [library, library_version] = facts.library.clone();
    ClientReport {
        id: client.id,
        address: client.address.to_string(),
        library,
        library_version,
        database: facts.database,
        protocol: facts.version,
        command: facts.command,
        age_ms: millis(client.age()),
        idle_ms: millis(client.idle(&facts)),
        queued: facts.begun.queued,
        watched_keys: facts.begun.watched,
        subscriptions: facts.subscriptions.0 + facts.subscriptions.1,
        name: facts.name,
        user: facts.user,
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// What was counted of each command, by name.
fn commands(requests: &RequestStats) -> Vec<CommandReport> {
    let mut commands: BTreeMap<&str, (CommandReport, [u64; BUCKETS_US.len() + 1])> = BTreeMap::new();
    for series in requests.series().into_iter().filter(|series| series.route == REDIS_ROUTE) {
        let (report, latencies) = commands.entry(series.method).or_default();
        let replies: u64 = series.latencies.iter().sum();
        report.command = series.method;
        report.replies += replies;
        report.errors += if series.status >= REFUSED_MIN { replies } else { 0 };
        report.outcomes_unknown += if series.status == OUTCOME_UNKNOWN { replies } else { 0 };
        latencies.iter_mut().zip(series.latencies).for_each(|(sum, count)| *sum += count);
    }
    let with_percentiles = |(report, latencies): (CommandReport, _)| CommandReport {
        p50_us: percentile(&latencies, 50),
        p99_us: percentile(&latencies, 99),
        ..report
    };
    commands.into_values().map(with_percentiles).collect()
}
