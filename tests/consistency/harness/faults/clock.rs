//! Wall clocks that jump and run at another speed, each process its own. The monotonic clock stays as it is: no system
//! lets it jump.

use super::{Failed, Kind, names};
use crate::harness::cluster::Cluster;
use crate::support::wall_clock::throw;

pub async fn inject(kind: Kind, cluster: &mut Cluster, random: &mut fastrand::Rng) -> Result<String, Failed> {
    let jump = |random: &mut fastrand::Rng| {
        let seconds = random.i64(1..7_200);
        if random.bool() { seconds } else { -seconds }
    };
    match kind {
        Kind::ClockJumpLeader => {
            let leader = cluster.wait_for_leader().await.ok_or("no leader")?;
            let seconds = jump(random);
            throw(&cluster.members[leader].node, &format!("{seconds:+}"));
            Ok(format!("{} {seconds:+} s", names(cluster, &[leader])))
        }
        Kind::ClockJumpAll => {
            let mut said = Vec::new();
            for member in &cluster.members {
                let seconds = jump(random);
                throw(&member.node, &format!("{seconds:+}"));
                said.push(format!("{} {seconds:+} s", member.node.name));
            }
            Ok(said.join(", "))
        }
        _ => {
            let mut said = Vec::new();
            for member in &cluster.members {
                let speed = ["0.5", "0.9", "1.1", "2", "5"][random.usize(..5)];
                throw(&member.node, &format!("+0 x{speed}"));
                said.push(format!("{} x{speed}", member.node.name));
            }
            Ok(said.join(", "))
        }
    }
}
