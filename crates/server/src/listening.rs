//! The addresses that the server listens on, and their sockets.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use tidegate_net::{Listener, Listening, Port, Protocols, Security, Stack};

use crate::config::{Address, Listeners};
use crate::inherited::Inherited;
use crate::run_error::RunError;

/// An address that is listened on.
pub(crate) struct Bound {
    /// The address as configured; the port may be 0.
    pub(crate) typed: SocketAddr,
    /// The real address.
    pub(crate) addr: SocketAddr,
    pub(crate) security: Security,
    pub(crate) protocols: Protocols,
    origin: Origin,
    /// Usually one for each worker.
    sockets: Vec<Listener>,
}

/// Where the sockets of an address came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    /// The former configuration had them.
    Kept,
    New,
}

impl Bound {
    fn new(address: Address, security: Security, sockets: Vec<Listener>) -> Self {
        let (typed, protocols) = (address.first, address.protocols);
        let sockets = sockets.into_iter();
        let sockets: Vec<_> = sockets.map(|socket| socket.speaking(protocols)).collect();
        Self {
            typed,
            addr: sockets.first().map_or(typed, Listener::local_addr),
            security,
            protocols,
            origin: Origin::New,
            sockets,
        }
    }

    /// Returns all sockets, to pass them on.
    pub(crate) fn sockets(&self) -> &[Listener] {
        &self.sockets
    }

    /// Returns the sockets that a worker accepts connections from. Each socket has a queue of its
    /// own, so each is some worker's; a worker without one shares another's.
    fn of_worker(&self, worker: usize, workers: usize) -> impl Iterator<Item = Listener> {
        let count = self.sockets.len();
        let its = self.sockets.iter().enumerate();
        its.filter(move |(place, _)| {
            if count < workers {
                *place == worker % count
            } else {
                place % workers == worker
            }
        })
        .map(|(_, socket)| socket.share())
    }
}

/// Returns the sockets of a worker that starts.
pub(crate) fn of_worker(bound: &[Bound], worker: usize, workers: usize) -> Vec<Listener> {
    let all = bound.iter();
    all.flat_map(|bound| bound.of_worker(worker, workers))
        .collect()
}

/// Returns the listeners of a worker that runs, after [`bind_again`].
pub(crate) fn for_worker(bound: &[Bound], worker: usize, workers: usize) -> Vec<Listening> {
    let mut all = Vec::new();
    for bound in bound {
        match bound.origin {
            Origin::Kept => {
                let (security, protocols) = (bound.security.clone(), bound.protocols);
                all.push(Listening::Kept(bound.addr, security, protocols));
            }
            Origin::New => all.extend(bound.of_worker(worker, workers).map(Listening::New)),
        }
    }
    all
}

/// Binds every address for every worker, or takes sockets that the process was given.
///
/// # Errors
/// An address that can't be listened on.
pub(crate) fn bind(
    listeners: &Listeners,
    workers: usize,
    mut inherited: Inherited,
) -> Result<Vec<Bound>, RunError> {
    let former = inherited.former();
    let bound = bind_all(listeners, workers, &former, |address, security| {
        let Some(sockets) = inherited.take(address) else {
            return Ok(None);
        };
        let listener = |socket: TcpListener| Listener::from_std(socket, security.clone());
        let sockets: io::Result<Vec<Listener>> = sockets.into_iter().map(listener).collect();
        let sockets = sockets.map_err(|error| RunError::Bind(address.first, error))?;
        Ok(Some(Bound::new(*address, security.clone(), sockets)))
    })?;
    inherited.finish()?;
    Ok(bound)
}

/// Binds the addresses that are new.
///
/// # Errors
/// An address that can't be listened on. Nothing has changed then.
pub(crate) fn bind_again(
    former: &[Bound],
    listeners: &Listeners,
    workers: usize,
) -> Result<Vec<Bound>, RunError> {
    let typed: Vec<SocketAddr> = former.iter().map(|bound| bound.typed).collect();
    let mut former: Vec<&Bound> = former.iter().collect();
    bind_all(listeners, workers, &typed, |address, security| {
        let place = former.iter().position(|bound| bound.typed == address.first);
        Ok(place.map(|place| {
            let bound = former.remove(place);
            Bound {
                typed: bound.typed,
                addr: bound.addr,
                security: security.clone(),
                protocols: address.protocols,
                origin: Origin::Kept,
                sockets: bound.sockets.iter().map(Listener::share).collect(),
            }
        }))
    })
}

