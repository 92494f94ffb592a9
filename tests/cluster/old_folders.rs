//! What the folders of a lost majority have that the recovered cluster lacks.

use crate::reconcile::{Sides, apart};
use crate::recover::{apply, path, plan};
use crate::support::{Cluster, run, until};
use lockstep::client::Client;
use lockstep::merging::{self, Side, Tail};
use lockstep::reconcile::{Action, Choice, PlanLine, Policy, Resolver, Rules, read_plan};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufReader;
use std::slice::from_ref;
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

/// Joins two texts, and leaves everything else to the rules.
struct Joins;

impl Resolver for Joins {
    fn resolve(&self, conflict: &PlanLine) -> Option<Choice> {
        let text = |state: &lockstep::reconcile::KeyState| state.written()?.value.clone();
        let joined = format!("{}+{}", text(&conflict.live)?, text(&conflict.incoming)?);
        Some(Choice::Value { value: Some(joined), value_base64: None, content_type: None })
    }
}

/// A program that a node is part of decides conflicts, and the rules decide those that it leaves.
#[tokio::test(flavor = "multi_thread")]
async fn a_resolver_is_asked_before_the_rules_are() {
    let Sides { cluster, restored } = apart().await;
    let incoming = Side::of_file(&cluster.nodes[0].data_dir).await.expect("the folder");
    let client = Client::new(from_ref(&restored.http), Duration::from_secs(10)).expect("a client");
    let live = Side::of_cluster(&client, "live", cluster.dir.path()).await.expect("an answer");
    let out = path(&cluster, "plan");
    let rules = Rules::all(Policy::PreferLive);
    let planning = tokio::task::spawn_blocking(move || {
        let planned = merging::plan(&incoming, &live, rules, &Joins, Tail::Take, &out, &|_, _| {});
        planned.expect("two sides of one log");
        let mut lines = BTreeMap::new();
        read_plan(BufReader::new(File::open(&out).expect("the plan")), |_, line| {
            lines.insert(line.key.as_str().to_owned(), line);
            Ok(())
        })
        .expect("a plan");
        lines
    });
    let lines = planning.await.expect("no panic");
    let both = lines["both"].decided.as_ref().and_then(|decided| decided.value.as_deref());
    assert_eq!(both, Some("here+there"));
    // Live deleted it: there are no two texts to join.
    assert_eq!(lines["gone-here"].action, Action::Keep);
    assert!(lines["there"].decided.is_none(), "no conflict, so nobody is asked");
}
