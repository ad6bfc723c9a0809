//! The mio event loop of tidegate: sockets, TLS, timers.

mod buffers;
mod conn;
mod conns;
mod end;
mod event_loop;
mod http1;
mod listener;
mod mailbox;
mod service;
mod timers;
mod tls;
mod transport;

pub use conns::{ConnId, ConnInfo, Conns, TlsInfo, Totals};
pub use end::End;
pub use event_loop::EventLoop;
pub use listener::{Listener, Security};
pub use mailbox::Mailbox;
pub use service::{Options, Service};
pub use tls::{TlsAcceptorConfig, TlsError};
