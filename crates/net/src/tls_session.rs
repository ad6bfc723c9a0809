//! The TLS of one connection, on either side.

use std::io::IoSlice;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Instant;

use bytes::{Buf, BytesMut};
use rustls::client::{ClientConnectionData, UnbufferedClientConnection};
use rustls::pki_types::ServerName;
use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncryptError, ReadEarlyData, UnbufferedStatus,
};
use rustls::{CommonState, Error, HandshakeKind, InvalidMessage};
use tidegate_http::Outbox;

use crate::buffers::{Buffers, MAX_TLS_LEFT_OVER, Records};
use crate::hello::Hello;
use crate::record_size::RecordSize;
use crate::socket::Socket;
use crate::tls::Choice;
use crate::{End, TlsConnectorConfig, TlsInfo, tls};

/// More than TLS adds to any record, whatever its version and cipher.
const RECORD_OVERHEAD: usize = 64;

/// Bytes of TLS records that are made before they are written.
const RECORDS_AT_ONCE: usize = 64 << 10;

/// The TLS of one connection. rustls buffers nothing here: records are decrypted into the worker's
/// buffers and encrypted into them.
pub(crate) struct TlsSession {
    session: Session,
    /// The beginning of a record or handshake message whose rest hasn't arrived.
    left_over: Vec<u8>,
    /// Records that the socket hasn't taken.
    pending: Vec<u8>,
    record_size: RecordSize,
    server_name: Option<String>,
    got_close_notify: bool,
}

/// Bytes that a rustls session holds, about.
const SESSION: usize = 8 << 10;

/// The rustls session of a server or a client.
enum Session {
    Server(UnbufferedServerConnection),
    Client(UnbufferedClientConnection),
    /// A server's whose ClientHello isn't whole, where settings depend on the name in it.
    Undecided(Box<Undecided>),
}

/// A session whose settings aren't known.
struct Undecided {
    choice: Arc<Choice>,
    /// The session with the default settings.
    default: UnbufferedServerConnection,
    hello: Hello,
}

impl Deref for Session {
    type Target = CommonState;

    fn deref(&self) -> &CommonState {
        match self {
            Self::Server(session) => session,
            Self::Client(session) => session,
            Self::Undecided(undecided) => &undecided.default,
        }
    }
}

/// The operations of both kinds of session, whose types differ.
trait Process {
    type Data;

    fn process<'c, 'i>(&'c mut self, records: &'i mut [u8])
    -> UnbufferedStatus<'c, 'i, Self::Data>;

    /// Whether the session has a message that isn't encoded yet.
    fn has_more(&self) -> bool;

    /// Appends the early data that a client has sent to `input`.
    fn take_early(early: ReadEarlyData<'_, '_, Self::Data>, input: &mut BytesMut);
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

    fn take_early(mut early: ReadEarlyData<'_, '_, Self::Data>, input: &mut BytesMut) {
        while let Some(Ok(record)) = early.next_record() {
            input.extend_from_slice(record.payload);
        }
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

    fn take_early(_: ReadEarlyData<'_, '_, Self::Data>, _: &mut BytesMut) {
        // Only clients send early data.
    }
}

/// The content of a record.
#[derive(Clone, Copy)]
enum Message<'a> {
    Plaintext(&'a [u8]),
    CloseNotify,
}

impl TlsSession {
    /// Makes the server's side of a session, with settings of this choice.
    pub(crate) fn server(choice: Arc<Choice>, now: Instant) -> Result<Self, Error> {
        let default = UnbufferedServerConnection::new(Arc::clone(choice.find(None)))?;
        let session = match &*choice {
            Choice::One(_) => Session::Server(default),
            Choice::ByName(_) => Session::Undecided(Box::new(Undecided {
                choice,
                default,
                hello: Hello::default(),
            })),
        };
        Ok(Self::new(session, now))
    }

    /// Makes the session of a server whose ClientHello is whole with these bytes, or can't become
    /// one.
    fn decide(&mut self, new: &[u8]) -> Result<(), End> {
        if let Session::Undecided(undecided) = &mut self.session
            && let Some(config) = undecided.hello.read(&undecided.choice, new)
        {
            let session = UnbufferedServerConnection::new(config).map_err(End::TlsFailed)?;
            self.session = Session::Server(session);
        }
        Ok(())
    }

