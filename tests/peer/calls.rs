//! Requests and answers: out of order, late, never, lost.

use super::raw::{ByHand, read_frame, until_closed};
use super::{BRIEF, PLENTY, client, serve};
use bytes::Bytes;
use futures::FutureExt;
use futures::future::join_all;
use lockstep::peer::{FRAME_BYTES_MAX, Lane, Method, PeerClient, PeerError};
use std::pin::pin;
use std::time::Duration;
use tokio::time::{Instant, timeout};

fn numbered(number: u64) -> Bytes {
    Bytes::copy_from_slice(&number.to_be_bytes())
}

#[tokio::test]
async fn many_requests_in_flight_are_answered_in_any_order() {
    const REQUESTS: u64 = 300;
    let mut served = serve().await;
    let client = client(&served.address, Lane::Forward);
    let asking = (0..REQUESTS).map(|number| {
        let client = client.clone();
        tokio::spawn(async move { client.call(Method::Write, numbered(number), PLENTY).await })
    });
    let asking: Vec<_> = asking.collect();
    let mut calls = Vec::new();
    for _ in 0..REQUESTS {
        calls.push(served.next_call().await);
    }
    // Odd ones are refused, and the last to come is the first to be answered.
    for call in calls.into_iter().rev() {
        let odd = call.body[7] % 2 == 1;
        let answer = if odd { Err(format!("{:?} is odd", call.body)) } else { Ok(call.body) };
        call.answer.send(answer).expect("the server waits");
    }
    for (number, answer) in (0..).zip(join_all(asking).await) {
        let body = numbered(number);
        let refused = Err(PeerError::Refused(format!("{body:?} is odd")));
        let expected = if number % 2 == 1 { refused } else { Ok(body) };
        assert_eq!(answer.expect("no panic"), expected);
    }
}

#[tokio::test]
async fn a_peer_that_stops_answering_is_dialled_anew() {
    let peer = ByHand::listen().await;
    let client = client(&peer.address, Lane::Control);
    let caller = client.clone();
    let calling = tokio::spawn(async move { caller.call(Method::Vote, Bytes::new(), BRIEF).await });
    let silent = peer.welcome().await;
    assert_eq!(calling.await.expect("no panic"), Err(PeerError::TimedOut));

    let answering = tokio::spawn(async move { peer.answer_one().await });
    assert_eq!(call_until_answered(&client, Method::Vote).await, Bytes::new());
    drop(client);
    answering.await.expect("no panic");
    drop(silent);
}

/// Calls again and again, each time for a short while.
async fn call_until_answered(client: &PeerClient, method: Method) -> Bytes {
    let calling = async {
        loop {
            if let Ok(answer) = client.call(method, Bytes::new(), BRIEF).await {
                return answer;
            }
        }
    };
    timeout(PLENTY, calling).await.expect("a new connection")
}

/// Nothing was asked of it, and once the attempt is given up the next call makes another.
#[tokio::test]
async fn a_peer_that_does_not_even_shake_hands_did_nothing() {
    let peer = ByHand::listen().await;
    let client = client(&peer.address, Lane::Control);
    let (answer, stuck) = tokio::join!(client.call(Method::Vote, Bytes::new(), BRIEF), peer.accept());
    assert!(matches!(answer, Err(PeerError::Unreachable(_))), "{answer:?}");
    // The attempt goes on for whoever comes next.
    let answer = client.call(Method::Vote, Bytes::new(), PLENTY).await;
    assert!(matches!(answer, Err(PeerError::Unreachable(_))), "{answer:?}");

    let again = client.call(Method::Vote, Bytes::new(), PLENTY);
    let answering = tokio::spawn(async move { peer.answer_one().await });
    assert_eq!(again.await, Ok(Bytes::new()));
    drop((client, stuck));
    answering.await.expect("no panic");
}

#[tokio::test]
async fn many_callers_share_one_attempt_to_connect() {
    let peer = ByHand::listen().await;
    let client = client(&peer.address, Lane::Forward);
    let calling: Vec<_> = (0..50)
        .map(|number| {
            let client = client.clone();
            tokio::spawn(async move { client.call(Method::Write, numbered(number), PLENTY).await })
        })
        .collect();
    drop(peer.accept().await);
    for answer in join_all(calling).await {
        let answer = answer.expect("no panic");
        assert!(matches!(answer, Err(PeerError::Unreachable(_))), "{answer:?}");
    }
    assert!(peer.accept().now_or_never().is_none(), "nobody dialled a second time");
}

