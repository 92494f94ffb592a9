//! Rate limits, by address and by token, and the cap of connections. Behind a proxy that is trusted, requests of the tests come from any
//! address they like.

use crate::server::{Limits, Server, limits};
use crate::tokens::give_root;
use lockstep::api::{Consistency, TokenText};
use lockstep::cache::TokenLimits;
use lockstep::client::{Client, ClientError, ClientToken};
use lockstep::front::{FrontLimits, RateMode, RateSettings};
use lockstep::http::{HttpSettings, TrustedProxies};
use reqwest::{Body, Method, Response};
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// An address for documentation (RFC 5737).
const CLIENT: &str = "203.0.113.7";

async fn limited(rates: RateSettings) -> Server {
    let limits = Limits { front: FrontLimits { rates, ..limits().front }, ..limits() };
    let trusted_proxies = TrustedProxies::new(["127.0.0.0/8".parse().expect("a network")]);
    let settings = HttpSettings { trusted_proxies, ..HttpSettings::default() };
    Server::start_for(limits, settings, |options| options).await
}

fn requests(quota: &str, mode: RateMode) -> RateSettings {
    RateSettings { mode, requests: quota.parse().ok(), body_bytes: None }
}

/// A request that a proxy passes on.
async fn from(server: &Server, hops: &str, method: Method, path: &str, body: &str) -> Response {
    server.send(method, path, &[("x-forwarded-for", hops)], body).await
}

async fn get_from(server: &Server, hops: &str, path: &str) -> Response {
    from(server, hops, Method::GET, path, "").await
}

fn header<'a>(response: &'a Response, name: &str) -> &'a str {
    response.headers().get(name).map_or("", |value| value.to_str().expect("text"))
}

async fn metric(server: &Server, series: &str) -> String {
    let text = get_from(server, "198.51.100.1", "/metrics").await.text().await.expect("a body");
    let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("{series} is there")).to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_has_its_quota_and_no_more() {
    let server = limited(requests("4/1h", RateMode::Enforce)).await;
    for left in [3, 2, 1] {
        let answer = from(&server, CLIENT, Method::PUT, "/v1/kv/a", "1").await;
        assert!(answer.status().is_success());
        assert_eq!(header(&answer, "ratelimit-policy"), "\"address-requests\";q=4;w=3600");
        let shown = header(&answer, "ratelimit");
        assert!(shown.starts_with(&format!("\"address-requests\";r={left};t=")), "{shown}");
    }
    let express = get_from(&server, CLIENT, "/api/cache/a").await;
    assert_eq!(
        (header(&express, "x-ratelimit-limit"), header(&express, "x-ratelimit-remaining")),
        ("4", "0")
    );
    assert!(header(&express, "x-ratelimit-reset").parse::<u64>().is_ok_and(|at| at > 1_700_000_000));

    let refused = from(&server, CLIENT, Method::PUT, "/v1/kv/a", "2").await;
    assert_eq!(refused.status(), 429);
    let after: u64 = header(&refused, "retry-after").parse().expect("seconds");
    assert!((890..=900).contains(&after), "a fourth of an hour for each: {after}");
    assert!(header(&refused, "ratelimit").contains(";r=0;t=36"), "{:?}", refused.headers());
    let problem: Value = refused.json().await.expect("JSON");
    assert_eq!((&problem["code"], &problem["effect"]), (&json!("rate_limited"), &json!("none")));
    assert!(problem["retry_after_ms"].as_u64().is_some_and(|ms| ms.div_ceil(1_000) == after), "{problem}");
    let refused = get_from(&server, CLIENT, "/api/metrics").await;
    assert_eq!((refused.status().as_u16(), header(&refused, "x-ratelimit-remaining")), (429, "0"));
    assert!(!header(&refused, "retry-after").is_empty());
    assert_eq!(refused.json::<Value>().await.expect("JSON")["success"], false);

    // Whatever it claims to be: only what the proxy adds counts.
    for hops in ["9.9.9.1, 203.0.113.7", "203.0.113.7, 127.0.0.2", "8.8.8.8,::ffff:203.0.113.7"] {
        assert_eq!(get_from(&server, hops, "/v1/kv/a").await.status(), 429, "{hops}");
    }
    for path in ["/livez", "/readyz", "/v1/introduction"] {
        assert_eq!(get_from(&server, CLIENT, path).await.status(), 200, "{path} is free");
    }
    let other = get_from(&server, "203.0.113.8", "/v1/kv/a").await;
    assert_eq!(other.text().await.expect("a body"), "1", "what was refused had no effect");
    assert_eq!(metric(&server, "lockstep_rate_limit_exceeded_total{limit=\"address-requests\"}").await, "5");
    server.stop().await;
}

