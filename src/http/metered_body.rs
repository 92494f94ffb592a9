//! The body of a large answer. It keeps its part of the memory of all answers until the last of its bytes is sent.

use super::state::AppState;
use crate::cache::Key;
use crate::front::{AnswerPermit, Busy};
use crate::node::Session;
use axum::BoxError;
use axum::body::Body;
use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

/// See the module.
pub(super) struct MeteredBody {
    body: Body,
    permit: Arc<AnswerPermit>,
}

impl MeteredBody {
    pub fn new(body: Body, permit: AnswerPermit) -> Self {
        Self { body, permit: Arc::new(permit) }
    }
}

impl HttpBody for MeteredBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        let permit = &self.permit;
        // The connection drops the body once it has the last piece, and keeps that until the client takes it.
        let metered = |frame: Frame<Bytes>| {
            frame.map_data(|bytes| Bytes::from_owner(MeteredBytes { bytes, _permit: permit.clone() }))
        };
        Poll::Ready(frame.map(|frame| frame.map(metered).map_err(BoxError::from)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// How much larger a value is in JSON, at most, unless most of it is characters that JSON has to escape.
const JSON_GROWTH: usize = 2;

/// Takes the part of the memory for an answer with the values of these keys, before the request has its effect.
///
/// # Errors
/// [`Busy`] if other answers take the memory.
pub(super) fn reserve_answer<'a>(
    state: &AppState,
    session: &Session,
    keys: impl IntoIterator<Item = &'a Key>,
) -> Result<Option<AnswerPermit>, Busy> {
    let mut keys = keys.into_iter().peekable();
    if keys.peek().is_none() {
        return Ok(None);
    }
    reserve_bytes(state, session.stored_bytes(keys))
}

/// The same for an answer with values of so many bytes.
///
/// # Errors
/// [`Busy`] if other answers take the memory.
pub(super) fn reserve_bytes(state: &AppState, bytes: u64) -> Result<Option<AnswerPermit>, Busy> {
    state.front.answer_memory.reserve(bytes as usize * JSON_GROWTH)
}

struct MeteredBytes {
    bytes: Bytes,
    _permit: Arc<AnswerPermit>,
}

impl AsRef<[u8]> for MeteredBytes {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}
