//! Replies, in both versions of the protocol. Version 3 has types of its own for what version 2 says with arrays and strings.

use super::hash_reply::HashReply;
use bytes::{BufMut, Bytes, BytesMut};

/// Which version of the protocol a client has asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    Resp2,
    Resp3,
}

/// What a command is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reply {
    /// A status, as `OK`.
    Status(&'static str),
    /// A status in the words of a script. It has no line ends.
    Line(String),
    /// An error, which begins with its code. It has no line ends.
    Error(String),
    Integer(i64),
    Bulk(Bytes),
    /// A number with a fraction, as text.
    Double(String),
    /// There is nothing.
    Null,
    /// There is no array.
    NullArray,
    Array(Vec<Reply>),
    Map(Vec<(Reply, Reply)>),
    /// Fields of a hash.
    Fields(HashReply),
    Set(Vec<Reply>),
    /// A text to be read by people.
    Text(String),
    /// What nobody asked for.
    Push(Vec<Reply>),
    /// One reply after another, to one command.
    Several(Vec<Reply>),
}

impl Reply {
    pub const OK: Self = Self::Status("OK");

    pub fn bulk(text: impl AsRef<[u8]>) -> Self {
        Self::Bulk(Bytes::copy_from_slice(text.as_ref()))
    }

    pub fn error(text: impl Into<String>) -> Self {
        Self::Error(text.into())
    }

    /// Seconds since the Unix epoch, and microseconds.
    pub fn time(now_ms: u64) -> Self {
        let (seconds, micros) = (now_ms / 1_000, now_ms % 1_000 * 1_000);
        Self::Array(vec![Self::bulk(seconds.to_string()), Self::bulk(micros.to_string())])
    }

    /// Whether it is of those that nobody asked for. They are told also to whoever wants no replies.
    pub fn is_push(&self) -> bool {
        match self {
            Self::Push(_) => true,
            Self::Several(replies) => replies.iter().any(Self::is_push),
            _ => false,
        }
    }

    /// About how many bytes it takes.
    pub fn bytes(&self) -> usize {
        const OTHER_BYTES: usize = size_of::<Reply>();
        let all = |items: &[Self]| items.iter().map(Self::bytes).sum::<usize>();
        OTHER_BYTES
            + match self {
                Self::Status(_) | Self::Integer(_) | Self::Null | Self::NullArray => 0,
                Self::Error(text) | Self::Line(text) | Self::Text(text) | Self::Double(text) => text.len(),
                Self::Bulk(bytes) => bytes.len(),
                Self::Array(items) | Self::Set(items) | Self::Push(items) | Self::Several(items) => {
                    all(items)
                }
                Self::Fields(fields) => fields.bytes(),
                Self::Map(pairs) => pairs.iter().map(|(name, value)| name.bytes() + value.bytes()).sum(),
            }
    }

    /// Appends it as it is sent.
    pub fn encode(&self, protocol: Protocol, out: &mut BytesMut) {
        let is_new = protocol == Protocol::Resp3;
        match self {
            Self::Status(text) => line(out, b'+', text.as_bytes()),
            Self::Line(text) => line(out, b'+', &without_ends(text)),
            Self::Error(text) => line(out, b'-', &without_ends(text)),
            Self::Integer(number) => integer(out, b':', *number),
            Self::Bulk(bytes) => bulk(out, bytes),
            Self::Double(text) if is_new => line(out, b',', text.as_bytes()),
            Self::Double(text) => bulk(out, text.as_bytes()),
            Self::Null => null(protocol, out),
            Self::NullArray => out.put_slice(if is_new { b"_\r\n" } else { b"*-1\r\n" }),
            Self::Array(items) => all(items, b'*', protocol, out),
            Self::Set(items) => all(items, if is_new { b'~' } else { b'*' }, protocol, out),
            Self::Push(items) => all(items, if is_new { b'>' } else { b'*' }, protocol, out),
            Self::Several(replies) => replies.iter().for_each(|reply| reply.encode(protocol, out)),
            Self::Map(pairs) => {
                let (kind, length) = if is_new { (b'%', pairs.len()) } else { (b'*', 2 * pairs.len()) };
                integer(out, kind, length as i64);
                for (name, value) in pairs {
                    name.encode(protocol, out);
                    value.encode(protocol, out);
                }
            }
            Self::Fields(fields) => fields.encode(protocol, out),
            Self::Text(text) if is_new => {
                integer(out, b'=', text.len() as i64 + 4);
                out.put_slice(b"txt:");
                out.put_slice(text.as_bytes());
                out.put_slice(b"\r\n");
            }
            Self::Text(text) => bulk(out, text.as_bytes()),
        }
    }
}

