//! Bits that flip and files that lose their ends while a node is down. It has to notice: it starts as if nothing was
//! wrong only where nothing that it needs is, and otherwise refuses and is replaced by a node with a fresh number.

use super::{Failed, Kind, names, some};
use crate::harness::cluster::{Cluster, RECOVERY_LIMIT};
use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

pub async fn inject(kind: Kind, cluster: &mut Cluster, random: &mut fastrand::Rng) -> Result<String, Failed> {
    let victim = some(cluster, random, 1)[0];
    if !cluster.members[victim].runs() {
        return Err("it does not run".into());
    }
    cluster.members[victim].kill();
    let files = files_below(&cluster.members[victim].node.data_dir);
    let file = random.choice(files).ok_or("an empty folder")?;
    let length = fs::metadata(&file).map_err(|error| error.to_string())?.len();
    let damage = if kind == Kind::BitFlip {
        let bits = random.u32(1..64);
        flip(&file, length, bits, random).map_err(|error| error.to_string())?;
        format!("{bits} bits")
    } else {
        let cut = random.u64(1..=length.min(8_192));
        let open = OpenOptions::new().write(true).open(&file).map_err(|error| error.to_string())?;
        open.set_len(length - cut).map_err(|error| error.to_string())?;
        format!("{cut} of {length} bytes")
    };
    let name = names(cluster, &[victim]);
    let file_name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
    cluster.members[victim].start().await;
    if starts(cluster, victim).await? {
        return Ok(format!("{name} {file_name} {damage}: it needed none of that"));
    }
    cluster.members[victim].ended().await;
    cluster.remove(victim).await.map_err(Failed::Broken)?;
    cluster.join().await.map_err(Failed::Broken)?;
    Ok(format!("{name} {file_name} {damage}: it refused, and was replaced"))
}

/// Every file with anything in it, in the order of their names.
fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(files_below(&path));
        } else if entry.metadata().is_ok_and(|metadata| metadata.len() > 0) {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn flip(file: &Path, length: u64, bits: u32, random: &mut fastrand::Rng) -> std::io::Result<()> {
    let file = OpenOptions::new().read(true).write(true).open(file)?;
    for _ in 0..bits {
        let at = random.u64(..length);
        let mut byte = [0];
        file.read_exact_at(&mut byte, at)?;
        byte[0] ^= 1 << random.u8(..8);
        file.write_all_at(&byte, at)?;
    }
    Ok(())
}

/// Whether the node serves; false if it ends instead.
async fn starts(cluster: &mut Cluster, position: usize) -> Result<bool, Failed> {
    let deadline = Instant::now() + RECOVERY_LIMIT;
    loop {
        if !cluster.members[position].node.still_runs() {
            return Ok(false);
        }
        let url = format!("{}/readyz", cluster.members[position].node.http);
        if cluster.http.get(url).send().await.is_ok_and(|answer| answer.status().is_success()) {
            return Ok(true);
        }
        if Instant::now() > deadline {
            return Err(Failed::Broken("a damaged node neither serves nor ends".into()));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
