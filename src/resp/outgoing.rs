//! What is sent to a client. It is encoded in pieces, and the next one is made once the client has taken the one before: so what a client does
//! not read takes little memory. What it takes is counted.

use super::pace::{Pace, SLACK};
use super::reply::{Protocol, Reply};
use crate::front::{AnswerMemory, AnswerPermit, SMALL_ANSWER_BYTES};
use bytes::BytesMut;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, timeout, timeout_at};

/// A piece of replies is sent once it has so many bytes, and sooner where other clients take the memory of all answers.
const PIECE_BYTES: usize = 1024 * 1024;

/// The connection ends.
pub(super) struct Ended;

/// See the module.
pub(super) struct Outgoing<S> {
    pub stream: S,
    out: BytesMut,
    /// A piece's part of the memory of all answers.
    permit: Option<AnswerPermit>,
    pace: Pace,
}

impl<S: AsyncWrite + Unpin> Outgoing<S> {
    pub fn new(stream: S) -> Self {
        Self { stream, out: BytesMut::new(), permit: None, pace: Pace::default() }
    }

    /// Adds a reply, to be sent.
    pub fn add(&mut self, reply: &Reply, protocol: Protocol) {
        reply.encode(protocol, &mut self.out);
    }

    /// Sends what there is, if it is much.
    pub async fn send_much(&mut self, memory: &AnswerMemory) -> Result<(), Ended> {
        let bytes = self.out.len();
        if bytes <= SMALL_ANSWER_BYTES {
            return Ok(());
        }
        if self.permit.is_none() {
            self.permit = memory.reserve(PIECE_BYTES).ok().flatten();
        }
        if bytes < PIECE_BYTES && self.permit.is_some() { Ok(()) } else { self.send(memory).await }
    }

    /// The same for what nobody has asked for: there is one client for each connection that is told, and none of them needs to take large
    /// pieces.
    pub async fn send_told(&mut self, memory: &AnswerMemory) -> Result<(), Ended> {
        if self.out.len() > SMALL_ANSWER_BYTES { self.send(memory).await } else { Ok(()) }
    }

    /// Sends what there is.
    ///
    /// # Errors
    /// The client has left, or is too slow.
    pub async fn send(&mut self, memory: &AnswerMemory) -> Result<(), Ended> {
        let bytes = self.out.len();
        if bytes == 0 {
            return Ok(());
        }
        let _counted = match self.permit.take().filter(|_| bytes <= PIECE_BYTES) {
            Some(permit) => Some(permit),
            None => memory.take(bytes),
        };
        let begun = Instant::now();
        let until = begun + self.pace.time_for(bytes);
        let sent = timeout_at(until, write_all(&mut self.stream, &mut self.out)).await;
        self.pace.took(bytes, begun.elapsed());
        // A large answer's memory is not kept.
        self.out = BytesMut::new();
        sent.unwrap_or(Err(Ended))
    }

    /// Bytes that wait to be sent.
    #[cfg(test)]
    pub fn waiting(&self) -> usize {
        self.out.len()
    }

    /// Forgets what waits.
    #[cfg(test)]
    pub fn clear(&mut self) {
        self.out.clear();
    }

    /// Everything was sent, and nothing more is there to be sent.
    pub fn rest(&mut self) {
        self.pace.rest();
    }

    /// Says that nothing more will come.
    pub async fn shutdown(mut self) {
        let _ = timeout(SLACK, self.stream.shutdown()).await;
    }
}

async fn write_all<S: AsyncWrite + Unpin>(stream: &mut S, out: &mut BytesMut) -> Result<(), Ended> {
    while !out.is_empty() {
        match timeout(SLACK, stream.write_buf(out)).await {
            Ok(Ok(count)) if count > 0 => {}
            _ => return Err(Ended),
        }
    }
    match timeout(SLACK, stream.flush()).await {
        Ok(Ok(())) => Ok(()),
        _ => Err(Ended),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tokio::io::{AsyncReadExt, DuplexStream, duplex};

    const MEMORY: usize = 8 * PIECE_BYTES;

    fn reply(bytes: usize) -> Reply {
        Reply::Bulk(vec![b'x'; bytes].into())
    }

    /// A client that reads so many bytes every ten seconds.
    fn reading(mut stream: DuplexStream, bytes: usize) {
        tokio::spawn(async move {
            let mut buffer = vec![0; bytes];
            while stream.read_exact(&mut buffer).await.is_ok() {
                tokio::time::sleep(Duration::from_secs(10)).await;
            }
        });
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_has_time_in_proportion_to_what_it_reads() {
        for (bytes, is_fast) in [(160 * 1024, true), (200 * 1024, true), (1_024, false), (80 * 1024, false)] {
            let memory = AnswerMemory::new(MEMORY);
            let (stream, client) = duplex(1_024);
            reading(client, bytes);
            let mut outgoing = Outgoing::new(stream);
            let begun = Instant::now();
            let mut sent = Ok(());
            for _ in 0..100 {
                outgoing.add(&reply(100_000), Protocol::Resp2);
                sent = outgoing.send_much(&memory).await;
                if sent.is_err() {
                    break;
                }
            }
            assert_eq!(sent.is_ok(), is_fast, "{bytes}");
            let longest = Duration::from_secs(30 + 10_000_000 / 16_384);
            assert!(begun.elapsed() <= longest, "{bytes} {:?}", begun.elapsed());
            drop(outgoing);
            assert_eq!(memory.used(), 0);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_waits_is_counted_and_small_where_memory_is_short() {
        let memory = AnswerMemory::new(MEMORY);
        let (stream, _client) = duplex(1);
        let mut outgoing = Outgoing::new(stream);
        let mut blocks = 0;
        while timeout(Duration::from_secs(1), async {
            outgoing.add(&reply(10_000), Protocol::Resp2);
            outgoing.send_much(&memory).await.is_ok()
        })
        .await
        .is_ok()
        {
            blocks += 1;
        }
        assert!((100..=106).contains(&blocks), "{blocks}");
        let others = memory.take(MEMORY);
        let (stream, _client) = duplex(1);
        let mut outgoing = Outgoing::new(stream);
        for block in 0..2 {
            outgoing.add(&reply(10_000), Protocol::Resp2);
            let sent = timeout(Duration::from_secs(1), outgoing.send_much(&memory)).await;
            assert_eq!(sent.is_err(), block == 1);
        }
        drop(others);
    }
}
