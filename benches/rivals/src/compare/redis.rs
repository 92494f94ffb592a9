//! Redis: its own benchmark, which is given a number of requests and not a time.

use super::process::{command, output};
use super::systems::Settings;
use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Requests of the first try, which tells how many fill the time.
const FIRST: u64 = 2_000;
/// Most requests of a run.
const MOST: u64 = 100_000_000;
const KEYS: u64 = 10_000;
const VALUE_BYTES: u64 = 128;
/// Requests sent without waiting for their answers.
const PIPELINED: usize = 1_000;
const OK: &str = "+OK\r\n";
const RUN_LIMIT: Duration = Duration::from_secs(300);
const ANSWER_LIMIT: Duration = Duration::from_secs(1);

/// Whether a primary has so many replicas that have caught up.
pub async fn has_replicas(port: u16, count: u16) -> bool {
    let asking = tokio::time::timeout(ANSWER_LIMIT, replication(port)).await;
    asking.is_ok_and(|answer| {
        answer.is_ok_and(|text| text.matches("state=online").count() == usize::from(count))
    })
}

/// What a server says of its replication.
async fn replication(port: u16) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    stream.write_all(b"INFO replication\r\nQUIT\r\n").await?;
    let mut text = String::new();
    stream.read_to_string(&mut text).await?;
    Ok(text)
}

/// Puts of `each` pipelined requests on so many connections.
///
/// # Errors
/// The benchmark fails, or prints something else.
pub async fn load(program: &Path, port: u16, clients: u32, each: u32, settings: &Settings) -> Result<Value> {
    let run = async |requests: u64| {
        let mut benchmark = command(program);
        benchmark.args([
            "-h",
            "127.0.0.1",
            "-p",
            &port.to_string(),
            "-t",
            "set",
            "--csv",
            "--precision",
            "3",
        ]);
        benchmark.args(["-c", &clients.to_string(), "-P", &each.to_string(), "-n", &requests.to_string()]);
        benchmark.args(["-d", &VALUE_BYTES.to_string(), "-r", &KEYS.to_string()]);
        read(&output(benchmark, RUN_LIMIT).await?)
    };
    // The first tells how quick it is, the second warms up, the third counts.
    let mut requests = FIRST;
    for seconds in [settings.warm_up, settings.seconds] {
        requests = fitting(per_second(&run(requests).await?)?, seconds);
    }
    let measured = run(requests).await?;
    let per_second = per_second(&measured)?;
    let micros = |name: &str| measured.get(name).map(|millis| (millis * 10_000.0).round() / 10.0);
    #[expect(clippy::cast_precision_loss, reason = "requests are far below 2^52")]
    let seconds = requests as f64 / per_second;
    Ok(json!({
        "work": "put", "system": "Redis", "clients": clients, "pipelined": each, "value_bytes": VALUE_BYTES,
        "keys": KEYS, "seconds": (seconds * 1_000.0).round() / 1_000.0, "requests": requests,
        "requests_per_s": per_second, "errors": 0,
        // Of a request in a pipeline: from when the pipeline was sent.
        "latency_us": {
            "p50": micros("p50_latency_ms"), "p99": micros("p99_latency_ms"), "max": micros("max_latency_ms"),
            "mean": micros("avg_latency_ms"),
        },
    }))
}

/// Stores so many entries, each with a key and a value as long as those of `lockstep bench`.
///
/// # Errors
/// The server goes away, or refuses one.
pub async fn fill(port: u16, entries: u32) -> Result<()> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    let value = "v".repeat(usize::try_from(VALUE_BYTES)?);
    for first in (0..entries).step_by(PIPELINED) {
        let keys = first..entries.min(first.saturating_add(u32::try_from(PIPELINED)?));
        let expected = OK.repeat(keys.len());
        let requests: String = keys
            .map(|key| format!("*3\r\n$3\r\nSET\r\n$16\r\nbench-{key:010}\r\n${VALUE_BYTES}\r\n{value}\r\n"))
            .collect();
        stream.write_all(requests.as_bytes()).await?;
        let mut answers = vec![0; expected.len()];
        tokio::time::timeout(RUN_LIMIT, stream.read_exact(&mut answers)).await.context("Redis hangs")??;
        if answers != expected.as_bytes() {
            bail!("Redis refused a key: {}", String::from_utf8_lossy(&answers[..answers.len().min(80)]));
        }
    }
    Ok(())
}

/// Requests that fill so many seconds.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "within the bounds that follow")]
fn fitting(per_second: f64, seconds: f64) -> u64 {
    ((per_second * seconds) as u64).clamp(FIRST, MOST)
}

fn per_second(figures: &BTreeMap<String, f64>) -> Result<f64> {
    let found = figures.get("rps").copied().filter(|rps| *rps > 0.0);
    found.context("redis-benchmark told no rate")
}

/// The figures of the last line, by the names in the first.
fn read(text: &str) -> Result<BTreeMap<String, f64>> {
    let fields = |line: &str| -> Vec<String> {
        line.split(',').map(|field| field.trim().trim_matches('"').to_owned()).collect()
    };
    let lines: Vec<&str> = text.lines().filter(|line| line.starts_with('"')).collect();
    let [head, .., last] = lines.as_slice() else { bail!("redis-benchmark printed no table: {text}") };
    let named = fields(head).into_iter().zip(fields(last));
    Ok(named.filter_map(|(name, value)| Some((name, value.parse().ok()?))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_read() {
        let text =
            "\"test\",\"rps\",\"avg_latency_ms\",\"p50_latency_ms\"\n\"SET\",\"1234.50\",\"0.5\",\"0.25\"\n";
        let figures = read(text).expect("it is a table");
        assert_eq!(figures["rps"], 1_234.5);
        assert_eq!(figures["p50_latency_ms"], 0.25);
        assert!(read("Could not connect").is_err());
        assert_eq!(fitting(1_000_000.0, 2.0), 2_000_000);
        assert_eq!(fitting(1.0, 1.0), FIRST);
    }
}
