//! The round-trip time of a connection, as TCP measures it.

use std::os::fd::AsFd;
use std::time::Duration;

use nix::sys::socket::getsockopt;
use nix::{getsockopt_impl, sockopt_impl};

sockopt_impl!(
    /// The kernel's state of a TCP connection (tcp(7)).
    TcpInfo,
    GetOnly,
    libc::IPPROTO_TCP,
    libc::TCP_INFO,
    libc::tcp_info
);

/// Returns the kernel's smoothed estimate of the round-trip time. `None` if the socket is no TCP
/// connection.
pub(crate) fn round_trip(socket: &impl AsFd) -> Option<Duration> {
    let info = getsockopt(socket, TcpInfo).ok()?;
    (info.tcpi_rtt > 0).then(|| Duration::from_micros(info.tcpi_rtt.into()))
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream, UdpSocket};

    use super::*;

    #[test]
    fn a_connection_has_one_and_other_sockets_none() -> std::io::Result<()> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let mut client = TcpStream::connect(listener.local_addr()?)?;
        let (mut server, _) = listener.accept()?;
        server.write_all(b"x")?;
        client.read_exact(&mut [0])?;
        let rtt = round_trip(&server);
        assert!(
            rtt.is_some_and(|rtt| rtt < Duration::from_secs(1)),
            "{rtt:?}"
        );
        assert_eq!(round_trip(&UdpSocket::bind("127.0.0.1:0")?), None);
        Ok(())
    }
}
