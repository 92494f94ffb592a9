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
    let two = "\"5\", \"6\"";
    for (header, value, status) in [
        ("if-match", "\"abc\"", 412),
        ("if-match", two, 400),
        ("if-none-match", "\"5\"", 400),
        ("if-none-match", "\"abc\"", 204),
        ("if-none-match", "*", 412),
    ] {
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
