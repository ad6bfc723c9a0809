//! Listening sockets that the process was given at its start.

use std::net::{SocketAddr, TcpListener};

use crate::config::Address;

/// Listening sockets that the process was given at its start, by address.
#[derive(Debug, Default)]
pub(crate) struct Inherited {
    groups: Vec<Group>,
}

/// The sockets of one address.
#[derive(Debug)]
struct Group {
    addr: SocketAddr,
    sockets: Vec<TcpListener>,
}

impl Inherited {
    /// Takes the sockets of an address, if there are any.
    pub(crate) fn take(&mut self, address: &Address) -> Option<Vec<TcpListener>> {
        let is_wanted =
            |group: &Group| group.addr == address.first || Some(group.addr) == address.otherwise;
        let place = self.groups.iter().position(is_wanted)?;
        Some(self.groups.remove(place).sockets)
    }
}
