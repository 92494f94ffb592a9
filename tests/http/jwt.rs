//! JSON Web Tokens that somebody else has signed: what they allow, and how they are refused.

use crate::foreign::{key, token, write_keys};
use crate::server::{Limits, Server, limits};
use crate::tokens::{ask, give_root};
use lockstep::http::HttpSettings;
use lockstep::jwt::{JwtFiles, JwtVerifier};
use reqwest::Method;
use serde_json::{Value, json};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;
use tempfile::TempDir;

/// Somebody who signs tokens, and the folder with the files that a node reads.
pub struct Signer {
    dir: TempDir,
    secret: [u8; 32],
}

impl Signer {
    pub fn new() -> Self {
        let signer = Self { dir: tempfile::tempdir().expect("a folder"), secret: [7; 32] };
        signer.write_keys();
        signer
    }

    fn keys(&self) -> PathBuf {
        self.dir.path().join("keys.json")
    }

    fn write_keys(&self) {
        write_keys(&self.keys(), &[key(&self.secret)]);
    }

    pub fn files(&self) -> JwtFiles {
        JwtFiles { keys: self.keys(), grants: None, issuer: "us".into(), audience: "lockstep".into() }
    }

    pub fn verifier(&self) -> JwtVerifier {
        JwtVerifier::open(self.files()).expect("good files")
    }

    /// A token about `app` that is good for an hour, with these changes.
    pub fn token(&self, changes: Value) -> String {
        token(&self.secret, &changes)
    }
}

fn grant(role: &str, prefix: &str) -> Value {
    json!([{"role": role, "prefix": prefix}])
}

