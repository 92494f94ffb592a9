//! The Redis protocol as a client speaks it, and no more of it than its commands are answered with: whatever else comes
//! is wrong. Both versions; what one has and the other has not is wrong there.

use std::fmt;
use std::io;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

/// Longest line, longest text, most items of an array and deepest nesting: more than anybody asks for here.
const LINE_BYTES_MAX: usize = 4 * 1024;
const TEXT_BYTES_MAX: usize = 1024 * 1024;
const ITEMS_MAX: usize = 100_000;
const DEPTH_MAX: u32 = 4;

/// Which version of the protocol a connection has asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    Two,
    Three,
}

/// A reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    Status(String),
    Error(String),
    Integer(i64),
    Text(String),
    /// There is no value; in version 3, or no array.
    Null,
    /// Version 2 only.
    NullArray,
    Array(Vec<Frame>),
    /// Version 3 only: names and values in turns.
    Map(Vec<Frame>),
}

/// Why there is no reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Broken {
    /// The connection has ended.
    Lost,
    Late,
    /// No reply that this client knows, in words.
    Garbled(String),
}

impl fmt::Display for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(text) => write!(f, "+{text}"),
            Self::Error(text) => write!(f, "-{text}"),
            Self::Integer(number) => write!(f, ":{number}"),
            Self::Text(text) => write!(f, "{text:?}"),
            Self::Null => f.write_str("nil"),
            Self::NullArray => f.write_str("nil array"),
            Self::Array(items) | Self::Map(items) => {
                f.write_str("[")?;
                items.iter().try_for_each(|item| write!(f, "{item} "))?;
                f.write_str("]")
            }
        }
    }
}

/// A command as it is sent.
pub fn encode(words: &[String], out: &mut Vec<u8>) {
    out.extend(format!("*{}\r\n", words.len()).bytes());
    for word in words {
        out.extend(format!("${}\r\n{word}\r\n", word.len()).bytes());
    }
}

/// The first reply of these bytes and how many it takes. `None`: there must be more bytes.
///
/// # Errors
/// It is no reply, in words.
pub fn decode(bytes: &[u8], version: Version) -> Result<Option<(Frame, usize)>, String> {
    let mut at = 0;
    Ok(frame(bytes, &mut at, version, 0)?.map(|frame| (frame, at)))
}

fn frame(bytes: &[u8], at: &mut usize, version: Version, depth: u32) -> Result<Option<Frame>, String> {
    if depth > DEPTH_MAX {
        return Err("a reply is nested too deeply".into());
    }
    let Some(line) = line(bytes, at)? else { return Ok(None) };
    let kind = line.chars().next().ok_or("an empty line begins no reply")?;
    let rest = &line[kind.len_utf8()..];
    Ok(Some(match (kind, version) {
        ('+', _) => Frame::Status(rest.to_owned()),
        ('-', _) => Frame::Error(rest.to_owned()),
        (':', _) => Frame::Integer(integer(rest)?),
        ('$', Version::Two) if rest == "-1" => Frame::Null,
        ('*', Version::Two) if rest == "-1" => Frame::NullArray,
        ('_', Version::Three) if rest.is_empty() => Frame::Null,
        ('$', _) => {
            let length = length(rest, TEXT_BYTES_MAX)?;
            let Some(text) = bytes.get(*at..*at + length + 2) else { return Ok(None) };
            *at += length + 2;
            let text = text.strip_suffix(b"\r\n").ok_or("a text does not end where it should")?;
            let text = std::str::from_utf8(text).map_err(|_| "a text is not UTF-8, and nobody wrote such")?;
            Frame::Text(text.to_owned())
        }
        ('*', _) => match items(bytes, at, version, depth, length(rest, ITEMS_MAX)?)? {
            Some(items) => Frame::Array(items),
            None => return Ok(None),
        },
        ('%', Version::Three) => match items(bytes, at, version, depth, 2 * length(rest, ITEMS_MAX)?)? {
            Some(items) => Frame::Map(items),
            None => return Ok(None),
        },
        _ => return Err(format!("`{line}` begins no reply of version {version:?}")),
    }))
}

fn items(
    bytes: &[u8],
    at: &mut usize,
    version: Version,
    depth: u32,
    count: usize,
) -> Result<Option<Vec<Frame>>, String> {
    (0..count).map(|_| frame(bytes, at, version, depth + 1).transpose()).collect::<Option<_>>().transpose()
}

/// The next line without its end.
fn line<'a>(bytes: &'a [u8], at: &mut usize) -> Result<Option<&'a str>, String> {
    let rest = &bytes[*at..];
    let Some(end) = rest.iter().take(LINE_BYTES_MAX).position(|byte| *byte == b'\n') else {
        return if rest.len() < LINE_BYTES_MAX { Ok(None) } else { Err("a line does not end".into()) };
    };
    *at += end + 1;
    let line = rest[..end].strip_suffix(b"\r").filter(|line| !line.contains(&b'\r'));
    let line = line.ok_or("a line does not end with CR LF")?;
    std::str::from_utf8(line).map(Some).map_err(|_| "a line is not UTF-8".into())
}

/// A number in the one way it can be written.
fn integer(text: &str) -> Result<i64, String> {
    let number: i64 = text.parse().map_err(|_| format!("`{text}` is no integer"))?;
    if number.to_string() == text {
        Ok(number)
    } else {
        Err(format!("`{text}` is an odd way to write a number"))
    }
}

fn length(text: &str, most: usize) -> Result<usize, String> {
    let length = usize::try_from(integer(text)?).map_err(|_| format!("{text} is no length"))?;
    if length <= most { Ok(length) } else { Err(format!("{length} is more than anybody asked for")) }
}

