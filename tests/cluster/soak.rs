//! A node that does little for long does not grow. The long form is `cargo bench --bench soak`.

use crate::support::gauges::gauges;
use crate::support::{Cluster, run};

/// One write at a time, each a flush of its own, through many snapshots and purges.
#[tokio::test(flavor = "multi_thread")]
async fn one_write_at_a_time_takes_no_more_and_more() {
    const MB: f64 = 1_000_000.0;
    let cluster = Cluster::start(1, &["--snapshot-entries", "1000", "--entries-kept", "200"]).await;
    let node = &cluster.nodes[0];
    let load = || {
        let arguments =
            ["bench", "put", "--connections", "1", "--keys", "10", "--value-bytes", "16", "--warm-up", "0"];
        let more = ["--seconds", "3", "--url", &node.http];
        let (code, _, error) = run(&[&arguments[..], &more].concat());
        assert_eq!(code, 0, "{error}");
    };
    let now = || async { gauges(&cluster.http, node).await.expect("an answer") };
    // As many writes as tell, however busy the machine is.
    let write = |count: f64| async move {
        let end = now().await.applied + count;
        while now().await.applied < end {
            load();
        }
    };
    write(3_000.0).await;
    let before = now().await;
    write(8_000.0).await;
    let after = now().await;
    println!("{before:?}\n{after:?}");
    // Each write once left 5 KB of memory and 1 KB on disk behind.
    let writes = after.applied - before.applied;
    assert!(after.rss - before.rss < 8.0 * MB + writes * 400.0, "memory: {before:?} {after:?}");
    assert!(after.disk - before.disk < 4.0 * MB + writes * 200.0, "disk: {before:?} {after:?}");
    assert!(after.fds <= before.fds + 4.0 && after.tasks <= before.tasks + 8.0, "{before:?} {after:?}");
    // Some 2,000 entries, and what was purged of the file that holds the oldest.
    assert!(after.log < 3.0 * MB, "the log is purged: {after:?}");
}
