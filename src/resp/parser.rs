//! The parser of what Redis clients send: commands as arrays of bulk strings, or as a line of words.
//!
//! It keeps its place, so every byte is looked at once however the stream is cut. Memory grows with what was received, never with a
//! length that was announced. A command's arguments are slices of one buffer. The grammar is that of the
//! [Redis serialization protocol](https://redis.io/docs/latest/develop/reference/protocol-spec/); the limits and the errors are those
//! of a Redis server, because clients and test suites know them.

use super::number::parse_i64;
use bytes::{Buf, Bytes, BytesMut};
use std::ops::Range;

/// Longest line: a command as words, or the length of an array or a string.
const LINE_BYTES_MAX: usize = 64 * 1024;
/// Bytes of a command that is too large which are read all the same, to be dropped: a client sees no reply while it sends.
const DROPPED_BYTES_MAX: usize = 512 * 1024 * 1024;
/// Arguments that room is made for before they have arrived.
const ARGUMENTS_AHEAD: usize = 16;

/// How large one command may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ParseLimits {
    /// Most arguments.
    pub arguments: usize,
    /// Most bytes of one argument.
    pub argument_bytes: usize,
    /// Most bytes of a whole command.
    pub command_bytes: usize,
    /// Whether they are those for a client that has not said who it is.
    pub is_stranger: bool,
}

impl ParseLimits {
    /// For a client that has not said who it is, where it has to: enough to do so.
    pub const STRANGER: Self =
        Self { arguments: 10, argument_bytes: 16 * 1024, command_bytes: 64 * 1024, is_stranger: true };

    /// For everybody else, where values have so many bytes.
    pub fn for_values(value_bytes: usize) -> Self {
        const COMMAND_BYTES_MAX: usize = 8 * 1024 * 1024;
        Self {
            arguments: 65_536,
            argument_bytes: value_bytes,
            command_bytes: COMMAND_BYTES_MAX.max(value_bytes + LINE_BYTES_MAX),
            is_stranger: false,
        }
    }
}

/// Why the stream cannot be read any further. The connection ends.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum ProtocolError {
    #[error("Protocol error: too big inline request")]
    LongLine,
    #[error("Protocol error: too big mbulk count string")]
    LongCount,
    #[error("Protocol error: too big bulk count string")]
    LongLength,
    #[error("Protocol error: unbalanced quotes in request")]
    Quotes,
    #[error("Protocol error: invalid multibulk length")]
    Count,
    #[error("Protocol error: unauthenticated multibulk length")]
    StrangerCount,
    #[error("Protocol error: invalid bulk length")]
    Length,
    #[error("Protocol error: unauthenticated bulk length")]
    StrangerLength,
    #[error("Protocol error: too big request")]
    LongCommand,
    #[error("Protocol error: expected '$', got '{}'", char::from(*.0).escape_default())]
    NoBulk(u8),
    /// A browser was led to send a form here.
    #[error("Protocol error: this port does not speak HTTP")]
    Http,
}

/// A command: its name and its arguments.
pub(super) type Arguments = Vec<Bytes>;

/// What has arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Parsed {
    Command(Arguments),
    /// A command that is larger than it may be. Its bytes, about so many, were dropped as they came.
    TooLarge(usize),
}

/// An array of which a part has arrived.
#[derive(Debug)]
struct Unfinished {
    /// Arguments that have not arrived.
    missing: usize,
    /// Where the others are in the buffer.
    found: Vec<Range<usize>>,
    /// Length of the argument that is about to arrive, if that is known.
    length: Option<usize>,
    /// Whether it is too large to be kept.
    dropping: Option<Dropping>,
}

/// How far a command is dropped.
#[derive(Debug, Default)]
struct Dropping {
    /// Bytes of the present argument that have not arrived.
    left: usize,
    dropped: usize,
}

/// The stream of one client.
#[derive(Debug, Default)]
pub(super) struct Parser {
    buffer: BytesMut,
    /// Up to where the buffer was looked at.
    at: usize,
    unfinished: Option<Unfinished>,
}

