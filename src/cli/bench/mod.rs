//! `lockstep bench`: puts load on nodes and measures it.
//!
//! Each connection is a task of its own with one request under way at a time, and counts for itself. It does
//! as little as it can beside: most often it shares its machine with those it measures.

mod args;
mod baseline;
mod connection;
mod fill;
mod http_exchange;
mod http_requests;
mod keys;
mod load;
mod measure;
mod redis_exchange;
mod redis_requests;
mod report;
mod requests;
mod socket;
mod target;
mod template;
mod timer;

pub use args::{BaselineArgs, BenchArgs};
pub use baseline::baseline_server;

use super::output::Output;
use crate::client::ClientError;
use anyhow::{Result, bail};
use connection::Connection;
use futures::{StreamExt, TryStreamExt, stream};
use indicatif::{ProgressBar, ProgressStyle};
use keys::Keys;
use load::{Load, Schedule, Times};
use measure::Tally;
use report::Report;
use requests::Requests;
use std::time::{Duration, Instant};
use target::Server;
use tokio::task::JoinSet;

/// Connections that are made at a time: more would overflow what a listener keeps waiting.
const CONNECTING: usize = 128;
/// How often the progress is drawn.
const DRAW: Duration = Duration::from_millis(100);

/// Runs the command.
pub async fn bench(args: Box<BenchArgs>) -> Result<()> {
    args.check()?;
    let servers = target::choose(&args).await?;
    let bar = progress_bar()?;
    if args.fills() {
        fill::fill(&args, &servers, &bar).await?;
    }
    let connections = connect(&args, &servers).await?;
    let keys = Keys::for_each(args.connections, args.keys, args.distribution, args.seed)?;
    let begin = Instant::now();
    let count = begin + args.warm_up;
    let times = Times { begin, count, end: count + args.seconds };

    let mut operations = 1;
    let mut loads = JoinSet::new();
    for ((number, (server, connection)), keys) in (0..).zip(connections).zip(keys) {
        let requests = Requests::new(&args, keys);
        operations = requests.operations();
        let load = Load { server, connection, requests, limit: args.target.timeout(), times };
        match args.rate {
            None => loads.spawn(load.closed_loop()),
            Some(rate) => {
                let connections = args.connections;
                loads.spawn(load.fixed_rate(Schedule { begin, rate, connection: number, connections }))
            }
        };
    }
    let total = finish(loads, times, &bar).await?;
    // A closed loop may end a little early, and the last answers may come late.
    let took = total.last.map_or(args.seconds, |last| last.duration_since(count).max(args.seconds));
    let report = Report::new(&args, &servers, operations, &total, took)?;
    Output { json: args.target.json }.print(&report, || report.in_words())?;
    match report.requests {
        0 if report.errors > 0 => {
            let why = report.transport_error.map(|error| format!(": {error}")).unwrap_or_default();
            bail!("every request failed: {:?}{why}", report.errors_by_code)
        }
        0 => bail!("no request was answered"),
        _ => Ok(()),
    }
}

/// Makes the connections, to the servers in turn. A server that is not there at the beginning is a mistake.
async fn connect(args: &BenchArgs, servers: &[Server]) -> Result<Vec<(Server, Connection)>> {
    let limit = args.target.timeout();
    let connections = servers.iter().cycle().take(args.connections as usize).map(async |server| {
        match Connection::open(server, limit).await {
            Ok(connection) => Ok((server.clone(), connection)),
            Err(error) => {
                Err(ClientError::Unreachable { url: server.url.clone(), reason: error.to_string() })
            }
        }
    });
    Ok(stream::iter(connections).buffered(CONNECTING).try_collect().await?)
}

/// Waits for all connections, and shows how time goes by.
async fn finish(mut loads: JoinSet<Result<Tally>>, times: Times, bar: &ProgressBar) -> Result<Tally> {
    let mut total = Tally::new()?;
    let mut draw = tokio::time::interval(DRAW);
    bar.set_length(tenths_of_seconds(times.end - times.begin));
    loop {
        tokio::select! {
            ended = loads.join_next() => match ended {
                Some(tally) => total.merge(&tally??)?,
                None => break,
            },
            _ = draw.tick() => {
                bar.set_message(if Instant::now() < times.count { "warming up" } else { "measuring" });
                bar.set_position(tenths_of_seconds(times.begin.elapsed()));
            }
        }
    }
    bar.finish_and_clear();
    Ok(total)
}

fn tenths_of_seconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis() / 100).unwrap_or(u64::MAX)
}

fn progress_bar() -> Result<ProgressBar> {
    // indicatif draws on standard error, and only if that is a terminal.
    let bar = ProgressBar::new(1);
    bar.set_style(ProgressStyle::with_template("{bar:40} {msg}")?);
    Ok(bar)
}
