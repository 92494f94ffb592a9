//! Nodes that cannot hear each other, in all the shapes that have broken clusters before.

use super::{Failed, Kind, names};
use crate::harness::cluster::Cluster;
use std::time::Duration;

pub async fn inject(kind: Kind, cluster: &mut Cluster, random: &mut fastrand::Rng) -> Result<String, Failed> {
    let leader = cluster.wait_for_leader().await.ok_or("no leader")?;
    let mut others: Vec<usize> = (0..cluster.members.len()).filter(|i| *i != leader).collect();
    random.shuffle(&mut others);
    // As many as can be lost.
    let minority = (cluster.members.len() - 1) / 2;
    let id = |i: usize| cluster.members[i].id;
    let network = &cluster.network;
    let apart = |side: &[usize], rest: &[usize]| {
        for &a in side {
            for &b in rest {
                network.cut(id(a), id(b));
            }
        }
        format!("{} | {}", names(cluster, side), names(cluster, rest))
    };
    Ok(match kind {
        Kind::LeaderAlone => apart(&[leader], &others),
        Kind::LeaderInMinority => {
            let (with, without) = others.split_at(minority - 1);
            apart(&[&[leader], with].concat(), without)
        }
        Kind::LeaderInMajority => {
            let (without, with) = others.split_at(minority);
            apart(without, &[&[leader], with].concat())
        }
        Kind::Bridge => {
            // One node hears both halves, which do not hear each other.
            let mut all = [&[leader], others.as_slice()].concat();
            random.shuffle(&mut all);
            let bridge = all.pop().ok_or("no nodes")?;
            let (a, b) = all.split_at(all.len() / 2);
            format!("{} over {}", apart(a, b), names(cluster, &[bridge]))
        }
        Kind::Ring => {
            // Each hears its two neighbours only.
            let mut all = [&[leader], others.as_slice()].concat();
            random.shuffle(&mut all);
            for (a, &first) in all.iter().enumerate() {
                for (b, &second) in all.iter().enumerate().skip(a + 1) {
                    if b - a > 1 && b - a < all.len() - 1 {
                        network.cut(id(first), id(second));
                    }
                }
            }
            names(cluster, &all)
        }
        Kind::LeaderDeaf => {
            others.iter().for_each(|&other| network.cut_one_way(id(other), id(leader)));
            format!("nothing reaches {}", names(cluster, &[leader]))
        }
        Kind::LeaderMute => {
            others.iter().for_each(|&other| network.cut_one_way(id(leader), id(other)));
            format!("nothing leaves {}", names(cluster, &[leader]))
        }
        _ => {
            // Off and on, at about the pace of elections.
            let turns = random.u32(3..7);
            for _ in 0..turns {
                apart(&[leader], &others);
                tokio::time::sleep(Duration::from_millis(random.u64(50..700))).await;
                let forget = random.bool();
                others.iter().for_each(|&other| network.mend(id(leader), id(other), forget));
                tokio::time::sleep(Duration::from_millis(random.u64(20..400))).await;
            }
            format!("{} {turns} times", apart(&[leader], &others))
        }
    })
}
