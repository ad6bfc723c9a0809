//! A service on tidegate's event loop that takes bodies and answers when they have ended: what a
//! handler of an application does at least.

use std::fs;
use std::sync::Arc;

use tidegate_net::http::{Body, Config, Event, ResponseHead, Stream};
use tidegate_net::{
    ConnId, Conns, EventLoop, Listener, Options, Security, Service, TlsAcceptorConfig,
};

use crate::floor::Flags;
use crate::process::Result;

struct Discard;

impl Service for Discard {
    type Message = ();

    fn event(&mut self, conns: &mut Conns, conn: ConnId, event: Event) {
        let Some(id) = event.stream_id() else { return };
        let Some(mut stream) = conns.stream(conn, id) else {
            return;
        };
        // The data isn't needed, and its credit goes back to the client.
        stream.ignore(&event);
        let is_end = match event {
            Event::Request { end, .. } | Event::Data { end, .. } => end,
            Event::Trailers { .. } => true,
            _ => false,
        };
        if is_end {
            // A stream that was reset meanwhile needs no answer.
            let _ = stream.respond(&ResponseHead::new(200), Body::Empty);
        }
    }
}

/// Serves until the process is ended.
pub(crate) fn serve(flags: &Flags) -> Result {
    let security = match (&flags.cert, &flags.key) {
        (Some(cert), Some(key)) => {
            let config = TlsAcceptorConfig::from_pem(&fs::read(cert)?, &fs::read(key)?)?;
            Security::Tls(Arc::new(config))
        }
        _ => Security::Plain,
    };
    let listener = Listener::bind(flags.listen, security)?;
    let options = Options::new(Config::server().build()?);
    EventLoop::new(vec![listener], options, Discard)?.run()?;
    Ok(())
}