/// One late answer is no dead connection, as long as others arrive.
#[tokio::test]
async fn a_slow_answer_costs_the_others_nothing() {
    let mut served = serve().await;
    let client = client(&served.address, Lane::Control);
    let deadline = Instant::now() + PLENTY;
    let slow = client.send(Method::Admin, Bytes::from("slow"), deadline).await.expect("sent");
    let waiting = client.send(Method::Clock, Bytes::from("waiting"), deadline).await.expect("sent");
    let quick = client.send(Method::Clock, Bytes::from("quick"), deadline).await.expect("sent");
    let mut calls = Vec::new();
    for _ in 0..3 {
        calls.push(served.next_call().await);
    }
    calls.sort_by_key(|call| call.body.clone());
    let [quick_call, slow_call, waiting_call] = calls.try_into().ok().expect("three calls");
    quick_call.answer.send(Ok(Bytes::from("here"))).expect("waited for");
    assert_eq!(quick.answer(deadline).await, Ok(Bytes::from("here")));
    assert_eq!(slow.answer(Instant::now() + BRIEF).await, Err(PeerError::TimedOut));
    waiting_call.answer.send(Ok(Bytes::from("still here"))).expect("waited for");
    assert_eq!(waiting.answer(deadline).await, Ok(Bytes::from("still here")));
    drop(slow_call);
}

/// Nor is silence, before it has lasted.
#[tokio::test]
async fn a_call_that_times_out_ends_no_other() {
    let mut served = serve().await;
    let client = client(&served.address, Lane::Forward);
    let deadline = Instant::now() + PLENTY;
    let hasty = client.send(Method::Touches, Bytes::from("hasty"), deadline).await.expect("sent");
    let waiting = client.send(Method::Write, Bytes::from("waiting"), deadline).await.expect("sent");
    let mut calls = [served.next_call().await, served.next_call().await];
    calls.sort_by_key(|call| call.body.clone());
    let [hasty_call, waiting_call] = calls;
    assert_eq!(hasty.answer(Instant::now()).await, Err(PeerError::TimedOut));
    waiting_call.answer.send(Ok(Bytes::from("here"))).expect("waited for");
    assert_eq!(waiting.answer(deadline).await, Ok(Bytes::from("here")));
    drop(hasty_call);
}

#[tokio::test]
async fn a_lost_connection_is_told_to_everyone_in_flight() {
    let peer = ByHand::listen().await;
    let client = client(&peer.address, Lane::Forward);
    let calling: Vec<_> = (0..5)
        .map(|number| {
            let client = client.clone();
            tokio::spawn(async move { client.call(Method::Write, numbered(number), PLENTY).await })
        })
        .collect();
    let mut stream = peer.welcome().await;
    for _ in 0..5 {
        read_frame(&mut stream).await;
    }
    drop(stream);
    for answer in join_all(calling).await {
        assert_eq!(answer.expect("no panic"), Err(PeerError::Lost));
    }
}

#[tokio::test]
async fn a_client_that_is_dropped_closes_its_connection() {
    let peer = ByHand::listen().await;
    let client = client(&peer.address, Lane::Control);
    let sent = client.send(Method::Vote, Bytes::new(), Instant::now() + PLENTY);
    let (pending, mut stream) = tokio::join!(sent, peer.welcome());
    drop(client);
    // Whoever still waits keeps it open.
    read_frame(&mut stream).await;
    drop(pending);
    assert_eq!(until_closed(&mut stream).await, b"");
}

#[tokio::test]
async fn a_stopped_server_is_lost_and_then_out_of_reach() {
    let mut served = serve().await;
    let client = client(&served.address, Lane::Forward);
    let caller = client.clone();
    let calling = tokio::spawn(async move { caller.call(Method::Write, Bytes::new(), PLENTY).await });
    let call = served.next_call().await;
    drop(served.server);
    assert_eq!(calling.await.expect("no panic"), Err(PeerError::Lost));
    let answer = client.call(Method::Write, Bytes::new(), PLENTY).await;
    assert!(matches!(answer, Err(PeerError::NotListening(_))), "{answer:?}");
    drop(call);
}

/// A peer that reads nothing more: its caller's queue fills up, and giving up leaves nothing behind.
#[tokio::test]
async fn a_peer_that_reads_nothing_is_given_up() {
    let peer = ByHand::listen().await;
    let client = client(&peer.address, Lane::Snapshot);
    let megabyte = Bytes::from(vec![7; 1024 * 1024]);
    let calling: Vec<_> = (0..400)
        .map(|_| {
            let (client, body) = (client.clone(), megabyte.clone());
            tokio::spawn(async move { client.call(Method::SnapshotChunk, body, BRIEF).await })
        })
        .collect();
    let deaf = peer.welcome().await;
    for answer in join_all(calling).await {
        let answer = answer.expect("no panic");
        assert!(matches!(answer, Err(PeerError::TimedOut | PeerError::Lost | PeerError::Unreachable(_))));
    }
    // A new connection, where the old one would hold everything up.
    let answering = tokio::spawn(async move { peer.answer_one().await });
    assert_eq!(call_until_answered(&client, Method::SnapshotEnd).await, Bytes::new());
    drop(client);
    answering.await.expect("no panic");
    drop(deaf);
}

