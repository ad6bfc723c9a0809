//! The memory for pieces of large files, which downloads of the same file share.

use std::fs::File;
use std::io;

use bytes::{Bytes, BytesMut};

use super::beneath::{Pace, read_at};
use super::lookup::Identity;

/// The most bytes that one step reads from a large file.
pub const PIECE: usize = 64 << 10;

/// Pieces whose memory one worker keeps for reuse.
const RECENT_PIECES: usize = 16;

/// The memory that pieces of large files are read to. It is reused once its piece is sent, because
/// new memory would have to be zeroed and isn't in the processor's cache. Until then, downloads of
/// the same version that have come as far take the same piece: when something new is published,
/// many clients download it at once.
#[derive(Default)]
pub struct Pieces {
    /// The last pieces, the newest last.
    recent: Vec<Recent>,
}

/// A piece that was read.
struct Recent {
    /// The memory, as large as [`PIECE`].
    memory: Bytes,
    /// The content that was read to the memory, if others may have that too.
    content: Option<Content>,
}

/// The part of a file that a piece has.
pub struct Content {
    /// The version of the file, and the position in it.
    place: Place,
    len: usize,
}

/// A position in a version of a file.
pub type Place = (Identity, u64);

impl Pieces {
    /// Returns memory for `len` bytes.
    pub fn memory(&mut self, len: usize) -> BytesMut {
        // With a slow client's tiny windows, small pieces must not hold much memory.
        if len <= PIECE / 2 {
            return BytesMut::zeroed(len);
        }
        self.free().unwrap_or_else(|| BytesMut::zeroed(PIECE))
    }

    /// Returns the newest memory whose piece was sent.
    fn free(&mut self) -> Option<BytesMut> {
        let is_free = |recent: &Recent| recent.memory.is_unique();
        let index = self.recent.iter().rposition(is_free)?;
        self.recent.remove(index).memory.try_into_mut().ok()
    }

    /// Returns the piece that was read to this memory, and keeps the memory for reuse, with what
    /// others may have of it.
    pub fn keep(&mut self, memory: BytesMut, content: Option<Content>) -> Bytes {
        let memory = memory.freeze();
        if memory.len() == PIECE {
            if self.recent.len() == RECENT_PIECES {
                self.recent.remove(0);
            }
            self.recent.push(Recent {
                memory: memory.clone(),
                content,
            });
        }
        memory
    }

    /// Returns up to `want` bytes from a place that was read before, if they are still here.
    pub fn find(&self, place: Place, want: usize) -> Option<Bytes> {
        self.recent.iter().rev().find_map(|recent| {
            let content = recent.content.as_ref()?;
            let len = content.len.min(want);
            (content.place == place).then(|| recent.memory.slice(..len))
        })
    }

    /// Reads up to `want` bytes of a file from position `at`. Returns none at its end. With a
    /// `place`, others find there what was read.
    pub fn read(
        &mut self,
        file: &File,
        at: u64,
        want: usize,
        pace: Pace,
        place: Option<Place>,
    ) -> io::Result<Bytes> {
        let len = want.min(PIECE);
        let mut memory = self.memory(len);
        let read = read_at(file, &mut memory[..len], at, pace);
        let len = read.as_ref().map_or(0, |read| *read);
        let content = place
            .filter(|_| len > 0)
            .map(|place| Content { place, len });
        let piece = self.keep(memory, content);
        read.map(|len| piece.slice(..len))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_memory_of_a_piece_is_used_again_once_nobody_has_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let content: Vec<u8> = (0..PIECE + 100).map(|n| n as u8).collect();
        std::fs::write(&path, &content).unwrap();
        let file = File::open(&path).unwrap();
        let mut pieces = Pieces::default();
        let mut read = |at, want| {
            let piece = pieces.read(&file, at, want, Pace::Patient, None);
            piece.unwrap()
        };
        let first = read(0, 1 << 20);
        let second = read(PIECE as u64, 1 << 20);
        assert_eq!([&first[..], &second[..]].concat(), content);
        let memory = second.as_ptr();
        drop(second);
        let third = read(7, PIECE - 7);
        assert_eq!((third.as_ptr(), &third[..]), (memory, &content[7..PIECE]));
        assert_eq!(first, &content[..PIECE], "not overwritten");
        assert_eq!(read(1 << 20, 1), "", "the end");
        let small = read(7, 10);
        assert_eq!(small, &content[7..17]);
        assert_eq!(small.try_into_mut().unwrap().capacity(), 10);
        let held: Vec<_> = (0..2 * RECENT_PIECES).map(|_| read(0, PIECE)).collect();
        assert_eq!(
            (held.len(), pieces.recent.len()),
            (2 * RECENT_PIECES, RECENT_PIECES)
        );
    }

    #[test]
    fn a_piece_is_read_once_for_all_who_are_as_far() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        std::fs::write(&path, vec![b'x'; 2 * PIECE]).unwrap();
        let file = File::open(&path).unwrap();
        let identity = Identity::of(&file.metadata().unwrap());
        let place = |at: usize| (identity, at as u64);
        let mut pieces = Pieces::default();
        let read = |pieces: &mut Pieces, at: usize| {
            let read = pieces.read(&file, at as u64, PIECE, Pace::Patient, Some(place(at)));
            read.unwrap()
        };
        let first = read(&mut pieces, 0);
        let again = pieces.find(place(0), 10).unwrap();
        assert_eq!((again.as_ptr(), again.len()), (first.as_ptr(), 10));
        assert_eq!(pieces.find(place(1), 10), None);
        let mut other = identity;
        other.length = 1;
        assert_eq!(pieces.find((other, 0), 10), None, "another version");
        drop((first, again));
        let second = read(&mut pieces, PIECE);
        assert_eq!(pieces.find(place(PIECE), PIECE).unwrap(), second);
        assert_eq!(
            pieces.find(place(0), PIECE),
            None,
            "its memory is used again"
        );
        let rest = read(&mut pieces, 2 * PIECE - 40_000);
        let found = pieces.find(place(2 * PIECE - 40_000), PIECE).unwrap();
        assert_eq!((rest.len(), found.len()), (40_000, 40_000));
        let nothing = read(&mut pieces, 2 * PIECE);
        assert_eq!((nothing.len(), pieces.find(place(2 * PIECE), 1)), (0, None));
        let unshared = pieces.read(&file, 5, PIECE, Pace::Patient, None).unwrap();
        assert_eq!((unshared.len(), pieces.find(place(5), 1)), (PIECE, None));
    }
}
