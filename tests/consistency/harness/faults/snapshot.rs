//! Processes that end in the middle of writing, installing or making room by a snapshot.

use super::strace::Tracer;
use super::{Failed, Kind, a_follower, names, some};
use crate::harness::cluster::Cluster;
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(12);
/// A snapshot becomes the current one by being renamed.
const IN_RENAME: &str = "rename,renameat,renameat2:signal=KILL:when=1";

pub async fn inject(kind: Kind, cluster: &mut Cluster, random: &mut fastrand::Rng) -> Result<String, Failed> {
    let victim = match kind {
        Kind::CrashInSnapshotInstall => a_follower(cluster, random).await?,
        _ => some(cluster, random, 1)[0],
    };
    if !cluster.members[victim].runs() {
        return Err("it does not run".into());
    }
    let pid = cluster.members[victim].node.pid();
    let ask = cluster.http.post(format!("{}/v1/snapshot", cluster.members[victim].node.http));
    let _tracer = match kind {
        Kind::CrashInSnapshotBuild => {
            let tracer = Tracer::attach(pid, IN_RENAME).await?;
            tokio::spawn(ask.send());
            tracer
        }
        Kind::CrashInPurge => {
            // The flushes from here on are of the snapshot, of the log, and of its being cut right after.
            let inject = format!("fdatasync:signal=KILL:when={}", random.u32(1..12));
            let tracer = Tracer::attach(pid, &inject).await?;
            tokio::spawn(ask.send());
            tracer
        }
        _ => {
            falls_behind(cluster, victim).await?;
            let tracer = Tracer::attach(pid, IN_RENAME).await?;
            let me = cluster.members[victim].id;
            let others = cluster.members.iter().filter(|other| other.id != me);
            others.for_each(|other| cluster.network.mend(me, other.id, true));
            tracer
        }
    };
    match tokio::time::timeout(LIMIT, cluster.members[victim].ended()).await {
        Ok(_) => Ok(names(cluster, &[victim])),
        Err(_) => Err(Failed::NotDone(format!("{} wrote nothing in time", names(cluster, &[victim])))),
    }
}

/// Cuts a node off until the others' log no longer reaches back to where it is.
async fn falls_behind(cluster: &Cluster, victim: usize) -> Result<(), Failed> {
    let here = cluster.status(victim).await.ok_or("it tells no status")?.last_log_index;
    let me = cluster.members[victim].id;
    cluster.members.iter().filter(|other| other.id != me).for_each(|other| cluster.network.cut(me, other.id));
    let deadline = Instant::now() + LIMIT;
    loop {
        let mut purged = Vec::new();
        for other in (0..cluster.members.len()).filter(|i| *i != victim) {
            purged.extend(cluster.status(other).await.map(|status| status.purged_index));
        }
        if !purged.is_empty() && purged.iter().all(|purged| *purged > here) {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(Failed::NotDone(format!("the others keep their logs: {purged:?}, it is at {here}")));
        }
        // They let go of what a snapshot covers; none may be due for a while.
        for other in cluster.members.iter().filter(|other| other.id != me) {
            let _ = cluster.http.post(format!("{}/v1/snapshot", other.node.http)).send().await;
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}
