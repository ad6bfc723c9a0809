//! Sends a body back while it comes in.

use bytes::{Bytes, BytesMut};
use tidegate_proto::{Body, KnownName, StreamMut};

use super::{Outcome, Request};
use crate::exchange::{Progress, Work};

/// A body on its way back. What the client doesn't take yet waits here; credit to send more is given only for what it took,
/// so that no more than a stream's window can wait.
#[derive(Default)]
pub struct Echo {
    /// Goes out first.
    front: Bytes,
    /// What came behind it, copied together so that tiny frames don't hold on to large buffers.
    behind: BytesMut,
    /// Whether the request is whole.
    whole: bool,
}

/// Answers any method.
pub fn answer(request: &mut Request<'_>) -> Outcome {
    request.invite_body();
    let mut head = request.head_of(200);
    let kind = request.head.get_known(KnownName::CONTENT_TYPE);
    head.push("content-type", kind.unwrap_or(b"application/octet-stream"));
    if request.end {
        head.push("content-length", "0");
        return Outcome::Answered(request.respond(&head, Body::Empty));
    }
    if let Some(length) = request.head.content_length() {
        head.push("content-length", length.to_string());
    }
    let sent = request.respond(&head, Body::Stream);
    match sent.status {
        0 => Outcome::Answered(sent),
        _ => Outcome::InProgress(sent, Work::Echo(Echo::default())),
    }
}

impl Echo {
    /// A piece of the body came.
    pub fn data(&mut self, stream: &mut StreamMut<'_>, data: Bytes, end: bool) -> Progress {
        self.whole |= end;
        if self.front.is_empty() {
            self.front = data;
        } else {
            self.behind.extend_from_slice(&data);
        }
        self.write(stream)
    }

    /// The client can take more.
    pub fn write(&mut self, stream: &mut StreamMut<'_>) -> Progress {
        let mut sent = 0;
        loop {
            if self.front.is_empty() {
                self.front = self.behind.split().freeze();
            }
            let last = self.whole && self.behind.is_empty();
            if self.front.is_empty() && !last {
                return Progress::More(sent);
            }
            let taken = stream.write(&mut self.front, last);
            sent += taken;
            if last && self.front.is_empty() {
                // The stream is over, and with it all credit is given back.
                return Progress::Done(sent);
            }
            stream.consume(taken);
            if !self.front.is_empty() {
                return Progress::More(sent);
            }
        }
    }
}
