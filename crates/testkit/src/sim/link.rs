//! One direction of the network: frames go in; bytes come out late, in pieces, or not at all.

use std::collections::VecDeque;
use std::time::Duration;

use crate::sim::ledger::Note;
use crate::sim::plan::LinkPlan;
use crate::wire::PREFACE;

/// One direction.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) plan: LinkPlan,
    /// The written part of a frame that is not complete yet.
    partial: Vec<u8>,
    preface_due: bool,
    /// Whether the last frame began or continued a field block without ending it.
    in_block: bool,
    on_the_way: VecDeque<(Duration, Vec<u8>)>,
    on_the_way_len: usize,
    last_arrival: Duration,
    entered: u64,
    left: u64,
    notes: VecDeque<(u64, Note)>,
}

impl Link {
    pub(crate) fn new(plan: LinkPlan, preface_due: bool) -> Self {
        Self {
            plan,
            partial: Vec::new(),
            preface_due,
            in_block: false,
            on_the_way: VecDeque::new(),
            on_the_way_len: 0,
            last_arrival: Duration::ZERO,
            entered: 0,
            left: 0,
            notes: VecDeque::new(),
        }
    }

    /// Returns the bytes that can be written now.
    pub(crate) fn room(&self) -> usize {
        self.plan
            .capacity
            .saturating_sub(self.on_the_way_len + self.partial.len())
            .max(usize::from(self.on_the_way.is_empty()))
    }

    /// Takes an engine's output. [`Link::next_frame`] returns the complete frames.
    pub(crate) fn write(&mut self, bytes: &[u8]) {
        self.partial.extend_from_slice(bytes);
    }

    /// Returns the next complete frame that was written and has not entered the network: its
    /// content and its bytes.
    pub(crate) fn next_frame(&mut self) -> Option<(Note, Vec<u8>)> {
        if self.preface_due {
            if self.partial.len() < PREFACE.len() {
                return None;
            }
            self.preface_due = false;
            let bytes: Vec<u8> = self.partial.drain(..PREFACE.len()).collect();
            assert_eq!(bytes, PREFACE);
            return Some((Note::Other, bytes));
        }
        let head = self.partial.first_chunk::<9>()?;
        let len = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        if self.partial.len() < 9 + len {
            return None;
        }
        let bytes: Vec<u8> = self.partial.drain(..9 + len).collect();
        let (note, ends_block) = Note::of(&bytes);
        match note {
            Note::Headers { .. } | Note::PushPromise { .. } => {
                assert!(!self.in_block, "a field block is interrupted by {note:?}");
                self.in_block = !ends_block;
            }
            Note::Continuation { .. } => {
                assert!(self.in_block, "CONTINUATION out of place");
                self.in_block = !ends_block;
            }
            _ => assert!(!self.in_block, "a field block is interrupted by {note:?}"),
        }
        Some((note, bytes))
    }

    /// Whether another frame may be inserted here.
    pub(crate) fn between_frames(&self) -> bool {
        !self.in_block && !self.preface_due
    }

    /// Sends a frame. Returns whether a stall holds it up.
    pub(crate) fn enter(
        &mut self,
        note: Note,
        bytes: Vec<u8>,
        now: Duration,
        jitter: Duration,
    ) -> bool {
        let mut arrival = self.last_arrival.max(now + self.plan.delay + jitter);
        let mut stalled = false;
        for (from, to) in &self.plan.stalls {
            if (*from..*to).contains(&arrival) {
                arrival = *to;
                stalled = true;
            }
        }
        self.last_arrival = arrival;
        self.entered += bytes.len() as u64;
        self.on_the_way_len += bytes.len();
        self.notes.push_back((self.entered, note));
        match self.on_the_way.back_mut() {
            Some((due, last)) if *due == arrival => last.extend_from_slice(&bytes),
            _ => self.on_the_way.push_back((arrival, bytes)),
        }
        stalled
    }

    /// Returns when the next bytes arrive.
    pub(crate) fn next_arrival(&self) -> Option<Duration> {
        self.on_the_way.front().map(|(due, _)| *due)
    }

    /// Returns the bytes that have arrived by now, up to `most`.
    pub(crate) fn read(&mut self, now: Duration, limit: usize) -> Option<Vec<u8>> {
        let (due, bytes) = self.on_the_way.front_mut()?;
        if *due > now {
            return None;
        }
        let piece = if bytes.len() <= limit {
            self.on_the_way.pop_front()?.1
        } else {
            let rest = bytes.split_off(limit);
            std::mem::replace(bytes, rest)
        };
        self.on_the_way_len -= piece.len();
        self.left += piece.len() as u64;
        Some(piece)
    }

    /// Returns the contents of the frames that have arrived completely, in order.
    pub(crate) fn next_note(&mut self) -> Option<Note> {
        let (end, note) = *self.notes.front()?;
        (end <= self.left).then(|| {
            self.notes.pop_front();
            note
        })
    }

    /// Whether everything written has arrived.
    pub(crate) fn is_empty(&self) -> bool {
        self.on_the_way.is_empty() && self.partial.is_empty()
    }

    /// Loses everything in flight.
    pub(crate) fn cut(&mut self) {
        self.on_the_way.clear();
        self.on_the_way_len = 0;
        self.partial.clear();
        self.notes.clear();
    }
}
