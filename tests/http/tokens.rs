//! Tokens: every route with every kind of principal, and what becomes of requests when a token changes.

use crate::access_table::{GRANTED, refusal, table};
use crate::jwt::Signer;
use crate::server::{Limits, Server, limits};
use crate::socket_io_page;
use lockstep::http::HttpSettings;
use lockstep::node::{NewToken, Principal, RootToken};
use reqwest::{Method, Response};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// A server whose requests need a token, and one that may do everything.
async fn guarded() -> (Server, String) {
    guarded_with(limits()).await
}

async fn guarded_with(limits: Limits) -> (Server, String) {
    give_root(limits, HttpSettings::default()).await
}

/// The same with these settings.
pub async fn give_root(limits: Limits, settings: HttpSettings) -> (Server, String) {
    let root = NewToken::random().expect("random numbers").text().to_owned();
    let given = Principal::of_token(&root).expect("a token");
    let server = Server::start_for(limits, settings, |mut options| {
        options.require_tokens = Some(RootToken::Given(given));
        options
    })
    .await;
    let known = ask(&server, Method::GET, "/v1/token", &root, "").await;
    assert_eq!(known.status(), 200, "a leader is ready once its first token was made");
    (server, root)
}

pub async fn ask(server: &Server, method: Method, path: &str, token: &str, body: &str) -> Response {
    let shown = format!("Bearer {token}");
    let json = ("content-type", "application/json");
    match token.is_empty() {
        true => server.send(method, path, &[json], body).await,
        false => server.send(method, path, &[json, ("authorization", &shown)], body).await,
    }
}

/// A new token: its id and itself.
pub async fn create(
    server: &Server,
    root: &str,
    name: &str,
    grants: Value,
    ttl_ms: Option<u64>,
) -> (String, String) {
    let body = json!({"name": name, "grants": grants, "ttl_ms": ttl_ms}).to_string();
    let made = ask(server, Method::POST, "/v1/tokens", root, &body).await;
    assert_eq!(made.status(), 201, "{}", made.text().await.expect("a body"));
    assert_eq!(made.headers()["cache-control"], "no-store");
    let made: Value = made.json().await.expect("JSON");
    (made["id"].as_str().expect("an id").to_owned(), made["token"].as_str().expect("a token").to_owned())
}

/// `METHOD path` of every route in these sources.
fn routes() -> BTreeSet<String> {
    let sources = [include_str!("../../src/http/routes.rs"), include_str!("../../src/http/compat/routes.rs")];
    let mut found = BTreeSet::new();
    for route in sources.iter().flat_map(|source| source.split(".route(").skip(1)) {
        let mut quoted = route.split('"');
        let (path, rest) = (quoted.nth(1).expect("a path"), quoted.next().expect("methods"));
        let end = rest.find("\n        .").or(rest.find("\n}")).unwrap_or(rest.len());
        for method in ["get", "put", "post", "delete", "any"] {
            let called = [format!(", {method}("), format!(".{method}(")];
            if called.iter().any(|called| rest[..end].contains(called)) {
                found.insert(format!("{} {path}", method.to_uppercase()));
            }
        }
    }
    found
}

#[tokio::test]
async fn every_route_judges_every_principal() {
    let known: BTreeSet<String> =
        table().iter().map(|(method, route, ..)| format!("{method} {route}")).collect();
    assert_eq!(routes(), known, "a route needs a row here, and one in src/http/access.rs");

    let signer = Signer::new();
    let settings = HttpSettings { jwt: Some(signer.verifier()), ..HttpSettings::default() };
    let (server, root) = give_root(Limits { front: Default::default(), ..limits() }, settings).await;
    let grant = |role: &str, prefix: &str| json!([{"role": role, "prefix": prefix}]);
    let (_, expired) = create(&server, &root, "expired", grant("admin", ""), Some(1)).await;
    let (id, revoked) = create(&server, &root, "revoked", grant("admin", ""), None).await;
    let ended = ask(&server, Method::DELETE, &format!("/v1/tokens/{id}"), &root, "").await;
    assert_eq!(ended.status(), 200);
    let unknown = NewToken::random().expect("random numbers").text().to_owned();
    let mut principals = vec![
        ("nobody", String::new(), &[][..]),
        ("garbage", "lsk_garbage".to_owned(), &[][..]),
        ("unknown", unknown, &[][..]),
        ("expired", expired, &[][..]),
        ("revoked", revoked, &[][..]),
        (
            "another secret",
            format!("{}{}", &root[..root.len() - 1], if root.ends_with('A') { 'E' } else { 'A' }),
            &[],
        ),
        ("an expired JWT", signer.token(json!({"lockstep": grant("admin", ""), "exp": 5})), &[][..]),
        ("a blocked JWT", signer.token(json!({"lockstep": grant("admin", ""), "sub": "blocked"})), &[][..]),
        ("a JWT for others", signer.token(json!({"lockstep": grant("admin", ""), "aud": "others"})), &[][..]),
    ];
    let block = r#"{"blocked": {"subject": "blocked"}}"#;
    assert_eq!(ask(&server, Method::POST, "/v1/blocks", &root, block).await.status(), 200);
    for (name, role, prefix, may) in GRANTED {
        let (_, token) = create(&server, &root, name, grant(role, prefix), None).await;
        principals.push((name, token, may));
        principals.push((name, signer.token(json!({"lockstep": grant(role, prefix)})), may));
    }
    for (method, _, path, body, needs) in table() {
        let method = if method == "ANY" { Method::PATCH } else { method.parse().expect("a method") };
        for (name, token, may) in &principals {
            let answer = ask(&server, method.clone(), path, token, body).await;
            let status = answer.status().as_u16();
            let expected = refusal(needs, may);
            let told = Some(status).filter(|status| [401, 403].contains(status));
            assert_eq!(told, expected, "{name}: {method} {path} {body}: {status}");
            if status == 401 {
                assert!(answer.headers()["www-authenticate"].to_str().unwrap().starts_with("Bearer"));
            }
        }
    }
    server.stop().await;
}

