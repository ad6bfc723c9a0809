//! The TLS of one connection, either end's.

use std::io::IoSlice;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Instant;

use bytes::{Buf, BytesMut};
use rustls::client::{ClientConnectionData, UnbufferedClientConnection};
use rustls::pki_types::ServerName;
use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{ConnectionState, EncodeError, EncryptError, UnbufferedStatus};
use rustls::{CommonState, Error, HandshakeKind, InvalidMessage, ServerConfig};
use tidegate_http::Outbox;

use crate::buffers::{Buffers, MAX_TLS_LEFT_OVER, Records};
use crate::record_size::RecordSize;
use crate::socket::Socket;
use crate::{End, TlsConnectorConfig, TlsInfo, tls};

/// More than what TLS adds to one record, whatever its version and cipher.
const RECORD_OVERHEAD: usize = 64;

/// Octets of TLS records that are made before they are written.
const RECORDS_AT_ONCE: usize = 64 << 10;

/// The TLS of one connection. rustls keeps no octets here: records are decrypted in, and encrypted to, the worker's
/// buffers.
pub(crate) struct TlsSession {
    session: Session,
    /// The beginning of a record or handshake message whose rest is still to come.
    left_over: Vec<u8>,
    /// Records that the socket has not taken yet.
    pending: Vec<u8>,
    record_size: RecordSize,
    server_name: Option<String>,
    got_close_notify: bool,
}

/// Bytes that a session of rustls holds, about.
const SESSION: usize = 8 << 10;

/// Which end's.
enum Session {
    Server(UnbufferedServerConnection),
    Client(UnbufferedClientConnection),
}

impl Deref for Session {
    type Target = CommonState;

    fn deref(&self) -> &CommonState {
        match self {
            Self::Server(session) => session,
            Self::Client(session) => session,
        }
    }
}

/// What both ends' sessions do, with types of their own.
trait Process {
    type Data;

    fn process<'c, 'i>(&'c mut self, records: &'i mut [u8])
    -> UnbufferedStatus<'c, 'i, Self::Data>;

    /// Whether it has made something that isn't encoded yet.
    fn has_more(&self) -> bool;
}

impl Process for UnbufferedServerConnection {
    type Data = ServerConnectionData;

    fn process<'c, 'i>(
        &'c mut self,
        records: &'i mut [u8],
    ) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(records)
    }

    fn has_more(&self) -> bool {
        self.wants_write()
    }
}

impl Process for UnbufferedClientConnection {
    type Data = ClientConnectionData;

    fn process<'c, 'i>(
        &'c mut self,
        records: &'i mut [u8],
    ) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(records)
    }

    fn has_more(&self) -> bool {
        self.wants_write()
    }
}

/// What is to be written.
#[derive(Clone, Copy)]
enum Message<'a> {
    Plaintext(&'a [u8]),
    CloseNotify,
}

impl TlsSession {
    /// A server's end.
    pub(crate) fn server(config: &Arc<ServerConfig>, now: Instant) -> Result<Self, Error> {
        let session = UnbufferedServerConnection::new(Arc::clone(config))?;
        Ok(Self::new(Session::Server(session), now))
    }

    /// A client's end, which offers these protocols by ALPN.
    pub(crate) fn client(
        config: &TlsConnectorConfig,
        name: ServerName<'static>,
        protocols: Vec<Vec<u8>>,
        now: Instant,
    ) -> Result<Self, Error> {
        let config = Arc::clone(config.rustls());
        let asked_for = match &name {
            ServerName::DnsName(name) => Some(name.as_ref().to_owned()),
            // RFC 6066 §3: "Literal IPv4 and IPv6 addresses are not permitted".
            _ => None,
        };
        let session = UnbufferedClientConnection::new_with_alpn(config, name, protocols)?;
        let mut client = Self::new(Session::Client(session), now);
        client.server_name = asked_for;
        Ok(client)
    }

    /// Octets that go out in front of TLS, as they are.
    pub(crate) fn begin_behind(&mut self, preamble: Vec<u8>) {
        self.pending = preamble;
    }

    fn new(session: Session, now: Instant) -> Self {
        Self {
            session,
            left_over: Vec::new(),
            pending: Vec::new(),
            record_size: RecordSize::new(now),
            server_name: None,
            got_close_notify: false,
        }
    }

    pub(crate) fn is_handshaking(&self) -> bool {
        self.session.is_handshaking()
    }

    /// Whether the peer said that it sends nothing more. A TCP end without that may be a truncation by somebody else
    /// (RFC 8446 §6.1).
    pub(crate) fn got_close_notify(&self) -> bool {
        self.got_close_notify
    }

    /// Bytes of records that the socket did not take.
    pub(crate) fn pending(&self) -> usize {
        self.pending.len()
    }

    /// Bytes that it holds, about.
    pub(crate) fn held_bytes(&self) -> usize {
        SESSION + self.left_over.len() + self.pending.len()
    }

    /// Octets that a read must leave free in front of what comes.
    pub(crate) fn left_over(&self) -> usize {
        self.left_over.len()
    }

