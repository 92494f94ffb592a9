//! What a node without a cluster asks others: who are you, and may I join.

use crate::api::{AddMember, ErrorCode, Introduction, Joined, Problem};
use futures::future::join_all;
use std::time::{Duration, Instant};

const INTRODUCTION_LIMIT: Duration = Duration::from_secs(2);
const JOIN_LIMIT: Duration = Duration::from_secs(20);
const JOIN_RETRY: Duration = Duration::from_millis(200);
/// How long a conflict may last: another node's change passes, a name that is taken stays.
const CONFLICT_LIMIT: Duration = Duration::from_secs(3);

fn client(limit: Duration) -> Result<reqwest::Client, String> {
    reqwest::Client::builder()
        .timeout(limit)
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .map_err(|error| error.to_string())
}

/// Asks each URL who is there; answers come in the order of the URLs.
pub async fn introductions(urls: &[String]) -> Vec<Result<Introduction, String>> {
    let client = match client(INTRODUCTION_LIMIT) {
        Ok(client) => client,
        Err(error) => return urls.iter().map(|_| Err(error.clone())).collect(),
    };
    join_all(urls.iter().map(|url| introduction(&client, url))).await
}

async fn introduction(client: &reqwest::Client, url: &str) -> Result<Introduction, String> {
    let url = format!("{}/v1/introduction", url.trim_end_matches('/'));
    let response = client.get(url).send().await.map_err(|error| short(&error))?;
    if !response.status().is_success() {
        return Err(format!("answered {}", response.status()));
    }
    response.json().await.map_err(|_| "is no Lockstep node".to_owned())
}

/// Asks a cluster to take a node in, for as long as it is starting, changing or without a leader. Asking
/// twice for one data folder gives the same answer.
///
/// # Errors
/// A sentence.
pub async fn join(url: &str, request: &AddMember) -> Result<Joined, String> {
    let client = client(JOIN_LIMIT)?;
    let url = format!("{}/v1/members", url.trim_end_matches('/'));
    let started = Instant::now();
    let mut told = String::new();
    loop {
        let (reason, limit) = match try_join(&client, &url, request).await {
            Ok(joined) => return Ok(joined),
            Err(refused) => refused,
        };
        if started.elapsed() + JOIN_RETRY >= limit {
            return Err(reason);
        }
        if reason != told {
            tracing::info!("cannot join yet: {reason}");
            told = reason;
        }
        tokio::time::sleep(JOIN_RETRY).await;
    }
}

/// Asks once; an error comes with how long asking again makes sense.
async fn try_join(
    client: &reqwest::Client,
    url: &str,
    request: &AddMember,
) -> Result<Joined, (String, Duration)> {
    let unreachable = |error| (format!("{url}: {}", short(&error)), JOIN_LIMIT);
    let response = client.post(url).json(request).send().await.map_err(unreachable)?;
    if response.status().is_success() {
        return response.json().await.map_err(|error| (error.to_string(), Duration::ZERO));
    }
    let status = response.status();
    match response.json::<Problem>().await {
        Ok(problem) => Err((
            problem.detail,
            match problem.code {
                ErrorCode::Conflict => CONFLICT_LIMIT,
                code if code.retry_is_safe(true) => JOIN_LIMIT,
                _ => Duration::ZERO,
            },
        )),
        Err(_) => Err((format!("{url} answered {status}"), Duration::ZERO)),
    }
}

/// The innermost reason, without the URL that the caller names anyway.
fn short(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return "no answer in time".into();
    }
    let mut reason: &dyn std::error::Error = error;
    while let Some(source) = reason.source() {
        reason = source;
    }
    reason.to_string()
}
