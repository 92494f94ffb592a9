//! The log of operators' actions: who asked for what, written down before it is done.

use crate::server::{Server, limits};
use lockstep::http::HttpSettings;
use lockstep::node::{NewToken, Principal, RootToken};
use reqwest::Method;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

async fn actions(server: &Server, headers: &[(&str, &str)]) -> Vec<Value> {
    let answer = server.send(Method::GET, "/v1/audit", headers, "").await;
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["cache-control"], "no-store");
    let log: Value = answer.json().await.expect("JSON");
    let actions = log["actions"].as_array().expect("a list").clone();
    let times: u64 = actions.iter().map(|action| action["times"].as_u64().expect("a number")).sum();
    assert_eq!(log["count"], times, "none was forgotten yet");
    actions
}

fn words(actions: &[Value]) -> Vec<&str> {
    actions.iter().map(|action| action["action"].as_str().expect("text")).collect()
}

/// H5: what an operator does is there, newest first, with the address; what clients do is not.
#[tokio::test]
async fn operators_are_noted_and_clients_are_not() {
    let settings = HttpSettings { fault_injection: true, ..HttpSettings::default() };
    let server = Server::start_for(limits(), settings, |options| options).await;
    for (method, path) in [
        (Method::PUT, "/v1/kv/k"),
        (Method::DELETE, "/v1/kv?prefix=x"),
        (Method::GET, "/v1/members"),
        (Method::GET, "/v1/config"),
        (Method::POST, "/api/sync/force"),
        (Method::HEAD, "/v1/snapshot"),
        (Method::POST, "/no/such/path"),
    ] {
        server.send(method, path, &[], "").await;
    }
    assert_eq!(actions(&server, &[]).await, Vec::<Value>::new());

    server.configure(json!({"capacity_entries": 77})).await;
    server.send(Method::DELETE, "/v1/members/999", &[], "").await;
    assert_eq!(server.get("/v1/snapshot").await.status(), 200);
    let wrong = server.send(Method::PUT, "/v1/config", &[], "nonsense").await;
    assert_eq!(wrong.status(), 400);
    server.send(Method::PUT, "/v1/debug/links", &[], r#"{"cut":false}"#).await;
    let found = actions(&server, &[]).await;
    let wanted = [
        "PUT /v1/debug/links",
        "PUT /v1/config",
        "GET /v1/snapshot",
        "DELETE /v1/members/999",
        "PUT /v1/config",
    ];
    assert_eq!(words(&found), wanted);
    for action in &found {
        assert_eq!((&action["principal"], &action["address"]), (&json!(""), &json!("127.0.0.1")), "{action}");
    }
    let indexes: Vec<u64> = found.iter().map(|action| action["index"].as_u64().expect("a number")).collect();
    assert!(indexes.is_sorted_by(|newer, older| newer > older), "{indexes:?}");
    let one = server.get("/v1/audit?limit=1").await.json::<Value>().await.expect("JSON");
    assert_eq!((one["actions"].as_array().expect("a list").len(), &one["count"]), (1, &json!(5)));
    assert_eq!(server.get("/v1/audit?limit=-1").await.status(), 400);

    // The longest path that there is room for.
    let long = format!("/v1/members/{}", "\u{e4}".repeat(300));
    server.send(Method::DELETE, &long, &[], "").await;
    assert!(words(&actions(&server, &[]).await)[0].len() <= 256);
    // A snapshot has them.
    let before = actions(&server, &[]).await;
    server.send(Method::POST, "/v1/snapshot", &[], "").await;
    assert_eq!(actions(&server, &[]).await, before, "to take one changes nothing");
    server.stop().await;
}

/// With tokens it says whose, also once the token is gone; and whoever is refused has done nothing.
#[tokio::test]
async fn the_token_is_named() {
    let root = NewToken::random().expect("random numbers").text().to_owned();
    let given = Principal::of_token(&root).expect("a token");
    let server = Server::start_with(limits(), |mut options| {
        options.require_tokens = Some(RootToken::Given(given));
        options
    })
    .await;
    let shown = |token: &str| format!("Bearer {token}");
    let (root, json_type) = (shown(&root), ("content-type", "application/json"));
    let as_root = [("authorization", root.as_str()), json_type];
    let begun = Instant::now();
    while server.send(Method::GET, "/v1/token", &as_root, "").await.status() != 200 {
        assert!(begun.elapsed().as_secs() < 20, "the token is taken");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let make = async |name: &str, role: &str| {
        let body = json!({"name": name, "grants": [{"role": role}]}).to_string();
        let made = server.send(Method::POST, "/v1/tokens", &as_root, &*body).await;
        let made: Value = made.json().await.expect("JSON");
        (made["id"].as_str().expect("an id").to_owned(), shown(made["token"].as_str().expect("a token")))
    };
    let (id, operator) = make("operator", "admin").await;
    let (_, watcher) = make("watcher", "observe").await;
    let put = async |token: &str| {
        let headers = [("authorization", token), json_type];
        server.send(Method::PUT, "/v1/config", &headers, r#"{"capacity_entries":9}"#).await.status().as_u16()
    };
    assert_eq!((put(&operator).await, put(&watcher).await), (200, 403));
    assert_eq!(server.send(Method::PUT, "/v1/config", &[json_type], "{}").await.status(), 401);
    let newest = async || actions(&server, &as_root).await[0].clone();
    let found = newest().await;
    let wanted = (&json!(id), &json!("operator"), &json!("PUT /v1/config"));
    assert_eq!((&found["principal"], &found["token_name"], &found["action"]), wanted);
    server.send(Method::DELETE, &format!("/v1/tokens/{id}"), &as_root, "").await;
    assert_eq!(newest().await["token_name"], "root");
    let found = actions(&server, &as_root).await[1].clone();
    assert_eq!((&found["principal"], &found["token_name"]), (&json!(id), &Value::Null));
    assert_eq!(server.send(Method::GET, "/v1/audit", &[("authorization", &watcher)], "").await.status(), 403);
    server.stop().await;
}
