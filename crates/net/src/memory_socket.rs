//! Sockets in memory, whose network a simulator plays.
//!
//! Readiness is told as epoll tells it with EPOLLET: once for each change.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSlice};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::ready::Ready;

/// One end of a connection in memory. What is written at one end can be read at the other.
#[derive(Debug)]
pub struct MemorySocket {
    shared: Arc<Mutex<Shared>>,
    /// Which end this is.
    side: usize,
}

#[derive(Debug)]
struct Shared {
    /// What each end writes.
    ways: [Way; 2],
    /// Which ends are closed.
    gone: [bool; 2],
    state: State,
    round_trip: Option<Duration>,
}

/// Whether there is a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Connecting,
    Connected,
    /// It never came about, or was reset.
    Failed(ErrorKind),
}

/// One direction.
#[derive(Debug, Default)]
struct Way {
    octets: VecDeque<u8>,
    capacity: usize,
    ended: bool,
    /// There is more to read than when the reader was told last.
    readable: bool,
    /// There is room again where there was none.
    writable: bool,
    /// A write has found no room.
    blocked: bool,
}

impl MemorySocket {
    /// Both ends of a connection; each takes up to `capacity` octets that the other hasn't read.
    pub fn pair(capacity: usize) -> (Self, Self) {
        Self::pair_in(State::Connected, capacity)
    }

    fn pair_in(state: State, capacity: usize) -> (Self, Self) {
        let way = || Way {
            capacity,
            ..Way::default()
        };
        let shared = Arc::new(Mutex::new(Shared {
            ways: [way(), way()],
            gone: [false; 2],
            state,
            round_trip: None,
        }));
        let other = Self {
            shared: Arc::clone(&shared),
            side: 1,
        };
        (Self { shared, side: 0 }, other)
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        // Nothing is left half done by what could panic while it is held.
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads what is there.
    ///
    /// # Errors
    /// [`ErrorKind::WouldBlock`] when nothing is there, [`ErrorKind::ConnectionReset`] behind a reset.
    pub fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        let count = self.peek(room)?;
        let mut shared = self.shared();
        let way = &mut shared.ways[1 - self.side];
        way.octets.drain(..count);
        if std::mem::take(&mut way.blocked) {
            way.writable = true;
        }
        Ok(count)
    }

    /// As `read`, but leaves it there.
    ///
    /// # Errors
    /// Those of `read`.
    pub fn peek(&mut self, room: &mut [u8]) -> io::Result<usize> {
        let mut shared = self.shared();
        let state = shared.state;
        let way = &mut shared.ways[1 - self.side];
        let count = room.len().min(way.octets.len());
        let (first, second) = way.octets.as_slices();
        let cut = first.len().min(count);
        room[..cut].copy_from_slice(&first[..cut]);
        room[cut..count].copy_from_slice(&second[..count - cut]);
        match (count, state) {
            (0, State::Failed(kind)) => Err(kind.into()),
            (0, _) if !way.ended => Err(ErrorKind::WouldBlock.into()),
            _ => Ok(count),
        }
    }

