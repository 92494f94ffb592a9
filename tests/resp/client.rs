//! A client that shows what it is told as text: `+OK`, `:1`, `"value"`, `nil`, `[:1 nil]`, `{"a" :1}`, `-ERR ...`.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// A connection.
pub struct Client {
    stream: BufReader<TcpStream>,
}

impl Client {
    pub fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream: BufReader::new(stream) }
    }

    /// The same connection, to write from another thread.
    pub fn stream(&self) -> TcpStream {
        self.stream.get_ref().try_clone().unwrap()
    }

    /// Sends bytes as they are.
    pub fn write(&mut self, bytes: &[u8]) {
        self.stream.get_mut().write_all(bytes).unwrap();
    }

    /// One command, as words with spaces between them.
    pub fn ask(&mut self, line: &str) -> String {
        let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        self.ask_words(&words)
    }

    pub fn ask_words(&mut self, words: &[&[u8]]) -> String {
        self.write(&command(words));
        self.read()
    }

    /// The next reply.
    pub fn read(&mut self) -> String {
        self.next().expect("a reply")
    }

    /// The next reply; `None` if the connection has ended.
    pub fn next(&mut self) -> Option<String> {
        let mut line = Vec::new();
        if self.stream.read_until(b'\n', &mut line).ok()? == 0 {
            return None;
        }
        let line = String::from_utf8_lossy(&line).trim_end().to_owned();
        let (kind, rest) = line.split_at(1);
        let count = || rest.parse::<i64>().unwrap();
        Some(match kind {
            "+" | "-" | ":" | "," => line,
            "_" => "nil".to_owned(),
            "$" | "=" if count() < 0 => "nil".to_owned(),
            "$" | "=" => {
                let mut bytes = vec![0; usize::try_from(count()).unwrap() + 2];
                self.stream.read_exact(&mut bytes).ok()?;
                format!("\"{}\"", String::from_utf8_lossy(&bytes[..bytes.len() - 2]).escape_debug())
            }
            "*" | "~" | ">" | "%" if count() < 0 => "nil".to_owned(),
            "*" | "~" | ">" => format!("{}{}]", if kind == "*" { "[" } else { kind }, self.all(count())?),
            "%" => format!("{{{}}}", self.all(2 * count())?),
            other => panic!("{other} begins no reply"),
        })
    }

    fn all(&mut self, count: i64) -> Option<String> {
        let items: Option<Vec<String>> = (0..count).map(|_| self.next()).collect();
        Some(items?.join(" "))
    }
}

/// A command as it is sent.
pub fn command(words: &[&[u8]]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        bytes.extend(format!("${}\r\n", word.len()).into_bytes());
        bytes.extend(*word);
        bytes.extend(b"\r\n");
    }
    bytes
}

/// Commands as they are sent, one a line.
pub fn commands(lines: &[&str]) -> Vec<u8> {
    lines.iter().flat_map(|line| command(&line.split(' ').map(str::as_bytes).collect::<Vec<_>>())).collect()
}
