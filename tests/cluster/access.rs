//! Who may do what at a leader, at a follower, and at a node that is cut off from both others.

use crate::access_table::{GRANTED, Needs, Row, STALE_READS, refusal, table};
use crate::jwt;
use crate::socket_io_page;
use crate::support::encrypted::{Encrypted, done, https, https_builder, path};
use crate::support::{Cluster, Node};
use crate::tokens::{create_with, showing};
use futures::{SinkExt, StreamExt};
use lockstep::tls::ClientTls;
use reqwest::{Client, Method};
use serde_json::{Value, json};
use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

/// Requests in flight at a node that answers, and at one where most wait for a majority until their time is over.
const IN_FLIGHT: usize = 16;
const IN_FLIGHT_CUT_OFF: usize = 256;
/// How often a request is repeated that found no leader: two cores are busy with three nodes.
const TRIES: usize = 5;
/// What changes this node for good if it is allowed: it would be detached.
const CHANGES_THE_NODE: &str = "/api/sync/toggle";
/// What is told without asking anybody.
const KNOWN: [&str; 4] = ["/v1/status", "/metrics", "/v1/members", "/v1/digest"];

/// A cluster with TLS, tokens, and JSON Web Tokens signed with a secret.
struct Guarded {
    it: Encrypted,
    secret: [u8; 32],
    _keys: TempDir,
}

impl Guarded {
    async fn start() -> Self {
        let (keys, secret) = (tempfile::tempdir().expect("a folder"), [7; 32]);
        let file = keys.path().join("keys.json");
        jwt::write_keys(&file, &[jwt::key(&secret)]);
        let flags = ["--fault-injection", "--request-timeout-ms", "1000", "--jwt-keys", path(&file)];
        let signed = ["--jwt-issuer", "us", "--jwt-audience", "lockstep"];
        let mut it = Encrypted::start_with(3, &[&flags[..], &signed].concat()).await;
        let root = fs::read_to_string(&it.root).expect("it is there");
        it.cluster.http = showing(https_builder(&it.ca()), root.trim());
        Self { it, secret, _keys: keys }
    }

    fn cluster(&self) -> &Cluster {
        &self.it.cluster
    }

    /// A new token, and its id.
    async fn token(&self, name: &str, grants: Value, ttl_ms: Option<u64>) -> (String, String) {
        create_with(self.cluster(), &self.cluster().nodes[0], name, grants, ttl_ms).await
    }

    async fn ask_as_root(&self, method: Method, path: &str, body: Value) {
        let url = format!("{}{path}", self.cluster().nodes[0].http);
        let done = self.cluster().http.request(method, url).json(&body).send().await.expect("an answer");
        assert_eq!(done.status(), 200, "{path}: {}", done.text().await.expect("a body"));
    }

    /// A client that shows the certificate of a token.
    fn certified(&self, id: &str) -> Client {
        let certs = &self.it.certs;
        done(&["cert", "client", id, "--dir", path(certs)]);
        let own = Some((certs.join(format!("{id}.crt")), certs.join(format!("{id}.key"))));
        https(&ClientTls { own, ..self.it.ca() })
    }

    /// The leader, and two others.
    async fn places(&self) -> [&Node; 3] {
        let leader = self.cluster().leader().await;
        [0, 1, 2].map(|step| &self.cluster().nodes[(leader + step) % 3])
    }

