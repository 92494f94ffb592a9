//! Pages that listen to Socket.IO events by polling, for tests.

use reqwest::Client;
use serde_json::Value;

/// Connects a page to a node with this packet. Returns the answer, with what comes with it, and the URL at which it polls.
pub async fn open(client: &Client, node: &str, connect: String) -> (String, String) {
    let base = format!("{node}/socket.io/?EIO=4&transport=polling");
    let open = client.get(&base).send().await.expect("an answer").text().await.expect("a body");
    let open: Value = serde_json::from_str(&open[1..]).expect("JSON");
    let url = format!("{base}&sid={}", open["sid"].as_str().expect("an id"));
    assert_eq!(client.post(&url).body(connect).send().await.expect("an answer").status(), 200);
    // A ping may come before it is admitted (`40`) or refused (`44`).
    let is_answer = |packet: &str| packet.starts_with("40") || packet.starts_with("44");
    let mut heard = String::new();
    while !heard.split('\u{1e}').any(is_answer) {
        heard = client.get(&url).send().await.expect("an answer").text().await.expect("a body");
    }
    (heard, url)
}
