//! What tokens cost: the same cluster before it has its first one, and after.
//!
//! A cluster has no way back, so each round has a new one.

use super::load::{SECONDS, WORKS, Work, load, print_ratios};
use super::until;
use crate::support::{Cluster, run};
use reqwest::Method;
use std::collections::BTreeMap;

const ROUNDS: usize = 5;

pub async fn tokens() {
    println!("tokens: three nodes, keys of 16 bytes, values of 128, {ROUNDS} rounds of {SECONDS} s each");
    let mut ratios: BTreeMap<Work, Vec<f64>> = BTreeMap::new();
    for _ in 0..ROUNDS {
        let cluster = Cluster::start(3, &[]).await;
        let folder = cluster.nodes[0].data_dir.to_str().expect("a path").to_owned();
        let file = cluster.nodes[0].data_dir.join("root-token").to_str().expect("a path").to_owned();
        let mut without = BTreeMap::new();
        for work in WORKS {
            without.insert(work, load(&cluster, work, &[]).await);
        }
        let (code, _, error) = run(&["token", "recover", "--data-dir", &folder]);
        assert_eq!(code, 0, "{error}");
        until("every node asks for a token", || async {
            let mut asks = true;
            for node in &cluster.nodes {
                asks &= cluster.request(Method::GET, node, "/v1/keys", "").await.status() == 401;
            }
            asks
        })
        .await;
        for work in WORKS {
            let with = load(&cluster, work, &["--token-file", &file]).await;
            ratios.entry(work).or_default().push(with / without[&work]);
        }
    }
    print_ratios(ratios);
}
