//! A session: what front doors reach the data of a node through.

use crate::server::Server;
use lockstep::api::Effect;
use lockstep::cache::Key;
use lockstep::node::{Consistency, ListKeys, NodeError, Principal};

fn key(name: &str) -> Key {
    Key::new(name).unwrap()
}

/// Without it a page would end before the last key, or name a next page that is empty.
#[tokio::test(flavor = "multi_thread")]
async fn a_page_says_whether_more_keys_follow() {
    let server = Server::start().await;
    let session = server.node.session(Principal::Anyone);
    for name in ["a1", "a2", "a3", "b1"] {
        server.put(name, "v").await;
    }
    let list = async |after: Option<&str>, limit| {
        let after = after.map(str::to_owned);
        let request = ListKeys { prefix: "a".into(), after, limit, preview_bytes: None };
        let page = session.list(request).await.unwrap().value;
        let names: Vec<String> = page.keys.iter().map(|listed| listed.key.as_str().to_owned()).collect();
        (names.join(" "), page.more)
    };
    assert_eq!(list(None, 2).await, ("a1 a2".into(), true));
    assert_eq!(list(None, 3).await, ("a1 a2 a3".into(), false));
    assert_eq!(list(Some("a2"), 2).await, ("a3".into(), false));
    let page = session.entries(String::new(), Some("a1".into()), 2, 1_000).await.unwrap().value;
    assert_eq!((page.entries.len(), page.more, page.total), (2, true, 4));
    server.stop().await;
}

/// Several keys come from one state, in the order in which they were asked for, and each read counts.
#[tokio::test(flavor = "multi_thread")]
async fn several_keys_are_read_at_once_and_each_read_counts() {
    let server = Server::start().await;
    let session = server.node.session(Principal::Anyone);
    for name in ["a", "b"] {
        server.put(name, name).await;
    }
    let uses = async || session.get_with_uses(&key("b")).await.unwrap().value.unwrap().uses;
    let (used, before) = (uses().await, session.totals());
    let read = session.get_many(&["b", "none", "a", "b"].map(key), u64::MAX).await.unwrap();
    let texts: Vec<Option<String>> = read
        .value
        .into_iter()
        .map(|found| found.ok().map(|found| String::from_utf8_lossy(&found.value.bytes).into_owned()))
        .collect();
    assert_eq!(texts, [Some("b".into()), None, Some("a".into()), Some("b".into())]);
    let after = session.totals();
    assert_eq!((after.hits - before.hits, after.misses - before.misses), (3, 1));
    assert_eq!(uses().await, used + 3, "those two and the one before them");
    server.stop().await;
}

/// A read waits for its least index. An index that cannot come is refused at once, whatever the consistency. On a node that
/// leads, no error names a leader.
#[tokio::test(flavor = "multi_thread")]
async fn a_session_keeps_its_least_index() {
    let server = Server::start().await;
    let session = server.node.session(Principal::Anyone);
    let stale = session.clone().with_consistency(Consistency::Stale);
    let early = stale.not_before(Some(1 << 40)).get(&key("a")).await.unwrap_err();
    assert!(matches!(early.error, NodeError::Conflict(_)), "{early}");
    assert_eq!((early.error.effect(), early.leader), (Effect::None, None));
    assert!(session.catch_up().await.unwrap() > 0);
    server.stop().await;
}
