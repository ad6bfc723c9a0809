//! The name in a ClientHello, where the settings of TLS depend on it.

use std::sync::Arc;

use rustls::ServerConfig;
use rustls::server::Acceptor;

use crate::tls::Choice;

/// The most bytes of records in which a ClientHello may come. Those of browsers take 2 KiB.
const MOST: usize = 16 << 10;

/// The first records of a connection, while they aren't a whole ClientHello.
#[derive(Default)]
pub(crate) struct Hello {
    acceptor: Acceptor,
    read: usize,
}

impl Hello {
    /// Takes the next bytes of the records. Returns the settings for the client, or `None` if the
    /// ClientHello isn't whole. For anything that can't become a ClientHello, or is too long for
    /// one, these are the default settings: the session that has them says what is wrong.
    pub(crate) fn read(&mut self, choice: &Choice, mut new: &[u8]) -> Option<Arc<ServerConfig>> {
        let default = || Some(Arc::clone(choice.find(None)));
        self.read += new.len();
        while !new.is_empty() {
            if self.acceptor.read_tls(&mut new).is_err() {
                return default();
            }
            match self.acceptor.accept() {
                Ok(None) => {}
                Ok(Some(accepted)) => {
                    let hello = accepted.client_hello();
                    return Some(Arc::clone(choice.find(hello.server_name())));
                }
                Err(_) => return default(),
            }
        }
        // Every part of it costs a look at the others.
        if self.read > MOST {
            return default();
        }
        None
    }
}
