//! The octets of a connection's socket, in cleartext or by TLS.

use std::io::{self, IoSlice, Read, Write};
use std::time::{Duration, Instant};

use bytes::Buf;
use mio::net::TcpStream;
use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{ConnectionState, EncodeError, EncryptError, WriteTraffic};
use rustls::{Error, HandshakeKind, InvalidMessage, ServerConfig};
use socket2::SockRef;
use tidegate_proto::Outbox;

use crate::buffers::{Buffers, MAX_TLS_LEFT_OVER, READ_AT_ONCE, Records};
use crate::record_size::RecordSize;
use crate::{End, TlsInfo, tls};

/// Pieces that one `writev` takes.
const SLICES: usize = 64;

/// More than what TLS adds to one record, whatever its version and cipher.
const RECORD_OVERHEAD: usize = 64;

/// Octets of TLS records that are made before they are written.
const RECORDS_AT_ONCE: usize = 64 << 10;

/// What a read came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReadOutcome {
    /// So many octets came; with `more`, there may be more.
    Octets { count: usize, more: bool },
    /// Nothing there: the socket will tell when there is.
    Blocked,
    /// The peer sends nothing more.
    Eof,
}

/// A connection's socket, with TLS or without.
pub(crate) struct Transport {
    pub(crate) socket: TcpStream,
    pub(crate) tls: Option<Box<TlsSession>>,
}

