//! Disks that fail while a node writes. It must stop by itself, and start again from what was durable.

use super::strace::Tracer;
use super::{Failed, Kind, names, some};
use crate::harness::cluster::Cluster;
use std::time::Duration;

/// How long a node with a failing disk may go on; it has to write in that time.
const END_LIMIT: Duration = Duration::from_secs(8);

pub async fn inject(kind: Kind, cluster: &mut Cluster, random: &mut fastrand::Rng) -> Result<String, Failed> {
    let victim = some(cluster, random, 1)[0];
    let inject = match kind {
        Kind::FsyncError => "fdatasync,sync_file_range:error=EIO".to_owned(),
        Kind::DiskFull => format!("pwrite64:error=ENOSPC:when={}+", random.u32(1..20)),
        _ => format!("fdatasync:signal=KILL:when={}", random.u32(1..60)),
    };
    if !cluster.members[victim].runs() {
        return Err("it does not run".into());
    }
    let tracer = Tracer::attach(cluster.members[victim].node.pid(), &inject).await?;
    let ended = tokio::time::timeout(END_LIMIT, cluster.members[victim].ended()).await;
    drop(tracer);
    match ended {
        Ok(status) if kind == Kind::CrashInFlush || status.code() == Some(1) => {
            Ok(format!("{} {inject}", names(cluster, &[victim])))
        }
        // An error that was not told: the node went on, or died of something else.
        Ok(status) => {
            Err(Failed::Broken(format!("{} ended with {status} of {inject}", names(cluster, &[victim]))))
        }
        Err(_) => Err(Failed::NotDone(format!("{} had nothing to write", names(cluster, &[victim])))),
    }
}
