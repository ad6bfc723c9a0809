//! A client's nonblocking connection, in cleartext or over TLS. Any certificate will do: the
//! servers are this program's own.

use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;

use mio::net::TcpStream;
use mio::{Interest, Poll, Token};
use rustls::{ClientConfig, ClientConnection};
use tidegate_testkit::tls::client_config;

use crate::peers::Transport;
use crate::process::Result;

/// Returns the settings of TLS for connections over this transport, if it has any.
pub(crate) fn tls(transport: Transport) -> Option<Arc<ClientConfig>> {
    (transport == Transport::Tls).then(|| Arc::new(client_config(None, &["h2"])))
}

pub(crate) struct Wire {
    socket: TcpStream,
    tls: Option<Box<ClientConnection>>,
    /// Bytes to send.
    pub(crate) output: Vec<u8>,
    sent: usize,
}

impl Wire {
    /// Connects, and registers the socket with `poll` under this number.
    pub(crate) fn connect(
        poll: &Poll,
        number: usize,
        address: SocketAddr,
        tls: Option<&Arc<ClientConfig>>,
    ) -> Result<Self> {
        // The server's queue of connections may be full for a moment: a blocking socket waits.
        let socket = std::net::TcpStream::connect(address)?;
        socket.set_nodelay(true)?;
        socket.set_nonblocking(true)?;
        let mut socket = TcpStream::from_std(socket);
        let both = Interest::READABLE | Interest::WRITABLE;
        poll.registry().register(&mut socket, Token(number), both)?;
        let session = tls.map(|config| {
            let name = address.ip().into();
            ClientConnection::new(Arc::clone(config), name).map(Box::new)
        });
        Ok(Self {
            socket,
            tls: session.transpose()?,
            output: Vec::new(),
            sent: 0,
        })
    }

    /// Writes what the socket takes.
    ///
    /// # Errors
    /// Returns the socket's errors except for [`ErrorKind::WouldBlock`].
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        match self.write() {
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(()),
            result => result,
        }
    }

    fn write(&mut self) -> io::Result<()> {
        if let Some(tls) = &mut self.tls {
            while self.sent < self.output.len() || tls.wants_write() {
                if !tls.is_handshaking() && self.sent < self.output.len() {
                    self.sent += tls.writer().write(&self.output[self.sent..])?;
                }
                if !tls.wants_write() {
                    return Ok(());
                }
                tls.write_tls(&mut self.socket)?;
            }
        } else {
            while self.sent < self.output.len() {
                self.sent += self.socket.write(&self.output[self.sent..])?;
            }
        }
        self.output.clear();
        self.sent = 0;
        Ok(())
    }

    /// Reads what has arrived into `input`. Returns how many bytes that is.
    ///
    /// # Errors
    /// Returns the socket's errors, and [`ErrorKind::UnexpectedEof`] when the server has closed the
    /// connection.
    pub(crate) fn read(&mut self, buffer: &mut [u8], input: &mut Vec<u8>) -> io::Result<usize> {
        let before = input.len();
        loop {
            let read = match &mut self.tls {
                None => self.socket.read(buffer),
                Some(tls) => read_tls(tls, &mut self.socket, buffer),
            };
            match read {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(read) => input.extend_from_slice(&buffer[..read]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(input.len() - before)
    }
}

fn read_tls(
    tls: &mut ClientConnection,
    socket: &mut TcpStream,
    buffer: &mut [u8],
) -> io::Result<usize> {
    loop {
        match tls.reader().read(buffer) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            result => return result,
        }
        if tls.read_tls(socket)? == 0 {
            return Ok(0);
        }
        tls.process_new_packets().map_err(io::Error::other)?;
    }
}
