//! H3: every error code is produced by a real request, with a status and a sentence, and changes nothing.

use crate::admission::raw;
use crate::server::{Server, limits};
use lockstep::api::ErrorCode;
use lockstep::cache::{CommandError, HASH_CONTENT_TYPE};
use lockstep::node::NodeError;
use reqwest::{Method, StatusCode};
use std::collections::BTreeSet;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Method, path, headers, body, and the code of the answer.
type Case<'a> = (&'a Method, &'a str, &'a [(&'a str, &'a str)], &'a str, &'a str);

/// Codes that no single healthy node gives over HTTP. `outcome_unknown` comes from real partitions in
/// `tests/cluster`, and from the node's error here; `fatal` and `conflict` likewise. `feature_level` takes a cluster in the
/// middle of an upgrade, as in `tests/simulation`, `superseded` a recovery, and `detached` a node that has left its cluster,
/// as in `tests/cluster`. `unauthorized` takes a cluster with tokens: see `tokens.rs`.
const ELSEWHERE: &[ErrorCode] = &[
    ErrorCode::OutcomeUnknown,
    ErrorCode::Fatal,
    ErrorCode::FeatureLevel,
    ErrorCode::Superseded,
    ErrorCode::Detached,
    ErrorCode::Unauthorized,
];

#[tokio::test]
async fn every_error_code_is_documented_and_produced() {
    let server = Server::start_with(limits(), |mut options| {
        options.limits.writes_in_flight = 64;
        options
    })
    .await;
    server.put("word", "no number").await;
    server.put("most", &i64::MAX.to_string()).await;
    let hash = b"\x01\x01\0\0\0\x02\0\0\0\x01a";
    let stored = server.send(Method::PUT, "/v1/kv/hash", &[("content-type", HASH_CONTENT_TYPE)], hash).await;
    assert_eq!(stored.status(), StatusCode::CREATED);
    let long = "k".repeat(4_097);
    let (get, put, post, delete) = (Method::GET, Method::PUT, Method::POST, Method::DELETE);
    let long_key = format!("/v1/kv/{long}");
    let long_prefix = format!("/v1/kv?prefix={long}");
    let big = "v".repeat(1_001);
    let me = format!("/v1/members/{}", server.node.id());
    let requests: &[Case] = &[
        (&put, &long_key, &[], "", "invalid_key"),
        (&put, "/v1/kv/%00", &[], "", "invalid_key"),
        (&get, "/v1/kv/%ff", &[], "", "invalid_key"),
        (&put, "/v1/kv/", &[], "", "invalid_key"),
        (&delete, "/v1/kv", &[], "", "invalid_query"),
        (&delete, "/v1/kv?prefix=", &[], "", "invalid_query"),
        (&delete, &long_prefix, &[], "", "invalid_query"),
        (&delete, "/v1/kv?all=false", &[], "", "invalid_query"),
        (&delete, "/v1/kv?all=", &[], "", "invalid_query"),
        (&delete, "/v1/kv?all=true&prefix=w", &[], "", "invalid_query"),
        (&put, "/v1/kv/k", &[("content-type", &"x".repeat(300))], "", "invalid_value"),
        (&put, "/v1/kv/k?ttl_ms=0", &[], "", "invalid_ttl"),
        (&put, "/v1/kv/k?ttl_ms=-1", &[], "", "invalid_ttl"),
        (&put, "/v1/kv/k?ttl_ms=140737488355329", &[], "", "invalid_ttl"),
        (&put, "/v1/kv/k?sliding=true", &[], "", "invalid_ttl"),
        (&put, "/v1/kv/k?ttl_ms=never&sliding=true", &[], "", "invalid_ttl"),
        (&put, "/v1/kv/k?ttl_ms=4294967296&sliding=true", &[], "", "invalid_ttl"),
        (&post, "/v1/kv/k/incr", &[], r#"{"sliding": true}"#, "invalid_ttl"),
        (&post, "/v1/kv/word/expire", &[], r#"{"ttl_ms": 4294967296, "sliding": true}"#, "invalid_ttl"),
        (
            &post,
            "/v1/batch",
            &[],
            r#"{"ops": [{"op": "put", "key": "k", "value": "1", "sliding": true}]}"#,
            "invalid_ttl",
        ),
        (&post, "/v1/batch", &[], r#"{"ops": [{"op": "incr", "key": "k", "sliding": true}]}"#, "invalid_ttl"),
        (&put, "/v1/kv/k?ttl_ms=5&sliding=1", &[], "", "invalid_query"),
        (&put, "/v1/kv/k?previous=yes", &[], "", "invalid_query"),
        (&delete, "/v1/kv/word?previous=", &[], "", "invalid_query"),
        (&put, "/v1/kv/k?ttl=5", &[], "", "invalid_query"),
        (&get, "/v1/kv/k?consistency=eventual", &[], "", "invalid_query"),
        (&get, "/v1/kv/k?min_index=x", &[], "", "invalid_query"),
        (&get, "/v1/keys?limit=0", &[], "", "invalid_query"),
        (&put, "/v1/kv/k", &[("if-match", "42")], "", "invalid_header"),
        (&put, "/v1/kv/k", &[("if-match", "*"), ("if-none-match", "*")], "", "invalid_header"),
        (&put, "/v1/kv/k", &[("idempotency-key", "")], "", "invalid_header"),
        (&post, "/v1/kv/k/incr", &[], "{", "invalid_body"),
        (&post, "/v1/kv/k/incr", &[], r#"{"bye": 1}"#, "invalid_body"),
        (&post, "/v1/kv/k/incr", &[], r#"{"by": 1.5}"#, "invalid_body"),
        (&post, "/v1/kv/k/expire", &[], "{}", "invalid_body"),
        (&post, "/v1/kv/k/expire", &[], r#"{"ttl_ms": 5, "sliding": 1}"#, "invalid_body"),
        (
            &post,
            "/v1/batch",
            &[],
            r#"{"ops": [{"op": "incr", "key": "k", "previous": true}]}"#,
            "invalid_body",
        ),
        (&post, "/v1/batch", &[], r#"{"ops": [{"op": "fly"}]}"#, "invalid_body"),
        (&post, "/v1/batch", &[], r#"{"ops": [{"op": "put", "key": "k"}]}"#, "invalid_body"),
        (&post, "/v1/batch", &[], r#"{"ops": []}"#, "invalid_batch"),
        (
            &post,
            "/v1/batch",
            &[],
            r#"{"ops": [{"op": "incr", "key": "k"}, {"op": "incr", "key": "k"}]}"#,
            "invalid_batch",
        ),
        (&put, "/v1/config", &[], r#"{"capacity_entries": 0}"#, "invalid_config"),
        (&put, "/v1/config", &[], r#"{"policy": "random"}"#, "invalid_config"),
        (&put, "/v1/config", &[], r#"{"touch": {"interval_ms": 9}}"#, "invalid_config"),
        (&put, "/v1/config", &[], r#"["lru"]"#, "invalid_config"),
        (&post, "/v1/kv/k/incr", &[], "[5]", "invalid_body"),
        (&post, "/v1/batch", &[], r#"[[{"op": "get", "key": "k"}]]"#, "invalid_body"),
        (&put, "/v1/config", &[], r#"{"capacity": 7}"#, "invalid_config"),
        (&get, "/v1/live", &[("origin", "http://evil.example")], "", "forbidden"),
        (&get, "/v1/kv/word", &[("sec-fetch-site", "cross-site")], "", "forbidden"),
        (&get, "/v1/kv/word", &[("host", "evil.example")], "", "misdirected"),
        (&put, "/v1/kv/k", &[("expect", "junk")], "", "expectation_failed"),
        (&put, "/v1/kv/k", &[("content-encoding", "gzip")], "", "unsupported_encoding"),
        (&put, "/v1/kv/k", &[("content-range", "bytes 0-0/2")], "v", "invalid_header"),
        (&get, "/v2/kv", &[], "", "no_route"),
        (&put, "/v1/debug/links", &[], r#"{"cut": true}"#, "no_route"),
        (&post, "/v1/kv/k", &[], "", "method_not_allowed"),
        (&get, "/v1/kv/none", &[], "", "not_found"),
        (&delete, "/v1/members/77", &[], "", "not_found"),
        (&post, "/v1/kv/word/incr", &[], "", "not_a_number"),
        (&post, "/v1/kv/most/incr", &[], "", "overflow"),
        (&post, "/v1/kv/hash/incr", &[], "", "wrong_kind"),
        (&put, "/v1/kv/k", &[("content-type", HASH_CONTENT_TYPE)], "no hash", "invalid_value"),
        (&delete, &me, &[], "", "conflict"),
        (&post, "/v1/fence", &[], "", "conflict"),
        (&put, "/v1/kv/k", &[("lockstep-expect-history", "another-one")], "v", "other_history"),
        (&put, "/v1/kv/word", &[("if-none-match", "*")], "", "precondition_failed"),
        (&put, "/v1/kv/k", &[], &big, "too_large"),
    ];
    let before = server.node.status().await;
    let mut produced = BTreeSet::new();
    for (method, path, headers, body, code) in requests {
        server.refused((*method).clone(), path, headers, body, code).await;
        produced.insert((*code).to_owned());
    }
    let coded = ["PUT /v1/kv/k HTTP/1.1", "host: localhost", "transfer-encoding: gzip, chunked"];
    assert!(raw(&server, &coded, "0\r\n\r\n").await.starts_with("HTTP/1.1 501 "));
    produced.insert(ErrorCode::NotImplemented.to_string());
    let after = server.node.status().await;
    assert_eq!((before.entries, before.bytes, &before.config), (after.entries, after.bytes, &after.config));

    let named = &[("idempotency-key", "a")];
    server.send(Method::PUT, "/v1/kv/k", named, "1").await;
    server.refused(Method::PUT, "/v1/kv/k", named, "2", "idempotency_key_reused").await;
    let session = async || -> u64 {
        let opened =
            server.send(Method::POST, "/v1/sessions", &[], r#"{"name": "a", "ttl_ms": 60000}"#).await;
        opened.json::<serde_json::Value>().await.unwrap()["id"].as_u64().unwrap()
    };
    let [one, two] = [session().await, session().await].map(|id| format!(r#"{{"session": {id}}}"#));
    server.send(Method::POST, "/v1/locks/l", &[], one).await;
    server.refused(Method::POST, "/v1/locks/l", &[], &two, "locked").await;
    produced.insert("locked".into());
    server.send(Method::PUT, "/v1/config", &[], r#"{"policy": "noeviction", "capacity_entries": 3}"#).await;
    server.refused(Method::PUT, "/v1/kv/one-more", &[], "", "cache_full").await;
    produced.extend(["idempotency_key_reused", "outcome_forgotten", "cache_full"].map(str::to_owned));

    server.node.drain().await;
    let answer = server.send(Method::PUT, "/v1/kv/k", &[], "").await;
    assert!(answer.headers().contains_key("retry-after"));
    server.refused(Method::PUT, "/v1/kv/k", &[], "", "unavailable").await;
    produced.insert("unavailable".into());

    let elsewhere = ELSEWHERE
        .iter()
        .chain(&[ErrorCode::Busy, ErrorCode::RateLimited])
        .map(|code| code.as_str().to_owned());
    produced.extend(elsewhere);
    let all: BTreeSet<String> = ErrorCode::ALL.iter().map(|code| code.as_str().to_owned()).collect();
    assert_eq!(produced, all);
    server.stop().await;
}

/// With no room for another write at the door, it is turned away at once, and nothing was done.
#[tokio::test]
async fn too_much_in_flight_is_busy() {
    let server = Server::start_with(limits(), |mut options| {
        options.limits.writes_in_flight = 0;
        options
    })
    .await;
    let answer = server.put("k", "v").await;
    assert!(answer.headers().contains_key("retry-after"));
    server.refused(Method::PUT, "/v1/kv/k", &[], "", "busy").await;
    assert_eq!(server.get("/v1/kv/k").await.status().as_u16(), 404);
    server.stop().await;
}

/// H2: an answer that was lost or late is told as unknown, never as failed.
#[test]
fn lost_outcomes_are_unknown_in_the_one_table() {
    for (error, code) in [
        (NodeError::OutcomeUnknown("late".into()), ErrorCode::OutcomeUnknown),
        (NodeError::Fatal("disk".into()), ErrorCode::Fatal),
    ] {
        assert_eq!(error.code(), code);
        assert_eq!(error.effect(), lockstep::api::Effect::Unknown);
    }
    let refused = NodeError::Refused { error: CommandError::CacheFull { op: None }, index: 1, term: 1 };
    assert_eq!(refused.effect(), lockstep::api::Effect::None);
}

/// Who looks with a browser gets a page where there is nothing, and everyone else a problem.
#[tokio::test]
async fn where_there_is_nothing_is_told_in_the_form_that_fits() {
    let server = Server::start().await;
    let browser = [("accept", "text/html,application/xhtml+xml,*/*;q=0.8")];
    for path in ["/nothing", "/v1/nothing", "/assets/gone.js", "/nodes/%3Cb%3E\"&'"] {
        let page = server.send(Method::GET, path, &browser, "").await;
        assert_eq!(page.status(), StatusCode::NOT_FOUND, "{path}");
        for (name, value) in [
            ("content-type", "text/html; charset=utf-8"),
            ("vary", "accept"),
            ("x-content-type-options", "nosniff"),
        ] {
            assert_eq!(page.headers()[name], value, "{path}");
        }
        let policy = page.headers()["content-security-policy"].to_str().unwrap();
        assert!(policy.contains("default-src 'none'"), "{policy}");
        let text = page.text().await.unwrap();
        assert!(text.contains("<h1>Nothing here</h1>") && !text.contains("\"&'"), "{text}");
        assert!(text.len() < 1_000, "{text}");
        server.refused(Method::GET, path, &[], "", "no_route").await;
        server.refused(Method::GET, path, &[("accept", "*/*")], "", "no_route").await;
        server
            .refused(
                Method::POST,
                path,
                &browser,
                "",
                if path.contains("assets") { "method_not_allowed" } else { "no_route" },
            )
            .await;
    }
    // A slash in a key is a program's mistake, wherever it is made.
    server.refused(Method::GET, "/v1/kv/a/b", &browser, "", "no_route").await;
    server.stop().await;
}

/// Sends what need not be HTTP, and reads until the server closes.
async fn sent(server: &Server, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(&server.address).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

/// What is no HTTP gets a status alone, as `docs/api.md` has it: nothing was done, and the connection ends.
#[tokio::test]
async fn what_cannot_be_parsed_is_answered_with_a_status_alone() {
    let server = Server::start().await;
    let put = |target: &str, lines: &str| {
        format!("PUT {target} HTTP/1.1\r\nhost: localhost\r\n{lines}\r\n\r\nvalue").into_bytes()
    };
    let target = |bytes: usize| format!("/v1/kv/k?{}", "x".repeat(bytes - "/v1/kv/k?".len()));
    let headers = |count: usize| -> String {
        let lines: Vec<String> = (2..count).map(|number| format!("x-{number}: 1\r\n")).collect();
        lines.concat() + "content-length: 5"
    };
    let (bad, long, large) = ("400 Bad Request", "414 URI Too Long", "431 Request Header Fields Too Large");
    for (what, bytes, told) in [
        ("no HTTP", b"LET ME IN\r\n\r\n".to_vec(), bad),
        ("a NUL in the target", put("/v1/kv/k\0", "content-length: 5"), bad),
        ("a space in a name", put("/v1/kv/k", "content-length: 5\r\nx y: z"), bad),
        ("a length that is none", put("/v1/kv/k", "content-length: five"), bad),
        ("two lengths", put("/v1/kv/k", "content-length: 5\r\ncontent-length: 4"), bad),
        ("a long target", put(&target(65_535), "content-length: 5"), long),
        ("many headers", put("/v1/kv/k", &headers(101)), large),
    ] {
        let answer = sent(&server, &bytes).await;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{what}: {answer}"));
        let mut lines: Vec<&str> = head.split("\r\n").collect();
        lines.retain(|line| !line.starts_with("date: "));
        assert_eq!(lines, [&*format!("HTTP/1.1 {told}"), "connection: close", "content-length: 0"], "{what}");
        assert_eq!(body, "", "{what}");
        assert_eq!(server.get("/v1/kv/k").await.status(), StatusCode::NOT_FOUND, "{what}: nothing was done");
    }
    assert_eq!(sent(&server, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await, "", "HTTP/2 is not spoken");
    // Just within the bounds it is a request like any other.
    let close = "connection: close\r\n";
    let within = [
        put(&target(65_534), &format!("{close}content-length: 5")),
        put("/v1/kv/k", &(close.to_owned() + &headers(99))),
    ];
    for (bytes, status) in within.into_iter().zip([400, 201]) {
        let answer = sent(&server, &bytes).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
        assert_eq!(answer.contains("\"code\":\"invalid_query\""), status == 400, "{answer}");
    }
    server.stop().await;
}