impl From<bool> for Reply {
    fn from(holds: bool) -> Self {
        Self::Integer(i64::from(holds))
    }
}

/// A line end would be taken for the end of the reply.
fn without_ends(text: &str) -> Vec<u8> {
    text.bytes().map(|byte| if matches!(byte, b'\r' | b'\n') { b' ' } else { byte }).collect()
}

fn line(out: &mut BytesMut, kind: u8, text: &[u8]) {
    out.put_u8(kind);
    out.put_slice(text);
    out.put_slice(b"\r\n");
}

fn integer(out: &mut BytesMut, kind: u8, number: i64) {
    let mut digits = itoa::Buffer::new();
    line(out, kind, digits.format(number).as_bytes());
}

/// The type of a reply of several parts, and how many there are.
pub(super) fn head(out: &mut BytesMut, kind: u8, count: usize) {
    integer(out, kind, count as i64);
}

pub(super) fn null(protocol: Protocol, out: &mut BytesMut) {
    out.put_slice(if protocol == Protocol::Resp3 { b"_\r\n" } else { b"$-1\r\n" });
}

pub(super) fn bulk(out: &mut BytesMut, bytes: &[u8]) {
    integer(out, b'$', bytes.len() as i64);
    out.put_slice(bytes);
    out.put_slice(b"\r\n");
}

fn all(items: &[Reply], kind: u8, protocol: Protocol, out: &mut BytesMut) {
    integer(out, kind, items.len() as i64);
    items.iter().for_each(|item| item.encode(protocol, out));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn both(reply: &Reply) -> [String; 2] {
        [Protocol::Resp2, Protocol::Resp3].map(|protocol| {
            let mut out = BytesMut::new();
            reply.encode(protocol, &mut out);
            String::from_utf8(out.to_vec()).unwrap()
        })
    }

    #[test]
    fn replies_are_as_the_protocol_says() {
        let one = || Reply::Integer(1);
        for (reply, two, three) in [
            (Reply::OK, "+OK\r\n", "+OK\r\n"),
            (Reply::error("ERR a\r\nb"), "-ERR a  b\r\n", "-ERR a  b\r\n"),
            (Reply::Integer(i64::MIN), ":-9223372036854775808\r\n", ":-9223372036854775808\r\n"),
            (Reply::bulk("a\r\n"), "$3\r\na\r\n\r\n", "$3\r\na\r\n\r\n"),
            (Reply::bulk(""), "$0\r\n\r\n", "$0\r\n\r\n"),
            (Reply::Double("-1.5".into()), "$4\r\n-1.5\r\n", ",-1.5\r\n"),
            (Reply::Null, "$-1\r\n", "_\r\n"),
            (Reply::NullArray, "*-1\r\n", "_\r\n"),
            (Reply::Array(vec![one(), Reply::Null]), "*2\r\n:1\r\n$-1\r\n", "*2\r\n:1\r\n_\r\n"),
            (Reply::Array(vec![]), "*0\r\n", "*0\r\n"),
            (
                Reply::Map(vec![(Reply::bulk("a"), one())]),
                "*2\r\n$1\r\na\r\n:1\r\n",
                "%1\r\n$1\r\na\r\n:1\r\n",
            ),
            (Reply::Set(vec![one()]), "*1\r\n:1\r\n", "~1\r\n:1\r\n"),
            (Reply::Push(vec![one()]), "*1\r\n:1\r\n", ">1\r\n:1\r\n"),
            (Reply::Text("a".into()), "$1\r\na\r\n", "=5\r\ntxt:a\r\n"),
            (Reply::from(true), ":1\r\n", ":1\r\n"),
        ] {
            assert_eq!(both(&reply), [two, three], "{reply:?}");
        }
    }
}
