//! The members of a lost majority come back, in any order.

use crate::recover::{apply, copy_folder, is_superseded, path, plan, stop, voted_term};
use crate::support::{Cluster, until};
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use std::path::PathBuf;

/// All ways to choose `count` of the nodes.
fn subsets(nodes: usize, count: usize) -> Vec<Vec<usize>> {
    let all = (0..1usize << nodes).filter(|bits| bits.count_ones() as usize == count);
    all.map(|bits| (0..nodes).filter(|at| bits >> at & 1 == 1).collect()).collect()
}

fn orders(nodes: &[usize]) -> Vec<Vec<usize>> {
    if nodes.is_empty() {
        return vec![Vec::new()];
    }
    let first = nodes.iter().flat_map(|first| {
        let rest: Vec<usize> = nodes.iter().copied().filter(|at| at != first).collect();
        orders(&rest).into_iter().map(move |order| [vec![*first], order].concat())
    });
    first.collect()
}

/// Every majority is lost once, and comes back in every order, one after the other or all at once: nobody of it votes again.
/// Of five nodes a few cases are drawn; LOCKSTEP_FENCING=all tries all of them.
#[tokio::test(flavor = "multi_thread")]
async fn a_lost_majority_comes_back_in_any_order_and_never_votes() {
    let all = std::env::var("LOCKSTEP_FENCING").is_ok_and(|what| what == "all");
    let seed =
        std::env::var("LOCKSTEP_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(rand::random);
    println!("LOCKSTEP_SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    for (nodes, losses) in [(3, vec![2]), (5, vec![3, 4])] {
        let mut cluster = Cluster::start(nodes, &[]).await;
        cluster.put_surely(&cluster.nodes[0], "k", "v").await;
        cluster.digests_agree().await;
        stop(&mut cluster, &(0..nodes).collect::<Vec<usize>>()).await;
        let pristine: Vec<PathBuf> = (0..nodes).map(|at| path(&cluster, &format!("pristine-{at}"))).collect();
        for (node, pristine) in cluster.nodes.iter().zip(&pristine) {
            copy_folder(&node.data_dir, pristine);
        }
        let few = nodes == 5 && !all;
        for count in losses {
            let mut lost_sets = subsets(nodes, count);
            lost_sets.shuffle(&mut random);
            lost_sets.truncate(if few { 1 } else { usize::MAX });
            for lost in lost_sets {
                let mut orders = orders(&lost);
                orders.shuffle(&mut random);
                orders.truncate(if few { 2 } else { usize::MAX });
                lose_and_revive(&mut cluster, &pristine, &lost, &orders).await;
            }
        }
    }
}

async fn lose_and_revive(cluster: &mut Cluster, pristine: &[PathBuf], lost: &[usize], orders: &[Vec<usize>]) {
    let left: Vec<usize> = (0..cluster.nodes.len()).filter(|at| !lost.contains(at)).collect();
    for at in &left {
        copy_folder(&pristine[*at], &cluster.nodes[*at].data_dir);
    }
    let names: Vec<&str> = lost.iter().map(|at| cluster.nodes[*at].name.as_str()).collect();
    let planned = plan(cluster, &left, &names.join(","));
    for at in &left {
        apply(cluster, &planned, *at, &[]);
        cluster.nodes[*at].start();
    }
    cluster.all_ready().await;
    for (number, order) in orders.iter().enumerate() {
        // With few orders each is tried in one way.
        let ways = if orders.len() > 2 { vec![false, true] } else { vec![number % 2 == 1] };
        for at_once in ways {
            for at in order {
                copy_folder(&pristine[*at], &cluster.nodes[*at].data_dir);
            }
            for at in order {
                cluster.nodes[*at].start();
                if !at_once {
                    until("it gives way", || is_superseded(cluster, &cluster.nodes[*at])).await;
                }
            }
            for at in order {
                until("it gives way", || is_superseded(cluster, &cluster.nodes[*at])).await;
            }
            for at in order {
                cluster.nodes[*at].kill();
                let (voted, before) = (voted_term(&cluster.nodes[*at].data_dir), voted_term(&pristine[*at]));
                assert_eq!(voted, before, "{at} voted; lost {lost:?}, back in order {order:?}");
            }
        }
    }
    for at in left {
        cluster.nodes[at].kill();
    }
}