    /// Writes as much as there is room for. To an end that is closed, everything once: the answer to that is a reset, behind what can
    /// still be read.
    ///
    /// # Errors
    /// [`ErrorKind::WouldBlock`] when there is no room, [`ErrorKind::BrokenPipe`] behind a reset or our own end.
    pub fn write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut shared = self.shared();
        match shared.state {
            State::Connected => {}
            State::Connecting => return Err(ErrorKind::WouldBlock.into()),
            State::Failed(_) => return Err(ErrorKind::BrokenPipe.into()),
        }
        let way = &mut shared.ways[self.side];
        if way.ended {
            return Err(ErrorKind::BrokenPipe.into());
        }
        if shared.gone[1 - self.side] {
            shared.state = State::Failed(ErrorKind::ConnectionReset);
            for way in &mut shared.ways {
                way.readable = true;
                way.writable = true;
            }
            return Ok(slices.iter().map(|slice| slice.len()).sum());
        }
        let way = &mut shared.ways[self.side];
        let mut written = 0;
        for slice in slices {
            let room = way.capacity - way.octets.len();
            let count = room.min(slice.len());
            way.octets.extend(&slice[..count]);
            written += count;
            way.blocked |= count < slice.len();
        }
        way.readable |= written > 0;
        if written == 0 && slices.iter().any(|slice| !slice.is_empty()) {
            return Err(ErrorKind::WouldBlock.into());
        }
        Ok(written)
    }

    /// Ends this side: the other end reads what is still there, and then the end.
    pub fn shut_down(&mut self) {
        let side = self.side;
        let way = &mut self.shared().ways[side];
        way.ended = true;
        way.readable = true;
    }

    /// Resets the connection: what is on the way is lost in both directions.
    pub fn reset(&mut self) {
        self.fail(ErrorKind::ConnectionReset);
    }

    /// The connection that was dialled comes about.
    pub fn connect(&mut self) {
        let mut shared = self.shared();
        shared.state = State::Connected;
        for way in &mut shared.ways {
            way.writable = true;
        }
    }

    /// It doesn't, or no longer, for this reason.
    pub fn fail(&mut self, kind: ErrorKind) {
        let mut shared = self.shared();
        shared.state = State::Failed(kind);
        for way in &mut shared.ways {
            way.octets.clear();
            way.readable = true;
            way.writable = true;
        }
    }

    /// What the loop takes for the transport's estimate of the round-trip time.
    pub fn set_round_trip(&mut self, time: Duration) {
        self.shared().round_trip = Some(time);
    }

    /// Octets that this end could write now.
    pub fn room(&self) -> usize {
        let shared = self.shared();
        let way = &shared.ways[self.side];
        way.capacity - way.octets.len()
    }

    /// Octets that wait to be read at this end.
    pub fn available(&self) -> usize {
        self.shared().ways[1 - self.side].octets.len()
    }

    /// Whether the other end has ended, or is gone, and nothing more is to be read.
    pub fn is_at_end(&self) -> bool {
        let shared = self.shared();
        let way = &shared.ways[1 - self.side];
        way.octets.is_empty() && (way.ended || matches!(shared.state, State::Failed(_)))
    }

    /// Whether the connection was reset, or never came about.
    pub fn is_failed(&self) -> bool {
        matches!(self.shared().state, State::Failed(_))
    }

    pub(crate) fn round_trip(&self) -> Option<Duration> {
        self.shared().round_trip
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.shared().state == State::Connected
    }

    pub(crate) fn take_error(&mut self) -> Option<io::Error> {
        match self.shared().state {
            State::Failed(kind) => Some(kind.into()),
            _ => None,
        }
    }

    /// What has changed since the last call.
    pub(crate) fn take_readiness(&mut self) -> Ready {
        let mut shared = self.shared();
        let failed = matches!(shared.state, State::Failed(_));
        let [ours, others] = match self.side {
            0 => [0, 1],
            _ => [1, 0],
        };
        let readable = std::mem::take(&mut shared.ways[others].readable);
        let writable = std::mem::take(&mut shared.ways[ours].writable);
        Ready {
            readable,
            writable,
            read_closed: readable && (shared.ways[others].ended || failed),
            error: failed && (readable || writable),
        }
    }
}

impl Drop for MemorySocket {
    /// Closing a socket ends its side; if there is something to read that nobody will, by a reset.
    fn drop(&mut self) {
        let side = self.side;
        self.shared().gone[side] = true;
        match self.available() {
            0 => self.shut_down(),
            _ => self.reset(),
        }
    }
}

/// A connection that a service has dialled, and that the simulator lets come about or fail.
#[derive(Debug)]
pub struct Dialled {
    /// Whereto.
    pub addr: SocketAddr,
    /// The other end: [`MemorySocket::connect`] or [`MemorySocket::fail`] it.
    pub socket: MemorySocket,
}

