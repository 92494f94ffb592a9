//! What reads a client's bytes before anybody knows who it is, for `tests/fuzz`.

use super::arguments::Arguments;
use super::commands::{Kind, find};
use super::parser::{ParseLimits, Parsed, Parser};
use super::reply::{Protocol, Reply};
use bytes::BytesMut;

/// Reads a stream in pieces of so many bytes, and makes plans of its commands. Returns what it is told of them, as text.
pub fn stream(input: &[u8], piece: usize, is_stranger: bool) -> Vec<String> {
    let limits = if is_stranger { ParseLimits::STRANGER } else { ParseLimits::for_values(4_096) };
    let (mut parser, mut told) = (Parser::default(), Vec::new());
    for piece in input.chunks(piece.max(1)) {
        parser.buffer().extend_from_slice(piece);
        loop {
            match parser.next(limits) {
                Ok(Some(Parsed::Command(words))) => told.push(format!("{words:?} {}", planned(&words))),
                Ok(Some(Parsed::TooLarge(_))) => told.push("too large".to_owned()),
                Ok(None) => break,
                Err(error) => {
                    told.push(error.to_string());
                    return told;
                }
            }
        }
    }
    told
}

/// What a command would do, or what it is refused with.
fn planned(words: &[bytes::Bytes]) -> String {
    let Some(command) = find(&words[0]) else { return "unknown".to_owned() };
    if !command.takes(words.len()) {
        return "arity".to_owned();
    }
    let arguments = Arguments::new(&words[1..], 3);
    match command.kind {
        Kind::Data(plan) => match plan(arguments) {
            Ok(plan) => format!("{} operations", plan.ops.len()),
            Err(refused) => encoded(&refused),
        },
        Kind::Composite(compose) => match compose(arguments) {
            Ok(composite) => format!("{} keys", composite.keys().len()),
            Err(refused) => encoded(&refused),
        },
        Kind::Connection(_) | Kind::Alone(_) => "not about data".to_owned(),
    }
}

fn encoded(reply: &Reply) -> String {
    let mut out = BytesMut::new();
    reply.encode(Protocol::Resp3, &mut out);
    String::from_utf8_lossy(&out).into_owned()
}
