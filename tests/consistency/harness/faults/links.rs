//! Links that are slow, narrow or unreliable, between nodes and towards clients.

use super::{Failed, Kind, names};
use crate::harness::cluster::Cluster;
use crate::harness::network::{CLIENTS, Speed};
use std::time::Duration;

pub async fn inject(kind: Kind, cluster: &mut Cluster, random: &mut fastrand::Rng) -> Result<String, Failed> {
    let ids: Vec<u64> = cluster.members.iter().map(|member| member.id).collect();
    let pairs = || ids.iter().flat_map(|&a| ids.iter().map(move |&b| (a, b))).filter(|(a, b)| a != b);
    let network = &cluster.network;
    Ok(match kind {
        Kind::SlowLinks => {
            let speed =
                Speed { delay_ms: random.u64(5..60), jitter_ms: random.u64(5..100), ..Speed::default() };
            pairs().for_each(|(a, b)| network.slow(a, b, speed));
            format!("{} ms and up to {} more everywhere", speed.delay_ms, speed.jitter_ms)
        }
        Kind::SlowLeader => {
            let leader = cluster.wait_for_leader().await.ok_or("no leader")?;
            let id = ids[leader];
            // Around the time that an election takes.
            let delay_ms = random.u64(50..400);
            let speed = Speed { delay_ms, jitter_ms: 20, ..Speed::default() };
            pairs().filter(|(a, b)| *a == id || *b == id).for_each(|(a, b)| network.slow(a, b, speed));
            format!("{delay_ms} ms to and from {}", names(cluster, &[leader]))
        }
        Kind::Throttled => {
            let speed = Speed { bytes_per_s: random.u64(20_000..200_000), ..Speed::default() };
            pairs().for_each(|(a, b)| network.slow(a, b, speed));
            format!("{} bytes a second", speed.bytes_per_s)
        }
        Kind::Resets => {
            let times = random.u32(5..25);
            for _ in 0..times {
                let (a, b) = (ids[random.usize(..ids.len())], ids[random.usize(..ids.len())]);
                // With itself a node has no connections; those with clients break in its place.
                network.break_off(a, if a == b { CLIENTS } else { b });
                tokio::time::sleep(Duration::from_millis(random.u64(5..150))).await;
            }
            format!("{times} times")
        }
        _ => {
            let victim = random.usize(..ids.len());
            let (one, other) = (random.bool(), random.bool());
            if one || !other {
                network.cut_one_way(CLIENTS, ids[victim]);
            }
            if other || !one {
                network.cut_one_way(ids[victim], CLIENTS);
            }
            format!("clients and {}", names(cluster, &[victim]))
        }
    })
}
