//! P1 foreign_peers_are_refused and P2 malformed_frames_are_errors_never_panics, at a listening server:
//! whatever a stranger says, the connection ends and the next good caller is served.

use super::raw::{ByHand, PROTOCOL, frame, hello_bytes, message, read_frame, say, until_closed, welcome_in};
use super::{CALLER, PLENTY, SERVER, client, identity, lineage, serve};
use bytes::Bytes;
use lockstep::lineage::{Lineage, Relation};
use lockstep::peer::{
    FRAME_BYTES_MAX, Hello, Lane, Links, Method, Net, NoAnswer, PeerClient, PeerError, PeerIdentity, Remote,
    RoundTrips, Welcome, decode_reply,
};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use tokio::io::AsyncWriteExt;

fn good_hello() -> Vec<u8> {
    hello_bytes(&Hello::new(&identity(CALLER), SERVER, Lane::Control))
}

/// P1: each thing that may differ, and the sentence that is told.
#[tokio::test]
async fn whoever_is_foreign_is_told_why_and_left() {
    let mut served = serve().await;
    let me = identity(CALLER);
    let foreign = |change: fn(&mut PeerIdentity)| {
        let mut other = me.clone();
        change(&mut other);
        hello_bytes(&Hello::new(&other, SERVER, Lane::Control))
    };
    let mut no_magic = good_hello();
    no_magic[0] ^= 1;
    let mut next_version = good_hello();
    next_version[4..6].copy_from_slice(&[2, 3]);
    let mut next_group = good_hello();
    let group = next_group.len() - 2;
    next_group[group] = 1;
    let cases = [
        (foreign(|me| me.node_id = SERVER), "the caller claims to be this very node 1"),
        (hello_bytes(&Hello::new(&me, 7, Lane::Control)), "this is node 1, not node 7"),
        (next_version, "this node speaks version 1 of the peer protocol, the caller 2 to 3"),
        (next_group, "group 1 is not served here"),
        (no_magic, "this is a Lockstep peer port, and the caller is no Lockstep node"),
        (b"GET / HTTP/1.1".to_vec(), "this is a Lockstep peer port, and the caller is no Lockstep node"),
        (b"LSTP".to_vec(), "the handshake cannot be read"),
        (b"LSTP\x01\x01what?".to_vec(), "the handshake cannot be read"),
        (Vec::new(), "the handshake cannot be read"),
    ];
    for (hello, sentence) in cases {
        let answer = say(&served.address, &frame(&hello)).await;
        assert_eq!(welcome_in(&answer), Some(Welcome::Refused(sentence.into())));
    }
    let answer =
        say(&served.address, &frame(&foreign(|me| me.lineage = Lineage::founded("red", 0).into()))).await;
    assert_eq!(welcome_in(&answer), Some(Welcome::OtherCluster));
    served.serves_well().await;
}

/// P1: a client of ours hears whose node it reached, as an error that says nothing was done; and the node hears of it.
#[tokio::test]
async fn a_foreign_client_gets_the_refusal_as_its_error() {
    let served = serve().await;
    assert_eq!(served.refused_other_clusters(), 0);
    let client_of = |lineage: Lineage| {
        PeerClient::new(
            PeerIdentity { lineage: lineage.into(), ..identity(CALLER) },
            Remote { id: SERVER, name: String::new(), address: served.address.clone() },
            Lane::Forward,
            Net::Tcp,
            Links::default(),
            RoundTrips::default(),
        )
    };
    let client = client_of(Lineage::founded("red", 0));
    let answer = client.call(Method::Write, Bytes::from("x"), PLENTY).await;
    assert_eq!(answer, Err(PeerError::OtherCluster(served.address.clone())));
    assert_eq!(served.refused_other_clusters(), 1);
    // One that went on from it, one that it goes on from, and one that forked before it: the answer says which.
    for (histories, relation) in [
        (vec!["second", "third", "fourth"], Relation::Earlier),
        (vec!["second"], Relation::Later),
        (vec!["second", "other"], Relation::Forked { shared: 2 }),
    ] {
        let other = lineage(&histories);
        let client = client_of(other.clone());
        let answer = client.call(Method::Write, Bytes::from("x"), PLENTY).await;
        let Err(PeerError::OtherHistory(theirs)) = answer else { panic!("{answer:?}") };
        assert_eq!(other.relation(&theirs), relation);
    }
    assert_eq!(served.refused_other_clusters(), 1, "its own cluster is no other one");
}

/// P2: a length that is announced and too large ends the connection before anything is read.
#[tokio::test]
async fn oversized_lengths_end_the_connection() {
    let mut served = serve().await;
    // Of a stranger, a handshake's few bytes are taken; a megabyte would be room for a flood.
    for announced in [1024 * 1024, FRAME_BYTES_MAX + 1, u32::MAX as usize] {
        let length = u32::try_from(announced).expect("fits").to_be_bytes();
        let mut stream = tokio::net::TcpStream::connect(&served.address).await.expect("listens");
        stream.write_all(&length).await.expect("taken");
        // Our side stays open: it is the server that ends this.
        assert_eq!(until_closed(&mut stream).await, b"");
    }
    let mut stream = tokio::net::TcpStream::connect(&served.address).await.expect("listens");
    stream.write_all(&frame(&good_hello())).await.expect("taken");
    read_frame(&mut stream).await;
    stream.write_all(&u32::MAX.to_be_bytes()).await.expect("taken");
    assert_eq!(until_closed(&mut stream).await, b"");
    served.serves_well().await;
}