/// Without a proxy, everybody can write the header.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_does_not_choose_its_address() {
    let limits = Limits {
        front: FrontLimits { rates: requests("9/1h", RateMode::Enforce), ..limits().front },
        ..limits()
    };
    let server = Server::start_with(limits, |options| options).await;
    let mut statuses = Vec::new();
    for number in 0..12 {
        statuses.push(get_from(&server, &format!("203.0.113.{number}"), "/v1/kv/a").await.status().as_u16());
    }
    let refused = statuses.iter().filter(|status| **status == 429).count();
    assert!(
        (3..=4).contains(&refused),
        "all come from one address, which has asked at the start: {statuses:?}"
    );
    let other = server.client_from([127, 0, 0, 2]);
    assert_eq!(other.get(format!("{}/v1/kv/a", server.url)).send().await.expect("an answer").status(), 404);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_observes_refuses_nothing() {
    let server = limited(requests("2/1h", RateMode::Observe)).await;
    for left in [1, 0, 0, 0] {
        let answer = get_from(&server, CLIENT, "/v1/status").await;
        assert_eq!(answer.status(), 200);
        assert!(header(&answer, "ratelimit").contains(&format!(";r={left};")));
    }
    assert_eq!(metric(&server, "lockstep_rate_limit_exceeded_total{limit=\"address-requests\"}").await, "2");
    server.stop().await;

    let server = limited(requests("2/1h", RateMode::Off)).await;
    for _ in 0..4 {
        let answer = get_from(&server, CLIENT, "/v1/status").await;
        assert_eq!((answer.status().as_u16(), header(&answer, "ratelimit")), (200, ""));
    }
    server.stop().await;
}

