//! Sockets in memory, whose network a simulator plays.
//!
//! Readiness is reported like that of epoll with EPOLLET: once for each change.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSlice};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::ready::Ready;

/// One end of a connection in memory. The other end reads what is written here.
#[derive(Debug)]
pub struct MemorySocket {
    shared: Arc<Mutex<Shared>>,
    /// The index of this end.
    side: usize,
}

#[derive(Debug)]
struct Shared {
    /// The bytes that each end writes.
    halves: [Half; 2],
    /// Whether each end is closed.
    gone: [bool; 2],
    state: State,
    round_trip: Option<Duration>,
}

/// The state of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Connecting,
    Connected,
    /// The connection was never established, or was reset.
    Failed(ErrorKind),
}

/// One direction of a connection.
#[derive(Debug, Default)]
struct Half {
    bytes: VecDeque<u8>,
    capacity: usize,
    ended: bool,
    /// Whether there is more to read than at the last report.
    readable: bool,
    /// Whether there is room again where there was none.
    writable: bool,
    /// Whether a write found no room.
    blocked: bool,
}

impl MemorySocket {
    /// Makes both ends of a connection. Each takes up to `capacity` bytes that the other hasn't
    /// read.
    pub fn pair(capacity: usize) -> (Self, Self) {
        Self::pair_in(State::Connected, capacity)
    }

