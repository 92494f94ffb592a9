//! Commands and replies of the Redis protocol: no more of it than the commands of this program are answered with.

use super::connection::{Answer, Broken};
use super::requests::RedisRequest;
use super::socket::{READ_BYTES_MAX, Socket};

/// Most bytes of a reply's first line.
const LINE_BYTES_MAX: usize = 64 * 1024;

/// Sends commands, all at once, and reads a reply to each.
pub async fn exchange(socket: &mut Socket, request: &RedisRequest) -> Result<Answer, Broken> {
    socket.outgoing.clear();
    socket.outgoing.extend_from_slice(&request.commands);
    socket.send().await?;
    socket.incoming.clear();
    let mut replies = Replies { socket, at: 0 };
    let mut answer = Answer::default();
    for _ in 0..request.replies {
        match replies.next().await? {
            Reply::Done => {}
            Reply::Nothing => answer.misses += 1,
            Reply::Refused(code) => answer.refused.push(code),
        }
    }
    match replies.at == socket.incoming.len() {
        true => Ok(answer),
        false => Err(Broken::Unreadable("has more replies than there were commands")),
    }
}

/// What a reply says.
enum Reply {
    Done,
    /// There is no such key.
    Nothing,
    Refused(String),
}

/// The replies that come, one after another.
struct Replies<'a> {
    socket: &'a mut Socket,
    /// Where the next one begins in what has arrived.
    at: usize,
}

impl Replies<'_> {
    async fn next(&mut self) -> Result<Reply, Broken> {
        let line = self.line().await?;
        let Some((kind, rest)) = line.split_first() else { return Err(NO_REPLY) };
        match (kind, std::str::from_utf8(rest).map_err(|_| NO_REPLY)?) {
            (b'+' | b':', _) => Ok(Reply::Done),
            (b'$', "-1") => Ok(Reply::Nothing),
            (b'-', text) => Ok(Reply::Refused(text.split(' ').next().unwrap_or_default().to_owned())),
            (b'$', length) => {
                let length: usize = length.parse().map_err(|_| NO_REPLY)?;
                self.skip(length.checked_add(2).ok_or(NO_REPLY)?).await?;
                Ok(Reply::Done)
            }
            _ => Err(NO_REPLY),
        }
    }

    /// The next line, without its end.
    async fn line(&mut self) -> Result<Vec<u8>, Broken> {
        let mut searched = self.at;
        loop {
            let end = self.socket.incoming[searched..].windows(2).position(|two| two == b"\r\n");
            if let Some(end) = end.map(|end| searched + end) {
                let line = self.socket.incoming[self.at..end].to_vec();
                self.at = end + 2;
                return Ok(line);
            }
            // The last byte may be the first of an end.
            searched = self.socket.incoming.len().saturating_sub(1).max(self.at);
            if self.socket.incoming.len() - self.at > LINE_BYTES_MAX {
                return Err(NO_REPLY);
            }
            self.socket.read().await?;
        }
    }

    /// Skips a value that nobody wants to see.
    async fn skip(&mut self, mut bytes: usize) -> Result<(), Broken> {
        loop {
            let here = self.socket.incoming.len() - self.at;
            if here >= bytes {
                self.at += bytes;
                return Ok(());
            }
            bytes -= here;
            self.at = 0;
            self.socket.incoming.clear();
            self.socket.incoming.reserve(bytes.min(READ_BYTES_MAX));
            self.socket.read().await?;
        }
    }
}

const NO_REPLY: Broken = Broken::Unreadable("is no reply of the Redis protocol to such a command");
