//! Requests and answers of HTTP/1.1: no more of it than nodes speak. Bodies have a length that is told before. A client that speaks all
//! of it takes more of the machine that it shares with what it measures.

use super::connection::{Answer, Broken};
use super::requests::HttpRequest;
use super::socket::{READ_BYTES_MAX, Socket};
use crate::api::Problem;
use hyper::{Method, StatusCode};
use std::io::Write;

/// Most bytes of an answer's head, and of what a refusal says.
const HEAD_BYTES_MAX: usize = 64 * 1024;
const REFUSAL_BYTES_MAX: usize = 64 * 1024;
/// Most headers of an answer.
const HEADERS_MAX: usize = 64;

/// Sends a request, of which `after_path` follows the path, and reads the whole answer. Also tells whether the connection can carry another.
pub async fn exchange(
    socket: &mut Socket,
    request: &HttpRequest,
    after_path: &[u8],
) -> Result<(Answer, bool), Broken> {
    socket.outgoing.clear();
    write(&mut socket.outgoing, request, after_path)?;
    socket.send().await?;
    socket.incoming.clear();
    let head = loop {
        socket.read().await?;
        if let Some(head) = Head::parse(&socket.incoming)? {
            break head;
        }
        if socket.incoming.len() > HEAD_BYTES_MAX {
            return Err(Broken::Unreadable("has an endless head"));
        }
    };
    let mut answer = Answer::default();
    if head.status.is_success() {
        skip(socket, &head).await?;
    } else {
        let refusal = keep(socket, &head).await?;
        match (&request.method, head.status) {
            (&Method::GET, StatusCode::NOT_FOUND) => answer.misses = 1,
            (_, status) => answer.refused.push(code(status, refusal)),
        }
    }
    Ok((answer, !head.closes))
}

fn write(out: &mut Vec<u8>, request: &HttpRequest, after_path: &[u8]) -> std::io::Result<()> {
    let HttpRequest { method, path, body } = request;
    out.extend_from_slice(method.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(path);
    out.extend_from_slice(after_path);
    if *method != Method::GET {
        write!(out, "Content-Length: {}\r\n", body.len())?;
    }
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(body);
    Ok(())
}

/// Reads a body that nobody wants to see.
async fn skip(socket: &mut Socket, head: &Head) -> Result<(), Broken> {
    let mut left = head.body_left(socket.incoming.len())?;
    while left > 0 {
        socket.incoming.clear();
        socket.incoming.reserve(left.min(READ_BYTES_MAX));
        socket.read().await?;
        left = left.checked_sub(socket.incoming.len()).ok_or(TOO_LONG)?;
    }
    Ok(())
}

/// Reads a body that is short.
async fn keep<'a>(socket: &'a mut Socket, head: &Head) -> Result<&'a [u8], Broken> {
    if head.body > REFUSAL_BYTES_MAX {
        return Err(Broken::Unreadable("is an endless refusal"));
    }
    while head.body_left(socket.incoming.len())? > 0 {
        socket.read().await?;
    }
    Ok(&socket.incoming[head.bytes..])
}

/// The reason a server gave, or else its status.
fn code(status: StatusCode, refusal: &[u8]) -> String {
    match serde_json::from_slice::<Problem>(refusal) {
        Ok(problem) => problem.code.to_string(),
        Err(_) => format!("status_{}", status.as_u16()),
    }
}

const TOO_LONG: Broken = Broken::Unreadable("is longer than it says");

/// What an answer's head says.
#[derive(Debug, PartialEq, Eq)]
struct Head {
    status: StatusCode,
    /// Of the head, and of the body behind it.
    bytes: usize,
    body: usize,
    /// The connection carries no other request.
    closes: bool,
}

impl Head {
    /// `None` while there is more to come.
    fn parse(bytes: &[u8]) -> Result<Option<Self>, Broken> {
        let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let mut response = httparse::Response::new(&mut headers);
        let httparse::Status::Complete(bytes) = response.parse(bytes)? else { return Ok(None) };
        let status = response.code.and_then(|code| StatusCode::from_u16(code).ok());
        let status = status.ok_or(Broken::Unreadable("has no status"))?;
        let (mut body, mut closes) = (None, response.version == Some(0));
        for header in &*response.headers {
            let is = |name| header.name.eq_ignore_ascii_case(name);
            if is("content-length") {
                body = std::str::from_utf8(header.value).ok().and_then(|length| length.trim().parse().ok());
            } else if is("transfer-encoding") {
                return Err(Broken::Unreadable("comes in chunks, which is not supported here"));
            } else if is("connection") {
                closes |= header.value.eq_ignore_ascii_case(b"close");
            }
        }
        let body = match status {
            StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED => 0,
            _ => body.ok_or(Broken::Unreadable("does not tell its length"))?,
        };
        Ok(Some(Self { status, bytes, body, closes }))
    }

    /// How much of the body is to come after so many bytes of the answer.
    fn body_left(&self, read: usize) -> Result<usize, Broken> {
        self.bytes.checked_add(self.body).and_then(|all| all.checked_sub(read)).ok_or(TOO_LONG)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_understood_whole_or_not_yet() {
        let answer = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\nConnection: keep-alive\r\n\r\nhello";
        for end in 0..answer.len() - 5 {
            assert_eq!(Head::parse(&answer.as_bytes()[..end]).unwrap(), None);
        }
        let head = Head::parse(answer.as_bytes()).unwrap().unwrap();
        let expected = Head { status: StatusCode::OK, bytes: answer.len() - 5, body: 5, closes: false };
        assert_eq!(head, expected);
        assert_eq!(head.body_left(answer.len() - 2).unwrap(), 2);
        assert!(head.body_left(answer.len() + 1).is_err(), "longer than it says");
        let about = |answer: &str| {
            let head = Head::parse(answer.as_bytes()).unwrap().unwrap();
            (head.status.as_u16(), head.body, head.closes)
        };
        assert_eq!(about("HTTP/1.1 204 No Content\r\n\r\n"), (204, 0, false));
        assert_eq!(about("HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n"), (304, 0, false));
        assert_eq!(
            about("HTTP/1.1 429 Busy\r\nContent-Length: 0\r\nConnection: Close\r\n\r\n"),
            (429, 0, true)
        );
        assert_eq!(about("HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\n"), (200, 1, true));
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for (answer, why) in [
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "comes in chunks"),
            ("HTTP/1.1 200 OK\r\n\r\n", "does not tell its length"),
            ("HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n", "does not tell its length"),
            ("SSH-2.0-OpenSSH_9.6\r\n\r\n", "is no HTTP/1.1"),
        ] {
            let error = Head::parse(answer.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(why), "{answer}: {error}");
        }
    }
}
