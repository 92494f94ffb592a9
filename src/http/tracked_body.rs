//! The body of a request. It tells the connection's guard whether it was read to its end.

use super::connection_guard::ConnectionGuard;
use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// See the module.
pub(super) struct TrackedBody {
    body: Incoming,
    guard: ConnectionGuard,
}

impl TrackedBody {
    pub fn new(body: Incoming, guard: ConnectionGuard) -> Self {
        guard.note_unread(!body.is_end_stream());
        Self { body, guard }
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
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