impl Transport {
    /// Reads once. `buffers.input` holds `left_over` then, and behind it what came.
    pub(crate) fn read(
        &mut self,
        left_over: &[u8],
        buffers: &mut Buffers,
    ) -> Result<ReadOutcome, End> {
        let encrypted = self.tls.as_ref().map_or(0, |tls| tls.left_over.len());
        let room = &mut buffers.read[encrypted..encrypted + READ_AT_ONCE];
        let outcome = read_once(&mut self.socket, room).map_err(End::Io)?;
        let ReadOutcome::Octets { count, .. } = outcome else {
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

    /// Reads once and throws away what comes.
    pub(crate) fn discard(&mut self, buffers: &mut Buffers) -> io::Result<ReadOutcome> {
        read_once(&mut self.socket, &mut buffers.read)
    }

    /// Writes what waits in `outbox`, as far as the socket takes it, and adds the octets written to `written`. Tells
    /// whether all is gone.
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

    /// Has the socket end by a reset and not in order, so that the peer can't take what it has for everything.
    pub(crate) fn reset(&self) {
        // Where that fails the socket is gone already.
        let _ = SockRef::from(&self.socket).set_linger(Some(Duration::ZERO));
    }

    /// Whether octets wait that the socket did not take; those in the outbox not counted.
    pub(crate) fn has_pending(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| !tls.pending.is_empty())
    }
}

fn read_once(socket: &mut TcpStream, room: &mut [u8]) -> io::Result<ReadOutcome> {
    loop {
        match socket.read(room) {
            Ok(0) => return Ok(ReadOutcome::Eof),
            // With edge-triggered epoll, a short read means that the socket is empty and that what comes next is told as
            // an event: the read that would find nothing can be spared (epoll(7), question 9).
            Ok(count) => {
                let more = count == room.len();
                return Ok(ReadOutcome::Octets { count, more });
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return Ok(ReadOutcome::Blocked);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Writes as much as the socket takes; `None` when it takes nothing now.
fn write_once(socket: &mut TcpStream, slices: &[IoSlice<'_>]) -> io::Result<Option<usize>> {
    loop {
        let result = match slices {
            [slice] => socket.write(slice),
            slices => socket.write_vectored(slices),
        };
        match result {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => return Ok(Some(count)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

fn flush_plain(socket: &mut TcpStream, outbox: &mut Outbox, written: &mut u64) -> io::Result<bool> {
    while !outbox.is_empty() {
        let mut slices = [IoSlice::new(&[]); SLICES];
        let used = outbox.io_slices(&mut slices);
        let wanted: usize = slices[..used].iter().map(|slice| slice.len()).sum();
        let count = write_once(socket, &slices[..used])?.unwrap_or(0);
        outbox.advance(count);
        *written += count as u64;
        if count < wanted {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The TLS of one connection. rustls keeps no octets here: records are decrypted in, and encrypted to, the worker's
/// buffers.
pub(crate) struct TlsSession {
    session: UnbufferedServerConnection,
    /// The beginning of a record or handshake message whose rest is still to come.
    left_over: Vec<u8>,
    /// Records that the socket has not taken yet.
    pending: Vec<u8>,
    record_size: RecordSize,
    server_name: Option<String>,
    got_close_notify: bool,
}

impl TlsSession {
    pub(crate) fn new(config: &std::sync::Arc<ServerConfig>, now: Instant) -> Result<Self, Error> {
        Ok(Self {
            session: UnbufferedServerConnection::new(std::sync::Arc::clone(config))?,
            left_over: Vec::new(),
            pending: Vec::new(),
            record_size: RecordSize::new(now),
            server_name: None,
            got_close_notify: false,
        })
    }

    pub(crate) fn is_handshaking(&self) -> bool {
        self.session.is_handshaking()
    }

    /// Whether the peer said that it sends nothing more. A TCP end without that may be a truncation by somebody else
    /// (RFC 8446 §6.1).
    pub(crate) fn got_close_notify(&self) -> bool {
        self.got_close_notify
    }

    /// What the handshake came to, once it is done.
    pub(crate) fn info(&mut self) -> TlsInfo {
        let alpn = match self.session.alpn_protocol() {
            Some(tls::H2) => Some("h2"),
            Some(tls::HTTP_1_1) => Some("http/1.1"),
            _ => None,
        };
        let version = self.session.protocol_version();
        let suite = self.session.negotiated_cipher_suite();
        TlsInfo {
            version: version.and_then(|version| version.as_str()).unwrap_or(""),
            cipher: suite.and_then(|suite| suite.suite().as_str()).unwrap_or(""),
            alpn,
            sni: self.server_name.take(),
            resumed: self.session.handshake_kind() == Some(HandshakeKind::Resumed),
        }
    }

    /// Takes the first `count` octets of `buffers.read`, which begin with what was left over (its place is free; it is
    /// put there now), and adds what they decrypt to to `buffers.input`.
    fn receive(&mut self, count: usize, buffers: &mut Buffers) -> Result<(), End> {
        let left_over = std::mem::take(&mut self.left_over);
        buffers.read[..left_over.len()].copy_from_slice(&left_over);
        let handshaking = self.is_handshaking();
        let mut records = &mut buffers.read[..count];
        let mut failure = None;
        loop {
            let status = self.session.process_tls_records(records);
            let mut discard = status.discard;
            let mut done = false;
            match status.state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(record) = traffic.next_record() {
                        match record {
                            Ok(record) => {
                                buffers.input.extend_from_slice(record.payload);
                                discard += record.discard;
                            }
                            Err(error) => failure = failure.or(Some(error)),
                        }
                    }
                }
                Ok(ConnectionState::EncodeTlsData(mut data)) => {
                    encode(|space| data.encode(space), &mut self.pending);
                }
                Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
                Ok(ConnectionState::PeerClosed) => self.got_close_notify = true,
                Ok(_) => done = true,
                Err(error) => failure = failure.or(Some(error)),
            }
            records = &mut records[discard..];
            // After a failure the session is only asked for what it still has to send: the alert.
            if done || (failure.is_some() && !self.session.wants_write()) {
                break;
            }
        }
        if handshaking && let Some(name) = tls::take_server_name() {
            self.server_name = Some(name);
        }
        if records.len() > MAX_TLS_LEFT_OVER {
            failure = failure.or(Some(InvalidMessage::HandshakePayloadTooLarge.into()));
        }
        match failure {
            Some(error) => Err(End::TlsFailed(error)),
            None => {
                // After close_notify, what comes is to be ignored (RFC 8446 §6.1).
                if !self.got_close_notify {
                    self.left_over = records.to_vec();
                }
                Ok(())
            }
        }
    }

    /// Makes records of what waits in `outbox` and writes them, behind those that are pending.
    fn flush(
        &mut self,
        socket: &mut TcpStream,
        outbox: &mut Outbox,
        buffers: &mut Buffers,
        now: Instant,
        written: &mut u64,
    ) -> Result<bool, End> {
        self.record_size.write(now);
        let Buffers {
            records, gathered, ..
        } = buffers;
        records.clear();
        if !self.pending.is_empty() {
            records.extend(&std::mem::take(&mut self.pending));
        }
        loop {
            while records.len() < RECORDS_AT_ONCE && !outbox.is_empty() {
                let most = self.record_size.most();
                let chunk = outbox.chunk();
                let count = if chunk.len() >= most || chunk.len() == outbox.len() {
                    let count = chunk.len().min(most);
                    self.seal(&chunk[..count], records)?;
                    outbox.advance(count);
                    count
                } else {
                    gathered.clear();
                    while gathered.len() < most && !outbox.is_empty() {
                        let chunk = outbox.chunk();
                        let count = chunk.len().min(most - gathered.len());
                        gathered.extend_from_slice(&chunk[..count]);
                        outbox.advance(count);
                    }
                    self.seal(gathered, records)?;
                    gathered.len()
                };
                self.record_size.made(count);
            }
            if records.len() == 0 {
                return Ok(true);
            }
            let octets = [IoSlice::new(records.octets())];
            let count = write_once(socket, &octets).map_err(End::Io)?.unwrap_or(0);
            *written += count as u64;
            if count < records.len() {
                self.pending = records.octets()[count..].to_vec();
                return Ok(false);
            }
            records.clear();
        }
    }

    /// Adds records with `plaintext` to `records`.
    fn seal(&mut self, plaintext: &[u8], records: &mut Records) -> Result<(), End> {
        let size = plaintext.len() + RECORD_OVERHEAD;
        self.write(records, size, |traffic, space| {
            traffic.encrypt(plaintext, space)
        })
    }

    /// Adds a close_notify alert, which says that nothing more comes (RFC 8446 §6.1), to what is pending.
    pub(crate) fn close(&mut self) -> Result<(), End> {
        if self.is_handshaking() {
            return Ok(());
        }
        let mut records = Records::default();
        self.write(&mut records, RECORD_OVERHEAD, |traffic, space| {
            traffic.queue_close_notify(space)
        })?;
        self.pending.extend_from_slice(records.octets());
        Ok(())
    }

    /// Calls `encrypt` with enough space behind `records`.
    fn write(
        &mut self,
        records: &mut Records,
        mut size: usize,
        mut encrypt: impl FnMut(
            &mut WriteTraffic<'_, ServerConnectionData>,
            &mut [u8],
        ) -> Result<usize, EncryptError>,
    ) -> Result<(), End> {
        let fail = |error: String| Err(End::TlsFailed(Error::General(error)));
        loop {
            // What is left over is the beginning of something; handing it in again brings no new state.
            let status = self.session.process_tls_records(&mut self.left_over);
            let discard = status.discard;
            match status.state {
                Ok(ConnectionState::WriteTraffic(mut traffic)) => {
                    match encrypt(&mut traffic, records.space(size)) {
                        Ok(count) => {
                            records.filled(count);
                            return Ok(());
                        }
                        Err(EncryptError::InsufficientSize(error))
                            if error.required_size > size =>
                        {
                            size = error.required_size;
                        }
                        Err(error) => return fail(error.to_string()),
                    }
                }
                Ok(ConnectionState::EncodeTlsData(mut data)) => {
                    let mut octets = Vec::new();
                    encode(|space| data.encode(space), &mut octets);
                    records.extend(&octets);
                }
                Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
                Ok(ConnectionState::PeerClosed) => self.got_close_notify = true,
                Ok(state) => return fail(format!("can't write in state {state:?}")),
                Err(error) => return Err(End::TlsFailed(error)),
            }
            self.left_over.drain(..discard);
        }
    }
}

/// Appends what `encode` makes to `octets`, with as much space as it asks for.
fn encode(mut encode: impl FnMut(&mut [u8]) -> Result<usize, EncodeError>, octets: &mut Vec<u8>) {
    let start = octets.len();
    let mut result = encode(&mut []);
    if let Err(EncodeError::InsufficientSize(error)) = &result {
        octets.resize(start + error.required_size, 0);
        result = encode(&mut octets[start..]);
    }
    octets.truncate(start + result.unwrap_or(0));
}
