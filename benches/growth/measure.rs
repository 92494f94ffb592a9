//! Measures one row once: starts its cluster, fills it, puts load on it, and stops it.

use crate::rows::{Asks, NEW_KEYS, Row};
use crate::support::{Cluster, Node, run};
use serde_json::Value;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// How each load goes.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    pub seconds: f64,
    pub warm_up: f64,
    pub connections: u32,
}

/// What was found.
#[derive(Debug)]
pub struct Sample {
    /// Reports of `lockstep bench`; no reads where nothing stays to be read.
    pub get: Option<Value>,
    pub put: Value,
    /// What an entry took, on each node.
    pub bytes_per_entry: Vec<f64>,
    /// Bytes that a node had the disk write for each byte of a value that was put; `None` where the system does not tell.
    pub bytes_written: Option<f64>,
    /// How far each node's snapshot moved while puts were measured, in log entries.
    pub snapshots_moved: Vec<u64>,
}

/// # Errors
/// What `lockstep bench` said when it failed.
pub async fn measure(row: &Row, load: Load, folder: &Path) -> Result<Sample, String> {
    let cluster = Cluster::start_in(folder, row.nodes, row.settings).await;
    let urls: Vec<&str> = cluster.nodes.iter().map(|node| node.http.as_str()).collect();
    let with = |work: &str, keys: u64, load: Load, more: &str| {
        let Load { seconds, warm_up, connections } = load;
        format!(
            "bench {work} --url {} --keys {keys} --value-bytes {} --connections {connections} \
             --seconds {seconds} --warm-up {warm_up}{more} --json",
            urls.join(","),
            row.value_bytes
        )
    };

    let empty: Vec<u64> = cluster.nodes.iter().map(resident).collect();
    // `get` puts all keys before it reads the first.
    let hardly = Load { seconds: 0.5, warm_up: 0.0, connections: 1 };
    bench(with("get", row.entries, hardly, "")).await?;
    let full = cluster.nodes.iter().map(resident);
    let grown = full.zip(&empty).map(|(full, empty)| full.saturating_sub(*empty));
    let bytes_per_entry = grown.map(|bytes| bytes as f64 / row.entries as f64).collect();

    let get = match row.asks {
        Asks::NewKeys => None,
        Asks::HeldKeys => {
            let _idle = idle(row.idle, &cluster);
            Some(bench(with("get", row.entries, load, " --no-fill")).await?)
        }
    };
    let before = snapshots(&cluster).await;
    let (stored, written) = (puts(&cluster).await, written(folder));
    let _idle = idle(row.idle, &cluster);
    let keys = if row.asks == Asks::NewKeys { NEW_KEYS } else { row.entries };
    let put = bench(with("put", keys, load, "")).await?;
    let after = snapshots(&cluster).await;
    let snapshots_moved = after.iter().zip(&before).map(|(after, before)| after - before).collect();
    let put_bytes = (puts(&cluster).await - stored) as f64 * f64::from(row.value_bytes);
    let written = self::written(folder).zip(written).map(|(after, before)| after - before);
    let bytes_written = written.map(|bytes| bytes as f64 / put_bytes / row.nodes as f64);
    Ok(Sample { get, put, bytes_per_entry, bytes_written, snapshots_moved })
}

/// Runs the program with these arguments; its report.
async fn bench(arguments: String) -> Result<Value, String> {
    let running = tokio::task::spawn_blocking(move || run(&arguments.split(' ').collect::<Vec<&str>>()));
    let (code, out, error) = running.await.expect("it ends");
    match out.lines().last().map(serde_json::from_str) {
        Some(Ok(report)) if code == 0 => Ok(report),
        _ => Err(error.trim().to_owned()),
    }
}

/// Resident bytes of a node.
fn resident(node: &Node) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", node.pid())).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("it has memory");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1_024
}

/// Bytes written so far to the disk that has a folder, by all programs. What the system counts for each program is no use:
/// it counts large pieces of a file whenever a part of one changes.
fn written(folder: &Path) -> Option<u64> {
    // SAFETY: it takes nothing, and always succeeds.
    unsafe { libc::sync() };
    let device = std::fs::metadata(folder).ok()?.dev();
    let device = [libc::major(device), libc::minor(device)].map(|number| number.to_string());
    let disks = std::fs::read_to_string("/proc/diskstats").ok()?;
    // Number, number, name, then seven counts from the reads on; the last of them is of 512-byte sectors written.
    let disk = disks.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let disk = disk
        .into_iter()
        .find(|fields| fields.get(..2) == Some(&device.each_ref().map(String::as_str)[..]))?;
    Some(disk.get(9)?.parse::<u64>().ok()? * 512)
}

/// Values put so far.
async fn puts(cluster: &Cluster) -> u64 {
    let status = cluster.status(&cluster.nodes[0]).await;
    status["cache"]["counts"]["puts"].as_u64().expect("a number")
}

/// The index of each node's snapshot.
async fn snapshots(cluster: &Cluster) -> Vec<u64> {
    let mut indexes = Vec::new();
    for node in &cluster.nodes {
        indexes.push(cluster.status(node).await["snapshot_index"].as_u64().expect("a number"));
    }
    indexes
}

/// Opens connections to all nodes in turn. Each asks once, so that its node has done all that it does for one.
fn idle(count: usize, cluster: &Cluster) -> Vec<TcpStream> {
    let open = |node: &Node| {
        let address = node.http.trim_start_matches("http://");
        let mut stream = TcpStream::connect(address).expect("the node listens");
        write!(stream, "GET /ping HTTP/1.1\r\nHost: {address}\r\n\r\n").expect("the node reads");
        let read = stream.read(&mut [0; 1_024]).expect("the node answers");
        assert!(read > 0, "it stays open");
        stream
    };
    cluster.nodes.iter().cycle().take(count).map(open).collect()
}
