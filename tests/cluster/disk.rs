//! A disk that fails under a running node.

use crate::support::{Cluster, until};
use std::collections::BTreeSet;
use std::time::Duration;

/// S2, R2: a node whose log can't be written stops by itself, with a word about why; nothing that was
/// acknowledged is lost, and with the disk mended it comes back.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_cannot_write_its_log_stops_and_comes_back() {
    let mut cluster = Cluster::start(3, &[]).await;
    for victim_leads in [false, true] {
        let leader = cluster.leader().await;
        let victim = if victim_leads { leader } else { cluster.follower().await };
        let others = [(victim + 1) % 3, (victim + 2) % 3];
        let db = cluster.nodes[victim].data_dir.join("sled/db");
        let full = libc::rlimit { rlim_cur: db.metadata().unwrap().len(), rlim_max: libc::RLIM_INFINITY };
        // SAFETY: the process is our child; the call only sets how large a file it may write.
        let set = unsafe {
            libc::prlimit(cluster.nodes[victim].pid(), libc::RLIMIT_FSIZE, &full, std::ptr::null_mut())
        };
        assert_eq!(set, 0);
        let value = "v".repeat(200_000);
        let mut written = BTreeSet::new();
        let mut number = 0;
        while cluster.nodes[victim].still_runs() {
            let key = format!("k{victim_leads}{number}");
            let through = if number % 3 == 0 { victim } else { others[number % 2] };
            let url = format!("{}/v1/kv/{key}", cluster.nodes[through].http);
            let request = cluster.http.put(url).body(value.clone()).timeout(Duration::from_secs(8));
            // The node that is about to end may give no answer.
            if let Ok(answer) = request.send().await {
                let is_done = answer.status().is_success();
                let told = answer.text().await.unwrap_or_default();
                // That one has failed, and not the one that has asked it.
                assert!(through == victim || !told.contains("\"fatal\""), "{told}");
                if is_done {
                    written.insert(key);
                }
            }
            number += 1;
            assert!(number < 2_000, "the limit never showed");
        }
        let status = cluster.nodes[victim].wait();
        assert_eq!(status.code(), Some(1), "{}", cluster.nodes[victim].log());
        assert!(cluster.nodes[victim].log().contains("has failed"), "{}", cluster.nodes[victim].log());
        assert!(!written.is_empty());

        cluster.put_surely(&cluster.nodes[others[0]], "still", "here").await;
        cluster.nodes[victim].start();
        cluster.all_ready().await;
        for key in &written {
            assert_eq!(cluster.get(&cluster.nodes[victim], key).await.as_ref(), Ok(&value), "{key}");
        }
        until("the cluster writes again", || {
            cluster.put(&cluster.nodes[victim], "x", "y", Duration::from_secs(5))
        })
        .await;
        cluster.digests_agree().await;
    }
}
