//! Client sessions and locks over HTTP.

use crate::server::Server;
use futures::StreamExt;
use reqwest::Method;
use serde_json::{Value, json};
use std::time::Duration;

const TIMEOUT: Duration = Duration::from_secs(10);

async fn post(server: &Server, path: &str, body: Value) -> (u16, Value) {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let answer = server.send(Method::POST, path, &[], body).await;
    (answer.status().as_u16(), answer.json().await.unwrap())
}

async fn open(server: &Server, name: &str, ttl_ms: u64) -> u64 {
    let (status, session) = post(server, "/v1/sessions", json!({"name": name, "ttl_ms": ttl_ms})).await;
    assert_eq!(status, 201, "{session}");
    session["id"].as_u64().unwrap()
}

#[tokio::test]
async fn a_lock_has_one_holder_and_its_token_rises() {
    let server = Server::start().await;
    let (one, two) = (open(&server, "app-1", 60_000).await, open(&server, "app-2", 60_000).await);
    assert!(two > one, "its number is the index of its log entry");
    let acquire = async |session: u64| post(&server, "/v1/locks/a%2Fjob", json!({"session": session})).await;
    let (status, first) = acquire(one).await;
    assert_eq!((status, &first["acquired"], &first["session_name"]), (200, &json!(true), &json!("app-1")));
    let (_, again) = acquire(one).await;
    assert_eq!((&again["acquired"], &again["token"]), (&json!(false), &first["token"]));

    let (status, refused) = acquire(two).await;
    assert_eq!((status, &refused["code"], &refused["effect"]), (409, &json!("locked"), &json!("none")));
    assert_eq!((&refused["holder"]["session"], &refused["holder"]["token"]), (&json!(one), &first["token"]));
    server.refused(Method::DELETE, &format!("/v1/locks/a%2Fjob?session={two}"), &[], "", "not_found").await;
    let read: Value = server.get("/v1/locks/a%2Fjob").await.json().await.unwrap();
    assert_eq!((&read["session"], &read["token"]), (&json!(one), &first["token"]));
    let listed: Value = server.get("/v1/locks?prefix=a/").await.json().await.unwrap();
    assert_eq!(listed["locks"], json!([read]));
    let listed: Value = server.get("/v1/locks?prefix=b").await.json().await.unwrap();
    assert_eq!(listed["locks"], json!([]));

    let released = server.send(Method::DELETE, &format!("/v1/locks/a%2Fjob?session={one}"), &[], "").await;
    assert_eq!(released.status(), 204);
    server.refused(Method::GET, "/v1/locks/a%2Fjob", &[], "", "not_found").await;
    let (_, second) = acquire(two).await;
    assert!(second["token"].as_u64() > first["token"].as_u64());

    let metrics = server.get("/metrics").await.text().await.unwrap();
    for line in ["lockstep_sessions 2", "lockstep_locks 1", "lockstep_old_nodes 0"] {
        assert!(metrics.lines().any(|found| found == line), "{line}");
    }

    // What a session holds is released with it.
    let ended = server.send(Method::DELETE, &format!("/v1/sessions/{two}"), &[], "").await;
    assert_eq!(ended.json::<Value>().await.unwrap(), json!({"released": ["a/job"]}));
    server.refused(Method::DELETE, &format!("/v1/sessions/{two}"), &[], "", "not_found").await;
    let (status, _) = acquire(two).await;
    assert_eq!(status, 404);
    assert_eq!(acquire(one).await.1["acquired"], true);

    // An end takes no idempotency key, so the key is free for something else.
    let key = [("idempotency-key", "end-1")];
    let path = format!("/v1/sessions/{one}");
    assert_eq!(server.send(Method::DELETE, &path, &key, "").await.status(), 200);
    server.refused(Method::DELETE, &path, &key, "", "not_found").await;
    let body = json!({"name": "app-1", "ttl_ms": 60_000}).to_string();
    let opened = server.send(Method::POST, "/v1/sessions", &key, body).await;
    assert_eq!(opened.status(), 201);
    assert!(opened.headers().get("idempotency-replayed").is_none());
    server.stop().await;
}

#[tokio::test]
async fn sessions_are_listed_renewed_and_end_by_themselves() {
    let server = Server::start().await;
    let lasting = open(&server, "app/lasting", 60_000).await;
    let short = open(&server, "app/short", 1_000).await;
    assert_eq!(post(&server, "/v1/locks/l", json!({"session": short})).await.0, 200);
    let listed: Value = server.get("/v1/sessions?prefix=app/").await.json().await.unwrap();
    let names: Vec<&str> = listed["sessions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|session| session["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["app/lasting", "app/short"]);
    let (status, renewed) = post(&server, &format!("/v1/sessions/{lasting}/renew"), Value::Null).await;
    assert_eq!(status, 200);
    assert!(renewed["expires_at_ms"].as_u64() >= listed["sessions"][0]["expires_at_ms"].as_u64());

    // Whoever waits for the lock is told that its holder is gone.
    let watched = "/v1/watch?prefix=l&locks=true&keys=false";
    let mut stream = server.get(watched).await.bytes_stream();
    let mut told = String::new();
    while !told.contains("\"cause\":\"unlock\"") {
        told += &String::from_utf8_lossy(&stream.next().await.expect("it goes on").unwrap());
    }
    assert!(!told.contains("session_end"), "sessions were not asked for: {told}");
    server.refused(Method::GET, "/v1/locks/l", &[], "", "not_found").await;
    server.refused(Method::POST, &format!("/v1/sessions/{short}/renew"), &[], "", "not_found").await;
    let listed: Value = server.get("/v1/sessions").await.json().await.unwrap();
    assert_eq!(listed["sessions"].as_array().unwrap().len(), 1);
    server.stop().await;
}

