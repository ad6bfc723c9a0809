//! The ledger of clients: how much each of them holds of what all share, and who may take more.
//!
//! A server's connections, descriptors and memory are shared by clients that don't know of each other. The ledger has an
//! account for each client, and one rule, that of dynamic thresholds (Choudhury and Hahne, "Dynamic Queue Length Thresholds
//! for Shared-Memory Packet Switches", 1998): a client may take more while what it then holds is at most α times what is free.
//! So a client that is alone may have nearly all; each further one makes every share smaller; and some room is always free,
//! which a newcomer finds. Nobody has to say beforehand how much each client is entitled to.
//!
//! - [`ClientKey`] is who a client is: an IPv4 address, or the /64 of an IPv6 address.
//! - [`Rule`] is the rule for one resource: its capacity, limits and reserve.
//! - [`Ledger`] has the totals of a process; [`Client`] is one client's account; [`Lease`] is what one holder, such as a
//!   connection, has taken from it. All are counters without locks, once a client is found.
//! - [`Shares`] is the same rule for an owner on one thread, by any key.
//!
//! ```
//! use tidegate_ledger::{ClientKey, Ledger, Lease, Limits, Refusal, Resource, Rule};
//!
//! let limits = Limits::none().with(Resource::Connections, Rule::new(90));
//! let ledger = Ledger::new(limits);
//!
//! // Alone, a client may have eight ninths of all.
//! let greedy = ledger.client(ClientKey::from("192.0.2.1".parse::<std::net::IpAddr>()?));
//! let mut held = Lease::new(greedy, Resource::Connections);
//! assert_eq!(held.set(80), Ok(()));
//! assert_eq!(held.set(81), Err(Refusal::Share));
//!
//! // A newcomer finds room.
//! let newcomer = ledger.client(ClientKey::from("198.51.100.1".parse::<std::net::IpAddr>()?));
//! let mut first = Lease::new(newcomer, Resource::Connections);
//! assert_eq!(first.set(1), Ok(()));
//!
//! // What is dropped is given back, and who holds nothing is forgotten.
//! drop(held);
//! drop(first);
//! assert_eq!((ledger.used(Resource::Connections), ledger.clients()), (0, 0));
//! # Ok::<(), std::net::AddrParseError>(())
//! ```

#![forbid(unsafe_code)]

mod key;
mod lease;
mod ledger;
mod rule;
mod shares;

pub use crate::key::ClientKey;
pub use crate::lease::Lease;
pub use crate::ledger::{Client, Ledger, Refusals};
pub use crate::rule::{Limits, Mode, Refusal, Resource, Rule};
pub use crate::shares::Shares;
