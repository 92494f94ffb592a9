//! The Rust client against nodes that fail in the middle.

use bytes::Bytes;
use lockstep::api::Effect;
use lockstep::client::{Client, PutOptions};
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;

/// H2: a write that reached a node which then died stays unknown, whatever a later try is told.
#[tokio::test]
async fn a_later_refusal_does_not_undo_a_lost_answer() {
    let dies = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let dead = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let urls = [&dies, &dead].map(|listener| format!("http://{}", listener.local_addr().unwrap()));
    drop(dead);
    let node = tokio::spawn(async move {
        let (mut stream, _) = dies.accept().await.unwrap();
        let mut request = vec![0; 4_096];
        let read = stream.read(&mut request).await.unwrap();
        assert!(read > 0, "the request arrived");
    });
    let client = Client::new(&urls, Duration::from_secs(1)).unwrap();
    let error = client.put("k", Bytes::from_static(b"v"), &PutOptions::default()).await.unwrap_err();
    node.await.unwrap();
    assert_eq!(error.effect(), Effect::Unknown, "{error}");
}

/// A node that nobody reaches did nothing.
#[tokio::test]
async fn a_write_that_reached_nobody_was_not_done() {
    let dead = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", dead.local_addr().unwrap());
    drop(dead);
    let client = Client::new(&[url], Duration::from_millis(300)).unwrap();
    let error = client.put("k", Bytes::from_static(b"v"), &PutOptions::default()).await.unwrap_err();
    assert_eq!(error.effect(), Effect::None, "{error}");
}