    /// Makes the client's side of a session, which offers these protocols by ALPN.
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

    /// Sends `preamble` before TLS, as it is.
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

    /// Whether the peer announced that it sends nothing more. If TCP ends without that, somebody
    /// else may have truncated the data (RFC 8446 §6.1).
    pub(crate) fn got_close_notify(&self) -> bool {
        self.got_close_notify
    }

    /// Returns the bytes of records that the socket hasn't taken.
    pub(crate) fn pending(&self) -> usize {
        self.pending.len()
    }

    /// Returns the bytes that the session holds, about.
    pub(crate) fn held_bytes(&self) -> usize {
        SESSION + self.left_over.len() + self.pending.len()
    }

    /// Returns the bytes that a read must leave free at the front of its buffer.
    pub(crate) fn left_over(&self) -> usize {
        self.left_over.len()
    }

    /// Returns the result of the handshake, once it is done.
    pub(crate) fn info(&mut self) -> TlsInfo {
        let alpn = match self.session.alpn_protocol() {
            Some(tls::H2) => Some("h2"),
            Some(tls::HTTP_1_1) => Some("http/1.1"),
            Some(tls::HTTP_1_0) => Some("http/1.0"),
            _ => None,
        };
        let version = self.session.protocol_version();
        let suite = self.session.negotiated_cipher_suite();
        let shown = match &self.session {
            Session::Server(session) => session.peer_certificates(),
            Session::Client(_) | Session::Undecided(_) => None,
        };
        TlsInfo {
            client_certificates: shown.unwrap_or_default().to_vec(),
            version: version.and_then(|version| version.as_str()).unwrap_or(""),
            cipher: suite.and_then(|suite| suite.suite().as_str()).unwrap_or(""),
            alpn,
            sni: self.server_name.take(),
            resumed: self.session.handshake_kind() == Some(HandshakeKind::Resumed),
        }
    }

    /// Decrypts the first `count` bytes of `buffers.read` and appends the result to
    /// `buffers.input`. The first of these bytes are left for the bytes left over, which are put
    /// there now. A client begins its handshake with none.
    pub(crate) fn receive(&mut self, count: usize, buffers: &mut Buffers) -> Result<(), End> {
        let left_over = std::mem::take(&mut self.left_over);
        buffers.read[..left_over.len()].copy_from_slice(&left_over);
        let handshaking = self.is_handshaking();
        self.decide(&buffers.read[left_over.len()..count])?;
        let records = &mut buffers.read[..count];
        let (input, pending, closed) = (
            &mut buffers.input,
            &mut self.pending,
            &mut self.got_close_notify,
        );
        let result = match &mut self.session {
            Session::Server(session) => receive(session, records, input, pending, closed),
            Session::Client(session) => receive(session, records, input, pending, closed),
            // Nothing of the records is taken until the ClientHello is whole.
            Session::Undecided(_) => Ok(records.len()),
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
        // RFC 8446 §6.1: data after close_notify is ignored.
        if !self.got_close_notify {
            self.left_over = buffers.read[count - rest..count].to_vec();
        }
        Ok(())
    }

    /// Whether a client sent an HTTP method where a TLS record must begin, with a number below 32.
    fn is_asked_in_cleartext(&self, bytes: &[u8]) -> bool {
        let method = bytes.iter().take_while(|byte| byte.is_ascii_uppercase());
        let is_method = match (method.count(), bytes) {
            (0, _) => false,
            (len, bytes) => bytes.get(len).is_none_or(|&byte| byte == b' '),
        };
        is_method && !matches!(self.session, Session::Client(_))
    }

    /// Encrypts the content of `outbox` and writes the records, after those that are pending.
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
            let bytes = [IoSlice::new(records.bytes())];
            let count = socket.write(&bytes).map_err(End::Io)?.unwrap_or(0);
            *written += count as u64;
            if count < records.len() {
                self.pending = records.bytes()[count..].to_vec();
                return Ok(false);
            }
            records.clear();
        }
    }

