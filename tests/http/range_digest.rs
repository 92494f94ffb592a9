//! Digests of ranges of keys, and what is found by them.

use crate::server::Server;
use lockstep::api::{Consistency, RangeDigests};
use lockstep::client::{Client, KeySpan};
use reqwest::Method;
use serde_json::{Value, json};
use std::slice::from_ref;
use std::time::Duration;

async fn digests(server: &Server, query: &str) -> RangeDigests {
    server.get(&format!("/v1/digest/range?{query}")).await.json().await.expect("JSON")
}

#[tokio::test]
async fn ranges_have_every_key_once_and_end_with_what_was_asked_for() {
    let server = Server::start().await;
    let empty = digests(&server, "prefix=none").await;
    assert_eq!((empty.ranges.len(), empty.ranges[0].keys, &empty.ranges[0].until), (1, 0, &None));
    for number in 0..50 {
        server.put(&format!("d:{number:02}"), "v").await;
    }
    server.put("e", "v").await;
    let four = digests(&server, "prefix=d:&split=4").await;
    assert!((4..8).contains(&four.ranges.len()), "{four:?}");
    assert_eq!(four.ranges.iter().map(|range| range.keys).sum::<u64>(), 50);
    assert_eq!((four.ranges.last().unwrap().until.as_deref(), four.next), (None, None));
    // The digest of the whole is the sum of its parts'.
    let number = |digest: &str| u128::from_str_radix(digest, 16).expect("hexadecimal");
    let whole = digests(&server, "prefix=d:&split=1").await;
    assert_eq!(whole.ranges.len(), 1);
    let sum = four.ranges.iter().fold(0_u128, |sum, range| sum.wrapping_add(number(&range.digest)));
    assert_eq!(number(&whole.ranges[0].digest), sum);
    let part = digests(&server, "prefix=d:&after=d:09&until=d:19&split=1").await;
    assert_eq!((part.ranges[0].keys, part.ranges[0].until.as_deref()), (10, Some("d:19")));
    // A value changes its own range only.
    server.put("d:00", "v").await;
    let after = digests(&server, "prefix=d:&split=4").await;
    let differ: Vec<bool> =
        after.ranges.iter().zip(&four.ranges).map(|(after, before)| after != before).collect();
    assert!(differ[0] && !differ[1..].contains(&true), "{differ:?}");
    for wrong in ["split=0", "split=1025", "split=x", "consistency=maybe", "limit=3"] {
        let path = format!("/v1/digest/range?{wrong}");
        server.refused(Method::GET, &path, &[], "", "invalid_query").await;
    }
    server.stop().await;
}

/// Two nodes of two clusters have keys of their own, and some in common.
#[tokio::test]
async fn differing_keys_are_found_and_no_others() {
    let (left, right) = (Server::start().await, Server::start().await);
    for part in 0..27 {
        let put = |n| json!({"op": "put", "key": format!("{}k{n:04}", part / 9), "value": "v"});
        let first = part % 9 * 100;
        let ops: Vec<Value> = (first..first + 100).map(put).collect();
        for server in [&left, &right] {
            let body = json!({"ops": ops}).to_string();
            assert_eq!(server.send(Method::POST, "/v1/batch", &[], body).await.status(), 200);
        }
    }
    let client =
        |server: &Server| Client::new(from_ref(&server.url), Duration::from_secs(10)).expect("a client");
    let (mine, theirs) = (client(&left), client(&right));
    let compared = mine.compare(&theirs, "").await.expect("both answer");
    assert_eq!((compared.keys, compared.differing), (2_700, vec![]));
    left.put("1k0500", "more").await;
    left.put("only-here", "v").await;
    right.put("zz-only-there", "v").await;
    let mut compared = mine.compare(&theirs, "").await.expect("both answer");
    compared.differing.sort();
    assert_eq!(compared.differing, ["1k0500", "only-here", "zz-only-there"]);
    // One of them has nothing where the other has much.
    let ops: Vec<Value> =
        (0..100).map(|n| json!({"op": "put", "key": format!("m{n}"), "value": "v"})).collect();
    let more = ops.iter().map(|op| json!({"op": "put", "key": format!("m{}", op["key"]), "value": "v"}));
    for ops in [ops.clone(), more.collect()] {
        let body = json!({"ops": ops}).to_string();
        assert_eq!(right.send(Method::POST, "/v1/batch", &[], body).await.status(), 200);
    }
    for (one, two) in [(&mine, &theirs), (&theirs, &mine)] {
        let compared = one.compare(two, "m").await.expect("both answer");
        assert_eq!((compared.differing.len(), compared.is_cut), (200, false));
    }
    let compared = mine.compare(&theirs, "2k").await.expect("both answer");
    assert_eq!((compared.keys, compared.differing), (900, vec![]));
    let span = KeySpan { prefix: "2k".into(), ..KeySpan::default() };
    let sum = mine.range_digests(&span, 1, Consistency::Stale).await.expect("an answer");
    assert_eq!(sum.ranges[0].keys, 900);
    left.stop().await;
    right.stop().await;
}