    async fn cut_off(&self, node: &Node) {
        let cut = self.cluster().request(Method::PUT, node, "/v1/debug/links", r#"{"cut": true}"#).await;
        assert_eq!(cut.status(), 200);
    }

    /// Everybody who may or may not do something.
    async fn principals(&self) -> Vec<Shown> {
        let plain = https(&self.it.ca());
        let grant = |role: &str, prefix: &str| json!([{"role": role, "prefix": prefix}]);
        let bearer = |name: String, token: String, may| {
            let headers = vec![("authorization", format!("Bearer {token}"))];
            Shown { name, client: plain.clone(), headers, may, page: Page::None }
        };
        let signed = |claims: Value| jwt::token(&self.secret, &claims);
        let (_, expired) = self.token("expired", grant("admin", ""), Some(1)).await;
        let (revoked_id, revoked) = self.token("revoked", grant("admin", ""), None).await;
        let of_revoked = self.certified(&revoked_id);
        self.ask_as_root(Method::DELETE, &format!("/v1/tokens/{revoked_id}"), json!({})).await;
        self.ask_as_root(Method::POST, "/v1/blocks", json!({"blocked": {"subject": "blocked"}})).await;
        let unknown = done(&["token", "generate"]).trim().to_owned();
        let mut all = vec![
            Shown {
                name: "nobody".into(),
                client: plain.clone(),
                headers: vec![],
                may: &[],
                page: Page::None,
            },
            bearer("garbage".into(), "lsk_garbage".into(), &[]),
            bearer("unknown".into(), unknown, &[]),
            bearer("expired".into(), expired, &[]),
            bearer("revoked".into(), revoked, &[]),
            bearer("an expired JWT".into(), signed(json!({"lockstep": grant("admin", ""), "exp": 5})), &[]),
            bearer(
                "a blocked JWT".into(),
                signed(json!({"lockstep": grant("admin", ""), "sub": "blocked"})),
                &[],
            ),
        ];
        let name = "a certificate of a revoked token".into();
        all.push(Shown { name, client: of_revoked, headers: vec![], may: &[], page: Page::None });
        for (name, role, prefix, may) in GRANTED {
            let (id, token) = self.token(name, grant(role, prefix), None).await;
            all.push(bearer(name.into(), token.clone(), may));
            if ["write a/", "admin"].contains(&name) {
                all.push(bearer(
                    format!("{name}, JWT"),
                    signed(json!({"lockstep": grant(role, prefix)})),
                    may,
                ));
            }
            if name == "write a/" {
                let (name, client) = (format!("{name}, certificate"), self.certified(&id));
                all.push(Shown { name, client, headers: vec![], may, page: Page::None });
            }
            if name == "write all" {
                let cookie = self.log_in(&plain, &token).await;
                for page in [Page::Named, Page::Unnamed] {
                    let (name, headers) = (format!("{name}, {page:?}"), vec![("cookie", cookie.clone())]);
                    all.push(Shown { name, client: plain.clone(), headers, may, page });
                }
            }
        }
        all
    }

    /// The cookie of a session.
    async fn log_in(&self, client: &Client, token: &str) -> String {
        let url = format!("{}/v1/login", self.cluster().nodes[0].http);
        let begun = client.post(url).json(&json!({ "token": token })).send().await.expect("an answer");
        assert_eq!(begun.status(), 204);
        let cookie = begun.headers()["set-cookie"].to_str().expect("text");
        cookie.split(';').next().expect("a pair").to_owned()
    }
}

/// Whether a cookie is shown, by a page that says which node's it is, or by somebody who does not.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Page {
    None,
    Named,
    Unnamed,
}

/// Somebody who asks.
struct Shown {
    name: String,
    client: Client,
    headers: Vec<(&'static str, String)>,
    may: &'static [Needs],
    page: Page,
}

impl Shown {
    /// A browser sends cookies whoever asks, so for changes one counts only if the page is known.
    fn may(&self, method: &Method) -> &'static [Needs] {
        match self.page {
            Page::Unnamed if *method != Method::GET => &[],
            _ => self.may,
        }
    }

    /// The status of the answer.
    async fn ask(&self, node: &Node, method: Method, path: &str, body: &str) -> u16 {
        let mut request = self.client.request(method, format!("{}{path}", node.http));
        request = request.header("content-type", "application/json").body(body.to_owned());
        for (name, value) in &self.headers {
            request = request.header(*name, value);
        }
        if self.page == Page::Named {
            request = request.header("origin", &node.http);
        }
        request.send().await.expect("an answer").status().as_u16()
    }
}

/// The rows of the table, and reads of what a node has.
fn rows() -> Vec<(Row, bool)> {
    let stale = STALE_READS.map(|(path, needs)| (("GET", "", path, "", needs), true));
    table().into_iter().map(|row| (row, false)).chain(stale).collect()
}

