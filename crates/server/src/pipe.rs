//! Bytes on their way from one body to another. What the receiver doesn't take yet waits here. The
//! sender gets credit only for what the receiver took, so at most a window waits.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

/// Bytes of a block.
const BLOCK: usize = 16 << 10;

/// A body on its way.
///
/// Data that the receiver takes immediately passes by reference. Data that has to wait is copied
/// into blocks ([`Pipe::settle`]), because it must take no more memory than the sender has credit
/// for. A piece as received keeps the whole read buffer alive, and a single buffer for everything
/// would double its size when full.
#[derive(Debug, Default)]
pub struct Pipe {
    /// The data that goes out first.
    front: Bytes,
    /// Whether `front` is a copy.
    front_is_ours: bool,
    /// The data after `front`, copied.
    blocks: VecDeque<BytesMut>,
    /// The data after `blocks`, as received.
    loose: VecDeque<Bytes>,
    /// Whether the sender has ended the body.
    ended: bool,
}

/// The result of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moved {
    /// Bytes that the receiver took.
    pub bytes: usize,
    /// Whether the receiver has taken the whole body.
    pub done: bool,
}

impl Pipe {
    /// Adds a piece that was received; with `end`, the last one.
    pub fn push(&mut self, data: Bytes, end: bool) {
        self.ended |= end;
        if self.is_empty() {
            // Most pieces go on at once, and need no queue.
            self.front = data;
            self.front_is_ours = false;
        } else if !data.is_empty() {
            self.loose.push_back(data);
        }
    }

    /// Whether the sender has ended the body.
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    /// Whether the receiver has taken all that came so far.
    pub fn is_empty(&self) -> bool {
        self.front.is_empty() && self.blocks.is_empty() && self.loose.is_empty()
    }

    /// Gives the receiver what it takes. `write` gets data and whether the data is the last; it
    /// takes bytes from the front and returns how many. With `end` the last data ends the
    /// receiver's body; otherwise something follows it, such as trailers.
    pub fn write(&mut self, end: bool, mut write: impl FnMut(&mut Bytes, bool) -> usize) -> Moved {
        let mut bytes = 0;
        loop {
            if self.front.is_empty() {
                self.fetch();
            }
            let is_last = self.ended && self.blocks.is_empty() && self.loose.is_empty();
            if self.front.is_empty() && !(is_last && end) {
                return Moved {
                    bytes,
                    done: is_last,
                };
            }
            bytes += write(&mut self.front, is_last && end);
            if !self.front.is_empty() {
                return Moved { bytes, done: false };
            }
            if is_last {
                return Moved { bytes, done: true };
            }
        }
    }

    /// Drops all that waits, as if the receiver had taken it.
    pub fn discard(&mut self) -> Moved {
        self.write(true, |data, _| {
            let bytes = data.len();
            data.clear();
            bytes
        })
    }

    fn fetch(&mut self) {
        if let Some(block) = self.blocks.pop_front() {
            self.front = block.freeze();
            self.front_is_ours = true;
        } else if let Some(piece) = self.loose.pop_front() {
            self.front = piece;
            self.front_is_ours = false;
        }
    }

    /// Whether data waits that isn't copied yet.
    pub fn is_loose(&self) -> bool {
        !self.loose.is_empty() || !(self.front.is_empty() || self.front_is_ours)
    }

    /// Copies the waiting data, so that it keeps no read buffer alive.
    pub fn settle(&mut self) {
        if !self.front.is_empty() && !self.front_is_ours {
            self.front = Bytes::copy_from_slice(&self.front);
            self.front_is_ours = true;
        }
        while let Some(piece) = self.loose.pop_front() {
            let mut data = &piece[..];
            while !data.is_empty() {
                match self.blocks.back_mut() {
                    Some(block) if block.len() < BLOCK => {
                        let (now, later) = data.split_at(data.len().min(BLOCK - block.len()));
                        block.extend_from_slice(now);
                        data = later;
                    }
                    _ => self.blocks.push_back(BytesMut::with_capacity(BLOCK)),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A receiver. `take` gives it `most` bytes at each step, and the end.
    struct Taker {
        taken: Vec<u8>,
        ended: bool,
    }

    impl Taker {
        fn take(&mut self, pipe: &mut Pipe, mut most: usize) -> Moved {
            pipe.write(true, |data, end| {
                let taken = data.split_to(data.len().min(most));
                most -= taken.len();
                self.taken.extend_from_slice(&taken);
                self.ended |= end && data.is_empty();
                taken.len()
            })
        }
    }

    fn body() -> Vec<u8> {
        (0..100_000).map(|n| (n % 251) as u8).collect()
    }

    #[test]
    fn everything_arrives_in_order_whenever_it_is_settled() {
        for (piece, most, settle_each) in [(700, 1000, 1), (16_384, 5000, 3), (1, 2, 7), (9, 9, 2)]
        {
            let body = body();
            let body = &body[..(piece * 97).min(body.len())];
            let mut pipe = Pipe::default();
            let mut taker = Taker {
                taken: Vec::new(),
                ended: false,
            };
            for (n, data) in body.chunks(piece).enumerate() {
                pipe.push(Bytes::copy_from_slice(data), false);
                if n % settle_each == 0 {
                    pipe.settle();
                    assert!(!pipe.is_loose());
                }
                assert!(!taker.take(&mut pipe, most / 2).done);
            }
            pipe.push(Bytes::new(), true);
            while !taker.take(&mut pipe, most).done {}
            assert!(taker.ended && taker.taken == body);
        }
    }

    #[test]
    fn an_end_alone_is_given_too_unless_something_follows() {
        let mut pipe = Pipe::default();
        let nothing = |_: &mut Bytes, _| -> usize { panic!("there is nothing to give") };
        let moved = pipe.write(true, nothing);
        assert_eq!((moved.bytes, moved.done), (0, false));
        pipe.push(Bytes::new(), true);
        // Trailers follow.
        assert!(pipe.write(false, nothing).done);
        let mut ended = false;
        let moved = pipe.write(true, |data, end| {
            ended |= data.is_empty() && end;
            0
        });
        assert!(moved.done && ended);
    }

    #[test]
    fn what_waits_takes_no_more_than_the_block_that_it_ends_in() {
        let mut pipe = Pipe::default();
        let body = body();
        for piece in body.chunks(700) {
            pipe.push(Bytes::copy_from_slice(piece), false);
            pipe.settle();
        }
        let kept = pipe.front.iter().chain(pipe.blocks.iter().flatten());
        assert!(kept.eq(body.iter()));
        let blocks: usize = pipe.blocks.iter().map(BytesMut::capacity).sum();
        let capacity = pipe.front.len() + blocks;
        assert!(capacity < body.len() + BLOCK, "{capacity}");
    }
}
