//! Writes that ask for the value they replace or remove.

use crate::metadata::without_metadata;
use crate::server::Server;
use reqwest::{Method, Response, StatusCode};
use serde_json::{Value, json};

const REVISION: &str = "lockstep-previous-revision";

fn header<'a>(response: &'a Response, name: &str) -> Option<&'a str> {
    response.headers().get(name).map(|value| value.to_str().unwrap())
}

/// The revision an answer gives its key, without the quotes of the tag.
fn revision(response: &Response) -> String {
    header(response, "etag").unwrap().trim_matches('"').to_owned()
}

/// A value as it was put, and which one.
async fn assert_carries(response: Response, kind: &str, of: &str, value: &[u8]) {
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!((header(&response, "content-type"), header(&response, REVISION)), (Some(kind), Some(of)));
    assert_eq!(header(&response, "x-content-type-options"), Some("nosniff"));
    assert_eq!(response.bytes().await.unwrap(), value);
}

#[tokio::test]
async fn a_put_hands_back_what_it_replaced() {
    let server = Server::start().await;
    let (path, html) = ("/v1/kv/k?previous=true", &[("content-type", "text/html")]);
    let bytes: Vec<u8> = (0..=255).collect();
    let first = server.send(Method::PUT, path, html, bytes.clone()).await;
    assert_eq!((first.status(), header(&first, REVISION)), (StatusCode::CREATED, None), "there was none");
    let created = revision(&first);
    assert_eq!(first.bytes().await.unwrap(), "");

    let second = server.send(Method::PUT, path, &[], "2").await;
    let replaced = revision(&second);
    assert_ne!(replaced, created, "the tag is that of the new value");
    assert_carries(second, "text/html", &created, &bytes).await;
    let third = server.send(Method::PUT, path, &[("if-match", &format!("\"{replaced}\""))], "3").await;
    assert_carries(third, "application/octet-stream", &replaced, b"2").await;

    for unasked in ["/v1/kv/k", "/v1/kv/k?previous=false"] {
        let put = server.send(Method::PUT, unasked, &[], "4").await;
        assert_eq!((put.status(), header(&put, REVISION)), (StatusCode::NO_CONTENT, None));
    }
    server.stop().await;
}

#[tokio::test]
async fn a_delete_hands_back_what_it_removed() {
    let server = Server::start().await;
    let path = "/v1/kv/k?previous=true";
    assert_eq!(server.send(Method::DELETE, path, &[], "").await.status(), StatusCode::NOT_FOUND);
    let put = server.send(Method::PUT, "/v1/kv/k", &[("content-type", "text/plain")], "1").await;
    let delete = server.send(Method::DELETE, path, &[], "").await;
    assert_carries(delete, "text/plain", &revision(&put), b"1").await;
    assert_eq!(server.get("/v1/kv/k").await.status(), StatusCode::NOT_FOUND);
    server.put("k", "2").await;
    assert_eq!(server.send(Method::DELETE, "/v1/kv/k", &[], "").await.status(), StatusCode::NO_CONTENT);
    server.stop().await;
}

/// C6: a retry hears of the same value again; to ask and not to ask are two requests.
#[tokio::test]
async fn a_retry_gets_the_same_previous_value() {
    let server = Server::start().await;
    let named = &[("idempotency-key", "swap-1")];
    let first = revision(&server.put("k", "1").await);
    for replayed in [None, Some("true")] {
        let put = server.send(Method::PUT, "/v1/kv/k?previous=true", named, "2").await;
        assert_eq!(header(&put, "idempotency-replayed"), replayed);
        assert_carries(put, "application/octet-stream", &first, b"1").await;
    }
    server.refused(Method::PUT, "/v1/kv/k", named, "2", "idempotency_key_reused").await;
    server.stop().await;
}

/// `previous` is there only where it was asked for, and `null` where there was none.
#[tokio::test]
async fn a_batch_tells_previous_values_where_asked() {
    let server = Server::start().await;
    let text = server.send(Method::PUT, "/v1/kv/text", &[("content-type", "text/plain")], "old").await;
    let (text, bytes) = (revision(&text), revision(&server.send(Method::PUT, "/v1/kv/b", &[], [0xff]).await));
    let number = |revision: &str| revision.parse::<u64>().unwrap();
    server.put("plain", "old").await;
    let batch = json!({"ops": [
        {"op": "put", "key": "text", "value": "new", "previous": true},
        {"op": "put", "key": "new", "value": "new", "previous": true},
        {"op": "put", "key": "plain", "value": "new"},
        {"op": "delete", "key": "b", "previous": true},
        {"op": "delete", "key": "none", "previous": true},
        {"op": "delete", "key": "none, too", "previous": false},
    ]});
    let answer = server.send(Method::POST, "/v1/batch", &[], batch.to_string()).await;
    let answer: Value = answer.json().await.unwrap();
    let expected = json!([
        {"op": "put", "created": false,
         "previous": {"value": "old", "content_type": "text/plain", "revision": number(&text)}},
        {"op": "put", "created": true, "previous": null},
        {"op": "put", "created": false},
        {"op": "delete", "found": true, "previous": {"value_base64": "/w==", "revision": number(&bytes)}},
        {"op": "delete", "found": false, "previous": null},
        {"op": "delete", "found": false},
    ]);
    assert_eq!(without_metadata(answer["results"].clone()), expected);
    let read: lockstep::api::BatchAnswer = serde_json::from_value(answer.clone()).unwrap();
    assert_eq!(serde_json::to_value(read).unwrap(), answer, "our own client reads it without loss");
    server.stop().await;
}
