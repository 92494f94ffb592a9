//! What a token sees of the sessions and locks of others, and what it may do with them.

use crate::server::{Server, limits};
use crate::tokens::{ask, create, give_root};
use lockstep::http::HttpSettings;
use reqwest::Method;
use serde_json::{Value, json};

async fn open(server: &Server, token: &str, name: &str) -> u64 {
    let body = json!({"name": name, "ttl_ms": 60_000}).to_string();
    let opened = ask(server, Method::POST, "/v1/sessions", token, &body).await;
    assert_eq!(opened.status(), 201);
    opened.json::<Value>().await.unwrap()["id"].as_u64().unwrap()
}

async fn lock(server: &Server, token: &str, name: &str, session: u64) -> (u16, Value) {
    let body = json!({"session": session}).to_string();
    let answer = ask(server, Method::POST, &format!("/v1/locks/{name}"), token, &body).await;
    (answer.status().as_u16(), answer.json().await.unwrap())
}

/// The names of others are not told, nor which sessions there are.
#[tokio::test]
async fn names_outside_its_grants_are_hidden() {
    let (server, root) = give_root(limits(), HttpSettings::default()).await;
    let grants = json!([{"role": "write", "prefix": "a/"}]);
    let (_, token) = create(&server, &root, "app", grants, None).await;
    let (theirs, own) = (open(&server, &root, "b/secret-app").await, open(&server, &token, "a/app").await);
    assert_eq!(lock(&server, &root, "a%2Fjob", theirs).await.0, 200);
    assert_eq!(lock(&server, &root, "b%2Fsecret-job", theirs).await.0, 200);

    // Somebody else's session is as none.
    let none = 999_999_999;
    for (method, path, body) in [
        (Method::POST, "/v1/sessions/{id}/renew", ""),
        (Method::DELETE, "/v1/sessions/{id}", ""),
        (Method::POST, "/v1/locks/a%2Fother", r#"{"session":{id}}"#),
        (Method::DELETE, "/v1/locks/a%2Fjob?session={id}", ""),
    ] {
        let told = async |id: u64| {
            let fill = |text: &str| text.replace("{id}", &id.to_string());
            let answer = ask(&server, method.clone(), &fill(path), &token, &fill(body)).await;
            let status = answer.status().as_u16();
            (status, answer.text().await.unwrap().replace(&id.to_string(), "{id}"))
        };
        let (status, problem) = told(theirs).await;
        assert_eq!(status, 404, "{method} {path}: {problem}");
        assert_eq!((status, problem), told(none).await, "{method} {path}");
        let stranger = ask(&server, method.clone(), &path.replace("{id}", &theirs.to_string()), "", "").await;
        assert_eq!(stranger.status(), 401, "{method} {path}");
    }

    // What it may see of a lock is not who holds it, unless it may read that name.
    let held = |token: &str| {
        let token = token.to_owned();
        let server = &server;
        async move {
            let one = ask(server, Method::GET, "/v1/locks/a%2Fjob", &token, "").await;
            let all = ask(server, Method::GET, "/v1/locks?prefix=a%2F", &token, "").await;
            let (one, all) = (one.json::<Value>().await.unwrap(), all.json::<Value>().await.unwrap());
            assert_eq!(all["locks"], json!([one]));
            one
        }
    };
    assert_eq!(held(&root).await["session_name"], "b/secret-app");
    assert_eq!(
        (held(&token).await.get("session_name"), &held(&token).await["session"]),
        (None, &json!(theirs))
    );
    let (status, refused) = lock(&server, &token, "a%2Fjob", own).await;
    assert_eq!((status, &refused["code"]), (409, &json!("locked")));
    assert!(
        refused["holder"].get("session_name").is_none() && !refused.to_string().contains("secret"),
        "{refused}"
    );
    assert_eq!(lock(&server, &root, "a%2Fjob", own).await.1["holder"]["session_name"], "b/secret-app");

    // Nor the names of locks that somebody else has acquired for its session.
    assert_eq!(lock(&server, &root, "b%2Fmore", own).await.0, 200);
    assert_eq!(lock(&server, &token, "a%2Fmine", own).await.0, 200);
    let ended = ask(&server, Method::DELETE, &format!("/v1/sessions/{own}"), &token, "").await;
    assert_eq!(ended.json::<Value>().await.unwrap(), json!({"released": ["a/mine"]}));
    let ended = ask(&server, Method::DELETE, &format!("/v1/sessions/{theirs}"), &root, "").await;
    assert_eq!(ended.json::<Value>().await.unwrap(), json!({"released": ["a/job", "b/secret-job"]}));
    server.stop().await;
}
