//! What every request has to keep: hosts, pages of other sites, and what this server would not do as HTTP means it.

use crate::server::{Server, limits, settings};
use lockstep::http::CompatSettings;
use reqwest::Method;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Sends these lines, and reads until the server closes.
pub async fn raw(server: &Server, lines: &[&str], body: &str) -> String {
    let mut stream = TcpStream::connect(&server.address).await.unwrap();
    let text = format!("{}\r\nconnection: close\r\n\r\n{body}", lines.join("\r\n"));
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[track_caller]
fn is_told(answer: &str, status: u16, code: &str, what: &str) {
    assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{what}: {answer}");
    assert!(answer.contains(&format!("\"code\":\"{code}\"")), "{what}: {answer}");
}

/// A page can have its own name lead to this machine, but not take an address or this node's names.
#[tokio::test]
async fn only_hosts_that_are_this_node_are_served() {
    let compat = CompatSettings::of(Some("https://shop.example"), None).unwrap();
    let server = Server::start_for(limits(), settings(compat, &["cache-1"]), |mut options| {
        options.http_advertise = "http://cache.example:5000".into();
        options
    })
    .await;
    let own = [
        "127.0.0.1:1",
        "[::1]",
        "10.0.0.7",
        "localhost:5000",
        "cache.example",
        "CACHE.example:9",
        "cache-1",
        "shop.example",
    ];
    for host in own {
        for target in ["/v1/keys", "/livez", "/", "/api/cache"] {
            let answer =
                raw(&server, &[&format!("GET {target} HTTP/1.1"), &format!("host: {host}")], "").await;
            assert!(answer.starts_with("HTTP/1.1 200 "), "{host} {target}: {answer}");
        }
    }
    let strangers =
        ["evil.example:5000", "localhost.evil.example", "cache-2", "127.0.0.1.evil.example", "ai"];
    for host in strangers {
        for target in [
            "/v1/keys",
            "/v1/snapshot",
            "/v1/introduction",
            "/v1/watch",
            "/livez",
            "/metrics",
            "/",
            "/assets/x",
            "/socket.io/",
        ] {
            let answer =
                raw(&server, &[&format!("GET {target} HTTP/1.1"), &format!("host: {host}")], "").await;
            is_told(&answer, 421, "misdirected", target);
            assert!(answer.contains("--allowed-hosts"), "{answer}");
        }
        let answer = raw(&server, &["GET /api/cache HTTP/1.1", &format!("host: {host}")], "").await;
        assert!(answer.starts_with("HTTP/1.1 421 ") && answer.contains("\"success\":false"), "{answer}");
        let absolute = format!("GET http://{host}/v1/keys HTTP/1.1");
        is_told(&raw(&server, &[&absolute, "host: localhost"], "").await, 421, "misdirected", &absolute);
    }
    for lines in [
        &["GET /livez HTTP/1.1"][..],
        &["GET /livez HTTP/1.1", "host: localhost", "host: localhost"],
        &["GET /livez HTTP/1.1", "host: "],
        &["GET /livez HTTP/1.1", "host: a b"],
        &["GET /livez HTTP/1.1", "host: user@localhost"],
    ] {
        is_told(&raw(&server, lines, "").await, 400, "invalid_header", lines.last().unwrap());
    }
    let old = raw(&server, &["GET /livez HTTP/1.0"], "").await;
    assert!(old.starts_with("HTTP/1.0 200 "), "{old}");
    server.stop().await;
}

/// Not even an image: some reads are dear, and a stored script would run there.
#[tokio::test]
async fn what_a_page_of_another_site_embeds_is_refused() {
    let compat = CompatSettings::of(Some("https://shop.example"), None).unwrap();
    let server = Server::start_for(limits(), settings(compat, &[]), |options| options).await;
    server.send(Method::PUT, "/v1/kv/k", &[("content-type", "text/javascript")], "alert(1)").await;
    for site in ["cross-site", "same-site"] {
        for path in ["/v1/kv/k", "/v1/snapshot", "/v1/watch"] {
            server.refused(Method::GET, path, &[("sec-fetch-site", site)], "", "forbidden").await;
            let page = [("sec-fetch-site", site), ("origin", "http://evil.example")];
            server.refused(Method::GET, path, &page, "", "forbidden").await;
        }
        for path in ["/api/cache", "/socket.io/?EIO=4&transport=polling"] {
            let answer = server.send(Method::GET, path, &[("sec-fetch-site", site)], "").await;
            assert_eq!(answer.status(), 403, "{path}");
            let listed = [("sec-fetch-site", site), ("origin", "https://shop.example")];
            assert_eq!(server.send(Method::GET, path, &listed, "").await.status(), 200, "{path}");
        }
        let listed = [("sec-fetch-site", site), ("origin", "https://shop.example")];
        assert_eq!(server.send(Method::GET, "/v1/kv/k", &listed, "").await.status(), 200);
        // A link to the dashboard is no harm.
        assert_eq!(server.send(Method::GET, "/keys", &[("sec-fetch-site", site)], "").await.status(), 200);
    }
    for site in ["same-origin", "none"] {
        let value = server.send(Method::GET, "/v1/kv/k", &[("sec-fetch-site", site)], "").await;
        assert_eq!(value.status(), 200);
        assert_eq!(value.headers()["cross-origin-resource-policy"], "same-origin");
        assert_eq!(value.headers()["x-content-type-options"], "nosniff");
    }
    let taken = server.send(Method::DELETE, "/v1/kv/k?previous=true", &[], "").await;
    assert_eq!(taken.headers()["cross-origin-resource-policy"], "same-origin");
    assert_eq!(server.get("/v1/snapshot").await.headers()["cross-origin-resource-policy"], "same-origin");
    let page = server.get("/").await;
    let policy = page.headers()["content-security-policy"].to_str().unwrap();
    assert!(policy.contains(&format!("script-src {}/assets/;", server.address)), "{policy}");
    server.stop().await;
}

#[tokio::test]
async fn what_is_not_done_as_http_means_it_is_refused() {
    let server = Server::start().await;
    for (header, status, code) in [
        ("transfer-encoding: gzip, chunked", 501, "not_implemented"),
        ("transfer-encoding: chunked, chunked", 501, "not_implemented"),
        ("expect: something", 417, "expectation_failed"),
        ("content-encoding: gzip", 415, "unsupported_encoding"),
        ("content-encoding: identity, br", 415, "unsupported_encoding"),
        ("content-range: bytes 0-1/5", 400, "invalid_header"),
    ] {
        let length = if header.starts_with('t') { "x: y" } else { "content-length: 5" };
        let lines = ["PUT /v1/kv/k HTTP/1.1", "host: localhost", header, length];
        let answer = raw(&server, &lines, "0\r\n\r\n").await;
        is_told(&answer, status, code, header);
        let problem: Value = serde_json::from_str(answer.split("\r\n\r\n").nth(1).unwrap()).unwrap();
        assert_eq!(problem["field"], header.split(':').next().unwrap());
    }
    assert_eq!(server.get("/v1/kv/k").await.status(), 404, "nothing was stored");
    let fine = [("content-encoding", "identity"), ("expect", "100-continue")];
    assert_eq!(server.send(Method::PUT, "/v1/kv/k", &fine, "v").await.status(), 201);
    let refused = server.send(Method::POST, "/api/cache", &[("content-encoding", "gzip")], "x").await;
    assert_eq!((refused.status().as_u16(), refused.headers().contains_key("accept-encoding")), (415, false));
    server.stop().await;
}
