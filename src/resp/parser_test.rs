//! Tests of the parser: every stream is cut at every byte.

use super::*;
use proptest::prelude::*;

const LIMITS: ParseLimits =
    ParseLimits { arguments: 100, argument_bytes: 1_000, command_bytes: 4_000, is_stranger: false };

type Told = (Vec<Vec<Vec<u8>>>, Option<ProtocolError>);

/// What a stream says that comes in these pieces.
fn parsed<'a>(pieces: impl IntoIterator<Item = &'a [u8]>, limits: ParseLimits) -> Told {
    let (mut parser, mut commands) = (Parser::default(), Vec::new());
    for piece in pieces {
        parser.buffer().extend_from_slice(piece);
        loop {
            match parser.next(limits) {
                Ok(Some(Parsed::Command(words))) => {
                    commands.push(words.iter().map(|word| word.to_vec()).collect())
                }
                Ok(Some(Parsed::TooLarge(_))) => commands.push(vec![b"too large".to_vec()]),
                Ok(None) => break,
                Err(error) => return (commands, Some(error)),
            }
        }
    }
    (commands, None)
}

fn commands(lines: &[&[&str]]) -> Vec<Vec<Vec<u8>>> {
    let command = |words: &&[&str]| words.iter().map(|word| word.as_bytes().to_vec()).collect();
    lines.iter().map(command).collect()
}

#[test]
fn a_stream_is_cut_into_commands() {
    let stream = b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n*0\r\n*-1\r\n\r\nPING\r\nset  k \"a\\x41\\n\\\"\"  'it\\'s'\n*1\r\n$0\r\n\r\n";
    let expected = commands(&[&["GET", "k"], &["PING"], &["set", "k", "aA\n\"", "it's"], &[""]]);
    assert_eq!(parsed([stream.as_slice()], LIMITS), (expected.clone(), None));
    for cut in 0..=stream.len() {
        let (first, second) = stream.split_at(cut);
        assert_eq!(parsed([first, second], LIMITS), (expected.clone(), None), "{cut}");
    }
    assert_eq!(parsed(stream.chunks(1), LIMITS), (expected, None));
}

#[test]
fn what_is_no_command_ends_the_stream() {
    let long = "x".repeat(LINE_BYTES_MAX + 2);
    for (stream, error) in [
        ("*101\r\n".to_owned(), ProtocolError::Count),
        ("*x\r\n".into(), ProtocolError::Count),
        ("*+1\r\n".into(), ProtocolError::Count),
        ("*9223372036854775808\r\n".into(), ProtocolError::Count),
        ("*1\r\n$536870913\r\n".into(), ProtocolError::Length),
        ("*1\r\n$-1\r\n".into(), ProtocolError::Length),
        ("*1\r\nPING\r\n".into(), ProtocolError::NoBulk(b'P')),
        (long.clone(), ProtocolError::LongLine),
        (format!("{long}\r\n"), ProtocolError::LongLine),
        (format!("*{long}"), ProtocolError::LongCount),
        (format!("*1\r\n${long}"), ProtocolError::LongLength),
        ("get \"a\r\n".into(), ProtocolError::Quotes),
        ("get 'a'b\r\n".into(), ProtocolError::Quotes),
        ("POST / HTTP/1.1\r\n".into(), ProtocolError::Http),
        ("Host: localhost\r\n".into(), ProtocolError::Http),
    ] {
        assert_eq!(
            parsed([stream.as_bytes()], LIMITS).1,
            Some(error.clone()),
            "{}",
            &stream[..stream.len().min(40)]
        );
        assert_eq!(parsed(stream.as_bytes().chunks(7), LIMITS).1, Some(error));
    }
    let stranger = |stream: &[u8]| parsed([stream], ParseLimits::STRANGER).1;
    assert_eq!(stranger(b"*11\r\n"), Some(ProtocolError::StrangerCount));
    assert_eq!(stranger(b"*1\r\n$16385\r\n"), Some(ProtocolError::StrangerLength));
}

#[test]
fn what_is_too_large_is_dropped_and_the_next_is_found() {
    let argument = |length: usize| format!("${length}\r\n{}\r\n", "x".repeat(length));
    let large = [
        format!("*3\r\n{}{}{}", argument(3), argument(1), argument(1_001)),
        format!("*3\r\n{}{}{}", argument(1_001), argument(0), argument(5_000)),
        format!("*6\r\n{}", argument(1_000).repeat(6)),
    ];
    for large in large {
        let stream = format!("PING\r\n{large}*1\r\n$4\r\nPING\r\n{large}PING\r\n");
        let expected = commands(&[&["PING"], &["too large"], &["PING"], &["too large"], &["PING"]]);
        for size in [1, 2, 3, 7, 1_000, 100_000] {
            assert_eq!(parsed(stream.as_bytes().chunks(size), LIMITS), (expected.clone(), None), "{size}");
        }
    }
    let mut parser = Parser::default();
    parser.buffer().extend_from_slice(b"*1\r\n$536870912\r\n");
    for _ in 0..1_000 {
        assert_eq!(parser.next(LIMITS), Ok(None));
        assert_eq!(parser.waiting(), 0, "it is dropped as it comes");
        parser.buffer().extend_from_slice(&[b'x'; 1_000]);
    }
}

/// Memory grows with what was received.
#[test]
fn lengths_that_are_announced_take_no_memory() {
    let mut parser = Parser::default();
    let limits = ParseLimits::for_values(1 << 28);
    for _ in 0..1_000 {
        parser.buffer().extend_from_slice(b"*65536\r\n$1\r\nx\r\n$268435456\r\n");
        assert_eq!(parser.next(limits), Ok(None));
        assert!(parser.buffer().capacity() < 1_024);
        parser = Parser::default();
    }
}

#[test]
fn an_idle_client_holds_no_memory() {
    let mut parser = Parser::default();
    parser.buffer().extend_from_slice(b"PING\r\n*1\r\n$4\r\nPING\r\n");
    assert!(parser.next(LIMITS).unwrap().is_some() && parser.next(LIMITS).unwrap().is_some());
    assert_eq!((parser.waiting(), parser.buffer().capacity()), (0, 0));
}

proptest! {
    /// However a stream is cut, whatever it says, it says the same.
    #[test]
    fn cuts_change_nothing(
        parts in prop::collection::vec(prop_oneof![
            Just(b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n".to_vec()),
            Just(b"*1\r\n$4\r\nPI\r\n\r\n".to_vec()),
            Just(b"PING 'a b' \"\\x00\"\r\n".to_vec()),
            Just(b"*".to_vec()),
            Just(b"$".to_vec()),
            Just(b"\r\n".to_vec()),
            "[0-9\r\n*$\"' a-]{0,8}".prop_map(String::into_bytes),
            prop::collection::vec(any::<u8>(), 0..6),
        ], 0..12),
        cuts in prop::collection::vec(1_usize..9, 1..80),
    ) {
        let stream = parts.concat();
        let whole = parsed([stream.as_slice()], LIMITS);
        let (mut pieces, mut rest, mut cuts) = (Vec::new(), stream.as_slice(), cuts.iter().cycle());
        while !rest.is_empty() {
            let (piece, after) = rest.split_at((*cuts.next().unwrap()).min(rest.len()));
            pieces.push(piece);
            rest = after;
        }
        prop_assert_eq!(parsed(pieces, LIMITS), whole);
    }
}
