//! The ledger of clients: how much each client holds of the resources that all share, and who may
//! take more.
//!
//! A server's connections, descriptors and memory are shared by clients that don't know of each
//! other. The ledger has an account for each client, and one rule, that of dynamic thresholds
//! (Choudhury and Hahne, "Dynamic Queue Length Thresholds for Shared-Memory Packet Switches",
//! 1998): a client may take more while it then holds at most α times what is free. So a client that
//! is alone may have nearly everything, each further client makes every share smaller, and some
//! room always stays free for a newcomer. Nobody has to configure beforehand how much each client
//! is entitled to.
//!
//! - [`ClientKey`] identifies a client: by its IPv4 address, or by the /64 of its IPv6 address.
//! - [`Rule`] is the rule for one resource: its capacity, limits and reserve.
//! - [`Ledger`] has the totals of a process; [`Client`] is one client's account; [`Lease`] is what
//!   one holder, such as a connection, has taken from it. Once a client is found, all of these are
//!   counters without locks.
//! - [`Shares`] applies the same rule for an owner on one thread, with any key.
//!
//! ```
//! use tidegate_ledger::{ClientKey, Ledger, Lease, Limits, Refusal, Resource, Rule};
//!
//! let limits = Limits::none().with(Resource::Connections, Rule::new(90));
//! let ledger = Ledger::new(limits);
//!
//! // Alone, a client may have eight ninths of the capacity.
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
//! // A dropped lease is given back, and a client that holds nothing is forgotten.
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