impl Parser {
    /// What has arrived goes to its end.
    pub fn buffer(&mut self) -> &mut BytesMut {
        &mut self.buffer
    }

    /// Whether a part of a command has arrived.
    pub fn has_begun(&self) -> bool {
        !self.buffer.is_empty() || self.unfinished.is_some()
    }

    /// Bytes that belong to no whole command yet.
    pub fn waiting(&self) -> usize {
        self.buffer.len()
    }

    /// The next command; `None`: its rest has not arrived.
    ///
    /// # Errors
    /// [`ProtocolError`]; what follows cannot be told apart any more.
    pub fn next(&mut self, limits: ParseLimits) -> Result<Option<Parsed>, ProtocolError> {
        loop {
            let command = match (&self.unfinished, self.buffer.first()) {
                (None, None) => return Ok(None),
                (None, Some(b'*')) => {
                    if !self.begin_array(limits)? {
                        return Ok(None);
                    }
                    continue;
                }
                (None, Some(_)) => self.line()?.map(Parsed::Command),
                (Some(_), _) => self.rest_of_array(limits)?,
            };
            match command {
                // An empty line or array is no command.
                Some(Parsed::Command(words)) if words.is_empty() => {}
                command => return Ok(command),
            }
        }
    }

    /// A command as a line of words.
    fn line(&mut self) -> Result<Option<Arguments>, ProtocolError> {
        let Some(end) = self.find(b'\n') else {
            self.at = self.buffer.len();
            return if self.at > LINE_BYTES_MAX { Err(ProtocolError::LongLine) } else { Ok(None) };
        };
        if end > LINE_BYTES_MAX {
            return Err(ProtocolError::LongLine);
        }
        let line = self.take(end + 1);
        let line = line.strip_suffix(b"\n").unwrap_or(&line);
        let words = words(line.strip_suffix(b"\r").unwrap_or(line)).ok_or(ProtocolError::Quotes)?;
        let is_http =
            |word: &Bytes| word.eq_ignore_ascii_case(b"post") || word.eq_ignore_ascii_case(b"host:");
        let is_request_line = words.len() == 3 && words[2].starts_with(b"HTTP/1.");
        if is_request_line || words.first().is_some_and(is_http) {
            return Err(ProtocolError::Http);
        }
        Ok(Some(words))
    }

    /// The head of an array: `*` and its length. False if it has not arrived.
    fn begin_array(&mut self, limits: ParseLimits) -> Result<bool, ProtocolError> {
        self.at = self.at.max(1);
        let Some(text) = self.number_line(ProtocolError::LongCount)? else { return Ok(false) };
        let count = parse_i64(&self.buffer[text.clone()]).ok_or(ProtocolError::Count)?;
        let missing = usize::try_from(count.max(0)).map_err(|_| ProtocolError::Count)?;
        if missing > limits.arguments {
            return Err(if limits.is_stranger { ProtocolError::StrangerCount } else { ProtocolError::Count });
        }
        let found = Vec::with_capacity(missing.min(ARGUMENTS_AHEAD));
        self.unfinished = Some(Unfinished { missing, found, length: None, dropping: None });
        Ok(true)
    }

    /// The arguments of an array that has begun.
    fn rest_of_array(&mut self, limits: ParseLimits) -> Result<Option<Parsed>, ProtocolError> {
        while self.unfinished.as_ref().is_some_and(|unfinished| unfinished.missing > 0) {
            if !self.argument(limits)? {
                return Ok(None);
            }
        }
        let Some(Unfinished { found, dropping, .. }) = self.unfinished.take() else { return Ok(None) };
        if let Some(Dropping { dropped, .. }) = dropping {
            return Ok(Some(Parsed::TooLarge(dropped)));
        }
        let whole = self.take(self.at);
        Ok(Some(Parsed::Command(found.into_iter().map(|range| whole.slice(range)).collect())))
    }