    /// Appends records with `plaintext` to `records`.
    fn seal(&mut self, plaintext: &[u8], records: &mut Records) -> Result<(), End> {
        self.write(records, Message::Plaintext(plaintext))
    }

    /// Appends a close_notify alert to what is pending. The alert says that nothing more follows
    /// (RFC 8446 §6.1).
    pub(crate) fn close(&mut self) -> Result<(), End> {
        let is_handshaking = self.is_handshaking();
        let mut records = Records::default();
        match self.write(&mut records, Message::CloseNotify) {
            // The alert goes out like data: RFC 8446 §4.4.4 lets a server send that before the
            // client's Finished, but not at every moment of the handshake.
            Err(_) if is_handshaking => return Ok(()),
            result => result?,
        }
        self.pending.extend_from_slice(records.bytes());
        Ok(())
    }

    fn write(&mut self, records: &mut Records, message: Message<'_>) -> Result<(), End> {
        let (left_over, closed) = (&mut self.left_over, &mut self.got_close_notify);
        let result = match &mut self.session {
            Session::Server(session) => write(session, left_over, closed, records, message),
            Session::Client(session) => write(session, left_over, closed, records, message),
            Session::Undecided(undecided) => {
                write(&mut undecided.default, left_over, closed, records, message)
            }
        };
        result.map_err(End::TlsFailed)
    }
}

/// Processes the whole records of `records`. Returns the number of bytes at their end that aren't
/// whole.
fn receive<P: Process>(
    session: &mut P,
    mut records: &mut [u8],
    input: &mut BytesMut,
    pending: &mut Vec<u8>,
    got_close_notify: &mut bool,
) -> Result<usize, Error> {
    let mut failure = None;
    loop {
        let status = session.process(records);
        let mut discard = status.discard;
        let (mut done, mut is_traffic) = (false, false);
        match status.state {
            Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                is_traffic = true;
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
            Ok(ConnectionState::ReadEarlyData(early)) => P::take_early(early, input),
            Ok(ConnectionState::EncodeTlsData(mut data)) => {
                encode(|space| data.encode(space), pending);
            }
            Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
            Ok(ConnectionState::PeerClosed) => *got_close_notify = true,
            Ok(_) => done = true,
            Err(error) => failure = failure.or(Some(error)),
        }
        records = &mut records[discard..];
        if is_traffic && records.is_empty() && failure.is_none() && !session.has_more() {
            // Asking again would only tell that nothing is left.
            break;
        }
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

/// Appends a message to `records`, with enough space after them.
fn write(
    session: &mut impl Process,
    left_over: &mut Vec<u8>,
    got_close_notify: &mut bool,
    records: &mut Records,
    message: Message<'_>,
) -> Result<(), Error> {
    let mut size = RECORD_OVERHEAD;
    if let Message::Plaintext(bytes) = message {
        size += bytes.len();
    }
    let fail = |error: String| Err(Error::General(error));
    loop {
        // The bytes left over are an incomplete beginning, so processing them again brings no new
        // state.
        let status = session.process(left_over);
        let discard = status.discard;
        match status.state {
            Ok(ConnectionState::WriteTraffic(mut traffic)) => {
                let space = records.space(size);
                let result = match message {
                    Message::Plaintext(bytes) => traffic.encrypt(bytes, space),
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
                let mut bytes = Vec::new();
                encode(|space| data.encode(space), &mut bytes);
                records.extend(&bytes);
            }
            Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
            Ok(ConnectionState::PeerClosed) => *got_close_notify = true,
            Ok(_) => return fail("TLS can't write in this state".into()),
            Err(error) => return Err(error),
        }
        left_over.drain(..discard);
    }
}

/// Appends what `encode` makes to `bytes`, with as much space as it asks for.
fn encode(mut encode: impl FnMut(&mut [u8]) -> Result<usize, EncodeError>, bytes: &mut Vec<u8>) {
    let start = bytes.len();
    let mut result = encode(&mut []);
    if let Err(EncodeError::InsufficientSize(error)) = &result {
        bytes.resize(start + error.required_size, 0);
        result = encode(&mut bytes[start..]);
    }
    bytes.truncate(start + result.unwrap_or(0));
}
