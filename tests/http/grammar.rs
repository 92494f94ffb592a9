//! What requests are written in: numbers, percent signs, query parameters and bodies that a route has no use for.

use crate::admission::raw;
use crate::server::Server;
use lockstep::http::OPENAPI;
use reqwest::Method;
use serde_json::{Value, json};

#[tokio::test]
async fn numbers_are_digits() {
    let server = Server::start().await;
    for text in ["%2B5", "+5", "-5", "5.0", "0x5", "5%20", "", "5_0", "18446744073709551616", "%D9%A5"] {
        server.refused(Method::PUT, &format!("/v1/kv/k?ttl_ms={text}"), &[], "v", "invalid_ttl").await;
        for path in ["/v1/kv/k?min_index=", "/v1/keys?limit=", "/v1/samples?since_ms=", "/v1/watch?from="] {
            server.refused(Method::GET, &format!("{path}{text}"), &[], "", "invalid_query").await;
        }
        let list = server.get(&format!("/api/cache?limit={text}")).await;
        assert_eq!(list.status(), 400, "{text}");
    }
    for text in ["+5", "5.0", "x"] {
        server.refused(Method::DELETE, &format!("/v1/members/{text}"), &[], "", "invalid_query").await;
        server.refused(Method::GET, "/v1/watch", &[("last-event-id", text)], "", "invalid_header").await;
    }
    server.stop().await;
}

/// JSON has one kind of number, and here whole ones are written as such. The answer says which field it is.
#[tokio::test]
async fn whole_numbers_in_bodies_have_no_fraction_and_no_exponent() {
    let server = Server::start().await;
    server.put("n", "1").await;
    for number in ["365.0", "1e3", "1E+2", "-0.0", "1.5", "18446744073709551616"] {
        for (method, path, field, code) in [
            (Method::POST, "/v1/kv/n/expire", "ttl_ms", "invalid_body"),
            (Method::POST, "/v1/kv/n/incr", "by", "invalid_body"),
            (Method::PUT, "/v1/config", "capacity_entries", "invalid_config"),
        ] {
            let body = format!("{{\"{field}\": {number}}}");
            let problem = server.refused(method, path, &[], &body, code).await;
            let detail = problem["detail"].as_str().unwrap();
            assert!(detail.starts_with(&format!("body: {field}: ")), "{body}: {detail}");
            assert!(detail.contains("expected a whole number"), "{body}: {detail}");
        }
        let nested = format!(r#"{{"touch": {{"interval_ms": {number}}}}}"#);
        let problem = server.refused(Method::PUT, "/v1/config", &[], &nested, "invalid_config").await;
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.starts_with("body: touch.interval_ms: "), "{detail}");
        let batch = format!(
            r#"{{"ops": [{{"op": "get", "key": "n"}}, {{"op": "incr", "key": "n", "by": {number}}}]}}"#
        );
        let problem = server.refused(Method::POST, "/v1/batch", &[], &batch, "invalid_body").await;
        let detail = problem["detail"].as_str().unwrap();
        assert_eq!(problem["op"], 1, "{problem}");
        assert!(
            detail.starts_with("body: ops[1]: ") && detail.contains("expected a whole number"),
            "{detail}"
        );
    }
    let kept = server.get("/v1/kv/n").await;
    assert_eq!(kept.text().await.unwrap(), "1", "refusals change nothing");
    for body in [r#"{"by": 2}"#, r#"{"by": -1}"#] {
        assert_eq!(server.send(Method::POST, "/v1/kv/n/incr", &[], body).await.status(), 200, "{body}");
    }
    server.stop().await;
}