    /// One argument: `$`, its length, and its bytes. False if it has not arrived.
    fn argument(&mut self, limits: ParseLimits) -> Result<bool, ProtocolError> {
        let known = self.unfinished.as_ref().and_then(|unfinished| unfinished.length);
        let length = match known {
            Some(length) => length,
            None => match self.argument_length(limits)? {
                Some(length) => length,
                None => return Ok(false),
            },
        };
        let is_dropped = self.unfinished.as_ref().is_some_and(|unfinished| unfinished.dropping.is_some());
        if is_dropped {
            return self.drop_argument(length);
        }
        let Some(unfinished) = &mut self.unfinished else { return Ok(false) };
        let start = self.at;
        if self.buffer.len() < start + length + 2 {
            unfinished.length = Some(length);
            return Ok(false);
        }
        unfinished.found.push(start..start + length);
        (unfinished.missing, unfinished.length) = (unfinished.missing - 1, None);
        self.at = start + length + 2;
        Ok(true)
    }

    /// Drops what has arrived of an argument, so that the next command is found. False if there is more of it.
    fn drop_argument(&mut self, length: usize) -> Result<bool, ProtocolError> {
        let head = self.at;
        let Some(unfinished) = &mut self.unfinished else { return Ok(false) };
        if unfinished.length.is_none() {
            unfinished.length = Some(length);
            unfinished.dropping.get_or_insert_default().left = length + 2;
            drop(self.take(head));
        }
        let arrived = self.buffer.len();
        let Some(Unfinished { missing, length, dropping: Some(dropping), .. }) = &mut self.unfinished else {
            return Ok(false);
        };
        let come = dropping.left.min(arrived);
        (dropping.left, dropping.dropped) = (dropping.left - come, dropping.dropped + come);
        let (is_whole, dropped) = (dropping.left == 0, dropping.dropped);
        if is_whole {
            (*missing, *length) = (*missing - 1, None);
        }
        drop(self.take(come));
        if dropped > DROPPED_BYTES_MAX { Err(ProtocolError::LongCommand) } else { Ok(is_whole) }
    }

    fn argument_length(&mut self, limits: ParseLimits) -> Result<Option<usize>, ProtocolError> {
        let start = match &self.unfinished {
            Some(Unfinished { dropping: Some(_), .. }) => 0,
            Some(Unfinished { found, .. }) if !found.is_empty() => {
                found.last().map_or(0, |last| last.end + 2)
            }
            _ => self.head_end(),
        };
        match self.buffer.get(start) {
            None => return Ok(None),
            Some(b'$') => self.at = self.at.max(start + 1),
            Some(other) => return Err(ProtocolError::NoBulk(*other)),
        }
        let Some(text) = self.number_line_from(start + 1, ProtocolError::LongLength)? else {
            return Ok(None);
        };
        let length = parse_i64(&self.buffer[text]).and_then(|length| usize::try_from(length).ok());
        let length = length.ok_or(ProtocolError::Length)?;
        let is_too_large = length > limits.argument_bytes || self.at + length > limits.command_bytes;
        if is_too_large && limits.is_stranger {
            return Err(ProtocolError::StrangerLength);
        }
        if length > DROPPED_BYTES_MAX {
            return Err(ProtocolError::Length);
        }
        if let Some(unfinished) = self.unfinished.as_mut().filter(|_| is_too_large) {
            unfinished.found = Vec::new();
            unfinished.dropping.get_or_insert_default();
        }
        Ok(Some(length))
    }

    /// Where the first argument begins.
    fn head_end(&self) -> usize {
        self.buffer.iter().position(|byte| *byte == b'\r').map_or(self.buffer.len(), |end| end + 2)
    }

    fn number_line(&mut self, too_long: ProtocolError) -> Result<Option<Range<usize>>, ProtocolError> {
        self.number_line_from(1, too_long)
    }

