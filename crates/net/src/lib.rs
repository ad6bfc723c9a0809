//! The mio event loop of tidegate: sockets, TLS, timers.

mod conns;
mod end;
mod event_loop;
mod listener;
mod mailbox;
mod tls;

pub use conns::{ConnId, ConnInfo, Conns, TlsInfo, Totals};
pub use end::End;
pub use event_loop::{EventLoop, Options, Service};
pub use listener::{Listener, Security};
pub use mailbox::Mailbox;
pub use tls::{TlsAcceptorConfig, TlsError};
