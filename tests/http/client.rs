//! The Rust client: what it asks for, and nodes that fail in the middle.

use crate::server::Server;
use bytes::Bytes;
use lockstep::api::{BatchRequest, ConfigUpdate, Consistency, Effect, ErrorCode, IncrRequest, OpAnswer};
use lockstep::cache::{RemovalCause, Ttl};
use lockstep::client::{Client, Cursor, Previous, PutOptions, ReadOptions, Reading};
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;

async fn served() -> (Server, Client) {
    let server = Server::start().await;
    let client = Client::new(std::slice::from_ref(&server.url), Duration::from_secs(10)).unwrap();
    (server, client)
}

#[tokio::test]
async fn writes_hand_back_the_value_that_was_there() {
    let (server, client) = served().await;
    let html = PutOptions { content_type: Some("text/html".into()), previous: true, ..PutOptions::default() };
    let first = client.put("a b", "1".into(), &html).await.unwrap();
    assert_eq!((first.created, first.previous), (true, None));
    let second = client.put("a b", "2".into(), &html).await.unwrap();
    let previous = |value: &'static str, revision| Previous {
        value: value.into(),
        content_type: html.content_type.clone(),
        revision,
    };
    assert_eq!((second.created, second.previous), (false, Some(previous("1", first.revision))));
    let unasked = PutOptions { previous: false, ..html.clone() };
    let third = client.put("a b", "3".into(), &unasked).await.unwrap();
    assert_eq!((third.created, third.previous), (false, None));

    let stale = client.take("a b", Some(second.revision)).await.unwrap_err();
    assert_eq!(stale.code(), ErrorCode::PreconditionFailed);
    assert_eq!(client.take("a b", Some(third.revision)).await.unwrap(), Some(previous("3", third.revision)));
    assert_eq!(client.take("a b", None).await.unwrap(), None);
    assert!(!client.delete("a b", None).await.unwrap());
    server.stop().await;
}

#[tokio::test]
async fn a_put_says_how_long_its_value_lives() {
    let (server, client) = served().await;
    client
        .set_config(&ConfigUpdate { default_ttl_ms: Some(Some(50_000)), ..ConfigUpdate::default() })
        .await
        .unwrap();
    for (ttl, at_most) in [
        (Ttl::Default, Some(50_000)),
        (Ttl::Never, None),
        (Ttl::Ms(70_000), Some(70_000)),
        (Ttl::Sliding(80_000), Some(80_000)),
    ] {
        client.put("k", "v".into(), &PutOptions { ttl, ..PutOptions::default() }).await.unwrap();
        let left = client.get("k", Consistency::Linearizable).await.unwrap().unwrap().meta.ttl_ms;
        let long_enough = left.zip(at_most).is_none_or(|(left, at_most)| (1..=at_most).contains(&left));
        assert!(left.is_some() == at_most.is_some() && long_enough, "{ttl:?}: {left:?}");
    }
    // Only one that slides has a limit of its own.
    let too_long = 1 << 32;
    for (ttl, taken) in [(Ttl::Ms(too_long), true), (Ttl::Sliding(too_long), false)] {
        let put = client.put("k", "v".into(), &PutOptions { ttl, ..PutOptions::default() }).await;
        assert_eq!(
            put.map_err(|error| error.code()).err(),
            (!taken).then_some(ErrorCode::InvalidTtl),
            "{ttl:?}"
        );
    }
    server.stop().await;
}

