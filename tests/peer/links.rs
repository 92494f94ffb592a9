//! The switch that cuts a node off: nothing leaves, nothing enters, and healing brings everything back.

use super::raw::{ByHand, read_frame};
use super::{BRIEF, CALLER, PLENTY, Served, client, client_behind, serve};
use bytes::Bytes;
use lockstep::peer::{Lane, Links, Method, PeerClient, PeerError};
use tokio::time::Instant;

/// Asks, has the test answer, and asserts that the answer arrives.
async fn exchange(served: &mut Served, client: &PeerClient, body: &'static str) {
    let caller = client.clone();
    let asking = tokio::spawn(async move { caller.call(Method::Clock, Bytes::from(body), PLENTY).await });
    let call = served.next_call().await;
    assert_eq!((call.from, call.body.as_ref()), (CALLER, body.as_bytes()), "this is what arrives next");
    call.answer.send(Ok(Bytes::from("heard"))).expect("the server waits");
    assert_eq!(asking.await.expect("no panic"), Ok(Bytes::from("heard")));
}

#[tokio::test]
async fn nothing_leaves_a_caller_that_is_cut_off() {
    let mut served = serve().await;
    let links = Links::default();
    let client = client_behind(&served.address, Lane::Control, links.clone());
    exchange(&mut served, &client, "before").await;
    links.cut();
    links.cut();
    assert!(links.is_cut());
    let answer = client.call(Method::Clock, Bytes::from("during"), BRIEF).await;
    assert!(matches!(answer, Err(PeerError::Unreachable(_))), "{answer:?}");
    links.heal();
    exchange(&mut served, &client, "after").await;
}

#[tokio::test]
async fn nothing_reaches_a_server_that_is_cut_off() {
    let mut served = serve().await;
    let old = client(&served.address, Lane::Control);
    exchange(&mut served, &old, "before").await;
    served.links.cut();
    // Through a connection that stood before, and through a new one.
    assert_eq!(old.call(Method::Clock, Bytes::from("during"), BRIEF).await, Err(PeerError::TimedOut));
    let new = client(&served.address, Lane::Control);
    let answer = new.call(Method::Clock, Bytes::from("during"), BRIEF).await;
    assert!(matches!(answer, Err(PeerError::Unreachable(_))), "{answer:?}");
    let deadline = Instant::now() + PLENTY;
    let asked = old.send(Method::Clock, Bytes::from("during, too"), deadline).await.expect("sent");
    served.links.heal();
    assert_eq!(asked.answer(deadline).await, Err(PeerError::Lost));
    exchange(&mut served, &old, "after").await;
    exchange(&mut served, &new, "after all").await;
}

#[tokio::test]
async fn no_answer_leaves_a_server_that_is_cut_off() {
    let mut served = serve().await;
    let client = client(&served.address, Lane::Forward);
    let deadline = Instant::now() + PLENTY;
    let asked = client.send(Method::Write, Bytes::from("x"), deadline).await.expect("sent");
    let call = served.next_call().await;
    served.links.cut();
    call.answer.send(Ok(Bytes::from("done"))).expect("the server waits");
    served.links.heal();
    // The connection of before is closed: what was done stays unknown to the caller.
    assert_eq!(asked.answer(deadline).await, Err(PeerError::Lost));
    exchange(&mut served, &client, "after").await;
}

#[tokio::test]
async fn no_answer_enters_a_caller_that_is_cut_off() {
    let mut served = serve().await;
    let links = Links::default();
    let client = client_behind(&served.address, Lane::Forward, links.clone());
    let deadline = Instant::now() + PLENTY;
    let asked = client.send(Method::Write, Bytes::from("x"), deadline).await.expect("sent");
    let call = served.next_call().await;
    links.cut();
    call.answer.send(Ok(Bytes::from("done"))).expect("the server waits");
    assert_eq!(asked.answer(Instant::now() + BRIEF).await, Err(PeerError::TimedOut));
    links.heal();
    exchange(&mut served, &client, "after").await;
}

/// However short the cut: the connections of before are gone.
#[tokio::test]
async fn a_cut_healed_at_once_still_breaks_connections() {
    let peer = ByHand::listen().await;
    let links = Links::default();
    let client = client_behind(&peer.address, Lane::Control, links.clone());
    let calling = tokio::spawn(async move { client.call(Method::Vote, Bytes::new(), PLENTY).await });
    let mut stream = peer.welcome().await;
    read_frame(&mut stream).await;
    links.cut();
    links.heal();
    assert_eq!(calling.await.expect("no panic"), Err(PeerError::Lost));
}
