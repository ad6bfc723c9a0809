//! The transport of a connection: a socket, in cleartext or with TLS.

use std::io::{self, IoSlice};
use std::time::Instant;

use bytes::Buf;
use tidegate_http::Outbox;

use crate::End;
use crate::buffers::Buffers;
use crate::socket::{ReadOutcome, Socket};
use crate::tls_session::TlsSession;

/// The most pieces that one `writev` takes.
const SLICES: usize = 64;

/// A connection's socket, with TLS or without.
pub(crate) struct Transport {
    pub(crate) socket: Socket,
    pub(crate) tls: Option<Box<TlsSession>>,
}

impl Transport {
    /// Reads once, at most `most` bytes of the socket. Afterwards `buffers.input` holds `left_over`
    /// and then the bytes read.
    pub(crate) fn read(
        &mut self,
        left_over: &[u8],
        most: usize,
        buffers: &mut Buffers,
    ) -> Result<ReadOutcome, End> {
        let encrypted = self.tls.as_ref().map_or(0, |tls| tls.left_over());
        let room = &mut buffers.read[encrypted..encrypted + most];
        let outcome = self.socket.read(room).map_err(End::Io)?;
        let ReadOutcome::Bytes { count, .. } = outcome else {
            buffers.clear_input(left_over.len());
            buffers.input.extend_from_slice(left_over);
            return Ok(outcome);
        };
        buffers.clear_input(left_over.len() + encrypted + count);
        buffers.input.extend_from_slice(left_over);
        match &mut self.tls {
            None => buffers.input.extend_from_slice(&buffers.read[..count]),
            Some(tls) => tls.receive(encrypted + count, buffers)?,
        }
        Ok(outcome)
    }

    /// Reads once and throws the bytes away.
    pub(crate) fn discard(&mut self, buffers: &mut Buffers) -> io::Result<ReadOutcome> {
        self.socket.read(&mut buffers.read)
    }

    /// Writes the content of `outbox` as far as the socket takes it, and adds the bytes written to
    /// `written`. Returns whether everything was written.
    pub(crate) fn flush(
        &mut self,
        outbox: &mut Outbox,
        buffers: &mut Buffers,
        now: Instant,
        written: &mut u64,
    ) -> Result<bool, End> {
        match &mut self.tls {
            None => flush_plain(&mut self.socket, outbox, written).map_err(End::Io),
            Some(tls) => tls.flush(&mut self.socket, outbox, buffers, now, written),
        }
    }

    /// Returns the bytes that wait for the socket, without those in the outbox.
    pub(crate) fn pending(&self) -> usize {
        self.tls.as_ref().map_or(0, |tls| tls.pending())
    }

    /// Returns the bytes that TLS holds, about.
    pub(crate) fn held_bytes(&self) -> usize {
        self.tls.as_ref().map_or(0, |tls| tls.held_bytes())
    }
}

fn flush_plain(socket: &mut Socket, outbox: &mut Outbox, written: &mut u64) -> io::Result<bool> {
    while !outbox.is_empty() {
        // Mostly one piece waits, and it needs no array for many.
        let first = outbox.chunk();
        let (wanted, count) = if first.len() == outbox.len() {
            (first.len(), socket.write(&[IoSlice::new(first)])?)
        } else {
            let mut slices = [IoSlice::new(&[]); SLICES];
            let used = outbox.io_slices(&mut slices);
            let wanted = slices[..used].iter().map(|piece| piece.len()).sum();
            (wanted, socket.write(&slices[..used])?)
        };
        let count = count.unwrap_or(0);
        outbox.advance(count);
        *written += count as u64;
        if count < wanted {
            return Ok(false);
        }
    }
    Ok(true)
}
