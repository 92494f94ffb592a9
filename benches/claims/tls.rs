//! What TLS and tokens cost together: a cluster without, and one with both, in turns.

use super::load::{SECONDS, WORKS, load, print_ratios};
use crate::support::Cluster;
use crate::support::encrypted::{Encrypted, path};
use std::collections::BTreeMap;

const ROUNDS: usize = 5;

pub async fn tls() {
    println!("tls: three nodes, keys of 16 bytes, values of 128, {ROUNDS} rounds of {SECONDS} s each");
    let mut ratios = BTreeMap::new();
    for _ in 0..ROUNDS {
        let mut without = BTreeMap::new();
        let plain = Cluster::start(3, &[]).await;
        for work in WORKS {
            without.insert(work, load(&plain, work, &[]).await);
        }
        drop(plain);
        let encrypted = Encrypted::start(3).await;
        let ca = encrypted.certs.join("ca.crt");
        let secrets = ["--ca-file", path(&ca), "--token-file", path(&encrypted.root)];
        for work in WORKS {
            let with = load(&encrypted.cluster, work, &secrets).await;
            ratios.entry(work).or_insert_with(Vec::new).push(with / without[&work]);
        }
    }
    print_ratios(ratios);
}