/// Whether a node without a majority may answer this, to somebody who may do so much.
fn is_right_cut_off(row: &Row, is_stale: bool, may: &[Needs], status: u16) -> bool {
    let (.., path, _, needs) = *row;
    let is_refused = [401, 403].contains(&status);
    // Without a majority it cannot know either that a token is not good, or allows less.
    let is_not_known = [503, 504].contains(&status);
    match (refusal(needs, may), needs) {
        (Some(_), _) => is_refused || is_not_known,
        // One is answered at a time, and the others are asked to wait.
        (None, _) if is_stale && path.starts_with("/v1/digest/range") && status == 429 => true,
        (None, _) if is_stale => [200, 404].contains(&status),
        (None, Needs::Observe) if KNOWN.contains(&path) => status == 200,
        (None, Needs::Nothing | Needs::Observe | Needs::AdminHere) => !is_refused,
        (None, _) => is_not_known,
    }
}

/// Without it a route could be judged at the node that leads only, or by nobody where there is no majority.
#[tokio::test(flavor = "multi_thread")]
async fn every_node_judges_every_principal() {
    let guarded = Guarded::start().await;
    let principals = guarded.principals().await;
    let places = guarded.places().await;
    for (place, node) in ["the leader", "a follower", "a node that is cut off"].into_iter().zip(places) {
        let begun = Instant::now();
        let is_cut_off = place == "a node that is cut off";
        if is_cut_off {
            guarded.cut_off(node).await;
        }
        let asked = rows().into_iter().flat_map(|row| principals.iter().map(move |shown| (row, shown)));
        let asked = asked.filter(|((row, _), shown)| {
            let ends_its_session = row.1 == "/v1/login" && shown.page != Page::None;
            let changes = row.2 == CHANGES_THE_NODE && shown.may.contains(&row.4);
            // With TLS it is for nodes only: tests/cluster/tls.rs.
            !(ends_its_session || changes || row.1 == "/v1/introduction")
        });
        let answers = asked.map(async |((row, is_stale), shown)| {
            let (method, _, path, body, needs) = row;
            let method: Method = if method == "ANY" { Method::PATCH } else { method.parse().expect("one") };
            let may = shown.may(&method);
            let mut status = 0;
            for _ in 0..TRIES {
                status = shown.ask(node, method.clone(), path, body).await;
                if is_cut_off || ![503, 504].contains(&status) {
                    break;
                }
            }
            let told = Some(status).filter(|status| [401, 403].contains(status));
            let is_right = match is_cut_off {
                true => is_right_cut_off(&row, is_stale, may, status),
                false => told == refusal(needs, may),
            };
            (!is_right).then(|| format!("{place}: {}: {method} {path} {body}: {status}", shown.name))
        });
        let at_once = if is_cut_off { IN_FLIGHT_CUT_OFF } else { IN_FLIGHT };
        let answers: Vec<Option<String>> =
            futures::stream::iter(answers).buffer_unordered(at_once).collect().await;
        println!("{place}: {} requests in {:?}", answers.len(), begun.elapsed());
        let wrong: Vec<String> = answers.into_iter().flatten().collect();
        assert!(wrong.is_empty(), "{wrong:#?}");
    }
}

type Socket = WebSocketStream<TlsStream<TcpStream>>;

/// A connection to `/v1/live` over TLS.
async fn live(guarded: &Guarded, node: &Node, token: Option<&str>) -> Result<Socket, Error> {
    let address = node.http.strip_prefix("https://").expect("a URL");
    let config = Arc::new(guarded.it.ca().config().expect("good files"));
    let stream = TcpStream::connect(address).await.expect("it listens");
    let host = "127.0.0.1".try_into().expect("a name");
    let stream = TlsConnector::from(config).connect(host, stream).await.expect("it is the node");
    let mut request = format!("wss://{address}/v1/live").into_client_request()?;
    if let Some(token) = token {
        request.headers_mut().insert("authorization", format!("Bearer {token}").parse().expect("text"));
    }
    client_async(request, stream).await.map(|(socket, _)| socket)
}

/// What a subscription to this prefix is answered: `subscribed`, or the code of the refusal.
async fn subscribed(socket: &mut Socket, prefix: &str) -> String {
    let request = json!({"subscribe": {"id": prefix, "prefix": prefix}}).to_string();
    socket.send(Message::text(request)).await.expect("sent");
    loop {
        let next = tokio::time::timeout(Duration::from_secs(20), socket.next()).await;
        let Message::Text(text) = next.expect("in time").expect("it is open").expect("a message") else {
            continue;
        };
        let told: Value = serde_json::from_str(&text).expect("JSON");
        if told["id"] == prefix {
            let code = if told["type"] == "refused" { &told["code"] } else { &told["type"] };
            return code.as_str().expect("text").to_owned();
        }
    }
}

