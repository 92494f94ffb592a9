//! P2 malformed_frames_are_errors_never_panics: the decoders of requests, replies and handshakes take any
//! bytes.

use super::raw::{PROTOCOL, hello_bytes, message};
use super::{CALLER, SERVER, identity};
use bytes::Bytes;
use lockstep::peer::{FrameError, Hello, Lane, Method, NoAnswer, Welcome, decode_reply, decode_request};
use proptest::prelude::*;

const METHODS: [(u8, Method); 15] = [
    (1, Method::Append),
    (2, Method::Vote),
    (3, Method::PreVote),
    (4, Method::TransferLeader),
    (5, Method::SnapshotBegin),
    (6, Method::SnapshotChunk),
    (7, Method::SnapshotEnd),
    (8, Method::Write),
    (9, Method::ReadIndex),
    (10, Method::Clock),
    (11, Method::Admin),
    (12, Method::Digests),
    (13, Method::Touches),
    (14, Method::Report),
    (15, Method::Samples),
];

fn body() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..64)
}

proptest! {
    #[test]
    fn every_request_comes_back_as_it_was(method in 0..METHODS.len(), id: u64, body in body()) {
        let (number, method) = METHODS[method];
        let request = decode_request(PROTOCOL, Bytes::from(message(number, id, &body))).expect("a request");
        prop_assert_eq!((request.method, request.id, request.body.as_ref()), (method, id, body.as_slice()));
    }

    #[test]
    fn every_reply_comes_back_as_it_was(id: u64, body in body(), sentence: String) {
        let done = decode_reply(PROTOCOL, Bytes::from(message(0, id, &body))).expect("a reply");
        prop_assert_eq!((done.id, done.body), (id, Ok(Bytes::from(body))));
        let refused = decode_reply(PROTOCOL, Bytes::from(message(1, id, sentence.as_bytes()))).expect("a reply");
        prop_assert_eq!((refused.id, refused.body), (id, Err(NoAnswer::Refused(sentence))));
        let too_long = decode_reply(PROTOCOL, Bytes::from(message(2, id, b""))).expect("a reply");
        prop_assert_eq!((too_long.id, too_long.body), (id, Err(NoAnswer::TooLong)));
    }

    #[test]
    fn unknown_numbers_are_named(number: u8, id: u64, body in body()) {
        let content = Bytes::from(message(number, id, &body));
        match decode_request(PROTOCOL, content.clone()) {
            Ok(request) => prop_assert_eq!(request.method as u8, number),
            Err(error) => {
                let named = matches!(error, FrameError::UnknownMethod { number: n, id: of } if (n, of) == (number, id));
                prop_assert!(named);
            }
        }
        match decode_reply(PROTOCOL, content) {
            Ok(reply) => prop_assert_eq!(
                match reply.body {
                    Ok(_) => 0,
                    Err(NoAnswer::Refused(_)) => 1,
                    Err(NoAnswer::TooLong) => 2,
                },
                number
            ),
            Err(error) => prop_assert!(matches!(error, FrameError::UnknownReply(found) if found == number)),
        }
    }

    #[test]
    fn what_is_shorter_than_its_header_is_an_error(content in prop::collection::vec(any::<u8>(), 0..14)) {
        let length = content.len();
        let content = Bytes::from(content);
        let short = |error| matches!(error, FrameError::TooShort(found) if found == length);
        prop_assert!(short(decode_request(PROTOCOL, content.clone()).expect_err("too short")));
        prop_assert!(short(decode_reply(PROTOCOL, content).expect_err("too short")));
    }

    #[test]
    fn any_bytes_as_a_handshake_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..128)) {
        // Random bytes never hold our magic, so nobody gets in by chance.
        prop_assert!(Hello::decode(&bytes).is_err());
        let _ = Welcome::decode(&bytes);
    }

    #[test]
    fn a_hello_cut_short_is_none(cut in 0..100usize) {
        let bytes = hello_bytes(&Hello::new(&identity(CALLER), SERVER, Lane::Control));
        let cut = cut % bytes.len();
        prop_assert!(Hello::decode(&bytes[..cut]).is_err());
    }
}

#[test]
fn a_hello_comes_back_as_it_was() {
    for lane in [Lane::Control, Lane::Append, Lane::Snapshot, Lane::Forward] {
        let hello = Hello::new(&identity(CALLER), SERVER, lane);
        // What a later version says behind it is skipped.
        let longer = [hello_bytes(&hello).as_slice(), b"more"].concat();
        let back = Hello::decode(&longer).expect("a hello");
        assert_eq!(back, hello);
        assert_eq!(back.check(&identity(SERVER)), Welcome::Accepted { protocol: PROTOCOL });
    }
}
