//! The bytes to send, as a list of segments that can be written in one call.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, Bytes};

/// The size in bytes from which a piece is held by reference. Smaller pieces are copied together,
/// because a segment of its own costs more than the copy.
const BY_REFERENCE: usize = 1024;

/// The bytes that a connection wants written, in order. Small pieces are copied together and large
/// ones held by reference, so that one `writev` or one run of TLS records sends all that a turn
/// produced.
#[derive(Debug, Default)]
pub struct Outbox {
    /// Complete segments, in the order of sending.
    segments: VecDeque<Bytes>,
    /// The bytes after the segments.
    tail: Vec<u8>,
    /// The number of bytes of `tail` that are sent. Non-zero only while `segments` is empty.
    tail_start: usize,
    /// Bytes in `segments`.
    segments_len: usize,
}

impl Outbox {
    /// Makes an empty outbox. Allocates nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns the number of bytes that wait.
    pub fn len(&self) -> usize {
        self.segments_len + self.tail.len() - self.tail_start
    }

    /// Whether no bytes wait.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Appends a copy of these bytes.
    #[inline]
    pub fn extend(&mut self, bytes: &[u8]) {
        self.tail().extend_from_slice(bytes);
    }

    /// Moves all of `bytes` to the end. An empty outbox takes the buffer itself, and leaves an
    /// empty one in exchange.
    pub fn append(&mut self, bytes: &mut Vec<u8>) {
        if bytes.is_empty() {
            return;
        }
        if self.is_empty() {
            self.tail.clear();
            self.tail_start = 0;
            std::mem::swap(&mut self.tail, bytes);
        } else {
            self.tail().append(bytes);
        }
    }

    /// Returns the buffer to which small pieces are appended.
    #[inline]
    fn tail(&mut self) -> &mut Vec<u8> {
        self.reclaim();
        &mut self.tail
    }

    /// Frees the sent part of the tail. A peer that reads a little at a time may never see the
    /// outbox empty, so the tail would grow by everything ever appended. The bytes moved are no
    /// more than those sent since the last time.
    fn reclaim(&mut self) {
        if self.tail_start > 0 && self.tail_start >= self.tail.len() - self.tail_start {
            self.tail.drain(..self.tail_start);
            self.tail_start = 0;
        }
    }

    /// Appends bytes: by reference if there are many, else by copy.
    pub fn push(&mut self, bytes: Bytes) {
        if bytes.len() < BY_REFERENCE {
            return self.extend(&bytes);
        }
        if self.tail.len() > self.tail_start {
            let mut tail = Bytes::from(std::mem::take(&mut self.tail));
            tail.advance(self.tail_start);
            self.segments_len += tail.len();
            self.segments.push_back(tail);
        } else {
            self.tail.clear();
        }
        self.tail_start = 0;
        self.segments_len += bytes.len();
        self.segments.push_back(bytes);
    }

    /// Fills `slices` with the waiting bytes, in order, and returns how many slices it used.
    pub fn io_slices<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let mut used = 0;
        let rest = &self.tail[self.tail_start..];
        let waiting = self.segments.iter().map(|segment| &segment[..]);
        let waiting = waiting.chain((!rest.is_empty()).then_some(rest));
        for (slot, bytes) in slices.iter_mut().zip(waiting) {
            *slot = IoSlice::new(bytes);
            used += 1;
        }
        used
    }

    /// Frees the memory once everything is written; an idle connection holds no buffers.
    pub fn release_memory(&mut self) {
        let has_memory = self.tail.capacity() > 0 || self.segments.capacity() > 0;
        if has_memory && self.is_empty() {
            *self = Self::default();
        }
    }
}

impl Buf for Outbox {
    fn remaining(&self) -> usize {
        self.len()
    }

    fn chunk(&self) -> &[u8] {
        match self.segments.front() {
            Some(segment) => segment,
            None => &self.tail[self.tail_start..],
        }
    }

    fn advance(&mut self, mut count: usize) {
        while count > 0 {
            let Some(front) = self.segments.front_mut() else {
                self.tail_start += count;
                assert!(
                    self.tail_start <= self.tail.len(),
                    "advanced behind the end of the outbox"
                );
                break;
            };
            let step = count.min(front.len());
            front.advance(step);
            self.segments_len -= step;
            count -= step;
            if front.is_empty() {
                self.segments.pop_front();
            }
        }
        if self.segments.is_empty() && self.tail_start == self.tail.len() {
            self.tail.clear();
            self.tail_start = 0;
        }
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        self.io_slices(slices)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(outbox: &mut Outbox, step: usize) -> Vec<u8> {
        let mut all = Vec::new();
        while outbox.has_remaining() {
            let chunk = outbox.chunk();
            let n = chunk.len().min(step);
            all.extend_from_slice(&chunk[..n]);
            outbox.advance(n);
        }
        all
    }

    #[test]
    fn keeps_the_order_of_copied_and_referenced_bytes() {
        for step in [1, 7, 1000, usize::MAX] {
            let mut outbox = Outbox::new();
            let mut expected = Vec::new();
            for (i, len) in [3, 2000, 0, 5, 5000, 1024, 1023, 9].into_iter().enumerate() {
                let piece = vec![i as u8; len];
                expected.extend_from_slice(&piece);
                outbox.push(Bytes::from(piece));
            }
            assert_eq!(outbox.len(), expected.len());
            assert_eq!(drain(&mut outbox, step), expected);
            assert!(outbox.is_empty());
        }
    }

    #[test]
    fn a_partly_written_tail_goes_on_in_front_of_a_segment() {
        let mut outbox = Outbox::new();
        outbox.extend(b"abcdef");
        outbox.advance(2);
        outbox.push(Bytes::from(vec![b'x'; 1024]));
        outbox.extend(b"yz");
        let all = drain(&mut outbox, 100);
        assert_eq!(&all[..4], b"cdef");
        assert_eq!(&all[1026..], b"xxyz");
    }

    #[test]
    fn what_is_gone_takes_no_memory_though_the_outbox_never_is_empty() {
        let mut outbox = Outbox::new();
        let mut sent = 0;
        for round in 0..10_000_u32 {
            outbox.extend(&round.to_be_bytes());
            outbox.push(Bytes::from(round.to_be_bytes().to_vec()));
            while outbox.len() > 100 {
                assert_eq!(
                    outbox.chunk()[0],
                    ((sent / 8) as u32).to_be_bytes()[sent % 4]
                );
                outbox.advance(1);
                sent += 1;
            }
        }
        assert!(outbox.tail.capacity() < 1000);
    }

    #[test]
    fn a_buffer_is_taken_over_only_by_an_empty_outbox() {
        let mut outbox = Outbox::new();
        let mut first = b"first".to_vec();
        let at = first.as_ptr();
        outbox.append(&mut first);
        assert_eq!((outbox.chunk().as_ptr(), outbox.len()), (at, 5));
        assert!(first.is_empty());
        let mut second = b"second".to_vec();
        outbox.append(&mut second);
        assert!(second.is_empty());
        assert_eq!(drain(&mut outbox, 4), b"firstsecond");
    }

    #[test]
    fn slices_cover_everything_in_order() {
        let mut outbox = Outbox::new();
        outbox.extend(b"head");
        outbox.push(Bytes::from(vec![b'b'; 4096]));
        outbox.extend(b"tail");
        let mut slices = [IoSlice::new(&[]); 8];
        let used = outbox.io_slices(&mut slices);
        assert_eq!(used, 3);
        assert_eq!(
            slices[..used].iter().map(|s| s.len()).sum::<usize>(),
            outbox.len()
        );
    }
}
