//! Sends a body back while it comes in.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use tidegate_net::StreamMut;
use tidegate_proto::{Body, KnownName};

use super::{Outcome, Request};
use crate::exchange::{Progress, Work};

/// A body on its way back. What the client doesn't take yet waits here; credit to send more is given only for what it took,
/// so that no more than a stream's window can wait.
#[derive(Default)]
pub struct Echo {
    /// Goes out first.
    front: Bytes,
    /// What came behind it, copied into blocks: what waits must take no more memory than the client has credit for. A piece
    /// as it came holds on to all that was read with it; one buffer for everything would double when it is full.
    behind: VecDeque<BytesMut>,
    /// Whether the request is whole.
    whole: bool,
}

/// Octets of a block.
const BLOCK: usize = 16 << 10;

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
        if !self.front.is_empty() {
            self.keep(&data);
            return self.write(stream);
        }
        self.front = data;
        let progress = self.write(stream);
        self.front = Bytes::copy_from_slice(&self.front);
        progress
    }

    /// Puts octets behind what waits.
    fn keep(&mut self, mut data: &[u8]) {
        while !data.is_empty() {
            match self.behind.back_mut() {
                Some(block) if block.len() < BLOCK => {
                    let (now, later) = data.split_at(data.len().min(BLOCK - block.len()));
                    block.extend_from_slice(now);
                    data = later;
                }
                _ => self.behind.push_back(BytesMut::with_capacity(BLOCK)),
            }
        }
    }

    /// The client can take more.
    pub fn write(&mut self, stream: &mut StreamMut<'_>) -> Progress {
        let mut sent = 0;
        loop {
            if self.front.is_empty() {
                self.front = self.behind.pop_front().unwrap_or_default().freeze();
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_takes_no_more_than_the_block_that_it_ends_in() {
        let mut echo = Echo::default();
        let body: Vec<u8> = (0..100_000).map(|n| (n % 251) as u8).collect();
        for piece in body.chunks(700) {
            echo.keep(piece);
        }
        let kept = echo.behind.iter().flatten().copied();
        assert!(kept.eq(body.iter().copied()));
        let capacity: usize = echo.behind.iter().map(BytesMut::capacity).sum();
        assert!(capacity < body.len() + BLOCK, "{capacity}");
    }
}
