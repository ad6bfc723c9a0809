//! Other settings and listeners for a loop that runs.

use std::net::SocketAddr;

use crate::{Listener, Options, Protocols, Security};

/// Other settings and listeners for a loop that runs, and a message for its service.
pub struct Reconfiguration<M> {
    /// The settings of connections that are accepted or opened from now on. Only
    /// [`Options::shutdown_timeout`] and the lists of addresses count for all. The ledger stays the
    /// one that the loop began with, whatever is here.
    pub options: Options,
    /// All listeners that the loop has from now on.
    pub listeners: Vec<Listening>,
    /// The message that the service gets then, before anything else happens.
    pub message: M,
}

/// A listener that a loop has from now on. Listeners that aren't mentioned are taken away: the loop
/// accepts everything that waits there, and closes them. Their connections go on.
pub enum Listening {
    /// The listener of this address stays, but has this security and these protocols for
    /// connections that it accepts from now on.
    Kept(SocketAddr, Security, Protocols),
    /// Another one.
    New(Listener),
}