/// Bytes count whether their number is announced or not; the last body may be longer than what is left.
#[tokio::test(flavor = "multi_thread")]
async fn bytes_of_bodies_are_counted() {
    let rates = RateSettings { body_bytes: "1000/1h".parse().ok(), ..RateSettings::default() };
    let server = limited(rates).await;
    for (client, is_announced) in [("203.0.113.1", true), ("203.0.113.2", false)] {
        let put = async |bytes: usize| {
            let text = "x".repeat(bytes);
            let body = match is_announced {
                true => Body::from(text),
                false => Body::wrap_stream(futures::stream::iter([Ok::<_, std::io::Error>(text)])),
            };
            let request = server.client.put(format!("{}/v1/kv/a", server.url)).body(body);
            request.header("x-forwarded-for", client).send().await.expect("an answer")
        };
        assert!(put(600).await.status().is_success());
        let second = put(900).await;
        assert!(second.status().is_success(), "{client}");
        let policy = "\"address-body-bytes\";q=1000;qu=\"content-bytes\";w=3600";
        assert_eq!(header(&second, "ratelimit-policy"), policy);
        let third = put(1).await;
        assert_eq!(third.status(), 429, "{client}");
        let after: u64 = header(&third, "retry-after").parse().expect("seconds");
        assert!((1_790..=1_804).contains(&after), "500 bytes too many are half an hour: {after}");
        assert_eq!(get_from(&server, client, "/v1/kv/a").await.status(), 200, "reads have no body");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_has_its_own_limits() {
    let (server, root) = give_root(limits(), HttpSettings::default()).await;
    let client = |token: &str| {
        let client =
            Client::new(std::slice::from_ref(&server.url), Duration::from_secs(20)).expect("a client");
        client.with_token(ClientToken::new(&TokenText::new(token)).ok())
    };
    let admin = client(&root);
    let limits = TokenLimits { requests: "3/1h".parse().ok(), body_bytes: "10/1h".parse().ok() };
    let grants = vec![serde_json::from_value(json!({"role": "write", "prefix": ""})).expect("a grant")];
    let request = lockstep::api::CreateToken { name: "app".into(), grants, limits, ttl_ms: None };
    let made = admin.create_token(&request).await.expect("made");
    let bearer = format!("Bearer {}", made.token);
    let get =
        async |bearer: &str| server.send(Method::GET, "/v1/kv/a", &[("authorization", bearer)], "").await;

    let put = server.send(Method::PUT, "/v1/kv/a", &[("authorization", &bearer)], "12345678901").await;
    assert!(put.status().is_success());
    let names = |response: &Response| {
        let lines = response.headers().get_all("ratelimit").iter();
        lines
            .map(|line| line.to_str().expect("text").split(';').next().expect("a name").to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(names(&put), ["\"token-requests\"", "\"token-body-bytes\""]);
    // Whoever does not know the secret uses nothing of it.
    let guess = format!("Bearer lsk_{}_{}", made.id, "A".repeat(43));
    for _ in 0..5 {
        assert_eq!(get(&guess).await.status(), 401);
    }
    let second = server.send(Method::PUT, "/v1/kv/a", &[("authorization", &bearer)], "1").await;
    assert_eq!(second.status(), 429, "its bytes are used up");
    assert!(second.text().await.expect("a body").contains("this token may use 10/1h bytes"));
    let third = get(&bearer).await;
    assert_eq!((third.status().as_u16(), third.text().await.expect("a body").as_str()), (200, "12345678901"));
    let fourth = get(&bearer).await;
    assert_eq!(fourth.status(), 429);
    assert_eq!(get(&format!("Bearer {root}")).await.status(), 200, "another token has its own");
    // A session of the token is the token.
    let login = json!({"token": made.token}).to_string();
    let begun = server.send(Method::POST, "/v1/login", &[("content-type", "application/json")], login).await;
    let cookie = header(&begun, "set-cookie").split(';').next().expect("a cookie").to_owned();
    assert!(cookie.contains('='), "{:?}", begun.status());
    let asked = server.send(Method::GET, "/v1/kv/a", &[("cookie", &cookie)], "").await;
    assert_eq!(asked.status(), 429);

    let endless = TokenLimits { requests: "0/1h".parse().ok(), body_bytes: None };
    admin.limit_token(&made.id, &endless).await.expect("changed");
    let free = get(&bearer).await;
    assert_eq!((free.status().as_u16(), header(&free, "ratelimit")), (200, ""));
    let shown = client(&made.token).own_token().await.expect("its own");
    assert_eq!(shown.limits, TokenLimits::default());
    let wrong = json!({"requests": {"count": 0, "window_ms": 1}}).to_string();
    let headers =
        [("authorization", format!("Bearer {root}")), ("content-type", "application/json".to_owned())];
    let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let path = format!("/v1/tokens/{}/limits", made.id);
    let refused = server.send(Method::PUT, &path, &headers, wrong).await;
    assert_eq!(refused.status(), 400, "{}", refused.text().await.expect("a body"));
    server.stop().await;
}

/// The wait that is told is the one that it takes, and the client keeps to it.
#[tokio::test(flavor = "multi_thread")]
async fn the_client_waits_as_it_is_told() {
    let server = limited(requests("20/1s", RateMode::Enforce)).await;
    let urls = [server.url.clone()];
    let patient = Client::new(&urls, Duration::from_secs(20)).expect("a client");
    let begun = Instant::now();
    for number in 0..50 {
        patient.put("k", number.to_string().into(), &Default::default()).await.expect("after a while");
    }
    let took = begun.elapsed();
    assert!(took >= Duration::from_millis(1_400), "50 of 20 at once and then 20 a second: {took:?}");
    let exceeded = metric(&server, "lockstep_rate_limit_exceeded_total{limit=\"address-requests\"}").await;
    assert!(
        exceeded.parse::<u64>().expect("a number") <= 60,
        "one refusal for each, not a storm: {exceeded}"
    );
    server.stop().await;

    let server = limited(requests("3/1h", RateMode::Enforce)).await;
    let client = Client::new(std::slice::from_ref(&server.url), Duration::from_secs(20)).expect("a client");
    let begun = Instant::now();
    let error = loop {
        match client.get("k", Consistency::Linearizable).await {
            Ok(_) => assert!(begun.elapsed() < Duration::from_secs(10)),
            Err(error) => break error,
        }
    };
    assert!(begun.elapsed() < Duration::from_secs(10), "it does not wait for what comes too late");
    let ClientError::Problem(problem) = &error else { panic!("{error}") };
    assert_eq!(problem.code, lockstep::api::ErrorCode::RateLimited);
    assert!(error.retry_after() > Duration::from_secs(1_000));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_has_only_so_many_connections() {
    let limits =
        Limits { front: FrontLimits { connections_per_address: Some(2), ..limits().front }, ..limits() };
    let server = Server::start_with(limits, |options| options).await;
    let ask = async |stream: &mut TcpStream, path: &str| {
        let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n");
        stream.write_all(request.as_bytes()).await.expect("sent");
        let mut buffer = [0; 4_096];
        let length = stream.read(&mut buffer).await.expect("an answer");
        String::from_utf8_lossy(&buffer[..length]).lines().next().unwrap_or_default().to_owned()
    };
    // Those of the server's start may take a moment to be closed.
    let begun = Instant::now();
    let mut held = Vec::new();
    while held.len() < 2 {
        let mut stream = TcpStream::connect(&server.address).await.expect("a connection");
        if ask(&mut stream, "/v1/status").await.contains("200")
            && ask(&mut stream, "/v1/kv/a").await.contains("404")
        {
            held.push(stream);
        }
        assert!(begun.elapsed() < Duration::from_secs(20));
    }
    let mut third = TcpStream::connect(&server.address).await.expect("a connection");
    assert!(ask(&mut third, "/v1/kv/a").await.contains("503"));
    let other = server.client_from([127, 0, 0, 2]);
    assert_eq!(other.get(format!("{}/v1/kv/a", server.url)).send().await.expect("an answer").status(), 404);
    server.stop().await;
}
