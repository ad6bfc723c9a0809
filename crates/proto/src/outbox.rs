//! The bytes on their way out, as a list of segments that can be written in one go.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, Bytes};

/// Pieces of at least this many bytes are taken by reference; smaller ones are copied together,
/// since a segment of its own costs more than the copy.
const BY_REFERENCE: usize = 1024;

/// What a connection wants written, in order. Small things are copied together, large ones are held
/// by reference, so that everything one turn produced goes out by one `writev` or one run of TLS
/// records.
#[derive(Debug, Default)]
pub struct Outbox {
    /// Whole segments, first to go.
    segments: VecDeque<Bytes>,
    /// What comes behind the segments.
    tail: Vec<u8>,
    /// How much of `tail` is gone. Non-zero only while `segments` is empty.
    tail_start: usize,
    /// Bytes in `segments`.
    segments_len: usize,
}

impl Outbox {
    /// An empty outbox. Allocates nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Bytes waiting.
    pub fn len(&self) -> usize {
        self.segments_len + self.tail.len() - self.tail_start
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Where small things are appended.
    pub fn tail(&mut self) -> &mut Vec<u8> {
        self.reclaim();
        &mut self.tail
    }

    /// Gives back what is gone of the tail. A peer that reads a little at a time may never see the
    /// outbox empty, so the tail would grow by all that is ever appended. What is moved is no more
    /// than what went out since the last time.
    fn reclaim(&mut self) {
        if self.tail_start > 0 && self.tail_start >= self.tail.len() - self.tail_start {
            self.tail.drain(..self.tail_start);
            self.tail_start = 0;
        }
    }

    /// Appends bytes: by reference when there are many, else by copy.
    pub fn push(&mut self, bytes: Bytes) {
        if bytes.len() < BY_REFERENCE {
            self.tail().extend_from_slice(&bytes);
            return;
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

    /// Fills `slices` with what waits, in order, and returns how many it used.
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

    /// Gives the memory back once everything is written; an idle connection holds no buffers.
    pub fn release_memory(&mut self) {
        if self.is_empty() {
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
        outbox.tail().extend_from_slice(b"abcdef");
        outbox.advance(2);
        outbox.push(Bytes::from(vec![b'x'; 1024]));
        outbox.tail().extend_from_slice(b"yz");
        let all = drain(&mut outbox, 100);
        assert_eq!(&all[..4], b"cdef");
        assert_eq!(&all[1026..], b"xxyz");
    }

    #[test]
    fn what_is_gone_takes_no_memory_though_the_outbox_never_is_empty() {
        let mut outbox = Outbox::new();
        let mut sent = 0;
        for round in 0..10_000_u32 {
            outbox.tail().extend_from_slice(&round.to_be_bytes());
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
    fn slices_cover_everything_in_order() {
        let mut outbox = Outbox::new();
        outbox.tail().extend_from_slice(b"head");
        outbox.push(Bytes::from(vec![b'b'; 4096]));
        outbox.tail().extend_from_slice(b"tail");
        let mut slices = [IoSlice::new(&[]); 8];
        let used = outbox.io_slices(&mut slices);
        assert_eq!(used, 3);
        assert_eq!(
            slices[..used].iter().map(|s| s.len()).sum::<usize>(),
            outbox.len()
        );
    }
}
