//! What the folders of a lost majority have that the recovered cluster lacks.

use crate::recover::{apply, path, plan};
use crate::support::{Cluster, run, until};
use serde_json::Value;
use std::time::Duration;

/// The end of a log that is not known to be committed comes in or not, as one likes, and a second folder of the same
/// nodes brings nothing twice.
#[tokio::test(flavor = "multi_thread")]
async fn rows_27_and_30_a_tail_and_more_folders_of_one_old_side() {
    let mut cluster = Cluster::start(3, &[]).await;
    cluster.put_surely(&cluster.nodes[0], "both", "base").await;
    cluster.digests_agree().await;
    let leader = cluster.leader().await;
    let [survivor, third] = [(leader + 1) % 3, (leader + 2) % 3];
    cluster.nodes[survivor].kill();
    // Two of three acknowledge this, and the survivor never sees it.
    until("the others take it", || async {
        cluster.put(&cluster.nodes[leader], "acknowledged", "v", Duration::from_secs(1)).await
    })
    .await;
    cluster.nodes[third].kill();
    // The leader takes this into its log before it knows that it is alone.
    let told = cluster.put(&cluster.nodes[leader], "tail", "v", Duration::from_secs(1)).await;
    assert!(!told, "nobody is told that it was stored");
    cluster.nodes[leader].kill();
    let lost = format!("{},{}", cluster.nodes[leader].name, cluster.nodes[third].name);
    let planned = plan(&cluster, &[survivor], &lost);
    assert_eq!(apply(&cluster, &planned, survivor, &[]), "seed");
    cluster.nodes[survivor].start();
    cluster.ready(&cluster.nodes[survivor]).await;
    let live = cluster.nodes[survivor].http.clone();
    for (at, tail, changes) in [(leader, "drop", 1), (leader, "take", 2), (third, "take", 0)] {
        let from = cluster.nodes[at].data_dir.to_str().expect("a path").to_owned();
        let out = path(&cluster, &format!("plan-{at}-{tail}")).to_str().expect("a path").to_owned();
        let arguments = ["reconcile", "plan", "--from", &from, "--out", &out, "--url", &live, "--tail", tail];
        let (code, text, error) = run(&[&arguments[..], &["--json"]].concat());
        assert_eq!(code, 0, "{at} {tail}: {error}");
        let told: Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(told["counts"]["changes"], changes, "{at} {tail}: {told}");
        if tail == "drop" {
            continue;
        }
        let (code, _, error) = run(&["reconcile", "apply", &out, "--url", &live]);
        assert_eq!(code, 0, "{error}");
        for key in ["acknowledged", "tail"] {
            assert_eq!(cluster.get(&cluster.nodes[survivor], key).await, Ok("v".into()), "{at}: {key}");
        }
    }
}
