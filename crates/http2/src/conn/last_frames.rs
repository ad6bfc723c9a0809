//! The heads of the last frames of both directions, for those who ask how a connection came to
//! where it is.

use tidegate_frame::Head;

use crate::conn::Connection;

/// The number of places for heads. One of them is for the frame that may be coming in.
const PLACES: usize = 32;

/// The number of heads that are kept.
const KEPT: usize = PLACES - 1;

/// The direction of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the peer.
    Received,
    /// To the peer, or waiting to be sent.
    Sent,
}

/// The head of a frame that was received or sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LastFrame {
    /// Where the frame went.
    pub direction: Direction,
    /// The frame's kind, flags, stream and length.
    pub head: Head,
}

/// A head as it is on the wire, and its direction.
type Kept = ([u8; Head::LEN], Direction);

/// The ring of heads: part of the connection's own memory, which it gives back when it rests.
pub(super) struct LastFrames {
    places: [Kept; PLACES],
    /// The number of frames that were noted, of which the last ones are in the ring.
    noted: u32,
}

impl Default for LastFrames {
    fn default() -> Self {
        Self {
            places: [([0; Head::LEN], Direction::Sent); PLACES],
            noted: 0,
        }
    }
}

impl LastFrames {
    #[inline(always)]
    fn put(&mut self, direction: Direction, head: &[u8; Head::LEN]) {
        self.places[self.noted as usize % PLACES] = (*head, direction);
    }

    /// Takes the head of a frame that comes in. The frame counts once it is
    /// [received](Self::received).
    #[inline(always)]
    pub(super) fn begin(&mut self, head: &[u8; Head::LEN]) {
        self.put(Direction::Received, head);
    }

    /// Notes that the frame that came in is complete, or that no more of it is wanted.
    #[inline(always)]
    pub(super) fn received(&mut self) {
        self.noted = self.noted.wrapping_add(1);
    }

    /// Notes a frame that was written, by its head.
    #[inline(always)]
    pub(super) fn sent(&mut self, head: &[u8; Head::LEN]) {
        self.put(Direction::Sent, head);
        self.noted = self.noted.wrapping_add(1);
    }

    /// Notes the frames of a field block that was written, which are several.
    #[cold]
    fn sent_block(&mut self, mut bytes: &[u8]) {
        while let Some(head) = bytes.first_chunk() {
            self.sent(head);
            let len = Head::LEN + Head::parse(head).length as usize;
            bytes = bytes.get(len..).unwrap_or_default();
        }
    }
}

impl Connection {
    /// Notes a frame that begins at byte `before` of the control frames that wait.
    #[inline(always)]
    pub(super) fn note_sent(&mut self, before: usize) {
        if let Some(head) = self.control.head_at(before) {
            self.last_frames.sent(head);
        }
        self.stats.frames_out += 1;
    }

    /// Notes a field block whose frames begin at byte `before` of the control frames that wait.
    #[inline]
    pub(super) fn note_block_sent(&mut self, before: usize, max_frame_size: u32) {
        if self.control.len() - before <= max_frame_size as usize {
            self.note_sent(before);
        } else {
            self.last_frames.sent_block(self.control.from(before));
            self.stats.frames_out += 1;
        }
    }

    /// Returns the heads of the last frames of both directions, at most 31, the oldest first. A
    /// connection that rests forgets them.
    pub fn last_frames(&self) -> impl Iterator<Item = LastFrame> + '_ {
        let LastFrames { places, noted } = &self.last_frames;
        let noted = *noted as usize;
        (noted.saturating_sub(KEPT)..noted).map(move |number| {
            let (head, direction) = &places[number % PLACES];
            LastFrame {
                direction: *direction,
                head: Head::parse(head),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use tidegate_frame::{Flags, Kind, StreamId};
    use tidegate_http::Config;

    use super::*;

    fn head(length: u32) -> Head {
        Head {
            length,
            kind: Kind::DATA,
            flags: Flags::END_STREAM,
            stream_id: StreamId::new(1),
        }
    }

    #[test]
    fn the_last_frames_are_kept_in_their_order() {
        let config = Config::server().build().expect("the defaults are valid");
        let mut conn = Connection::server(config, crate::testing::some_start());
        conn.last_frames = LastFrames::default();
        assert_eq!(conn.last_frames().count(), 0);
        for length in 0..100 {
            conn.last_frames.begin(&head(1000).to_bytes());
            let before = conn.last_frames().map(|frame| frame.head.length);
            assert!(before.max().is_none_or(|length| length < 1000));
            conn.last_frames.begin(&head(length).to_bytes());
            conn.last_frames.received();
            let lens: Vec<u32> = conn.last_frames().map(|frame| frame.head.length).collect();
            let first = (length + 1).saturating_sub(KEPT as u32);
            assert_eq!(lens, (first..=length).collect::<Vec<_>>());
        }
    }

    #[test]
    fn all_frames_of_a_block_are_noted() {
        let mut frames = LastFrames::default();
        let mut wire = Vec::new();
        for length in [5, 0, 3] {
            head(length).write(&mut wire);
            wire.resize(wire.len() + length as usize, 0);
        }
        frames.sent_block(&wire);
        assert_eq!(frames.noted, 3);
    }
}
