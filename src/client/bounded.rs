//! Responses are read up to a limit: what answers may not be a node, or be a broken one, and must not fill the client's
//! memory. The timeout of the request holds for the whole response.

use bytes::{Bytes, BytesMut};
use reqwest::Response;
use std::time::Duration;
use tokio::time::timeout;

/// Longest response, in bytes: far more than the largest value, batch or page of keys.
pub(super) const ANSWER_BYTES_MAX: usize = 64 << 20;
/// Longest problem, and longest introduction of a node, in bytes.
pub(super) const SMALL_BYTES_MAX: usize = 64 << 10;

/// Why a body was not read to its end.
#[derive(Debug)]
pub(super) enum Unread {
    /// It has more bytes than this.
    TooLong(usize),
    Lost(reqwest::Error),
    /// Nothing more of it came for so long.
    Stalled(Duration),
}

/// Reads a body of at max `max` bytes, between two parts of which at most `pause` may pass.
///
/// # Errors
/// [`Unread`]; the request may have been carried out.
pub(super) async fn read_up_to(mut response: Response, max: usize, pause: Duration) -> Result<Bytes, Unread> {
    if response.content_length().is_some_and(|length| length > max as u64) {
        return Err(Unread::TooLong(max));
    }
    let mut body = BytesMut::new();
    loop {
        let chunk = timeout(pause, response.chunk()).await.map_err(|_| Unread::Stalled(pause))?;
        let Some(chunk) = chunk.map_err(Unread::Lost)? else { break };
        if body.len() + chunk.len() > max {
            return Err(Unread::TooLong(max));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}
