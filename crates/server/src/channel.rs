//! The socket between a process and the one that takes over from it.
//!
//! The old process sends a message for each of its addresses, with the sockets that listen there,
//! perhaps one with the socket of the admin listener, and a text at the end. The new process
//! answers with one message: [`READY`], or why it can't serve.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recv, recvmsg, send, sendmsg,
    socketpair,
};

use crate::admin::AdminAddress;
use crate::inherited::Inherited;

/// The message of a new process that serves.
pub(crate) const READY: &str = "ready";

/// The text at the end of the addresses.
const END: &str = "end";

/// The beginning of the text about the admin listener. Its address follows.
const ADMIN: &str = "admin ";

/// The most sockets in one message. The kernel allows 253.
const AT_ONCE: usize = 64;

/// The most bytes of a text.
const MOST: usize = 4096;

/// One end of the socket. A message arrives whole, or not at all.
#[derive(Debug)]
pub(crate) struct Channel(OwnedFd);

impl Channel {
    /// Returns both ends.
    ///
    /// # Errors
    /// The system's error.
    pub(crate) fn pair() -> io::Result<(Self, OwnedFd)> {
        let kind = SocketType::SEQPACKET;
        let (ours, theirs) = socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None)?;
        Ok((Self(ours), theirs))
    }

    /// Takes an end that this process was given.
    pub(crate) fn of(socket: OwnedFd) -> Self {
        Self(socket)
    }

    /// Returns another handle of this end.
    ///
    /// # Errors
    /// The system's error.
    pub(crate) fn duplicate(&self) -> io::Result<Self> {
        Ok(Self(self.0.try_clone()?))
    }

    /// Sends the sockets of each address, and that of the admin listener.
    ///
    /// # Errors
    /// The system's error, for example that the other process has ended.
    pub(crate) fn send_sockets<S: AsFd>(
        &self,
        all: &[(SocketAddr, Vec<S>)],
        admin: Option<(&AdminAddress, S)>,
    ) -> io::Result<()> {
        for (place, (addr, sockets)) in all.iter().enumerate() {
            for sockets in sockets.chunks(AT_ONCE) {
                self.send_some(&format!("{place} {addr}"), sockets)?;
            }
        }
        if let Some((address, socket)) = admin {
            self.send_some(&format!("{ADMIN}{address}"), &[socket])?;
        }
        self.say(END)
    }

    /// Sends at most [`AT_ONCE`] sockets with a text about them.
    fn send_some<S: AsFd>(&self, text: &str, sockets: &[S]) -> io::Result<()> {
        let sockets: Vec<BorrowedFd<'_>> = sockets.iter().map(AsFd::as_fd).collect();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(AT_ONCE))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        control.push(SendAncillaryMessage::ScmRights(&sockets));
        let text = [IoSlice::new(text.as_bytes())];
        sendmsg(&self.0, &text, &mut control, SendFlags::NOSIGNAL)?;
        Ok(())
    }

    /// Receives the sockets of all addresses.
    ///
    /// # Errors
    /// The system's error, or a message that isn't understood.
    pub(crate) fn receive_sockets(&self) -> io::Result<Inherited> {
        let mut inherited = Inherited::default();
        loop {
            let mut bytes = [0; MOST];
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(AT_ONCE))];
            let mut control = RecvAncillaryBuffer::new(&mut space);
            let mut slices = [IoSliceMut::new(&mut bytes)];
            let message = recvmsg(&self.0, &mut slices, &mut control, RecvFlags::CMSG_CLOEXEC)?;
            let text = str::from_utf8(&bytes[..message.bytes]).unwrap_or_default();
            if text == END {
                return Ok(inherited);
            }
            let sockets = control.drain().filter_map(|message| match message {
                RecvAncillaryMessage::ScmRights(sockets) => Some(sockets),
                _ => None,
            });
            let sockets = sockets.flatten();
            if let Some(address) = text.strip_prefix(ADMIN) {
                let address = AdminAddress::parse(address).map_err(io::Error::other)?;
                for socket in sockets {
                    inherited.add_admin(address.clone(), socket);
                }
                continue;
            }
            let words = text.split_once(' ');
            let words =
                words.and_then(|(place, addr)| Some((place.parse().ok()?, addr.parse().ok()?)));
            let Some((place, addr)) = words else {
                return Err(io::Error::other("the sockets weren't all there"));
            };
            for socket in sockets {
                inherited.add_former(addr, place, TcpListener::from(socket));
            }
        }
    }

    /// Sends a text, shortened if it is very long.
    ///
    /// # Errors
    /// The system's error.
    pub(crate) fn say(&self, text: &str) -> io::Result<()> {
        let bytes = text.as_bytes();
        send(
            &self.0,
            &bytes[..bytes.len().min(MOST)],
            SendFlags::NOSIGNAL,
        )?;
        Ok(())
    }

    /// Waits for a text. Returns an empty one if the other process has ended.
    ///
    /// # Errors
    /// The system's error.
    pub(crate) fn hear(&self) -> io::Result<String> {
        let mut bytes = [0; MOST];
        let (count, _) = recv(&self.0, &mut bytes, RecvFlags::empty())?;
        Ok(String::from_utf8_lossy(&bytes[..count]).into_owned())
    }
}

#[cfg(test)]
mod tests {
    use tidegate_net::Protocols;

    use super::*;
    use crate::config::Address;

    #[test]
    fn sockets_arrive_with_their_addresses() {
        let (ours, theirs) = Channel::pair().unwrap();
        let theirs = Channel::of(theirs);
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let sockets = |count| -> Vec<TcpListener> {
            (0..count)
                .map(|_| TcpListener::bind(any).unwrap())
                .collect()
        };
        let all = [(any, sockets(100)), (any, sockets(1))];
        let own = AdminAddress::parse("0").unwrap();
        let admin = TcpListener::bind(any).unwrap();
        let at = admin.local_addr().unwrap();
        ours.send_sockets(&all, Some((&own, admin))).unwrap();
        let mut inherited = theirs.receive_sockets().unwrap();
        let other = AdminAddress::parse("unix:/admin").unwrap();
        assert!(inherited.take_admin(&other).is_none());
        let admin = TcpListener::from(inherited.take_admin(&own).unwrap());
        assert_eq!(admin.local_addr().unwrap(), at);
        let address = Address {
            protocols: Protocols::Both,
            first: any,
            otherwise: None,
        };
        let addrs = |sockets: &[TcpListener]| -> Vec<SocketAddr> {
            sockets
                .iter()
                .map(|socket| socket.local_addr().unwrap())
                .collect()
        };
        for (_, sent) in &all {
            let received = inherited.take(&address).unwrap();
            assert_eq!(addrs(&received), addrs(sent));
        }
        theirs.say(READY).unwrap();
        assert_eq!(ours.hear().unwrap(), READY);
        drop(theirs);
        assert_eq!(ours.hear().unwrap(), "");
    }
}