/// Returns all addresses: with the sockets that `find` finds, or else with new ones. `former` has
/// the addresses of the former configuration, whose sockets are still open.
fn bind_all(
    listeners: &Listeners,
    workers: usize,
    former: &[SocketAddr],
    mut find: impl FnMut(&Address, &Security) -> Result<Option<Bound>, RunError>,
) -> Result<Vec<Bound>, RunError> {
    let tls = listeners.acceptor.iter().flat_map(|acceptor| {
        let security = Security::Tls(Arc::clone(acceptor));
        let addresses = listeners.tls.iter();
        addresses.map(move |address| (*address, security.clone()))
    });
    let h2c = listeners.h2c.iter();
    let wanted = tls.chain(h2c.map(|address| (*address, Security::Plain)));
    let wanted: Vec<(Address, Security)> = wanted.collect();
    let families: Vec<SocketAddr> = wanted.iter().map(|(address, _)| address.first).collect();
    let bound = wanted.into_iter().map(|(address, security)| {
        let wanted = stack(address.first, &families);
        if let Some(found) = find(&address, &security)? {
            if former.contains(&address.first) && stack(address.first, former) != wanted {
                return Err(RunError::OtherStack(address.first));
            }
            return Ok(found);
        }
        let sockets = bind_one(address, &security, workers, wanted, listeners.port);
        let sockets = sockets.map_err(|error| of_own(error, former))?;
        Ok(Bound::new(address, security, sockets))
    });
    bound.collect()
}

/// Returns the error of an address. If its port is taken, and `former` has it too, this server has
/// taken it.
fn of_own(error: RunError, former: &[SocketAddr]) -> RunError {
    match error {
        RunError::Bind(addr, error) if error.kind() == io::ErrorKind::AddrInUse => {
            let own = former.iter().find(|former| former.port() == addr.port());
            own.map_or(RunError::Bind(addr, error), |own| {
                RunError::OwnPort(addr, *own)
            })
        }
        error => error,
    }
}

/// Returns the IP versions that a socket takes. An IPv6 socket takes no IPv4 connections if another
/// socket listens on its port by IPv4.
fn stack(addr: SocketAddr, all: &[SocketAddr]) -> Stack {
    let is_other =
        |other: &SocketAddr| other.is_ipv4() && other.port() == addr.port() && addr.port() != 0;
    if addr.is_ipv6() && all.iter().any(is_other) {
        Stack::V6Only
    } else {
        Stack::Dual
    }
}

fn bind_one(
    address: Address,
    security: &Security,
    workers: usize,
    stack: Stack,
    port: Port,
) -> Result<Vec<Listener>, RunError> {
    let bind = |addr| {
        let sockets = Listener::bind_group_of(addr, security, workers, stack, port);
        sockets.map_err(|error| (addr, error))
    };
    let result = match (bind(address.first), address.otherwise) {
        (Err((_, error)), Some(otherwise)) if lacks_ipv6(&error) => bind(otherwise),
        (result, _) => result,
    };
    result.map_err(|(addr, error)| RunError::Bind(addr, error))
}

fn lacks_ipv6(error: &io::Error) -> bool {
    // EAFNOSUPPORT has no stable kind.
    error.kind() == io::ErrorKind::AddrNotAvailable || error.raw_os_error() == Some(97)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn a_taken_port_is_told() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = taken.local_addr().unwrap();
        let address = Address {
            protocols: Protocols::Both,
            first: addr,
            otherwise: None,
        };
        let Err(error) = bind_one(address, &Security::Plain, 2, Stack::Dual, Port::Own) else {
            panic!("bound a taken port");
        };
        let sentence = error.to_string();
        assert!(
            sentence.starts_with(&format!("can't listen on {addr}: the port is taken")),
            "{sentence}"
        );
    }

    #[test]
    fn one_port_is_listened_on_by_both_families() {
        let at = |first| Address {
            protocols: Protocols::Both,
            first,
            otherwise: None,
        };
        let v4 = SocketAddr::from(([0, 0, 0, 0], 0));
        let v4 = bind_one(at(v4), &Security::Plain, 1, Stack::Dual, Port::Own).unwrap();
        let v4_addr = v4[0].local_addr();
        let v6 = SocketAddr::from(([0; 16], v4_addr.port()));
        assert_eq!(stack(v6, &[v6]), Stack::Dual);
        let stack = stack(v6, &[v4_addr, v6]);
        assert_eq!(stack, Stack::V6Only);
        match bind_one(at(v6), &Security::Plain, 1, stack, Port::Own) {
            // A system without IPv6 can't show it.
            Err(RunError::Bind(_, error)) if lacks_ipv6(&error) => {}
            result => assert_eq!(result.unwrap().len(), 1),
        }
    }
}
