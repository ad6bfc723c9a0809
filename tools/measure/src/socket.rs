//! A nonblocking socket, in cleartext or over TLS. The client accepts any certificate, because it
//! measures servers that it was pointed to.

use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;

use mio::net::TcpStream;
use mio::{Interest, Poll, Token};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, Error, SignatureScheme, StreamOwned,
};

use crate::Result;

pub(crate) enum Socket {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Socket {
    /// Connects, and registers the socket with `poll`. `receive_buffer` is SO_RCVBUF in bytes.
    pub(crate) fn connect(
        address: SocketAddr,
        receive_buffer: Option<usize>,
        tls: bool,
        poll: &Poll,
    ) -> Result<Self> {
        let domain = socket2::Domain::for_address(address);
        let socket = socket2::Socket::new(domain, socket2::Type::STREAM, None)?;
        if let Some(bytes) = receive_buffer {
            // This precedes the handshake, in which the peer learns the scale of the window.
            socket.set_recv_buffer_size(bytes)?;
        }
        socket.connect(&address.into())?;
        socket.set_tcp_nodelay(true)?;
        socket.set_nonblocking(true)?;
        let mut socket = TcpStream::from_std(socket.into());
        let interest = Interest::READABLE | Interest::WRITABLE;
        poll.registry().register(&mut socket, Token(0), interest)?;
        if !tls {
            return Ok(Self::Plain(socket));
        }
        let mut config = ClientConfig::builder()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AnyCertificate(
                aws_lc_rs::default_provider(),
            )))
            .with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec()];
        let session = ClientConnection::new(Arc::new(config), address.ip().into())?;
        Ok(Self::Tls(Box::new(StreamOwned::new(session, socket))))
    }

    /// Writes as much as the socket takes. Returns 0 if it takes nothing now.
    pub(crate) fn write_some(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        blocked_is_nothing(match self {
            Self::Plain(socket) => socket.write_vectored(slices),
            Self::Tls(stream) => stream.write_vectored(slices),
        })
    }

    /// Writes what TLS has buffered.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        if let Self::Tls(stream) = self {
            blocked_is_nothing(stream.flush().map(|()| 0))?;
        }
        Ok(())
    }

    /// Reads what has arrived. Returns `None` if nothing has.
    pub(crate) fn read_some(&mut self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        let result = match self {
            Self::Plain(socket) => socket.read(buffer),
            Self::Tls(stream) => stream.read(buffer),
        };
        match result {
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
            result => result.map(Some),
        }
    }
}

fn blocked_is_nothing(result: io::Result<usize>) -> io::Result<usize> {
    match result {
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(0),
        result => result,
    }
}

/// A verifier that accepts any certificate.
#[derive(Debug)]
struct AnyCertificate(CryptoProvider);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> std::result::Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
