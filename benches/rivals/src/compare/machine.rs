//! Where and with what it was measured: figures mean nothing without it.

use super::process::{command, find, output};
use super::systems::Tools;
use serde_json::{Value, json};
use std::fs;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

const VERSION_LIMIT: Duration = Duration::from_secs(10);
/// Flushes that are timed to tell one disk from another.
const FLUSHES: usize = 200;

/// The machine, and what a flush costs on its disk.
pub fn machine(data_dir: &Path) -> Value {
    json!({
        "kernel": first_line("/proc/sys/kernel/osrelease"),
        "system": os_name(),
        "processor": value_of("/proc/cpuinfo", "model name"),
        "cores": std::thread::available_parallelism().map_or(0, std::num::NonZero::get),
        "memory_kib": value_of("/proc/meminfo", "MemTotal").trim_end_matches(" kB").parse::<u64>().unwrap_or(0),
        "load_before": load(),
        "disk": disk(data_dir),
    })
}

/// Processes that wanted to run over the last minute, on average.
pub fn load() -> f64 {
    first_line("/proc/loadavg").split(' ').next().and_then(|text| text.parse().ok()).unwrap_or(0.0)
}

fn first_line(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default().lines().next().unwrap_or_default().to_owned()
}

fn value_of(path: &str, name: &str) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.split_once(':'));
    line.map_or_else(String::new, |(_, value)| value.trim().to_owned())
}

fn os_name() -> String {
    let text = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let name = text.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    name.unwrap_or_default().trim_matches('"').to_owned()
}

/// The file system below a folder, and how long it takes to flush 4 KiB that were appended to a file in it.
fn disk(data_dir: &Path) -> Value {
    let (kind, device) = file_system(data_dir).unwrap_or_default();
    let (p50, p99) = flush_micros(data_dir).unwrap_or_default();
    json!({ "file_system": kind, "device": device, "flush_p50_us": p50, "flush_p99_us": p99 })
}

fn file_system(data_dir: &Path) -> Option<(String, String)> {
    let device = fs::metadata(data_dir).ok()?.dev();
    let number = format!("{}:{}", libc::major(device), libc::minor(device));
    let table = fs::read_to_string("/proc/self/mountinfo").ok()?;
    let line = table.lines().find(|line| line.split(' ').nth(2) == Some(&number))?;
    let mut after = line.split_once(" - ")?.1.split(' ');
    Some((after.next()?.to_owned(), after.next()?.to_owned()))
}

fn flush_micros(data_dir: &Path) -> std::io::Result<(u64, u64)> {
    let mut file = tempfile::tempfile_in(data_dir)?;
    let mut took = Vec::with_capacity(FLUSHES);
    for _ in 0..FLUSHES {
        file.write_all(&[7; 4_096])?;
        let begin = Instant::now();
        file.sync_data()?;
        took.push(u64::try_from(begin.elapsed().as_micros()).unwrap_or(u64::MAX));
    }
    took.sort_unstable();
    Ok((took[FLUSHES / 2], took[FLUSHES * 99 / 100]))
}

/// What every program says that it is; `null` for those that are not here.
pub async fn versions(tools: &Tools) -> Value {
    let mut git = find("git").map(|git| command(&git));
    if let Some(git) = &mut git {
        git.args(["-C", env!("CARGO_MANIFEST_DIR"), "describe", "--always", "--dirty"]);
    }
    json!({
        "lockstep": version(Some(&tools.lockstep)).await,
        "commit": said(git).await,
        "etcd": version(tools.etcd.as_deref()).await,
        "redis": version(tools.redis.as_ref().map(|(server, _)| server.as_path())).await,
        "hiqlite": locked_version("hiqlite"),
        "openraft": locked_version("openraft"),
    })
}

async fn version(program: Option<&Path>) -> Option<String> {
    let mut asking = command(program?);
    asking.arg("--version");
    said(Some(asking)).await
}

/// The first line that a command prints.
async fn said(command: Option<Command>) -> Option<String> {
    let text = output(command?, VERSION_LIMIT).await.ok()?;
    Some(text.lines().next()?.trim().to_owned())
}

/// The version of a package, or the newest of several, by what this program was built from.
fn locked_version(package: &str) -> Option<String> {
    let lock = include_str!("../../Cargo.lock");
    let start = format!("name = \"{package}\"\nversion = \"");
    let rest = lock.rsplit_once(&start)?.1;
    Some(rest.split('"').next()?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_is_described() {
        let folder = tempfile::tempdir().expect("a folder");
        let machine = machine(folder.path());
        assert!(machine["cores"].as_u64() > Some(0), "{machine}");
        assert!(machine["memory_kib"].as_u64() > Some(0), "{machine}");
        assert!(machine["kernel"].as_str().is_some_and(|text| !text.is_empty()), "{machine}");
        assert!(locked_version("openraft").is_some_and(|version| version.starts_with("0.10.")));
    }
}
