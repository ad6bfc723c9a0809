//! Listening sockets that the process was given at its start: by the service manager (by the
//! protocol of sd_listen_fds), or by the process that it takes over from.

use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;

use listenfd::ListenFd;

use crate::admin::AdminAddress;
use crate::config::Address;
use crate::run_error::RunError;

/// Listening sockets that the process was given at its start, by address.
#[derive(Debug, Default)]
pub(crate) struct Inherited {
    groups: Vec<Group>,
    /// The socket of the admin listener of the process before this one.
    admin: Option<(AdminAddress, OwnedFd)>,
}

/// The sockets of one address.
#[derive(Debug)]
struct Group {
    origin: Origin,
    addr: SocketAddr,
    sockets: Vec<TcpListener>,
}

/// The owner that has opened a socket.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Origin {
    /// The service manager, perhaps with a name for it. Somebody has asked for that socket.
    Manager(String),
    /// The process before this one, for this address of its configuration.
    Former(SocketAddr),
}

impl Inherited {
    /// Takes the sockets that the environment variables LISTEN_FDS, LISTEN_PID and LISTEN_FDNAMES
    /// describe. Call this before there are threads.
    ///
    /// # Errors
    /// A socket that isn't one of TCP.
    pub(crate) fn from_environment() -> Result<Self, RunError> {
        let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
        let mut given = ListenFd::from_env();
        let mut inherited = Self::default();
        for (nth, name) in (0..given.len()).zip(names.split(':').chain(std::iter::repeat(""))) {
            let unusable = |error| RunError::Given(3 + nth, error);
            let Some(socket) = given.take_tcp_listener(nth).map_err(unusable)? else {
                continue;
            };
            let addr = socket.local_addr().map_err(unusable)?;
            inherited.add(Origin::Manager(name.to_owned()), addr, socket);
        }
        Ok(inherited)
    }

    /// Adds a socket of the process before this one, which `typed` describes there.
    pub(crate) fn add_former(&mut self, typed: SocketAddr, place: usize, socket: TcpListener) {
        match self.groups.get_mut(place) {
            Some(group) => group.sockets.push(socket),
            None => self.groups.push(Group {
                origin: Origin::Former(typed),
                addr: typed,
                sockets: vec![socket],
            }),
        }
    }

    /// Adds the socket of the admin listener of the process before this one.
    pub(crate) fn add_admin(&mut self, typed: AdminAddress, socket: OwnedFd) {
        self.admin = Some((typed, socket));
    }

    /// Takes the socket of the admin listener, if the process before this one had the same address.
    pub(crate) fn take_admin(&mut self, address: &AdminAddress) -> Option<OwnedFd> {
        let (_, socket) = self.admin.take_if(|(typed, _)| typed == address)?;
        Some(socket)
    }

    fn add(&mut self, origin: Origin, addr: SocketAddr, socket: TcpListener) {
        let mut groups = self.groups.iter_mut();
        match groups.find(|group| group.addr == addr) {
            // With SO_REUSEPORT an address may have several.
            Some(group) => group.sockets.push(socket),
            None => self.groups.push(Group {
                origin,
                addr,
                sockets: vec![socket],
            }),
        }
    }

    /// Returns the addresses of the process before this one, as its configuration had them.
    pub(crate) fn former(&self) -> Vec<SocketAddr> {
        let groups = self.groups.iter();
        let typed = groups.filter_map(|group| match group.origin {
            Origin::Manager(_) => None,
            Origin::Former(typed) => Some(typed),
        });
        typed.collect()
    }

    /// Takes the sockets of an address, if there are any.
    pub(crate) fn take(&mut self, address: &Address) -> Option<Vec<TcpListener>> {
        let is_wanted = |group: &Group| match group.origin {
            Origin::Manager(_) => {
                group.addr == address.first || Some(group.addr) == address.otherwise
            }
            // A socket of IPv4 that stood for all addresses there has the first choice's address.
            Origin::Former(typed) => typed == address.first,
        };
        let place = self.groups.iter().position(is_wanted)?;
        Some(self.groups.remove(place).sockets)
    }

    /// Closes the sockets that nobody has taken. The process before this one accepts what waits at
    /// its own.
    ///
    /// # Errors
    /// A socket of the service manager that no flag names.
    pub(crate) fn finish(self) -> Result<(), RunError> {
        let mut groups = self.groups.into_iter();
        let unnamed = groups.find_map(|group| match group.origin {
            Origin::Manager(name) => Some(RunError::Unnamed(group.addr, name)),
            Origin::Former(_) => None,
        });
        unnamed.map_or(Ok(()), Err)
    }
}

#[cfg(test)]
mod tests {
    use tidegate_net::Protocols;

    use super::*;

    #[test]
    fn sockets_are_found_by_either_address() {
        let socket = || TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = |text: &str| text.parse::<SocketAddr>().unwrap();
        let everywhere = Address {
            protocols: Protocols::Both,
            first: addr("[::]:80"),
            otherwise: Some(addr("0.0.0.0:80")),
        };
        let mut inherited = Inherited::default();
        let manager = || Origin::Manager("web".into());
        inherited.add(manager(), addr("0.0.0.0:80"), socket());
        inherited.add(manager(), addr("0.0.0.0:80"), socket());
        inherited.add(manager(), addr("[::1]:81"), socket());
        assert_eq!(
            inherited.take(&everywhere).map(|sockets| sockets.len()),
            Some(2)
        );
        assert!(inherited.take(&everywhere).is_none());
        let Err(RunError::Unnamed(unnamed, name)) = inherited.finish() else {
            panic!("nobody has named it");
        };
        assert_eq!((unnamed, &*name), (addr("[::1]:81"), "web"));
    }

    #[test]
    fn a_former_process_listened_on_ipv4_only() {
        let addr = |text: &str| text.parse::<SocketAddr>().unwrap();
        let everywhere = Address {
            protocols: Protocols::Both,
            first: addr("[::]:80"),
            otherwise: Some(addr("0.0.0.0:80")),
        };
        for (typed, taken) in [("0.0.0.0:80", None), ("[::]:80", Some(1))] {
            let mut inherited = Inherited::default();
            let socket = TcpListener::bind("127.0.0.1:0").unwrap();
            inherited.add_former(addr(typed), 0, socket);
            assert_eq!(inherited.former(), [addr(typed)]);
            let sockets = inherited.take(&everywhere);
            assert_eq!(sockets.map(|sockets| sockets.len()), taken, "{typed}");
        }
    }

    #[test]
    fn a_former_process_describes_ports_that_the_kernel_picked() {
        let any = "127.0.0.1:0".parse().unwrap();
        let address = Address {
            protocols: Protocols::Both,
            first: any,
            otherwise: None,
        };
        let mut inherited = Inherited::default();
        for place in [0, 0, 1] {
            let socket = TcpListener::bind(any).unwrap();
            inherited.add_former(any, place, socket);
        }
        assert_eq!(
            inherited.take(&address).map(|sockets| sockets.len()),
            Some(2)
        );
        assert_eq!(
            inherited.take(&address).map(|sockets| sockets.len()),
            Some(1)
        );
        assert!(inherited.finish().is_ok());
    }
}
