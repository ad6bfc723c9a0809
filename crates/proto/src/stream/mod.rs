//! Streams.

use bytes::Bytes;
use tidegate_frame::{ErrorCode, StreamId};

use crate::error::Misuse;
use crate::message::{Body, Fields, RequestHead, ResponseHead};
use crate::sched::Priority;

/// A borrowed handle to one stream: no lock, gone at the end of the statement.
pub struct StreamMut<'a> {
    marker: std::marker::PhantomData<&'a mut ()>,
}

impl StreamMut<'_> {
    /// The stream's identifier.
    pub fn id(&self) -> StreamId {
        let _ = self.marker;
        todo!()
    }

    /// Server: sends the final response. For a HEAD request or a status without content (204, 304) the body is left
    /// out.
    ///
    /// # Errors
    /// [`Misuse`] tells what the call did wrong; nothing was sent then.
    pub fn respond(&mut self, head: &ResponseHead, body: Body) -> Result<(), Misuse> {
        let _ = (head, body);
        todo!()
    }

    /// Server: sends an interim response (1xx), such as 100 or 103.
    ///
    /// # Errors
    /// [`Misuse`] tells what the call did wrong; nothing was sent then.
    pub fn inform(&mut self, head: &ResponseHead) -> Result<(), Misuse> {
        let _ = head;
        todo!()
    }

    /// Takes octets of a [`Body::Stream`] off the front of `data`, as many as there is room for (0 when there is none,
    /// or when the stream takes no body), and returns how many. With `end`, the message ends once all of `data` is
    /// taken. When less than all was taken, [`Event::Writable`](crate::Event::Writable) asks for the rest.
    pub fn write(&mut self, data: &mut Bytes, end: bool) -> usize {
        let _ = (data, end);
        todo!()
    }

    /// Ends a [`Body::Stream`] with trailers, behind what was written.
    ///
    /// # Errors
    /// [`Misuse`] tells what the call did wrong; nothing was sent then.
    pub fn trailers(&mut self, fields: &Fields) -> Result<(), Misuse> {
        let _ = fields;
        todo!()
    }

    /// Server: promises a response to a request that the client has not made, and returns its stream: `respond` there.
    ///
    /// # Errors
    /// [`Misuse`] tells why nothing was promised.
    pub fn push(&mut self, head: &RequestHead) -> Result<StreamId, Misuse> {
        let _ = head;
        todo!()
    }

    /// Gives back flow-control credit for so many octets of [`Event::Data`](crate::Event::Data).
    pub fn consume(&mut self, octets: usize) {
        let _ = octets;
        todo!()
    }

    /// Changes the stream's place among those that want to send.
    pub fn prioritize(&mut self, priority: Priority) {
        let _ = priority;
        todo!()
    }

    /// Sends RST_STREAM and lets go of the stream. No event follows.
    pub fn reset(&mut self, code: ErrorCode) {
        let _ = code;
        todo!()
    }

    /// Lets go of a stream after [`Event::Reset`](crate::Event::Reset): its slot is free again.
    pub fn release(&mut self) {
        todo!()
    }
}