#[tokio::test]
async fn a_watch_tells_who_comes_and_goes() {
    let server = Server::start().await;
    let from = server.node.status().await.applied_index;
    server.put("app-1", "a key of the same name").await;
    let one = open(&server, "app-1", 60_000).await;
    open(&server, "other", 60_000).await;
    let (_, lock) = post(&server, "/v1/locks/app-lock", json!({"session": one})).await;
    server.send(Method::DELETE, &format!("/v1/sessions/{one}"), &[], "").await;
    let token = lock["token"].clone();
    let path = format!("/v1/watch?prefix=app&sessions=true&locks=true&keys=false&from={from}");
    let mut stream = server.get(&path).await.bytes_stream();
    let (mut told, mut events) = (String::new(), Vec::new());
    while events.len() < 4 {
        told += &String::from_utf8_lossy(&stream.next().await.expect("it goes on").unwrap());
        events = told
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line.strip_prefix("data: ")?).ok())
            .filter_map(|message| message["events"].as_array().cloned())
            .flatten()
            .collect();
    }
    assert_eq!(
        events,
        [
            json!({"cause": "session", "id": one, "name": "app-1", "ttl_ms": 60000}),
            json!({"cause": "lock", "name": "app-lock", "session": one, "token": token}),
            json!({"cause": "unlock", "name": "app-lock", "session": one, "token": token}),
            json!({"cause": "session_end", "id": one, "name": "app-1", "why": "closed"}),
        ]
    );
    server.stop().await;
}

#[tokio::test]
async fn bad_requests_for_sessions_and_locks_are_refused() {
    let server = Server::start().await;
    for (body, code) in [
        (r#"{"name": "a"}"#, "invalid_body"),
        (r#"{"name": "", "ttl_ms": 5000}"#, "invalid_key"),
        (&json!({"name": "n".repeat(513), "ttl_ms": 5000}).to_string(), "invalid_body"),
        (r#"{"name": "a", "ttl_ms": 999}"#, "invalid_ttl"),
        (r#"{"name": "a", "ttl_ms": 3600001}"#, "invalid_ttl"),
        (r#"{"name": "a", "ttl_ms": 5000, "x": 1}"#, "invalid_body"),
    ] {
        server.refused(Method::POST, "/v1/sessions", &[], body, code).await;
    }
    server.refused(Method::POST, "/v1/sessions/x/renew", &[], "", "invalid_query").await;
    server.refused(Method::POST, "/v1/sessions/7/renew", &[], "", "not_found").await;
    server.refused(Method::POST, "/v1/locks/l", &[], r#"{"session": 7}"#, "not_found").await;
    server.refused(Method::POST, "/v1/locks/l", &[], "{}", "invalid_body").await;
    server.refused(Method::DELETE, "/v1/locks/l", &[], "", "invalid_query").await;
    server
        .refused(Method::GET, &format!("/v1/locks?prefix={}", "x".repeat(4_097)), &[], "", "invalid_query")
        .await;
    server.stop().await;
}

/// G1: a repeated request opens one session.
#[tokio::test]
async fn a_repeated_open_is_one_session() {
    let server = Server::start().await;
    let key = [("idempotency-key", "open-once")];
    let body = r#"{"name": "a", "ttl_ms": 5000}"#;
    let open = async || -> Value {
        server.send(Method::POST, "/v1/sessions", &key, body).await.json().await.unwrap()
    };
    assert_eq!(open().await["id"], open().await["id"]);
    let listed: Value = server.get("/v1/sessions").await.json().await.unwrap();
    assert_eq!(listed["sessions"].as_array().unwrap().len(), 1);
    server.stop().await;
}

/// The same with the Rust client.
#[tokio::test]
async fn the_client_opens_sessions_and_acquires_locks() {
    let server = Server::start().await;
    let client = lockstep::client::Client::new(std::slice::from_ref(&server.url), TIMEOUT).unwrap();
    let one = client.open_session("app-1", TIMEOUT).await.unwrap();
    let two = client.open_session("app-2", TIMEOUT).await.unwrap();
    let lock = client.acquire_lock("a/job", one.id).await.unwrap();
    assert!(lock.acquired && !client.acquire_lock("a/job", one.id).await.unwrap().acquired);
    let refused = client.acquire_lock("a/job", two.id).await.unwrap_err();
    let lockstep::client::ClientError::Problem(problem) = &refused else { panic!("{refused}") };
    assert_eq!(problem.holder.as_deref(), Some(&lock.lock));
    assert!(!client.release_lock("a/job", two.id).await.unwrap());
    assert_eq!(client.lock("a/job").await.unwrap(), Some(lock.lock.clone()));
    assert_eq!(client.locks("a/").await.unwrap().locks, [lock.lock]);
    assert_eq!(client.sessions("").await.unwrap().sessions.len(), 2);
    assert!(client.renew_session(one.id).await.unwrap().unwrap().expires_at_ms >= one.expires_at_ms);
    assert_eq!(client.end_session(one.id).await.unwrap().unwrap().released, ["a/job"]);
    assert_eq!(client.end_session(one.id).await.unwrap(), None);
    assert_eq!(client.renew_session(one.id).await.unwrap(), None);
    assert_eq!(client.lock("a/job").await.unwrap(), None);

    let since = client.log_time().await.unwrap().at.cursor();
    client.put("k", "v".into(), &lockstep::client::PutOptions::default()).await.unwrap();
    let changes = client.changes(&since, "", 100, true).await.unwrap().value;
    let [lockstep::api::Change::Key { key, found: true, .. }] = &changes.changes[..] else {
        panic!("{changes:?}")
    };
    assert_eq!(key, "k");
    server.stop().await;
}
