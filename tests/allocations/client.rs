//! A client that asks for no memory while it works, so that what is counted is the server's.

use std::io::{Read, Write};
use std::net::TcpStream;

/// Longest answer, head and body.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// A connection that is kept, and room for an answer.
pub struct Client {
    stream: TcpStream,
    answer: Box<[u8; ANSWER_BYTES_MAX]>,
}

impl Client {
    pub fn connect(address: &str) -> Self {
        let stream = TcpStream::connect(address).expect("the server listens");
        stream.set_nodelay(true).expect("a socket's option");
        Self { stream, answer: Box::new([0; ANSWER_BYTES_MAX]) }
    }

    /// Sends a request and reads the whole answer; its status.
    pub fn ask(&mut self, request: &[u8]) -> u16 {
        self.stream.write_all(request).expect("the server reads");
        let mut read = 0;
        loop {
            let more = self.stream.read(&mut self.answer[read..]).expect("the server answers");
            assert!(more > 0, "the server answers before it closes, and in {ANSWER_BYTES_MAX} bytes");
            read += more;
            if let Some((status, bytes)) = status_and_length(&self.answer[..read])
                && read >= bytes
            {
                assert_eq!(read, bytes, "one answer to one request");
                return status;
            }
        }
    }
}

/// The status of an answer whose head is whole, and how many bytes head and body have.
fn status_and_length(answer: &[u8]) -> Option<(u16, usize)> {
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut response = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(head) = response.parse(answer).expect("HTTP/1.1") else { return None };
    let length = response.headers.iter().find(|header| header.name.eq_ignore_ascii_case("content-length"));
    let number = |header: &httparse::Header<'_>| std::str::from_utf8(header.value).ok()?.parse().ok();
    let body: usize = length.map_or(0, |header| number(header).expect("a number"));
    Some((response.code.expect("a whole head has one"), head + body))
}