/// However a path is written, it is the same route or none.
#[tokio::test]
async fn a_path_written_otherwise_is_no_way_in() {
    let (server, _) = guarded().await;
    for (method, path) in [
        ("HEAD", "/v1/kv/k"),
        ("HEAD", "/v1/snapshot"),
        ("GET", "//v1/kv/k"),
        ("GET", "/v1//kv/k"),
        ("GET", "/V1/kv/k"),
        ("GET", "/v1/%6Bv/k"),
        ("GET", "/v1/snapshot/"),
        ("GET", "/v1/none"),
        ("GET", "/"),
        ("TRACE", "/v1/kv/k"),
    ] {
        let answer = server.send(method.parse().expect("a method"), path, &[], "").await;
        let status = answer.status().as_u16();
        let open = path == "/";
        assert_eq!(status == 401, !open, "{method} {path}: {status}");
    }
    let scheme = server.send(Method::GET, "/v1/keys", &[("authorization", "Basic abc")], "").await;
    assert_eq!(scheme.status(), 401);
    let health: Value = server.get("/health").await.json().await.expect("JSON");
    assert_eq!(
        (&health["status"], &health["node"], &health["reason"]),
        (&json!("healthy"), &Value::Null, &Value::Null)
    );
    server.stop().await;
}

#[tokio::test]
async fn a_rotated_secret_overlaps_and_a_name_is_taken_once() {
    let (server, root) = guarded().await;
    let grants = json!([{"role": "read", "prefix": "a/"}, {"role": "write", "prefix": "b/"}]);
    let (id, old) = create(&server, &root, "app", grants.clone(), None).await;
    let reads =
        async |token: &str| ask(&server, Method::GET, "/v1/keys?prefix=a%2F", token, "").await.status();
    let again = json!({"name": "app", "grants": grants}).to_string();
    let refused = ask(&server, Method::POST, "/v1/tokens", &root, &again).await;
    assert_eq!(refused.status(), 409);
    let rotate = async |overlap_ms: u64| {
        let body = json!({ "overlap_ms": overlap_ms }).to_string();
        let made = ask(&server, Method::POST, &format!("/v1/tokens/{id}/rotate"), &root, &body).await;
        assert_eq!(made.status(), 200);
        made.json::<Value>().await.expect("JSON")["token"].as_str().expect("a token").to_owned()
    };
    let new = rotate(60_000).await;
    assert_eq!((reads(&old).await.as_u16(), reads(&new).await.as_u16()), (200, 200));
    let newest = rotate(0).await;
    assert_eq!(
        (reads(&old).await.as_u16(), reads(&new).await.as_u16(), reads(&newest).await.as_u16()),
        (401, 401, 200)
    );
    let own: Value = ask(&server, Method::GET, "/v1/token", &newest, "").await.json().await.expect("JSON");
    assert_eq!((&own["id"], &own["name"], &own["grants"]), (&json!(id), &json!("app"), &grants));
    let list = ask(&server, Method::GET, "/v1/tokens", &root, "").await.text().await.expect("a body");
    assert!(
        list.contains("app") && ![old, new, newest, root].iter().any(|token| list.contains(&token[15..]))
    );
    server.stop().await;
}

