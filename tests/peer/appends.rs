//! The append lane: answers keep the order of the requests, and nothing is done behind one that failed.

use super::{PLENTY, client, serve_appends};
use bytes::Bytes;
use lockstep::peer::{Lane, Method, PeerClient, PeerError};
use tokio::time::Instant;

type Answer = Result<Bytes, PeerError>;

/// Sends all, one after another, and only then waits for the answers.
async fn append_all(client: &PeerClient, bodies: &[&'static str]) -> Vec<Answer> {
    let deadline = Instant::now() + PLENTY;
    let mut pending = Vec::new();
    for body in bodies {
        pending.push(client.send(Method::Append, Bytes::from(*body), deadline).await.expect("sent"));
    }
    let mut answers = Vec::new();
    for one in pending {
        answers.push(one.answer(deadline).await);
    }
    answers
}

fn done(body: &'static str) -> Answer {
    Ok(Bytes::from(body))
}

fn refused() -> Answer {
    Err(PeerError::Refused("an append before this one was refused".into()))
}

#[tokio::test]
async fn appends_are_handled_and_answered_in_order() {
    let served = serve_appends(3).await;
    let client = client(&served.address, Lane::Append);
    let answers = append_all(&client, &["a", "b", "c", "d", "e"]).await;
    assert_eq!(answers, ["a", "b", "c", "d", "e"].map(done));
}

#[tokio::test]
async fn what_follows_a_failed_append_is_refused_and_the_next_one_starts_anew() {
    let served = serve_appends(5).await;
    let client = client(&served.address, Lane::Append);
    let answers = append_all(&client, &["a", "b", "fail", "c", "d"]).await;
    assert_eq!(answers, [done("a"), done("b"), refused(), refused(), refused()]);
    // The connection is as good as before.
    let again = append_all(&client, &["fail", "a", "b", "c", "d"]).await;
    assert_eq!(again, [refused(), refused(), refused(), refused(), refused()]);
    let again = append_all(&client, &["v", "w", "x", "y", "z"]).await;
    assert_eq!(again, ["v", "w", "x", "y", "z"].map(done));
}

/// Bulk behind the append lane's back: another method on the same connection waits for no append.
#[tokio::test]
async fn only_appends_wait_for_appends() {
    let mut served = serve_appends(2).await;
    let client = client(&served.address, Lane::Append);
    let deadline = Instant::now() + PLENTY;
    let first = client.send(Method::Append, Bytes::from("a"), deadline).await.expect("sent");
    let other = client.send(Method::Clock, Bytes::new(), deadline).await.expect("sent");
    served.next_call().await.answer.send(Ok(Bytes::from("now"))).expect("waited for");
    assert_eq!(other.answer(deadline).await, done("now"));
    let second = client.send(Method::Append, Bytes::from("b"), deadline).await.expect("sent");
    assert_eq!(first.answer(deadline).await, done("a"));
    assert_eq!(second.answer(deadline).await, done("b"));
}