/// One connection.
pub struct Connection {
    stream: TcpStream,
    pub version: Version,
    buffer: Vec<u8>,
    /// Whether a key is watched on it.
    pub watches: bool,
}

impl Connection {
    /// Connects and says hello, so that somebody is there.
    ///
    /// # Errors
    /// Nobody answers in time, or not with what a node says of itself.
    pub async fn open(address: &str, version: Version, patience: Duration) -> Result<Self, Broken> {
        let until = Instant::now() + patience;
        let stream = timeout_at(until, TcpStream::connect(address)).await.map_err(|_| Broken::Late)?;
        let stream = stream.map_err(|_| Broken::Lost)?;
        let _ = stream.set_nodelay(true);
        let mut connection = Self { stream, version, buffer: Vec::new(), watches: false };
        let number = if version == Version::Three { "3" } else { "2" };
        let hello = vec!["HELLO".to_owned(), number.to_owned()];
        let [told] = &connection.exchange(&[hello], patience).await.0[..] else { return Err(Broken::Lost) };
        match (told, version) {
            (Frame::Map(_), Version::Three) | (Frame::Array(_), Version::Two) => Ok(connection),
            (Frame::Error(text), _) if text.starts_with("LOADING ") => Err(Broken::Lost),
            (other, _) => Err(Broken::Garbled(format!("HELLO {number}: {other}"))),
        }
    }

    /// Whether it is still there, and nothing has arrived that nobody asked for.
    ///
    /// # Errors
    /// It has ended, or something has arrived.
    pub fn idles(&self) -> Result<(), Broken> {
        let mut byte = [0];
        match self.stream.try_read(&mut byte) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            Ok(1..) => Err(Broken::Garbled("a reply that nobody asked for".into())),
            _ => Err(Broken::Lost),
        }
    }

    /// Sends commands as one pipeline. The replies, and why there are fewer of them than commands if there are.
    pub async fn exchange(
        &mut self,
        commands: &[Vec<String>],
        patience: Duration,
    ) -> (Vec<Frame>, Option<Broken>) {
        let until = Instant::now() + patience;
        let mut bytes = Vec::new();
        commands.iter().for_each(|words| encode(words, &mut bytes));
        let mut replies = Vec::new();
        match timeout_at(until, self.stream.write_all(&bytes)).await {
            Err(_) => return (replies, Some(Broken::Late)),
            Ok(Err(_)) => return (replies, Some(Broken::Lost)),
            Ok(Ok(())) => {}
        }
        while replies.len() < commands.len() {
            match decode(&self.buffer, self.version) {
                Err(what) => return (replies, Some(Broken::Garbled(what))),
                Ok(Some((frame, length))) => {
                    self.buffer.drain(..length);
                    replies.push(frame);
                }
                Ok(None) => match timeout_at(until, self.stream.read_buf(&mut self.buffer)).await {
                    Err(_) => return (replies, Some(Broken::Late)),
                    Ok(Ok(1..)) => {}
                    Ok(_) => return (replies, Some(Broken::Lost)),
                },
            }
        }
        if self.buffer.is_empty() {
            return (replies, None);
        }
        let more = String::from_utf8_lossy(&self.buffer).into_owned();
        (replies, Some(Broken::Garbled(format!("more replies than commands: {more:?}"))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, version: Version) -> Result<Option<(Frame, usize)>, String> {
        decode(text.as_bytes(), version)
    }

    #[test]
    fn replies_are_read_whole_or_not_at_all() {
        let text = "*5\r\n+OK\r\n:-7\r\n$4\r\na\r\nb\r\n$0\r\n\r\n-ERR no\r\n";
        let all = Frame::Array(vec![
            Frame::Status("OK".into()),
            Frame::Integer(-7),
            Frame::Text("a\r\nb".into()),
            Frame::Text(String::new()),
            Frame::Error("ERR no".into()),
        ]);
        for version in [Version::Two, Version::Three] {
            assert_eq!(read(&format!("{text}+next"), version), Ok(Some((all.clone(), text.len()))));
            for end in 0..text.len() {
                assert_eq!(read(&text[..end], version), Ok(None), "{end}");
            }
        }
    }

    #[test]
    fn nothing_is_written_in_one_way_in_each_version() {
        assert_eq!(read("$-1\r\n", Version::Two), Ok(Some((Frame::Null, 5))));
        assert_eq!(read("*-1\r\n", Version::Two), Ok(Some((Frame::NullArray, 5))));
        assert_eq!(read("_\r\n", Version::Three), Ok(Some((Frame::Null, 3))));
        for (text, version) in
            [("_\r\n", Version::Two), ("$-1\r\n", Version::Three), ("*-1\r\n", Version::Three)]
        {
            assert!(read(text, version).is_err(), "{text:?}");
        }
    }

    #[test]
    fn what_is_no_reply_is_refused() {
        for text in [
            "OK\r\n",
            "\r\n",
            "+OK\n",
            "+O\rK\r\n",
            ":1.5\r\n",
            ":+1\r\n",
            ":01\r\n",
            "$2\r\nabc\r\n",
            "$-2\r\n",
            "$2000000\r\n",
            "*200000\r\n",
            "%1\r\n+a\r\n+b\r\n",
            ">1\r\n+a\r\n",
            "#t\r\n",
            "*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n",
            "$1\r\n\u{e9}\r\n",
        ] {
            assert!(read(text, Version::Two).is_err(), "{text:?}");
        }
        assert!(decode(&[b'+'; 5_000], Version::Two).is_err());
        assert!(decode(b"$1\r\n\xff\r\n", Version::Two).is_err());
        assert!(read("%1\r\n+a\r\n+b\r\n", Version::Three).is_ok());
    }
}
