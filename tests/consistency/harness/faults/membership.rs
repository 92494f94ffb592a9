//! Members that come and go, and a lead that is handed over, while clients work. Numbers and names are never used
//! twice.

use super::{Failed, Kind, names, some};
use crate::harness::cluster::Cluster;

pub async fn inject(kind: Kind, cluster: &mut Cluster, random: &mut fastrand::Rng) -> Result<String, Failed> {
    match kind {
        Kind::TransferLead => {
            cluster.transfer().await?;
            Ok("to another voter".into())
        }
        Kind::JoinAndLeave => {
            let new = cluster.join().await.map_err(Failed::Broken)?;
            let joined = names(cluster, &[new]);
            let leaver = some(cluster, random, 1)[0];
            let left = names(cluster, &[leaver]);
            cluster.remove(leaver).await.map_err(Failed::Broken)?;
            Ok(format!("{joined} joined, {left} left"))
        }
        Kind::Replace => {
            let victim = some(cluster, random, 1)[0];
            let name = names(cluster, &[victim]);
            if cluster.members[victim].runs() {
                cluster.members[victim].kill();
            }
            cluster.remove(victim).await.map_err(Failed::Broken)?;
            let new = cluster.join().await.map_err(Failed::Broken)?;
            Ok(format!("{name} died for good, {} in its place", names(cluster, &[new])))
        }
        _ => {
            let new = cluster.join().await.map_err(Failed::Broken)?;
            let joined = names(cluster, &[new]);
            let leader = cluster.wait_for_leader().await.ok_or("no leader")?;
            let left = names(cluster, &[leader]);
            cluster.remove(leader).await.map_err(Failed::Broken)?;
            Ok(format!("{joined} joined, the leader {left} left"))
        }
    }
}