    /// The text of a number up to the end of its line.
    fn number_line_from(
        &mut self,
        start: usize,
        too_long: ProtocolError,
    ) -> Result<Option<Range<usize>>, ProtocolError> {
        let from = self.at.max(start);
        match self.buffer[from..].iter().position(|byte| *byte == b'\r').map(|end| from + end) {
            Some(end) if end - start > LINE_BYTES_MAX => Err(too_long),
            // The byte after `\r` is taken for `\n`, as Redis does.
            Some(end) if end + 1 < self.buffer.len() => {
                self.at = end + 2;
                Ok(Some(start..end))
            }
            Some(end) => {
                self.at = end;
                Ok(None)
            }
            None => {
                self.at = self.buffer.len();
                if self.at - start > LINE_BYTES_MAX { Err(too_long) } else { Ok(None) }
            }
        }
    }

    fn find(&self, byte: u8) -> Option<usize> {
        self.buffer[self.at..].iter().position(|other| *other == byte).map(|end| self.at + end)
    }

    /// The first bytes, which are done with.
    fn take(&mut self, length: usize) -> Bytes {
        self.at = 0;
        if length == self.buffer.len() {
            // The rest of its memory goes with it, so that a client that idles holds none.
            return std::mem::take(&mut self.buffer).freeze();
        }
        let taken = self.buffer.split_to(length).freeze();
        if !self.buffer.has_remaining() {
            self.buffer = BytesMut::new();
        }
        taken
    }
}

/// The words of a line; `None` if a quote is not closed. In double quotes `\n`, `\r`, `\t`, `\b`, `\a` and `\xhh` are what they are in C.
fn words(line: &[u8]) -> Option<Arguments> {
    let mut words = Vec::new();
    let mut rest = line;
    loop {
        let space = rest.iter().take_while(|byte| byte.is_ascii_whitespace() || **byte == 0x0b).count();
        rest = &rest[space..];
        if rest.is_empty() {
            return Some(words);
        }
        let (word, after) = word(rest)?;
        words.push(word.into());
        rest = after;
    }
}

/// The first word, and what follows.
fn word(line: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut word = Vec::new();
    let mut rest = line;
    while let Some((byte, after)) = rest.split_first() {
        match byte {
            b'"' => rest = double_quoted(after, &mut word)?,
            b'\'' => rest = single_quoted(after, &mut word)?,
            byte if byte.is_ascii_whitespace() || *byte == 0x0b => break,
            byte => {
                word.push(*byte);
                rest = after;
            }
        }
    }
    Some((word, rest))
}

fn double_quoted<'a>(mut rest: &'a [u8], word: &mut Vec<u8>) -> Option<&'a [u8]> {
    loop {
        rest = match rest {
            [b'"', after @ ..] => return ends_word(after).then_some(after),
            [b'\\', b'x', high, low, after @ ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                let digit = |byte: &u8| char::from(*byte).to_digit(16).unwrap_or(0) as u8;
                word.push(digit(high) << 4 | digit(low));
                after
            }
            [b'\\', escaped, after @ ..] => {
                word.push(match escaped {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'b' => 0x08,
                    b'a' => 0x07,
                    other => *other,
                });
                after
            }
            [byte, after @ ..] => {
                word.push(*byte);
                after
            }
            [] => return None,
        }
    }
}

fn single_quoted<'a>(mut rest: &'a [u8], word: &mut Vec<u8>) -> Option<&'a [u8]> {
    loop {
        rest = match rest {
            [b'\'', after @ ..] => return ends_word(after).then_some(after),
            [b'\\', b'\'', after @ ..] => {
                word.push(b'\'');
                after
            }
            [byte, after @ ..] => {
                word.push(*byte);
                after
            }
            [] => return None,
        }
    }
}

/// After a closing quote comes a space, or nothing.
fn ends_word(after: &[u8]) -> bool {
    after.first().is_none_or(|byte| byte.is_ascii_whitespace())
}

#[cfg(test)]
#[path = "parser_test.rs"]
mod tests;
