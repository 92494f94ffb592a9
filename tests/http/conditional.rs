//! Conditional requests, as RFC 9110 has them.

use crate::server::Server;
use reqwest::Method;

#[tokio::test]
async fn tags_are_compared_as_http_has_it() {
    let server = Server::start().await;
    let put = server.put("k", "v").await;
    let tag = put.headers()["etag"].to_str().unwrap().to_owned();
    let number = tag.trim_matches('"');
    let weak = format!("W/{tag}");
    let list = format!("\"1\", {weak} , \"x\"");
    let strong_list = format!("\"x\", {tag}");
    let (zero, plus) = (format!("\"0{number}\""), format!("\"+{number}\""));
    for (header, value, status) in [
        ("if-none-match", tag.as_str(), 304),
        ("if-none-match", &weak, 304),
        ("if-none-match", &list, 304),
        ("if-none-match", "*", 304),
        ("if-none-match", "\"abc\"", 200),
        ("if-none-match", &zero, 200),
        ("if-none-match", &plus, 200),
        ("if-none-match", number, 400),
        ("if-match", &tag, 200),
        ("if-match", &strong_list, 200),
        ("if-match", "*", 200),
        ("if-match", &weak, 412),
        ("if-match", "\"abc\"", 412),
        ("if-match", &zero, 412),
    ] {
        for method in [Method::GET, Method::HEAD] {
            let answer = server.send(method.clone(), "/v1/kv/k", &[(header, value)], "").await;
            assert_eq!(answer.status().as_u16(), status, "{method} {header}: {value}");
            if status != 400 {
                assert_eq!(answer.headers()["etag"], tag.as_str(), "{method} {header}: {value}");
                assert!(answer.headers().contains_key("lockstep-index"), "{method} {header}: {value}");
            }
        }
    }
    let problem =
        server.refused(Method::GET, "/v1/kv/k", &[("if-match", "\"1\"")], "", "precondition_failed").await;
    assert_eq!(problem["revision"].to_string(), number);
    for header in ["if-match", "if-none-match"] {
        let absent = server.send(Method::GET, "/v1/kv/none", &[(header, "*")], "").await;
        assert_eq!(absent.status(), 404, "what is not there has no tag");
    }
    server.stop().await;
}

#[tokio::test]
async fn writes_hold_to_one_tag() {
    let server = Server::start().await;
    for (header, value, status) in
        [("if-match", "\"abc\"", 412), ("if-none-match", "\"abc\"", 204), ("if-none-match", "*", 412)]
    {
        let tag = server.put("k", "v").await.headers()["etag"].to_str().unwrap().to_owned();
        let answer = server.send(Method::PUT, "/v1/kv/k", &[(header, value)], "w").await;
        assert_eq!(answer.status().as_u16(), status, "{header}: {value}");
        let list = format!("W/{tag}, \"x\"");
        let current = if status == 204 { answer.headers()["etag"].to_str().unwrap().to_owned() } else { tag };
        for (method, path) in
            [(Method::PUT, "/v1/kv/k"), (Method::DELETE, "/v1/kv/k"), (Method::POST, "/v1/kv/k/persist")]
        {
            let weak = server.send(method.clone(), path, &[("if-match", list.as_str())], "").await;
            assert_eq!(weak.status(), 412, "{method}: a weak tag is no revision to write over");
        }
        let listed = format!("\"x\", {current}");
        let fine = server.send(Method::PUT, "/v1/kv/k", &[("if-match", listed.as_str())], "w").await;
        assert_eq!(fine.status(), 204, "{listed}");
    }
    server.stop().await;
}

/// What a list of revisions means to every kind of write, and that a list is one request whatever its order.
#[tokio::test]
async fn writes_take_lists_of_tags() {
    let server = Server::start().await;
    let listing = |tags: &[&str]| tags.join(", ");
    for (method, path) in
        [(Method::PUT, "/v1/kv/k"), (Method::POST, "/v1/kv/k/persist"), (Method::DELETE, "/v1/kv/k")]
    {
        let older = server.put("k", "v").await.headers()["etag"].to_str().unwrap().to_owned();
        let tag = server.put("k", "v").await.headers()["etag"].to_str().unwrap().to_owned();
        let weak = format!("W/{tag}");
        let holds = if path.ends_with("persist") { 200 } else { 204 };
        for (header, value, status) in [
            ("if-match", listing(&[&older, "\"1\""]), 412),
            ("if-match", listing(&[&older, &weak]), 412),
            ("if-none-match", listing(&[&older, &tag]), 412),
            ("if-none-match", weak.clone(), 412),
            ("if-none-match", tag.clone(), 412),
            ("if-match", listing(&[&older, "\"x\"", &tag]), holds),
        ] {
            let answer = server.send(method.clone(), path, &[(header, value.as_str())], "").await;
            assert_eq!(answer.status().as_u16(), status, "{method} {header}: {value}");
        }
        let current = server.put("k", "v").await.headers()["etag"].to_str().unwrap().to_owned();
        let others = listing(&[&older, "\"1\""]);
        let answer = server.send(method.clone(), path, &[("if-none-match", &others)], "").await;
        assert_eq!(answer.status().as_u16(), holds, "{method} at {current}, if-none-match: {others}");
    }
    // The last of them was a delete: nothing is there now.
    let gone = server.send(Method::PUT, "/v1/kv/k", &[("if-match", "\"1\", \"2\"")], "w").await;
    assert_eq!(gone.status(), 412, "what is absent is at none of them");
    let absent = server.send(Method::PUT, "/v1/kv/k", &[("if-none-match", "\"1\", \"2\"")], "w").await;
    assert_eq!(absent.status(), 201, "what is absent is at none of them");

    let tag = absent.headers()["etag"].to_str().unwrap().to_owned();
    let lists = [listing(&["\"1\"", &tag]), listing(&[&tag, "\"1\"", &tag])];
    for (list, replayed) in lists.iter().zip([false, true]) {
        let named = [("if-match", list.as_str()), ("idempotency-key", "once")];
        let answer = server.send(Method::PUT, "/v1/kv/k", &named, "w").await;
        assert_eq!(answer.status(), 204, "{list}");
        assert_eq!(answer.headers().contains_key("idempotency-replayed"), replayed, "{list}");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_write_compares_a_bounded_number_of_revisions() {
    let server = Server::start().await;
    let list = |count: u64| {
        let tags: Vec<String> = (1_000..1_000 + count).map(|revision| format!("\"{revision}\"")).collect();
        tags.join(", ")
    };
    let tag = server.put("k", "v").await.headers()["etag"].to_str().unwrap().to_owned();
    for header in ["if-match", "if-none-match"] {
        let refused =
            server.refused(Method::PUT, "/v1/kv/k", &[(header, &list(17))], "w", "invalid_header").await;
        assert_eq!(refused["field"], header);
        let told = refused["detail"].as_str().unwrap();
        assert!(told.contains("at most 16 revisions"), "{told}");
    }
    let current = server.send(Method::GET, "/v1/kv/k", &[], "").await;
    assert_eq!(current.headers()["etag"], tag.as_str(), "refusals change nothing");
    let most = format!("{}, {tag}, \"x\", {tag}", list(15));
    let fine = server.send(Method::PUT, "/v1/kv/k", &[("if-match", most.as_str())], "w").await;
    assert_eq!(fine.status(), 204, "sixteen, one of them twice, and one that is none");
    let fine = server.send(Method::PUT, "/v1/kv/k", &[("if-none-match", list(16).as_str())], "w").await;
    assert_eq!(fine.status(), 204);
    server.stop().await;
}