/// A server that takes this signer's tokens, and its own root token.
async fn taking(verifier: JwtVerifier) -> (Server, String) {
    let settings = HttpSettings { jwt: Some(verifier), ..HttpSettings::default() };
    give_root(Limits { front: Default::default(), ..limits() }, settings).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subject_may_do_what_its_token_says_until_it_is_blocked() {
    let signer = Signer::new();
    let (server, root) = taking(signer.verifier()).await;
    let token = signer.token(json!({"lockstep": grant("write", "a/"), "jti": "1"}));
    let other = signer.token(json!({"lockstep": grant("write", "a/"), "jti": "2"}));
    let status = async |method: &str, path: &str, token: &str, body: &str| {
        let status =
            ask(&server, method.parse().expect("a method"), path, token, body).await.status().as_u16();
        // A write says by its status whether the key was there.
        if [201, 204].contains(&status) { 200 } else { status }
    };
    assert_eq!(status("PUT", "/v1/kv/a%2Fk", &token, "1").await, 200);
    assert_eq!(status("GET", "/v1/kv/a%2Fk", &token, "").await, 200);
    assert_eq!(status("PUT", "/v1/kv/b", &token, "1").await, 403);
    assert_eq!(status("GET", "/v1/status", &token, "").await, 200);
    assert_eq!(status("GET", "/v1/tokens", &token, "").await, 403);
    let own: Value = ask(&server, Method::GET, "/v1/token", &token, "").await.json().await.expect("JSON");
    assert_eq!((&own["name"], &own["grants"]), (&json!("jwt:app"), &grant("write", "a/")));
    for refused in [
        signer.token(json!({"lockstep": grant("admin", ""), "exp": 1})),
        Signer { dir: tempfile::tempdir().expect("a folder"), secret: [8; 32] }
            .token(json!({"lockstep": grant("admin", "")})),
        format!("{token}x"),
    ] {
        assert_eq!(status("GET", "/v1/kv/a%2Fk", &refused, "").await, 401, "{refused}");
    }
    assert_eq!(status("GET", "/v1/status", &signer.token(json!({})), "").await, 403, "it allows nothing");
    let login = server.send(
        Method::POST,
        "/v1/login",
        &[("content-type", "application/json")],
        json!({"token": token}).to_string(),
    );
    assert_eq!(login.await.status(), 401, "the dashboard wants one of the cluster's");

    // Of a token, then of its subject.
    let block = async |blocked: Value| {
        let body = json!({"blocked": blocked}).to_string();
        assert_eq!(status("POST", "/v1/blocks", &root, &body).await, 200, "{body}");
    };
    block(json!({"jwt_id": "1"})).await;
    assert_eq!(status("GET", "/v1/kv/a%2Fk", &token, "").await, 401);
    assert_eq!(status("PUT", "/v1/kv/a%2Fk", &other, "2").await, 200);
    let watch = ask(&server, Method::GET, "/v1/watch?prefix=a%2F", &other, "").await;
    assert_eq!(watch.status(), 200);
    block(json!({"subject": "app"})).await;
    assert_eq!(status("PUT", "/v1/kv/a%2Fk", &other, "3").await, 401);
    assert_eq!(status("GET", "/v1/status", &other, "").await, 401);
    let seen =
        tokio::time::timeout(Duration::from_secs(20), watch.text()).await.expect("it ends").expect("text");
    assert!(seen.contains("unauthorized") && !seen.contains("\"3\""), "{seen}");
    let list: Value = ask(&server, Method::GET, "/v1/blocks", &root, "").await.json().await.expect("JSON");
    let blocks = list["blocks"].as_array().expect("a list");
    assert_eq!(blocks.len(), 2, "{list}");
    assert_eq!(blocks[0], json!({"blocked": {"subject": "app"}, "until_ms": null}));
    assert!(blocks[1]["until_ms"].as_u64().is_some(), "a token does not live for ever: {list}");

    assert_eq!(status("DELETE", "/v1/blocks?subject=app", &root, "").await, 200);
    assert_eq!(status("DELETE", "/v1/blocks?subject=app", &root, "").await, 404);
    assert_eq!(status("DELETE", "/v1/blocks", &root, "").await, 400);
    assert_eq!(status("DELETE", "/v1/blocks?subject=a&jwt_id=b", &root, "").await, 400);
    assert_eq!(status("POST", "/v1/blocks", &root, r#"{"blocked":{"subject":""}}"#).await, 400);
    assert_eq!(status("PUT", "/v1/kv/a%2Fk", &other, "3").await, 200);

    // What an operator does is noted under the subject's name.
    let admin = signer.token(json!({"lockstep": grant("admin", ""), "sub": "operator"}));
    assert_eq!(status("PUT", "/v1/config", &admin, r#"{"policy":"lfu"}"#).await, 200);
    let log: Value = ask(&server, Method::GET, "/v1/audit", &root, "").await.json().await.expect("JSON");
    assert_eq!(log["actions"][0]["principal"], "jwt:operator", "{log}");
    server.stop().await;
}

/// An idempotency key is a subject's own.
#[tokio::test(flavor = "multi_thread")]
async fn two_subjects_can_use_the_same_idempotency_key() {
    let signer = Signer::new();
    let (server, _) = taking(signer.verifier()).await;
    // As long as both can be.
    let [one, two] = ["1", "2"].map(|end| format!("{}{end}", "x".repeat(255)));
    let key = "k".repeat(128);
    for (subject, value) in [(&one, "1"), (&two, "2"), (&one, "1")] {
        let token = signer.token(json!({"sub": subject, "lockstep": grant("write", "")}));
        let headers = [("authorization", format!("Bearer {token}")), ("idempotency-key", key.clone())];
        let headers: Vec<(&str, &str)> =
            headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let put = server.send(Method::PUT, &format!("/v1/kv/{subject}"), &headers, value).await;
        assert!(put.status().is_success(), "{}", put.text().await.expect("a body"));
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn new_keys_are_taken_and_broken_ones_change_nothing() {
    let mut signer = Signer::new();
    let verifier = signer.verifier();
    let (server, _) = taking(verifier.clone()).await;
    let status =
        async |token: &str| ask(&server, Method::GET, "/v1/status", token, "").await.status().as_u16();
    let old = signer.token(json!({"lockstep": grant("observe", "")}));
    assert_eq!((status(&old).await, verifier.reload()), (200, Ok(false)));
    fs::write(signer.keys(), "{").expect("written");
    assert!(verifier.reload().is_err_and(|reason| reason.contains("keys.json")));
    assert_eq!(status(&old).await, 200);
    signer.secret = [9; 32];
    signer.write_keys();
    fs::set_permissions(signer.keys(), Permissions::from_mode(0o644)).expect("it is ours");
    assert!(verifier.reload().is_err_and(|reason| reason.contains("others can read it")));
    signer.write_keys();
    assert_eq!(verifier.reload(), Ok(true));
    assert_eq!(status(&old).await, 401, "it was verified before, with a key that is gone");
    assert_eq!(status(&signer.token(json!({"lockstep": grant("observe", "")}))).await, 200);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operator_s_file_says_what_subjects_may_do() {
    let signer = Signer::new();
    let grants = signer.dir.path().join("grants.json");
    fs::write(&grants, json!([{"subject": "shop:*", "grants": grant("read", "price:")}]).to_string())
        .expect("written");
    let files = JwtFiles { grants: Some(grants.clone()), ..signer.files() };
    let verifier = JwtVerifier::open(files.clone()).expect("good files");
    let (server, _) = taking(verifier.clone()).await;
    let status =
        async |path: &str, token: &str| ask(&server, Method::GET, path, token, "").await.status().as_u16();
    let till = signer.token(json!({"sub": "shop:till", "lockstep": grant("admin", "")}));
    assert_eq!((status("/v1/kv/price:1", &till).await, status("/v1/tokens", &till).await), (404, 403));
    let other = signer.token(json!({"lockstep": grant("admin", "")}));
    assert_eq!(status("/v1/status", &other).await, 403);
    fs::write(&grants, json!([{"subject": "app", "grants": grant("observe", "")}]).to_string())
        .expect("written");
    assert_eq!(verifier.reload(), Ok(true));
    assert_eq!((status("/v1/kv/price:1", &till).await, status("/v1/status", &other).await), (403, 200));
    fs::write(&grants, "[5]").expect("written");
    assert!(verifier.reload().is_err_and(|reason| reason.contains("grants.json")));
    assert!(JwtVerifier::open(files).is_err());
    server.stop().await;
}