/// Two tokens can use the same idempotency key, and neither learns of the other's request.
#[tokio::test]
async fn idempotency_keys_are_a_token_s_own() {
    let (server, root) = guarded().await;
    let grants = json!([{"role": "write", "prefix": ""}]);
    let (_, one) = create(&server, &root, "one", grants.clone(), None).await;
    let (_, two) = create(&server, &root, "two", grants, None).await;
    let long = "k".repeat(128);
    for key in ["key", &long] {
        let incr = async |token: &str, name: &str| {
            let shown = format!("Bearer {token}");
            let headers = [("authorization", shown.as_str()), ("idempotency-key", key)];
            let answer = server.send(Method::POST, &format!("/v1/kv/{name}/incr"), &headers, "{}").await;
            (answer.status().as_u16(), answer.headers().contains_key("idempotency-replayed"))
        };
        assert_eq!(incr(&one, "n").await, (200, false));
        assert_eq!(incr(&two, "m").await, (200, false), "another token's request is another one");
        assert_eq!(incr(&one, "n").await, (200, true));
        assert_eq!(incr(&one, "m").await.0, 422);
    }
    server.stop().await;
}

/// A watch ends when its token does, and tells why.
#[tokio::test]
async fn a_watch_ends_with_its_token() {
    let (server, root) = guarded().await;
    let (id, token) = create(&server, &root, "app", json!([{"role": "read", "prefix": "a/"}]), None).await;
    let mut watch = ask(&server, Method::GET, "/v1/watch?prefix=a%2F", &token, "").await;
    assert_eq!(watch.status(), 200);
    assert_eq!(ask(&server, Method::PUT, "/v1/kv/a%2Fk", &root, "v").await.status(), 201);
    // A change to another token ends nothing.
    create(&server, &root, "other", json!([{"role": "observe"}]), None).await;
    assert_eq!(ask(&server, Method::PUT, "/v1/kv/a%2Fl", &root, "v").await.status(), 201);
    let mut told = String::new();
    while !told.contains("a/l") {
        let more = watch.chunk().await.expect("it goes on").expect("it goes on");
        told.push_str(std::str::from_utf8(&more).expect("text"));
    }
    assert_eq!(ask(&server, Method::DELETE, &format!("/v1/tokens/{id}"), &root, "").await.status(), 200);
    told.push_str(&watch.text().await.expect("it ends"));
    assert!(told.contains("a/k"), "{told}");
    let last = told.lines().rev().find(|line| line.starts_with("data:")).expect("a message");
    assert!(last.contains("\"cut\"") && last.contains("\"unauthorized\""), "{told}");
    server.stop().await;
}

/// Without tokens nothing is asked for, and nobody can make the first one over the network.
#[tokio::test]
async fn the_first_token_does_not_come_over_the_network() {
    let server = Server::start().await;
    let body = json!({"name": "mine", "grants": [{"role": "admin"}]}).to_string();
    server.refused(Method::POST, "/v1/tokens", &[], &body, "conflict").await;
    let list: Value = server.get("/v1/tokens").await.json().await.expect("JSON");
    assert_eq!(list, json!({"required": false, "tokens": [], "join_tokens": []}));
    assert_eq!(server.get("/v1/token").await.status(), 404);
    // A client that has one all the same is served.
    let shown = format!("Bearer {}", NewToken::random().expect("random numbers").text());
    let put = server.send(Method::PUT, "/v1/kv/k", &[("authorization", &shown)], "v").await;
    assert_eq!(put.status(), 201);
    server.stop().await;
}