impl Dialled {
    /// The end that the loop has, and what the simulator gets.
    pub(crate) fn new(addr: SocketAddr, capacity: usize) -> (MemorySocket, Self) {
        let (ours, socket) = MemorySocket::pair_in(State::Connecting, capacity);
        (ours, Self { addr, socket })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(socket: &mut MemorySocket, octets: &[u8]) -> io::Result<usize> {
        socket.write(&[IoSlice::new(octets)])
    }

    #[test]
    fn octets_go_both_ways_as_far_as_there_is_room() {
        let (mut a, mut b) = MemorySocket::pair(4);
        assert_eq!(write(&mut a, b"abcdef").unwrap(), 4);
        let blocked = write(&mut a, b"ef").unwrap_err();
        assert_eq!(blocked.kind(), ErrorKind::WouldBlock);
        let mut room = [0; 3];
        assert_eq!(b.peek(&mut room).unwrap(), 3);
        assert_eq!(b.read(&mut room).unwrap(), 3);
        assert_eq!(&room, b"abc");
        assert_eq!((a.room(), b.available()), (3, 1));
        assert_eq!(write(&mut b, b"x").unwrap(), 1);
        assert_eq!(a.available(), 1);
        assert_eq!(b.read(&mut room).unwrap(), 1);
        let empty = b.read(&mut room).unwrap_err();
        assert_eq!(empty.kind(), ErrorKind::WouldBlock);
    }

    #[test]
    fn an_end_comes_behind_what_was_written_and_a_reset_instead_of_it() {
        let (mut a, mut b) = MemorySocket::pair(10);
        write(&mut a, b"abc").unwrap();
        a.shut_down();
        assert!(!b.is_at_end());
        let mut room = [0; 10];
        assert_eq!(b.read(&mut room).unwrap(), 3);
        assert_eq!(b.read(&mut room).unwrap(), 0);
        assert!(b.is_at_end());
        write(&mut b, b"still there").unwrap();
        b.reset();
        let reset = a.read(&mut room).unwrap_err();
        assert_eq!(reset.kind(), ErrorKind::ConnectionReset);
        let broken = write(&mut a, b"x").unwrap_err();
        assert_eq!(broken.kind(), ErrorKind::BrokenPipe);
    }

    #[test]
    fn who_writes_to_an_end_that_is_closed_gets_a_reset_behind_what_was_sent() {
        let (mut a, mut b) = MemorySocket::pair(10);
        write(&mut b, b"last words").unwrap();
        drop(b);
        assert_eq!(write(&mut a, b"more than there is room for").unwrap(), 27);
        let ready = a.take_readiness();
        assert!(ready.readable && ready.read_closed && ready.error);
        let broken = write(&mut a, b"x").unwrap_err();
        assert_eq!(broken.kind(), ErrorKind::BrokenPipe);
        let mut room = [0; 20];
        assert_eq!(a.read(&mut room).unwrap(), 10);
        let reset = a.read(&mut room).unwrap_err();
        assert_eq!(reset.kind(), ErrorKind::ConnectionReset);
    }

    #[test]
    fn changes_are_told_once() {
        let (mut a, mut b) = MemorySocket::pair(2);
        assert_eq!(b.take_readiness(), Ready::default());
        write(&mut a, b"abc").unwrap();
        let readable = Ready {
            readable: true,
            ..Ready::default()
        };
        assert_eq!(b.take_readiness(), readable);
        assert_eq!(b.take_readiness(), Ready::default());
        assert_eq!(a.take_readiness(), Ready::default());
        b.read(&mut [0; 2]).unwrap();
        assert!(a.take_readiness().writable);
        drop(a);
        assert!(b.take_readiness().read_closed);
    }

    #[test]
    fn a_dialled_connection_waits_for_its_fate() {
        let addr = "192.0.2.1:80".parse().unwrap();
        let (mut ours, mut dialled) = Dialled::new(addr, 10);
        assert!(!ours.is_connected());
        let waits = write(&mut ours, b"x").unwrap_err();
        assert_eq!(waits.kind(), ErrorKind::WouldBlock);
        dialled.socket.connect();
        assert!(ours.is_connected() && ours.take_readiness().writable);
        let (mut ours, mut dialled) = Dialled::new(addr, 10);
        dialled.socket.fail(ErrorKind::ConnectionRefused);
        assert!(ours.take_readiness().error);
        let error = ours.take_error().unwrap();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    }
}