/// What is judged after a connection was made, or for each part of a request: batches, watches, WebSockets, Socket.IO pages.
#[tokio::test(flavor = "multi_thread")]
async fn every_node_judges_what_streams_and_batches_ask_for() {
    let guarded = Guarded::start().await;
    let (_, some) = guarded.token("some", json!([{"role": "write", "prefix": "a/"}]), None).await;
    let (_, all) = guarded.token("all", json!([{"role": "read", "prefix": ""}]), None).await;
    let plain = https(&guarded.it.ca());
    let [_, follower, alone] = guarded.places().await;
    for node in [follower, alone] {
        let is_cut_off = std::ptr::eq(node, alone);
        if is_cut_off {
            guarded.cut_off(node).await;
        }
        // For whoever is refused anyway, a node without a majority may not be able to tell.
        let expected = |status: u16| if is_cut_off { vec![status, 503] } else { vec![status] };
        let allowed = if is_cut_off { 503 } else { 200 };
        let of = |token: &str| showing(https_builder(&guarded.it.ca()), token);
        for (token, ops, status) in [
            (&some, r#"{"op":"put","key":"a/1","value":"1"},{"op":"get","key":"a/2"}"#, allowed),
            (&some, r#"{"op":"put","key":"a/x","value":"1"},{"op":"get","key":"b/1"}"#, 403),
            (&some, r#"{"op":"get","key":"a/1"},{"op":"put","key":"b/x","value":"1"}"#, 403),
            (&all, r#"{"op":"get","key":"a/1"},{"op":"get","key":"b/1"}"#, allowed),
            (&all, r#"{"op":"get","key":"a/1"},{"op":"put","key":"a/x","value":"1"}"#, 403),
        ] {
            let batch = of(token).post(format!("{}/v1/batch", node.http));
            let batch = batch.header("content-type", "application/json").body(format!("{{\"ops\":[{ops}]}}"));
            let answer = batch.send().await.expect("an answer");
            let told = answer.status().as_u16();
            assert!(expected(status).contains(&told), "{}: {ops}: {told}", node.name);
        }
        for (token, prefix, status) in
            [(&some, "a%2F", allowed), (&some, "b%2F", 403), (&some, "", 403), (&all, "", allowed)]
        {
            let url = format!("{}/v1/watch?prefix={prefix}", node.http);
            let mut watch = of(token).get(url).send().await.expect("an answer");
            let told = watch.status().as_u16();
            assert!(expected(status).contains(&told), "{}: {prefix}: {told}", node.name);
            if told == 200 {
                let first = watch.chunk().await.expect("it goes on").expect("it goes on");
                assert!(String::from_utf8_lossy(&first).contains("subscribed"));
            }
        }
        for token in [None, Some("lsk_garbage")] {
            let Err(Error::Http(refused)) = live(&guarded, node, token).await else {
                panic!("it is refused")
            };
            assert_eq!(refused.status(), 401);
        }
        let mut socket = live(&guarded, node, Some(&some)).await.expect("it is admitted");
        let (own, other) = (subscribed(&mut socket, "a/").await, subscribed(&mut socket, "b/").await);
        let told = if is_cut_off { ["unavailable"; 2] } else { ["subscribed", "forbidden"] };
        assert_eq!([&*own, &*other], told, "{}", node.name);

        for (connect, is_admitted) in [
            ("40".to_owned(), false),
            (r#"40{"token":"lsk_garbage"}"#.into(), false),
            (format!(r#"40{{"token":"{some}"}}"#), false),
            (format!(r#"40{{"token":"{all}"}}"#), !is_cut_off),
        ] {
            let (heard, _) = socket_io_page::open(&plain, &node.http, connect.clone()).await;
            let begin = if is_admitted { "40{" } else { "44{" };
            assert!(heard.contains(begin), "{}: {connect}: {heard}", node.name);
        }
    }
    for key in ["a%2Fx", "b%2Fx"] {
        assert_eq!(guarded.cluster().get(follower, key).await, Err(404), "a batch is refused as a whole");
    }
}
