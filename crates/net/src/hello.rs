//! The name in a ClientHello, where the settings of TLS depend on it.

use std::sync::Arc;

use rustls::ServerConfig;
use rustls::server::Acceptor;

use crate::tls::Choice;

/// Returns the settings for the client whose records these are, the first ones of its connection.
/// `None` if the ClientHello isn't whole. For anything that can't become a ClientHello these are
/// the default settings: the session that has them says what is wrong.
pub(crate) fn config_for(choice: &Choice, mut records: &[u8]) -> Option<Arc<ServerConfig>> {
    let mut acceptor = Acceptor::default();
    let default = || Some(Arc::clone(choice.find(None)));
    while !records.is_empty() {
        if acceptor.read_tls(&mut records).is_err() {
            return default();
        }
        match acceptor.accept() {
            Ok(None) => {}
            Ok(Some(accepted)) => {
                let hello = accepted.client_hello();
                return Some(Arc::clone(choice.find(hello.server_name())));
            }
            Err(_) => return default(),
        }
    }
    None
}
