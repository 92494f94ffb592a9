//! Processes that are killed, paused, or restarted one after another.

use super::{Failed, Kind, a_follower, names, some};
use crate::harness::cluster::Cluster;

pub async fn inject(kind: Kind, cluster: &mut Cluster, random: &mut fastrand::Rng) -> Result<String, Failed> {
    let majority = cluster.members.len() / 2 + 1;
    let victims = match kind {
        Kind::KillLeader | Kind::PauseLeader => vec![cluster.wait_for_leader().await.ok_or("no leader")?],
        Kind::KillFollower | Kind::PauseFollower => vec![a_follower(cluster, random).await?],
        Kind::KillMajority | Kind::PauseMajority => some(cluster, random, majority),
        _ => (0..cluster.members.len()).collect(),
    };
    match kind {
        Kind::PauseLeader | Kind::PauseFollower | Kind::PauseMajority => {
            for &i in &victims {
                if cluster.members[i].runs() && !cluster.members[i].paused {
                    cluster.members[i].pause();
                }
            }
        }
        Kind::RollingRestart => {
            for &i in &victims {
                let member = &mut cluster.members[i];
                if member.runs() {
                    member.node.signal(libc::SIGTERM);
                    member.ended().await;
                }
                member.start().await;
                cluster.all_ready().await.map_err(Failed::Broken)?;
            }
        }
        _ => {
            for &i in &victims {
                if cluster.members[i].runs() {
                    cluster.members[i].kill();
                }
            }
        }
    }
    Ok(names(cluster, &victims))
}