    fn pair_in(state: State, capacity: usize) -> (Self, Self) {
        let half = || Half {
            capacity,
            ..Half::default()
        };
        let shared = Arc::new(Mutex::new(Shared {
            halves: [half(), half()],
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
        // Nothing that could panic while it is held leaves the state inconsistent.
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the bytes that are there.
    ///
    /// # Errors
    /// [`ErrorKind::WouldBlock`] if nothing is there, [`ErrorKind::ConnectionReset`] after a reset.
    pub fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        let count = self.peek(room)?;
        let mut shared = self.shared();
        let half = &mut shared.halves[1 - self.side];
        half.bytes.drain(..count);
        if std::mem::take(&mut half.blocked) {
            half.writable = true;
        }
        Ok(count)
    }

    /// Reads like `read`, but leaves the bytes there.
    ///
    /// # Errors
    /// As for `read`.
    pub fn peek(&mut self, room: &mut [u8]) -> io::Result<usize> {
        let mut shared = self.shared();
        let state = shared.state;
        let half = &mut shared.halves[1 - self.side];
        let count = room.len().min(half.bytes.len());
        let (first, second) = half.bytes.as_slices();
        let cut = first.len().min(count);
        room[..cut].copy_from_slice(&first[..cut]);
        room[cut..count].copy_from_slice(&second[..count - cut]);
        match (count, state) {
            (0, State::Failed(kind)) => Err(kind.into()),
            (0, _) if !half.ended => Err(ErrorKind::WouldBlock.into()),
            _ => Ok(count),
        }
    }

    /// Writes as much as there is room for. An end that is closed takes everything once: its answer
    /// is a reset, which follows what can still be read.
    ///
    /// # Errors
    /// [`ErrorKind::WouldBlock`] if there is no room, [`ErrorKind::BrokenPipe`] after a reset or
    /// our own end.
    pub fn write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut shared = self.shared();
        match shared.state {
            State::Connected => {}
            State::Connecting => return Err(ErrorKind::WouldBlock.into()),
            State::Failed(_) => return Err(ErrorKind::BrokenPipe.into()),
        }
        let half = &mut shared.halves[self.side];
        if half.ended {
            return Err(ErrorKind::BrokenPipe.into());
        }
        if shared.gone[1 - self.side] {
            shared.state = State::Failed(ErrorKind::ConnectionReset);
            for half in &mut shared.halves {
                half.readable = true;
                half.writable = true;
            }
            return Ok(slices.iter().map(|slice| slice.len()).sum());
        }
        let half = &mut shared.halves[self.side];
        let mut written = 0;
        for slice in slices {
            let room = half.capacity - half.bytes.len();
            let count = room.min(slice.len());
            half.bytes.extend(&slice[..count]);
            written += count;
            half.blocked |= count < slice.len();
        }
        half.readable |= written > 0;
        if written == 0 && slices.iter().any(|slice| !slice.is_empty()) {
            return Err(ErrorKind::WouldBlock.into());
        }
        Ok(written)
    }

    /// Ends this side: the other end reads what is still there, and then the end.
    pub fn shut_down(&mut self) {
        let side = self.side;
        let half = &mut self.shared().halves[side];
        half.ended = true;
        half.readable = true;
    }

    /// Resets the connection: data in flight is lost in both directions.
    pub fn reset(&mut self) {
        self.fail(ErrorKind::ConnectionReset);
    }

    /// Establishes a connection that was dialled.
    pub fn connect(&mut self) {
        let mut shared = self.shared();
        shared.state = State::Connected;
        for half in &mut shared.halves {
            half.writable = true;
        }
    }

    /// Ends the connection with this error, whether it was established or not.
    pub fn fail(&mut self, kind: ErrorKind) {
        let mut shared = self.shared();
        shared.state = State::Failed(kind);
        for half in &mut shared.halves {
            half.bytes.clear();
            half.readable = true;
            half.writable = true;
        }
    }

    /// Sets the estimate of the round-trip time that the loop sees.
    pub fn set_round_trip(&mut self, time: Duration) {
        self.shared().round_trip = Some(time);
    }

    /// Returns the bytes that this end could write now.
    pub fn room(&self) -> usize {
        let shared = self.shared();
        let half = &shared.halves[self.side];
        half.capacity - half.bytes.len()
    }

    /// Returns the bytes that wait to be read at this end.
    pub fn available(&self) -> usize {
        self.shared().halves[1 - self.side].bytes.len()
    }

    /// Whether the other end has ended or is gone, and nothing is left to read.
    pub fn is_at_end(&self) -> bool {
        let shared = self.shared();
        let half = &shared.halves[1 - self.side];
        half.bytes.is_empty() && (half.ended || matches!(shared.state, State::Failed(_)))
    }

    /// Whether the connection was reset, or never established.
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

    /// Returns the changes since the last call.
    pub(crate) fn take_readiness(&mut self) -> Ready {
        let mut shared = self.shared();
        let failed = matches!(shared.state, State::Failed(_));
        let [ours, others] = match self.side {
            0 => [0, 1],
            _ => [1, 0],
        };
        let readable = std::mem::take(&mut shared.halves[others].readable);
        let writable = std::mem::take(&mut shared.halves[ours].writable);
        Ready {
            readable,
            writable,
            read_closed: readable && (shared.halves[others].ended || failed),
            error: failed && (readable || writable),
        }
    }
}

impl Drop for MemorySocket {
    /// Ends this side, as closing a socket does. If bytes are left that nobody will read, that is a
    /// reset.
    fn drop(&mut self) {
        let side = self.side;
        self.shared().gone[side] = true;
        match self.available() {
            0 => self.shut_down(),
            _ => self.reset(),
        }
    }
}

/// A connection that a service dialled. The simulator lets it be established or fail.
#[derive(Debug)]
pub struct Dialled {
    /// The address that was dialled.
    pub addr: SocketAddr,
    /// The other end: call [`MemorySocket::connect`] or [`MemorySocket::fail`] on it.
    pub socket: MemorySocket,
}

impl Dialled {
    /// Makes the loop's end, and what the simulator gets.
    pub(crate) fn new(addr: SocketAddr, capacity: usize) -> (MemorySocket, Self) {
        let (ours, socket) = MemorySocket::pair_in(State::Connecting, capacity);
        (ours, Self { addr, socket })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(socket: &mut MemorySocket, bytes: &[u8]) -> io::Result<usize> {
        socket.write(&[IoSlice::new(bytes)])
    }

    #[test]
    fn bytes_go_both_ways_as_far_as_there_is_room() {
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
