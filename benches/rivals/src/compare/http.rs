//! Single requests to a node of Lockstep.

use anyhow::{Context, Result, bail};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// How long a node may take to answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// Whether a node can serve.
///
/// # Errors
/// A sentence why not.
pub async fn is_ready(url: &str) -> Result<()> {
    ask(url, "GET /readyz", "").await.map(drop)
}

/// Sends a request, and returns the answer.
///
/// # Errors
/// There is none in time, or its status is not that of a success.
pub async fn ask(url: &str, request: &str, body: &str) -> Result<String> {
    let address = url.trim_start_matches("http://");
    let length = body.len();
    let head =
        format!("{request} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Length: {length}");
    let asking = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(format!("{head}\r\n\r\n{body}").as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        anyhow::Ok(answer)
    };
    let answer = tokio::time::timeout(ANSWER_LIMIT, asking).await.context("no answer in time")??;
    let status = answer.lines().next().unwrap_or_default();
    let is_success = status.split(' ').nth(1).is_some_and(|code| code.starts_with('2'));
    if is_success { Ok(answer) } else { bail!("{url}: {status}") }
}