#[tokio::test]
async fn a_batch_says_what_was_there_and_which_operation_failed() {
    let (server, client) = served().await;
    let first = client.put("k", "1".into(), &PutOptions::default()).await.unwrap();
    let request = |text: &str| serde_json::from_str::<BatchRequest>(text).unwrap();
    let swap = request(r#"{"ops": [{"op": "put", "key": "k", "value": "2", "previous": true}]}"#);
    let answer = client.batch(&swap.ops).await.unwrap();
    let [OpAnswer::Put { created: false, previous: Some(Some(was)) }] = &answer.results[..] else {
        panic!("{answer:?}");
    };
    assert_eq!((was.meta.revision, was.meta.version), (first.revision, 1));
    assert_eq!((&was.value, &was.content_type), (&Bytes::from("1").into(), &None));

    let failing =
        request(r#"{"ops": [{"op": "get", "key": "k"}, {"op": "delete", "key": "k", "if_revision": 1}]}"#);
    let error = client.batch(&failing.ops).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::PreconditionFailed);
    assert!(error.to_string().starts_with("operation 1: precondition failed"), "{error}");
    server.stop().await;
}

/// H2: a write that reached a node which then died stays unknown, whatever a later try is told.
#[tokio::test]
async fn a_later_refusal_does_not_undo_a_lost_answer() {
    let dies = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let dead = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let urls = [&dies, &dead].map(|listener| format!("http://{}", listener.local_addr().unwrap()));
    drop(dead);
    let node = tokio::spawn(async move {
        let (mut stream, _) = dies.accept().await.unwrap();
        let mut request = vec![0; 4_096];
        let read = stream.read(&mut request).await.unwrap();
        assert!(read > 0, "the request arrived");
    });
    let client = Client::new(&urls, Duration::from_secs(1)).unwrap();
    let error = client.put("k", Bytes::from_static(b"v"), &PutOptions::default()).await.unwrap_err();
    node.await.unwrap();
    assert_eq!(error.effect(), Effect::Unknown, "{error}");
}

/// A node that nobody reaches did nothing.
#[tokio::test]
async fn a_write_that_reached_nobody_was_not_done() {
    let dead = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", dead.local_addr().unwrap());
    drop(dead);
    let client = Client::new(&[url], Duration::from_millis(300)).unwrap();
    let error = client.put("k", Bytes::from_static(b"v"), &PutOptions::default()).await.unwrap_err();
    assert_eq!(error.effect(), Effect::None, "{error}");
}

/// A URL with such a key is that of another path, for this client as for any.
#[tokio::test]
async fn keys_that_a_url_resolves_are_not_asked_for() {
    let (server, client) = served().await;
    client.put("other", "1".into(), &PutOptions::default()).await.unwrap();
    for key in [".", "..", ""] {
        let refused = [
            client.put(key, "1".into(), &PutOptions::default()).await.unwrap_err(),
            client.get(key, Consistency::Linearizable).await.unwrap_err(),
            client.delete(key, None).await.unwrap_err(),
            client.take(key, None).await.unwrap_err(),
            client.incr(key, &IncrRequest::default()).await.unwrap_err(),
            client.persist(key).await.unwrap_err(),
        ];
        for error in refused {
            assert_eq!(
                (error.code(), error.effect()),
                (ErrorCode::InvalidKey, Effect::None),
                "{key}: {error}"
            );
        }
    }
    assert_eq!(client.clear("").await.unwrap_err().code(), ErrorCode::InvalidQuery);
    client.put("...", "1".into(), &PutOptions::default()).await.unwrap();
    assert_eq!(client.clear_all().await.unwrap().removed, 2);
    server.stop().await;
}

/// Whoever answers without end fills no memory, neither of a client nor of a node that looks for others.
#[tokio::test]
async fn an_answer_without_end_is_given_up() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    let sent = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counted = sent.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let counted = counted.clone();
            tokio::spawn(async move {
                let _ = stream.read(&mut [0; 4_096]).await;
                let head = "HTTP/1.1 200 OK\r\netag: \"1\"\r\nlockstep-index: 1\r\nconnection: close\r\n\r\n";
                let _ = stream.write_all(head.as_bytes()).await;
                let part = vec![b' '; 1 << 20];
                while stream.write_all(&part).await.is_ok() {
                    counted.fetch_add(part.len(), std::sync::atomic::Ordering::Relaxed);
                }
            });
        }
    });
    let client = Client::new(std::slice::from_ref(&url), Duration::from_secs(20)).expect("a client");
    let begun = std::time::Instant::now();
    let error = client.status().await.expect_err("it never ends").to_string();
    assert!(error.contains("more than"), "{error}");
    let told = lockstep::client::node_infos(std::slice::from_ref(&url), &Default::default()).await;
    assert_eq!(told, [Err("is no Lockstep node".to_owned())]);
    let mib = sent.load(std::sync::atomic::Ordering::Relaxed) >> 20;
    assert!(mib < 100 && begun.elapsed().as_secs() < 15, "{mib} MiB in {:?}", begun.elapsed());
}

/// A reading says where in the log it is from; the value is not sent again to who knows its revision; and why a key is absent.
#[tokio::test]
async fn a_reading_has_its_position() {
    let (_server, client) = served().await;
    let client = client.with_origin("till-7").unwrap();
    assert!(client.clone().with_origin("a b").is_err(), "nodes would refuse it");
    let ttl = PutOptions { ttl: Ttl::Ms(60_000), ..PutOptions::default() };
    let stored = client.put("k", "v".into(), &ttl).await.unwrap();
    let read = client.read("k", &ReadOptions::default()).await.unwrap();
    let Reading::Found(found) = read.value else { panic!("{read:?}") };
    assert_eq!((&found.value[..], found.meta.origin.as_deref()), (&b"v"[..], Some("till-7")));
    assert!(
        read.at.index >= stored.revision && read.at.time_ms >= Some(found.meta.modified_at_ms),
        "{:?}",
        read.at
    );
    let known = ReadOptions { unless_revision: Some(stored.revision), ..ReadOptions::default() };
    let again = client.read("k", &known).await.unwrap().value;
    assert!(matches!(again, Reading::Unchanged { ttl_ms: Some(1..=60_000) }), "{again:?}");
    assert!(client.delete("k", None).await.unwrap());
    assert!(!client.delete("k", None).await.unwrap());
    let after = ReadOptions { not_before: Some(read.at.cursor()), ..ReadOptions::default() };
    let Reading::Absent(absent) = client.read("k", &after).await.unwrap().value else {
        panic!("it was deleted")
    };
    assert_eq!(absent.gone.map(|gone| gone.cause), Some(RemovalCause::Delete));
    // What was deleted meanwhile is not raised.
    let since = PutOptions { if_absent_since: Some(stored.revision), ..PutOptions::default() };
    let refused = client.put("k", "old".into(), &since).await.unwrap_err();
    assert_eq!(refused.code(), ErrorCode::PreconditionFailed);
    let foreign = Cursor { index: 1, history: "0000000000".into() };
    let other = ReadOptions { not_before: Some(foreign), ..ReadOptions::default() };
    assert_eq!(client.read("k", &other).await.unwrap_err().code(), ErrorCode::OtherHistory);
}