#[tokio::test]
async fn what_fits_into_no_frame_is_not_sent() {
    let mut served = serve().await;
    let client = client(&served.address, Lane::Forward);
    let answer = client.call(Method::Write, Bytes::from(vec![0; FRAME_BYTES_MAX]), PLENTY).await;
    assert!(matches!(answer, Err(PeerError::Unreachable(_))), "{answer:?}");

    // Nor is an answer: what was asked was done, so the asker does not hear of a refusal.
    let asking = tokio::spawn(async move { client.call(Method::ReadIndex, Bytes::new(), PLENTY).await });
    let call = served.next_call().await;
    call.answer.send(Ok(Bytes::from(vec![0; FRAME_BYTES_MAX]))).expect("the server waits");
    assert_eq!(asking.await.expect("no panic"), Err(PeerError::Lost));
}

/// A server that ends forwarding answers what is under way, and of the rest its callers learn that nothing was done.
#[tokio::test]
async fn a_server_that_ends_forwarding_leaves_nobody_in_doubt() {
    const REQUESTS: u64 = 3_000;
    let mut served = serve().await;
    let (forwarding, voting) =
        (client(&served.address, Lane::Forward), client(&served.address, Lane::Control));
    let asking = (0..REQUESTS).map(|number| {
        let client = forwarding.clone();
        tokio::spawn(async move { client.call(Method::Write, numbered(number), PLENTY).await })
    });
    let asking: Vec<_> = asking.collect();
    let first = served.next_call().await;
    let mut calls = vec![first];
    let ending = served.server.end_forwarding();
    let answering = async {
        let asked_to_vote = voting.call(Method::Vote, Bytes::from("vote"), PLENTY);
        let mut asked_to_vote = pin!(asked_to_vote);
        // Raft goes on meanwhile.
        let vote = loop {
            tokio::select! {
                call = served.calls.recv() => match call.expect("still served") {
                    call if call.method == Method::Vote => break call,
                    call => calls.push(call),
                },
                answer = &mut asked_to_vote => panic!("{answer:?} before it was asked"),
            }
        };
        vote.answer.send(Ok(Bytes::from("granted"))).expect("the server waits");
        assert_eq!(asked_to_vote.await, Ok(Bytes::from("granted")));
        for call in calls.drain(..) {
            call.answer.send(Ok(call.body)).expect("the server waits");
        }
        let mut taken = 0;
        for (number, answer) in (0..).zip(join_all(asking).await) {
            match answer.expect("no panic") {
                Ok(body) => taken += u64::from(body == numbered(number)),
                Err(PeerError::Refused(why)) => assert_eq!(why, "the node is about to stop"),
                // It was not sent any more.
                Err(PeerError::Unreachable(why)) => assert_eq!(why, "the connection ended"),
                other => panic!("{number}: {other:?}"),
            }
        }
        assert!((1..REQUESTS).contains(&taken), "{taken}");
    };
    let begun = Instant::now();
    timeout(PLENTY, async { tokio::join!(ending, answering) }).await.expect("it ends");
    println!("ended after {:?}", begun.elapsed());
    // Whoever comes later is told at once, and did not ask.
    for _ in 0..3 {
        let late = forwarding.call(Method::Write, Bytes::new(), PLENTY).await;
        assert_eq!(late, Err(PeerError::Refused("the node is about to stop".into())));
    }
    assert!(served.calls.try_recv().is_err());
}

/// It waits for what is under way no longer than it says.
#[tokio::test]
async fn a_server_that_ends_forwarding_does_not_wait_for_ever() {
    let mut served = serve().await;
    let client = client(&served.address, Lane::Forward);
    let asking = tokio::spawn(async move { client.call(Method::Write, Bytes::new(), PLENTY).await });
    let call = served.next_call().await;
    let begun = Instant::now();
    timeout(PLENTY, served.server.end_forwarding()).await.expect("it gives up");
    assert!(begun.elapsed() >= Duration::from_secs(2));
    drop(served);
    assert_eq!(asking.await.expect("no panic"), Err(PeerError::Lost));
    drop(call);
}

/// Nobody knows what a request has done whose handler panicked, so nobody is told that it did nothing; and nobody waits for its answer.
#[tokio::test]
async fn a_request_whose_handler_panics_is_in_doubt() {
    let mut served = serve().await;
    let client = client(&served.address, Lane::Forward);
    let call = |body: &'static str| {
        let client = client.clone();
        tokio::spawn(async move { client.call(Method::Write, body.into(), PLENTY).await })
    };
    let answer = |call: super::Call| call.answer.send(Ok(Bytes::new())).expect("the server waits");
    // The next request finds out.
    let panicking = call("panic");
    answer(served.next_call().await);
    let asking_on = async {
        while !panicking.is_finished() {
            let mut asking = call("next");
            loop {
                tokio::select! {
                    _ = &mut asking => break,
                    call = served.next_call() => answer(call),
                }
            }
        }
    };
    timeout(PLENTY, asking_on).await.expect("the connection is closed");
    assert_eq!(panicking.await.expect("no panic"), Err(PeerError::Lost));

    // And so does the end.
    let panicking = call("panic");
    let begun = served.next_call().await;
    tokio::join!(served.server.end_forwarding(), async { answer(begun) });
    assert_eq!(panicking.await.expect("no panic"), Err(PeerError::Lost));
}