/// A page shows its token once. Then its browser has a cookie that no script can read, which is good for the node's own pages only
/// and ends with the token.
#[tokio::test]
async fn a_page_logs_in_and_out() {
    let (server, root) = guarded().await;
    let (id, token) = create(&server, &root, "page", json!([{"role": "write", "prefix": ""}]), None).await;
    let body = json!({ "token": token }).to_string();
    let login = async || {
        server.send(Method::POST, "/v1/login", &[("content-type", "application/json")], &*body).await
    };
    let begun = login().await;
    assert_eq!(begun.status(), 204);
    let cookie = begun.headers()["set-cookie"].to_str().expect("text").to_owned();
    for flag in ["; Path=/", "; HttpOnly", "; SameSite=Strict", "; Max-Age=43200"] {
        assert!(cookie.contains(flag), "{cookie}");
    }
    assert!(!cookie.contains(&token[15..]), "it is not the token");
    let cookie = cookie.split(';').next().expect("a pair").to_owned();
    let own = format!("http://{}", server.address);
    let asked = async |method: Method, path: &str, more: &[(&str, &str)]| {
        let headers = [&[("cookie", cookie.as_str())], more].concat();
        server.send(method, path, &headers, "v").await.status().as_u16()
    };
    let same = ("sec-fetch-site", "same-origin");
    assert_eq!(asked(Method::GET, "/v1/keys", &[same]).await, 200);
    assert_eq!(asked(Method::GET, "/v1/keys", &[]).await, 200, "browsers do not mark all that they read");
    assert_eq!(asked(Method::PUT, "/v1/kv/k", &[same, ("origin", &own)]).await, 201);
    assert_eq!(asked(Method::PUT, "/v1/config", &[same]).await, 403, "the token is no admin's");
    for (method, headers, status) in [
        // A page of another port of this machine: cookies are sent to it, too.
        (Method::GET, vec![("sec-fetch-site", "same-site")], 403),
        (Method::GET, vec![("sec-fetch-site", "cross-site")], 403),
        (Method::PUT, vec![("origin", "http://localhost:3000")], 403),
        (Method::PUT, vec![], 401),
        (Method::PUT, vec![("sec-fetch-site", "none")], 401),
    ] {
        assert_eq!(asked(method.clone(), "/v1/kv/k", &headers).await, status, "{method} {headers:?}");
    }
    let told: Value = ask(&server, Method::GET, "/v1/token", &token, "").await.json().await.expect("JSON");
    assert_eq!((&told["name"], &told["id"]), (&json!("page"), &json!(id)));

    // A session begins no other one, and ends by itself, with a new secret of its token, and with the token.
    let secret = cookie.split_once('=').expect("a pair").1;
    let again = json!({ "token": secret }).to_string();
    let refused =
        server.send(Method::POST, "/v1/login", &[("content-type", "application/json")], &*again).await;
    assert_eq!(refused.status(), 404);
    let out = server.send(Method::DELETE, "/v1/login", &[("cookie", &cookie), same], "").await;
    assert!(out.headers()["set-cookie"].to_str().expect("text").contains("Max-Age=0"));
    assert_eq!(asked(Method::GET, "/v1/keys", &[same]).await, 401);
    let begin = async || {
        let cookie = login().await.headers()["set-cookie"].to_str().expect("text").to_owned();
        cookie.split(';').next().and_then(|pair| pair.split_once('=')).expect("a pair").1.to_owned()
    };
    let reads =
        async |secret: &str| ask(&server, Method::GET, "/v1/keys", secret, "").await.status().as_u16();
    let first = begin().await;
    // The oldest makes room.
    for _ in 0..16 {
        begin().await;
    }
    assert_eq!(reads(&first).await, 401);
    let last = begin().await;
    assert_eq!(reads(&last).await, 200);
    assert_eq!(ask(&server, Method::DELETE, &format!("/v1/tokens/{id}"), &root, "").await.status(), 200);
    assert_eq!(reads(&last).await, 401);
    assert_eq!(login().await.status(), 401);
    server.stop().await;
}

/// Socket.IO events show all keys, so a page needs a token that may read all of them, as long as it listens.
#[tokio::test]
async fn pages_show_a_token_to_listen() {
    let (server, root) = guarded().await;
    let (_, some) = create(&server, &root, "some", json!([{"role": "read", "prefix": "a/"}]), None).await;
    let (id, all) = create(&server, &root, "all", json!([{"role": "read"}]), None).await;
    assert_eq!(ask(&server, Method::PUT, "/v1/kv/secret-key", &root, "1").await.status(), 201);
    let listen = |connect: String| socket_io_page::open(&server.client, &server.url, connect);
    for connect in ["40".to_owned(), r#"40{"token":"lsk_x"}"#.into(), format!(r#"40{{"token":"{some}"}}"#)] {
        let (heard, _) = listen(connect).await;
        assert!(heard.contains("44{") && !heard.contains("secret-key"), "{heard}");
    }
    let (mut heard, url) = listen(format!(r#"40{{"token":"{all}"}}"#)).await;
    assert!(heard.contains("40{"), "{heard}");
    while !heard.contains("secret-key") {
        heard.push_str(
            &server.client.get(&url).send().await.expect("an answer").text().await.expect("a body"),
        );
    }
    assert_eq!(ask(&server, Method::DELETE, &format!("/v1/tokens/{id}"), &root, "").await.status(), 200);
    // A packet `41` disconnects it from the namespace.
    while !heard.split('\u{1e}').any(|packet| packet == "41") {
        let more = server.client.get(&url).send().await.expect("an answer");
        assert_eq!(more.status(), 200, "{heard}");
        heard = more.text().await.expect("a body");
    }
    server.stop().await;
}
