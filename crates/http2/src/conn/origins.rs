//! ORIGIN (RFC 8336): the origins that a server's connection is for.

use tidegate_frame::Origin;
use tidegate_http::Role;

use crate::conn::Connection;

impl Connection {
    /// Tells the client which origins it may ask for on this connection, such as
    /// `https://example.com`: those, and the one that it asked for in TLS (RFC 8336 §2.3). Call it
    /// once, right after the connection began, and over TLS only. On a client it does nothing.
    pub fn announce_origins<'a>(&mut self, origins: impl IntoIterator<Item = &'a str>) {
        // RFC 8336 §2.2: only a server sends it.
        if self.role == Role::Client {
            return;
        }
        for frame in Origin::list(origins) {
            self.send(|out| frame.write(out));
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Buf as _;
    use tidegate_http::{Config, Outbox};

    use super::*;
    use crate::testing::some_start;

    /// RFC 8336 §2.2: "The ORIGIN frame is … sent on stream 0 by an HTTP/2 server".
    #[test]
    fn a_server_lists_its_origins_after_its_settings() {
        let now = some_start();
        let sent = |role, origins: &[&str]| {
            let mut conn = match role {
                Role::Server => Connection::server(Config::server().build().unwrap(), now),
                Role::Client => Connection::client(Config::client().build().unwrap(), now),
            };
            conn.announce_origins(origins.iter().copied());
            let mut out = Outbox::default();
            let _ = conn.transmit(&mut out, usize::MAX, now);
            out.copy_to_bytes(out.remaining())
        };
        let without = sent(Role::Server, &[]);
        let with = sent(Role::Server, &["https://a", "https://b"]);
        // A frame's length doesn't count its head.
        let settings = 9 + usize::from(without[2]);
        let (before, behind) = with.split_at(settings);
        let frame = b"\0\0\x16\x0c\0\0\0\0\0\0\x09https://a\0\x09https://b";
        assert_eq!(behind.strip_prefix(frame), Some(&without[settings..]));
        assert_eq!(before, &without[..settings]);
        assert_eq!(sent(Role::Client, &["https://a"]), sent(Role::Client, &[]));
    }
}