#[tokio::test]
async fn percent_signs_are_followed_by_digits() {
    let server = Server::start().await;
    let answered =
        async |target: &str| raw(&server, &[&format!("GET {target} HTTP/1.1"), "host: localhost"], "").await;
    for text in ["%", "%4", "%zz", "a%4g", "%FF", "%C3", "%+41"] {
        for (target, code) in [
            (format!("/v1/kv/{text}"), "invalid_key"),
            (format!("/v1/keys?prefix={text}"), "invalid_query"),
            (format!("/v1/watch?prefix={text}"), "invalid_query"),
            (format!("/v1/status?{text}"), "invalid_query"),
            (format!("/v1/members/{text}/promote"), "method_not_allowed"),
            (format!("/assets/{text}"), "no_route"),
        ] {
            let answer = answered(&target).await;
            assert!(answer.contains(&format!("\"code\":\"{code}\"")), "{target}: {answer}");
        }
        for target in [format!("/api/cache?after={text}"), format!("/api/cache/{text}")] {
            let answer = answered(&target).await;
            assert!(
                answer.starts_with("HTTP/1.1 400 ") && answer.contains("\"success\":false"),
                "{target}: {answer}"
            );
        }
    }
    server.stop().await;
}

/// Each route under `/v1`, as it is described.
fn described() -> Vec<(Method, String, Value)> {
    let document: Value = serde_json::from_str(OPENAPI).unwrap();
    let mut routes = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap().iter().filter(|(name, _)| *name != "parameters")
        {
            // Whatever is asked of no key, there is none.
            if path.starts_with("/v1/") && path != "/v1/kv/" {
                let method = method.to_uppercase().parse().unwrap();
                routes.push((method, path.replace("{key}", "k").replace("{id}", "77"), operation.clone()));
            }
        }
    }
    assert!(routes.len() > 20);
    routes
}

#[tokio::test]
async fn no_route_takes_what_it_does_not_know() {
    let server = Server::start().await;
    for (method, path, operation) in described() {
        let answer = server.send(method.clone(), &format!("{path}?surprise=1"), &[], "").await;
        assert_eq!(answer.status(), 400, "{method} {path}");
        if method != Method::HEAD {
            let problem: Value = answer.json().await.unwrap();
            assert_eq!(problem["code"], "invalid_query", "{method} {path}");
        }
        // A body that nobody asked for is no matter where nothing is changed.
        let reads = [Method::GET, Method::HEAD].contains(&method);
        if reads || !operation["requestBody"].is_null() {
            continue;
        }
        let path = if path == "/v1/kv" { "/v1/kv?all=true".into() } else { path };
        for body in [r#"{"surprise": 1}"#, "x", &"x".repeat(2_000)] {
            let problem = server.refused(method.clone(), &path, &[], body, "invalid_body").await;
            assert!(problem["detail"].as_str().unwrap().contains("takes none"), "{method} {path}: {problem}");
        }
    }
    server.put("k", "v").await;
    for body in ["", "{}", " {}\n"] {
        assert_eq!(server.send(Method::POST, "/v1/kv/k/persist", &[], body).await.status(), 200, "`{body}`");
    }
    server.stop().await;
}

#[tokio::test]
async fn values_are_not_nested_deeper_than_readers_go() {
    let server = Server::start().await;
    let nested = |levels: usize| format!("{}1{}", "[".repeat(levels), "]".repeat(levels));
    let store = async |value: String| {
        let body = format!(r#"{{"key": "deep", "value": {value}}}"#);
        server
            .send(Method::POST, "/api/cache", &[("content-type", "application/json")], body)
            .await
            .status()
            .as_u16()
    };
    assert_eq!(
        (store(nested(128)).await, store(nested(129)).await, store(nested(400)).await),
        (200, 400, 400)
    );
    let text = json!(nested(300)).to_string();
    assert_eq!(store(text).await, 200, "a text has no levels");
    let items = format!(r#"{{"items": [{{"key": "a", "value": {}}}]}}"#, nested(200));
    let bulk =
        server.send(Method::POST, "/api/cache/bulk", &[("content-type", "application/json")], items).await;
    assert_eq!(bulk.json::<Value>().await.unwrap()["successCount"], 0);
    // What came in by another way does not spoil the list.
    let json = [("content-type", "application/json")];
    assert_eq!(server.send(Method::PUT, "/v1/kv/other", &json, nested(400)).await.status(), 201);
    let list: Value = server.get("/api/cache").await.json().await.unwrap();
    assert_eq!(list["items"][1]["value"]["value"], nested(400));
    server.stop().await;
}