/// P2: HTTP at the peer port, the most likely stranger.
#[tokio::test]
async fn a_browser_at_the_peer_port_is_left() {
    let mut served = serve().await;
    assert_eq!(say(&served.address, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await, b"");
    served.serves_well().await;
}

/// P2: after a good handshake, a request that is none ends the connection, whatever it is.
#[tokio::test]
async fn a_bad_request_ends_its_connection_only() {
    let mut served = serve().await;
    let hello = frame(&good_hello());
    let (mut wrong_version, mut wrong_group) = (message(10, 1, b""), message(10, 1, b""));
    (wrong_version[0], wrong_group[5]) = (PROTOCOL + 1, 1);
    for content in [Vec::new(), vec![10], wrong_version, wrong_group] {
        let answer = say(&served.address, &[hello.clone(), frame(&content)].concat()).await;
        assert_eq!(welcome_in(&answer), Some(Welcome::Accepted { protocol: PROTOCOL }));
    }
    // Half a frame, and then nothing.
    let half = &frame(&message(10, 1, b"time?"))[..9];
    say(&served.address, &[hello.as_slice(), half].concat()).await;
    served.serves_well().await;
    assert!(served.calls.try_recv().is_err(), "nothing that was malformed reached the handler");
}

/// What a later version asks for is refused by its id, and the connection goes on.
#[tokio::test]
async fn an_unknown_method_is_refused_and_the_connection_goes_on() {
    let served = serve().await;
    let mut stream = tokio::net::TcpStream::connect(&served.address).await.expect("listens");
    stream.write_all(&frame(&good_hello())).await.expect("taken");
    read_frame(&mut stream).await;
    for (id, number) in [(7, 99), (8, 0), (9, 255)] {
        stream.write_all(&frame(&message(number, id, b"x"))).await.expect("taken");
        let reply = decode_reply(PROTOCOL, read_frame(&mut stream).await).expect("a reply");
        let sentence = format!("no method has the number {number}");
        assert_eq!((reply.id, reply.body), (id, Err(NoAnswer::Refused(sentence))));
    }
}

/// P2: and a server that breaks the rules costs its client a connection, not more.
#[tokio::test]
async fn a_bad_reply_ends_the_connection_and_the_next_call_dials_anew() {
    let peer = ByHand::listen().await;
    let client = client(&peer.address, Lane::Control);
    for reply in [frame(b""), frame(&message(9, 1, b"what?")), u32::MAX.to_be_bytes().to_vec()] {
        let caller = client.clone();
        let calling = tokio::spawn(async move { caller.call(Method::Clock, Bytes::new(), PLENTY).await });
        let mut stream = peer.welcome().await;
        read_frame(&mut stream).await;
        stream.write_all(&reply).await.expect("the client listens");
        assert_eq!(calling.await.expect("no panic"), Err(PeerError::Lost));
    }
    // A welcome that can't be read: nothing was asked yet.
    let calling = tokio::spawn(async move { client.call(Method::Clock, Bytes::new(), PLENTY).await });
    let mut stream = peer.accept().await;
    stream.write_all(&frame(&[77])).await.expect("the client listens");
    assert!(matches!(calling.await.expect("no panic"), Err(PeerError::Refused(_))));
}

/// What somebody may say to the port.
fn bytes_to_say() -> impl Strategy<Value = Vec<u8>> {
    let random = prop::collection::vec(any::<u8>(), 0..200);
    let framed = prop::collection::vec(any::<u8>(), 0..200).prop_map(|content| frame(&content));
    let mutated = (0..4096usize, 1..=255u8).prop_map(|(at, flip)| {
        let mut hello = good_hello();
        let at = at % hello.len();
        hello[at] ^= flip;
        frame(&hello)
    });
    let truncated = (0..4096usize).prop_map(|cut| {
        let mut hello = frame(&good_hello());
        hello.truncate(cut % hello.len());
        hello
    });
    let after = prop::collection::vec(any::<u8>(), 0..200)
        .prop_map(|noise| [frame(&good_hello()), frame(&noise), noise].concat());
    prop_oneof![random, framed, mutated, truncated, after]
}

/// P1, P2: nobody is welcomed who is not one of us, and nothing that is said stops the server.
#[test]
fn whatever_is_said_the_server_goes_on() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let mut served = runtime.block_on(serve());
    let config = Config { cases: 256, failure_persistence: None, ..Config::default() };
    let result = TestRunner::new(config).run(&bytes_to_say(), |bytes| {
        let answer = runtime.block_on(say(&served.address, &bytes));
        let content = bytes
            .split_first_chunk::<4>()
            .and_then(|(length, rest)| rest.get(..u32::from_be_bytes(*length) as usize));
        let hello = content.and_then(|content| Hello::decode(content).ok());
        let verdict = hello.map(|hello| hello.check(&identity(SERVER)));
        let is_ours = verdict == Some(Welcome::Accepted { protocol: PROTOCOL });
        match welcome_in(&answer) {
            Some(Welcome::Accepted { protocol }) => prop_assert!(is_ours && protocol == PROTOCOL),
            Some(Welcome::OtherCluster | Welcome::OtherHistory(_)) => prop_assert!(!is_ours),
            Some(Welcome::Refused(sentence)) => prop_assert!(!is_ours && !sentence.is_empty()),
            // The connection may be reset before the answer is read.
            None => {}
        }
        Ok(())
    });
    result.expect("the server goes on");
    // What noise happened to be a request is nobody's to answer.
    while served.calls.try_recv().is_ok() {}
    runtime.block_on(served.serves_well());
}
