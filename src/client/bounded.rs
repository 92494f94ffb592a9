//! Responses are read up to a limit: what answers may not be a node, or be a broken one, and must not fill the client's
//! memory. The timeout of the request holds for the whole response.

use bytes::{Bytes, BytesMut};
use reqwest::Response;

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
}

/// Reads a body of at max `max` bytes.
///
/// # Errors
/// [`Unread`]; the request may have been carried out.
pub(super) async fn read_up_to(mut response: Response, max: usize) -> Result<Bytes, Unread> {
    if response.content_length().is_some_and(|length| length > max as u64) {
        return Err(Unread::TooLong(max));
    }
    let mut body = BytesMut::new();
    while let Some(chunk) = response.chunk().await.map_err(Unread::Lost)? {
        if body.len() + chunk.len() > max {
            return Err(Unread::TooLong(max));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}
