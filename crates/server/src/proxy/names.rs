//! The names of upstreams. They are looked up at the start, and then repeatedly on a thread of
//! their own, because addresses change. A name without an address, as of a container that isn't up
//! yet, doesn't keep the server from starting.

use std::io;
use std::net::{IpAddr, ToSocketAddrs};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use rustls::pki_types::ServerName;
use tidegate_pool::Address;

/// The interval at which names are looked up. The system's resolver doesn't report how long an
/// answer is valid; it caches what may be cached.
const EVERY: Duration = Duration::from_secs(30);

/// The interval while a name has no address.
const EVERY_UNTIL_FOUND: Duration = Duration::from_secs(1);

/// The hosts of an upstream, with their addresses.
#[derive(Clone, Debug)]
pub struct Names {
    /// The upstream's name in logs.
    pub upstream: String,
    /// Names or addresses.
    pub hosts: Vec<Host>,
}

/// A name or an address.
#[derive(Clone, Debug)]
pub struct Host {
    name: String,
    port: u16,
    /// The name for which the host's certificate must be valid.
    certificate: Option<ServerName<'static>>,
    /// The addresses found by the last lookup that succeeded.
    known: Vec<Address>,
    state: State,
}

/// The result of the last lookup of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    New,
    Found,
    Failed,
}

impl Host {
    /// Returns a host that wasn't looked up yet. Its certificate must be valid for `certificate`.
    pub fn new(name: String, port: u16, certificate: Option<ServerName<'static>>) -> Self {
        Self {
            name,
            port,
            certificate,
            known: Vec::new(),
            state: State::New,
        }
    }

    /// Looks up the host. If that fails, the host keeps its former addresses.
    fn look_up(&mut self, upstream: &str) {
        match (self.name.as_str(), self.port).to_socket_addrs() {
            Ok(addrs) => {
                let name = &self.certificate;
                let addresses = addrs.map(|addr| Address {
                    addr,
                    name: name.clone(),
                });
                self.known = addresses.collect();
                // Resolvers return the same addresses in changing order.
                self.known.sort_by_key(|address| address.addr);
                self.state = State::Found;
            }
            Err(error) => {
                if self.state != State::Failed {
                    log::warn!(
                        "upstream {upstream}: can't find the address of {}, which is looked up \
                         again each second: {error}",
                        self.name
                    );
                }
                self.state = State::Failed;
            }
        }
    }
}

impl Names {
    /// Looks up all hosts, which takes as long as the system's resolver needs. Logs hosts without
    /// an address.
    pub fn look_up(&mut self) {
        for host in &mut self.hosts {
            host.look_up(&self.upstream);
        }
    }

    /// Returns the addresses of all hosts, each once.
    pub fn addresses(&self) -> Vec<Address> {
        let mut addresses: Vec<Address> = Vec::new();
        for address in self.hosts.iter().flat_map(|host| &host.known) {
            if !addresses.contains(address) {
                addresses.push(address.clone());
            }
        }
        addresses
    }

    /// Looks up all hosts again. Returns the addresses if they have changed.
    fn look_up_again(&mut self) -> Option<Vec<Address>> {
        let before = self.addresses();
        self.look_up();
        let addresses = self.addresses();
        if addresses == before {
            return None;
        }
        let all: Vec<String> = addresses
            .iter()
            .map(|address| address.addr.to_string())
            .collect();
        log::info!("upstream {}: at {}", self.upstream, all.join(", "));
        Some(addresses)
    }

    /// Whether the addresses can change.
    fn may_change(&self) -> bool {
        let mut hosts = self.hosts.iter();
        hosts.any(|host| host.name.parse::<IpAddr>().is_err())
    }

    /// Returns the time until the next lookup.
    fn pause(&self) -> Duration {
        if self.hosts.iter().any(|host| host.state == State::Failed) {
            EVERY_UNTIL_FOUND
        } else {
            EVERY
        }
    }
}

/// Starts a thread that looks up names, until the returned sender is dropped. `names` has those of
/// all upstreams, in the order of [`Settings::upstreams`](super::Settings). `moved` gets the index
/// of an upstream whose addresses have changed, and all its addresses.
///
/// # Errors
/// When the system gives no thread.
pub fn watch(
    names: Vec<Names>,
    moved: impl Fn(usize, Vec<Address>) + Send + 'static,
) -> io::Result<Sender<()>> {
    let (running, stopped) = mpsc::channel();
    let start = Instant::now();
    let watched = names.into_iter().enumerate();
    let watched = watched.filter(|(_, names)| names.may_change());
    let mut watched: Vec<(Instant, usize, Names)> = watched
        .map(|(upstream, names)| (start + names.pause(), upstream, names))
        .collect();
    let look = move || {
        while let Some((due, upstream, names)) = watched.iter_mut().min_by_key(|(due, ..)| *due) {
            let pause = due.saturating_duration_since(Instant::now());
            match stopped.recv_timeout(pause) {
                Err(RecvTimeoutError::Timeout) => {}
                Ok(()) | Err(RecvTimeoutError::Disconnected) => return,
            }
            if let Some(addresses) = names.look_up_again() {
                moved(*upstream, addresses);
            }
            *due = Instant::now() + names.pause();
        }
    };
    thread::Builder::new().name("names".into()).spawn(look)?;
    Ok(running)
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;

    fn names(hosts: &[&str]) -> Names {
        let hosts = hosts
            .iter()
            .map(|name| Host::new((*name).to_owned(), 80, None));
        Names {
            upstream: "test".into(),
            hosts: hosts.collect(),
        }
    }

    fn at(addr: &str) -> Address {
        addr.parse::<SocketAddr>().unwrap().into()
    }

    #[test]
    fn addresses_that_are_others_are_told_once() {
        let mut names = names(&["192.0.2.1", "192.0.2.1", "192.0.2.3"]);
        names.look_up();
        assert_eq!(names.addresses(), [at("192.0.2.1:80"), at("192.0.2.3:80")]);
        assert!(names.look_up_again().is_none() && !names.may_change());
        names.hosts[2].name = "192.0.2.4".into();
        let addresses = names.look_up_again().expect("they are others");
        assert_eq!(addresses, [at("192.0.2.1:80"), at("192.0.2.4:80")]);
    }

    #[test]
    fn a_name_that_leads_nowhere_for_a_while_changes_nothing() {
        let mut names = names(&["192.0.2.1", "192.0.2.2"]);
        names.look_up();
        assert_eq!(names.pause(), EVERY);
        // An empty label makes the name invalid.
        names.hosts[0].name = "a..b".into();
        assert!(names.look_up_again().is_none() && names.may_change());
        assert_eq!(names.pause(), EVERY_UNTIL_FOUND);
        // The other host may get another address meanwhile.
        names.hosts[1].name = "192.0.2.3".into();
        let addresses = names.look_up_again().expect("they are others");
        assert_eq!(addresses, [at("192.0.2.1:80"), at("192.0.2.3:80")]);
    }

    #[test]
    fn one_that_leads_nowhere_at_first_has_no_address() {
        let mut names = names(&["a..b"]);
        names.look_up();
        assert!(names.addresses().is_empty());
        names.hosts[0].name = "192.0.2.1".into();
        assert_eq!(names.look_up_again(), Some(vec![at("192.0.2.1:80")]));
    }
}
