//! Names of requests, addresses and clients.

use std::net::SocketAddr;

/// A client's address, and the address that it connected to.
pub type OnBehalf = (SocketAddr, SocketAddr);

/// Identifies a request of a pool. Ids repeat only after 2^32 requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RequestId {
    pub(crate) slot: u32,
    pub(crate) generation: u32,
}

/// Identifies an address of an upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) upstream: usize,
    pub(crate) endpoint: usize,
}

#[cfg(test)]
impl RequestId {
    pub(crate) fn for_tests(slot: u32) -> Self {
        Self {
            slot,
            generation: 0,
        }
    }
}
