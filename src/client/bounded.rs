//! Answers are read up to a bound: whoever answers may be no node at all, or a broken one, and must not fill the memory of
//! who asks. The request's own time limit holds for the whole answer.

use bytes::{Bytes, BytesMut};
use reqwest::Response;

/// Longest answer, in bytes: far more than the largest value, batch or page of keys takes.
pub(super) const ANSWER_BYTES_MAX: usize = 64 << 20;
/// Longest description of a problem, and of a node that introduces itself.
pub(super) const SMALL_BYTES_MAX: usize = 64 << 10;

/// Why a body was not read to its end.
#[derive(Debug)]
pub(super) enum Unread {
    /// It has more bytes than so many.
    TooLong(usize),
    Lost(reqwest::Error),
}

/// Reads a body of at most `most` bytes.
///
/// # Errors
/// [`Unread`]; what was asked for may have been done.
pub(super) async fn read_up_to(mut response: Response, most: usize) -> Result<Bytes, Unread> {
    if response.content_length().is_some_and(|length| length > most as u64) {
        return Err(Unread::TooLong(most));
    }
    let mut body = BytesMut::new();
    while let Some(chunk) = response.chunk().await.map_err(Unread::Lost)? {
        if body.len() + chunk.len() > most {
            return Err(Unread::TooLong(most));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}
