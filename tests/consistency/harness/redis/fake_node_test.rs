//! A client and a node that answers what it is told to: what each answer, or none, is taken for.

use super::Redis;
use crate::harness::ask::{Condition, Reply, Request};
use crate::harness::cluster::{Address, Directory};
use lockstep::check::Outcome;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// What a node says once it has got something after its greeting.
const HELLO_2: &[u8] = b"*2\r\n$5\r\nproto\r\n:2\r\n";
const HELLO_3: &[u8] = b"%1\r\n$5\r\nproto\r\n:3\r\n";

/// A client of a node that gives each connection these answers, one for each time something arrives, and then ends
/// it; and what the client finds wrong.
async fn with_node(answers: &'static [&'static str]) -> (Redis, Address, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let redis = listener.local_addr().expect("an address").to_string();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut bytes = [0; 4_096];
                let count = stream.read(&mut bytes).await.unwrap_or(0);
                let is_three = bytes[..count].ends_with(b"$1\r\n3\r\n");
                let _ = stream.write_all(if is_three { HELLO_3 } else { HELLO_2 }).await;
                for answer in answers {
                    let _ = stream.read(&mut bytes).await;
                    let _ = stream.write_all(answer.as_bytes()).await;
                }
            });
        }
    });
    let node = Address { name: "n1".into(), id: 1, url: String::new(), redis, direct: String::new() };
    let wrong = Arc::new(Mutex::new(Vec::new()));
    let random = fastrand::Rng::with_seed(1);
    (Redis::new(Directory::default(), random, wrong.clone()), node, wrong)
}

async fn told(answers: &'static [&'static str], requests: &[Request]) -> (Vec<Reply>, Vec<String>) {
    let (mut client, node, wrong) = with_node(answers).await;
    let replies = client.pipeline(&node, requests).await;
    let wrong = wrong.lock().expect("no panic while held").clone();
    (replies, wrong)
}

fn outcomes(replies: &[Reply]) -> Vec<Outcome> {
    replies.iter().map(|reply| reply.outcome).collect()
}

#[tokio::test]
async fn a_pipeline_has_an_outcome_for_each_of_its_commands() {
    let requests = [Request::put("k", 1), Request::get("k"), Request::put("k", 2), Request::get("k")];
    const ALL: &str =
        "+OK\r\n$1\r\n1\r\n-OUTCOMEUNKNOWN no answer\r\n-UNAVAILABLE nothing was done: before it\r\n";
    let (replies, wrong) = told(&[ALL], &requests).await;
    assert_eq!(outcomes(&replies), [Outcome::Ok, Outcome::Ok, Outcome::Unknown, Outcome::Fail]);
    assert_eq!(replies[1].answer, "1");
    assert_eq!(wrong, [""; 0]);
    // The connection ends within a reply: of what came before it is known, of the rest it is not.
    let (replies, wrong) = told(&["+OK\r\n$1\r\n"], &requests).await;
    assert_eq!(outcomes(&replies), [Outcome::Ok, Outcome::Unknown, Outcome::Unknown, Outcome::Unknown]);
    assert_eq!(wrong, [""; 0]);
}

#[tokio::test]
async fn a_reply_of_another_shape_is_wrong() {
    for (request, answer) in [
        (Request::get("k"), ":1\r\n"),
        (Request::get("k"), "+OK\r\n"),
        (Request::get("k"), "-ERR syntax error\r\n"),
        (Request::get("k"), "$1\r\n1\r\n$1\r\n2\r\n"),
        (Request::put("k", 1), "$1\r\n1\r\n"),
        (Request::put("k", 1), "+QUEUED\r\n"),
        (Request::put("k", 1), "OK\r\n"),
        (Request::Delete { key: "k".into() }, ":2\r\n"),
        (Request::Add { key: "k".into(), by: 1, id: None }, "$1\r\n1\r\n"),
    ] {
        let answers: &'static [&'static str] = Box::leak(Box::new([answer]));
        let (_, wrong) = told(answers, std::slice::from_ref(&request)).await;
        assert_eq!(wrong.len(), 1, "{request:?}: {answer:?}");
    }
}

#[tokio::test]
async fn what_was_not_sent_has_no_effect() {
    let (mut client, node, _) = with_node(&[]).await;
    let nobody = TcpListener::bind("127.0.0.1:0").await.expect("a port").local_addr().expect("an address");
    let nowhere = Address { redis: nobody.to_string(), ..node.clone() };
    let failed = client.ask(&nowhere, &Request::put("k", 1)).await;
    assert_eq!((failed.outcome, failed.error.as_deref()), (Outcome::Fail, Some("unreachable")));
    // What is watched on no connection is not written.
    let put = Request::put_if("k", 1, Condition::Watched);
    let failed = client.ask(&node, &put).await;
    assert_eq!((failed.outcome, failed.error.as_deref()), (Outcome::Fail, Some("unreachable")));
}

#[tokio::test]
async fn a_transaction_on_a_watched_key_writes_all_or_nothing() {
    let get = Request::GetToChange { key: "k".into() };
    let put = Request::put_if("k", 2, Condition::Watched);
    for (exec, outcome, error) in [
        ("+OK\r\n+QUEUED\r\n*1\r\n+OK\r\n", Outcome::Ok, None),
        ("+OK\r\n+QUEUED\r\n-OUTCOMEUNKNOWN no answer\r\n", Outcome::Unknown, Some("outcome_unknown")),
        ("+OK\r\n+QUEUED\r\n-UNAVAILABLE nothing was done: busy\r\n", Outcome::Fail, Some("unavailable")),
        ("+OK\r\n+QUEUED\r\n", Outcome::Unknown, Some("lost")),
    ] {
        let answers: &'static [&'static str] = Box::leak(Box::new(["+OK\r\n$1\r\n1\r\n", exec]));
        let (mut client, node, wrong) = with_node(answers).await;
        assert_eq!(client.ask(&node, &get).await.answer, "1");
        let written = client.ask(&node, &put).await;
        assert_eq!((written.outcome, written.error.as_deref()), (outcome, error), "{exec:?}");
        assert_eq!(*wrong.lock().expect("no panic while held"), [""; 0]);
    }
    // Without `QUEUED` it was no transaction.
    let (mut client, node, wrong) = with_node(&["+OK\r\n$1\r\n1\r\n", "+OK\r\n+OK\r\n*1\r\n+OK\r\n"]).await;
    client.ask(&node, &get).await;
    client.ask(&node, &put).await;
    assert_eq!(wrong.lock().expect("no panic while held").len(), 1);
}