    /// What the handshake came to, once it is done.
    pub(crate) fn info(&mut self) -> TlsInfo {
        let alpn = match self.session.alpn_protocol() {
            Some(tls::H2) => Some("h2"),
            Some(tls::HTTP_1_1) => Some("http/1.1"),
            Some(tls::HTTP_1_0) => Some("http/1.0"),
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
    /// put there now), and adds what they decrypt to to `buffers.input`. A client begins its handshake with none.
    pub(crate) fn receive(&mut self, count: usize, buffers: &mut Buffers) -> Result<(), End> {
        let left_over = std::mem::take(&mut self.left_over);
        buffers.read[..left_over.len()].copy_from_slice(&left_over);
        let handshaking = self.is_handshaking();
        let records = &mut buffers.read[..count];
        let (input, pending, closed) = (
            &mut buffers.input,
            &mut self.pending,
            &mut self.got_close_notify,
        );
        let result = match &mut self.session {
            Session::Server(session) => receive(session, records, input, pending, closed),
            Session::Client(session) => receive(session, records, input, pending, closed),
        };
        if handshaking
            && matches!(self.session, Session::Server(_))
            && let Some(name) = tls::take_server_name()
        {
            self.server_name = Some(name);
        }
        let rest = match result {
            Err(_) if handshaking && self.is_asked_in_cleartext(&buffers.read[..count]) => {
                return Err(End::HttpOnTlsPort);
            }
            result => result.map_err(End::TlsFailed)?,
        };
        if rest > MAX_TLS_LEFT_OVER {
            let error = InvalidMessage::HandshakePayloadTooLarge;
            return Err(End::TlsFailed(error.into()));
        }
        // After close_notify, what comes is to be ignored (RFC 8446 §6.1).
        if !self.got_close_notify {
            self.left_over = buffers.read[count - rest..count].to_vec();
        }
        Ok(())
    }

    /// Whether a client has begun with a method of HTTP where a record of TLS must be, which begins
    /// with a number below 32.
    fn is_asked_in_cleartext(&self, octets: &[u8]) -> bool {
        let method = octets.iter().take_while(|octet| octet.is_ascii_uppercase());
        let is_method = match (method.count(), octets) {
            (0, _) => false,
            (len, octets) => octets.get(len).is_none_or(|&octet| octet == b' '),
        };
        is_method && matches!(self.session, Session::Server(_))
    }

    /// Makes records of what waits in `outbox` and writes them, behind those that are pending.
    pub(crate) fn flush(
        &mut self,
        socket: &mut Socket,
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
            let count = socket.write(&octets).map_err(End::Io)?.unwrap_or(0);
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
        self.write(records, Message::Plaintext(plaintext))
    }

    /// Adds a close_notify alert, which says that nothing more comes (RFC 8446 §6.1), to what is pending.
    pub(crate) fn close(&mut self) -> Result<(), End> {
        if self.is_handshaking() {
            return Ok(());
        }
        let mut records = Records::default();
        self.write(&mut records, Message::CloseNotify)?;
        self.pending.extend_from_slice(records.octets());
        Ok(())
    }

    fn write(&mut self, records: &mut Records, message: Message<'_>) -> Result<(), End> {
        let (left_over, closed) = (&mut self.left_over, &mut self.got_close_notify);
        let result = match &mut self.session {
            Session::Server(session) => write(session, left_over, closed, records, message),
            Session::Client(session) => write(session, left_over, closed, records, message),
        };
        result.map_err(End::TlsFailed)
    }
}

/// Takes what is whole of `records`, and returns how many octets at their end are not.
fn receive(
    session: &mut impl Process,
    mut records: &mut [u8],
    input: &mut BytesMut,
    pending: &mut Vec<u8>,
    got_close_notify: &mut bool,
) -> Result<usize, Error> {
    let mut failure = None;
    loop {
        let status = session.process(records);
        let mut discard = status.discard;
        let mut done = false;
        match status.state {
            Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                while let Some(record) = traffic.next_record() {
                    match record {
                        Ok(record) => {
                            input.extend_from_slice(record.payload);
                            discard += record.discard;
                        }
                        Err(error) => failure = failure.or(Some(error)),
                    }
                }
            }
            Ok(ConnectionState::EncodeTlsData(mut data)) => {
                encode(|space| data.encode(space), pending);
            }
            Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
            Ok(ConnectionState::PeerClosed) => *got_close_notify = true,
            Ok(_) => done = true,
            Err(error) => failure = failure.or(Some(error)),
        }
        records = &mut records[discard..];
        // After a failure the session is only asked for what it still has to send: the alert.
        if done || (failure.is_some() && !session.has_more()) {
            break;
        }
    }
    match failure {
        Some(error) => Err(error),
        None => Ok(records.len()),
    }
}

/// Adds a message to `records`, with enough space behind them.
fn write(
    session: &mut impl Process,
    left_over: &mut Vec<u8>,
    got_close_notify: &mut bool,
    records: &mut Records,
    message: Message<'_>,
) -> Result<(), Error> {
    let mut size = RECORD_OVERHEAD;
    if let Message::Plaintext(octets) = message {
        size += octets.len();
    }
    let fail = |error: String| Err(Error::General(error));
    loop {
        // What is left over is the beginning of something; handing it in again brings no new state.
        let status = session.process(left_over);
        let discard = status.discard;
        match status.state {
            Ok(ConnectionState::WriteTraffic(mut traffic)) => {
                let space = records.space(size);
                let result = match message {
                    Message::Plaintext(octets) => traffic.encrypt(octets, space),
                    Message::CloseNotify => traffic.queue_close_notify(space),
                };
                match result {
                    Ok(count) => {
                        records.filled(count);
                        return Ok(());
                    }
                    Err(EncryptError::InsufficientSize(error)) if error.required_size > size => {
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
            Ok(ConnectionState::PeerClosed) => *got_close_notify = true,
            Ok(_) => return fail("TLS can't write in this state".into()),
            Err(error) => return Err(error),
        }
        left_over.drain(..discard);
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
