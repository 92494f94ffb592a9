//! The body of a request. It tells the connection's guard whether it was read to its end, and whether that end is sure.
//!
//! The end of a body in chunks is sure once it was read, and had no trailers. The HTTP library takes lines for trailers that
//! are none, such as those after a chunk of size 0 and a bare LF. A proxy that takes the LF for the body's end sends the next
//! request there, perhaps another client's, and each of the two would take an answer for that to a different request (request
//! smuggling). So such a request is the last of its connection. This server has no use for trailers.

use super::connection_guard::ConnectionGuard;
use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// See the module.
pub(super) struct TrackedBody {
    body: Incoming,
    guard: ConnectionGuard,
    has_trailers: bool,
}

impl TrackedBody {
    pub fn new(body: Incoming, guard: ConnectionGuard) -> Self {
        guard.note_unread(!body.is_end_stream());
        let is_in_chunks = body.size_hint().exact().is_none();
        guard.note_last(is_in_chunks);
        Self { body, guard, has_trailers: false }
    }
}

impl Body for TrackedBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        self.guard.note_unread(frame.is_some() && !self.body.is_end_stream());
        match &frame {
            Some(Ok(frame)) => self.has_trailers |= frame.is_trailers(),
            Some(Err(_)) => {}
            None => self.guard.note_last(self.has_trailers),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
