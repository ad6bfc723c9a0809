//! One forwarded request: the data that the upstream and the client have still to take.

use std::sync::Arc;

use bytes::Bytes;
use tidegate_http::{ErrorCode, Fields, KnownName, Misuse, RequestHead, Stream};
use tidegate_net::Conns;
use tidegate_pool::RequestId;

use crate::pipe::Pipe;
use crate::proxy::Proxy;
use crate::push::{Prepared, PushCache};
use crate::request::Key;

/// A forwarded request.
pub struct Relay {
    /// The pool's id of the request, until the pool has finished it.
    request: Option<RequestId>,
    /// The client's body.
    up: Half,
    /// The upstream's body.
    down: Half,
    kind: Kind,
    life: Life,
    /// Whether the client's stream has sent all that it was given, and wants more.
    client_waits: bool,
    /// The part of a preload list for the response.
    pub prepared: Option<(Arc<PushCache>, Prepared)>,
}

/// The kind of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Asks for a tunnel.
    Connect,
    Head,
    /// A gRPC call.
    Call,
    Other,
}

/// How far the response has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    /// The final response hasn't begun.
    Asked,
    /// The head is out, and the body is relayed.
    Answering,
    /// The head is out, and there is no content. For the client the response ended with its head,
    /// whatever the upstream still sends.
    Bare,
    /// A tunnel was granted. Data is relayed in both directions.
    Tunnel,
    /// The response broke off. The client's stream is reset with this code once the buffered part
    /// is out.
    Broken(ErrorCode),
}

/// One direction of a request: a body and its trailers.
#[derive(Debug, Default)]
struct Half {
    pipe: Pipe,
    /// The trailers after the body.
    trailers: Option<Fields>,
    /// Whether the receiver has all of it.
    done: bool,
}

impl Relay {
    /// Returns the state of a request that was just received.
    pub fn new(
        head: &RequestHead,
        end: bool,
        prepared: Option<(Arc<PushCache>, Prepared)>,
    ) -> Self {
        Self {
            request: None,
            up: Half {
                done: end,
                ..Half::default()
            },
            down: Half::default(),
            kind: match head.method_bytes() {
                b"CONNECT" => Kind::Connect,
                b"HEAD" => Kind::Head,
                _ if is_call(head) => Kind::Call,
                _ => Kind::Other,
            },
            life: Life::Asked,
            client_waits: false,
            prepared,
        }
    }

    /// Sets the pool's id of the request.
    pub fn begun(&mut self, request: RequestId) {
        self.request = Some(request);
    }

    /// Returns the pool's id of the request, unless the pool has finished it.
    pub fn request(&self) -> Option<RequestId> {
        self.request
    }

    /// Whether the final response has begun.
    pub fn has_responded(&self) -> bool {
        self.life != Life::Asked
    }

    /// Whether the request is a tunnel whose directions both go on.
    pub fn is_tunnel(&self) -> bool {
        self.life == Life::Tunnel
    }

    /// Whether the request is a gRPC call.
    pub fn is_call(&self) -> bool {
        self.kind == Kind::Call
    }

    /// Notes that the pool has finished the request.
    pub fn ended_upstream(&mut self) {
        self.request = None;
    }

    /// Notes that nothing more comes from the upstream. Returns whether it has ended its response,
    /// after which only a tunnel goes on.
    pub fn lose_upstream(&mut self) -> bool {
        self.ended_upstream();
        let has_ended = self.down.pipe.has_ended();
        if has_ended && self.is_tunnel() {
            self.life = Life::Answering;
        }
        has_ended
    }

    /// Notes that the response broke off. The client's stream is reset once the buffered response
    /// is out. A response without content is whole already.
    pub fn break_off(&mut self, code: ErrorCode) {
        if self.life == Life::Bare {
            self.down.done = true;
        } else {
            self.life = Life::Broken(code);
        }
    }

    /// Returns the code to reset the client's stream with, once the stream has sent the buffered
    /// part of a broken response.
    pub fn resets_with(&self) -> Option<ErrorCode> {
        match self.life {
            Life::Broken(code) if self.client_waits && self.down.pipe.is_empty() => Some(code),
            _ => None,
        }
    }

    /// Notes that the final response has begun.
    pub fn respond(&mut self, status: u16, opens_tunnel: bool) {
        self.life = if opens_tunnel {
            Life::Tunnel
        } else if self.kind == Kind::Head || matches!(status, 204 | 304) {
            // RFC 9110 §6.4.1: these responses have no content.
            Life::Bare
        } else {
            Life::Answering
        };
    }

    /// Whether nothing more is relayed: all of it is done, or it broke off and the client has what
    /// there is.
    pub fn is_over(&self) -> bool {
        self.is_done() || self.resets_with().is_some()
    }

    /// Whether the client has the whole response and, through a tunnel, the upstream the whole
    /// request.
    pub fn is_done(&self) -> bool {
        self.down.done && (self.up.done || !self.is_tunnel())
    }

    /// Notes that the upstream wants more of the client's body. If it asks after the end, it had no
    /// place for the request when the end was given, so the end must be given again: an end without
    /// bytes waits nowhere else.
    pub fn asked(&mut self) {
        self.up.done = false;
    }

    /// Adds a piece of the client's body, or its end.
    pub fn from_client(&mut self, data: Bytes, end: bool) {
        self.up.pipe.push(data, end);
    }

    /// Adds the client's trailers, and the end of its body.
    pub fn trailers_from_client(&mut self, fields: Fields) {
        self.up.trailers = Some(fields);
        self.up.pipe.push(Bytes::new(), true);
    }

    /// Adds a piece of the upstream's body, or its end.
    pub fn from_upstream(&mut self, data: Bytes, end: bool) {
        self.down.pipe.push(data, end);
    }

    /// Whether the client would take a response with this status, which opens no tunnel, for one
    /// that does.
    pub fn seems_to_open_tunnel(&self, status: u16) -> bool {
        self.kind == Kind::Connect && (200..300).contains(&status)
    }

    /// Adds the upstream's trailers, and the end of its body.
    pub fn trailers_from_upstream(&mut self, fields: Fields) {
        self.down.trailers = Some(fields);
        self.down.pipe.push(Bytes::new(), true);
    }

    /// Gives the upstream what it takes of the client's body, and the client credit for that. Once
    /// the pool has finished the request, the rest of the body is discarded.
    pub fn move_up(&mut self, conns: &mut Conns, key: Key, proxy: &mut Proxy) {
        if self.up.done {
            return;
        }
        let (pool, trailers) = (&mut proxy.pool, &self.up.trailers);
        let mut moved = match self.request {
            Some(request) => self.up.pipe.write(trailers.is_none(), |data, end| {
                pool.write(conns, request, data, end)
            }),
            None => self.up.pipe.discard(),
        };
        if moved.done
            && let (Some(fields), Some(request)) = (trailers, self.request)
        {
            moved.done = match pool.trailers(conns, request, fields) {
                // Without a stream at the moment, the pool will ask for the trailers again.
                Err(Misuse::OutOfOrder) => false,
                Ok(()) => true,
                // The upstream doesn't take these trailers. RFC 9110 §6.5.1: they may be discarded.
                Err(_) => {
                    pool.write(conns, request, &mut Bytes::new(), true);
                    true
                }
            };
        }
        self.up.done = moved.done;
        if moved.bytes > 0
            && let Some(mut stream) = conns.stream(key.0, key.1)
        {
            stream.consume(moved.bytes);
        }
        if self.up.pipe.is_loose() {
            proxy.loose.push(key);
        }
    }

    /// Notes that the client's stream wants more.
    pub fn client_asks(&mut self) {
        self.client_waits = true;
    }

    /// Gives the client what it takes of the upstream's body, and the upstream credit for that.
    /// Returns the number of bytes.
    pub fn move_down(&mut self, conns: &mut Conns, key: Key, proxy: &mut Proxy) -> usize {
        if !self.has_responded() || self.down.done {
            return 0;
        }
        let stream = conns.stream(key.0, key.1);
        let Some(mut stream) = stream.filter(|_| self.life != Life::Bare) else {
            self.down.done = self.down.pipe.discard().done;
            return 0;
        };
        let trailers = &self.down.trailers;
        let write = |data: &mut Bytes, end| stream.write(data, end);
        let moved = self.down.pipe.write(trailers.is_none(), write);
        self.down.done = moved.done;
        self.client_waits &= moved.bytes == 0;
        if moved.done
            && let Some(fields) = trailers
            && stream.trailers(fields) == Err(Misuse::HeadTooLarge)
        {
            // The client doesn't take these trailers. Without them the response isn't whole: they
            // have the status of a gRPC call.
            self.break_off(ErrorCode::INTERNAL_ERROR);
            self.down.done = false;
        }
        if moved.bytes > 0
            && let Some(request) = self.request
        {
            proxy.pool.consume(conns, request, moved.bytes);
        }
        if self.down.pipe.is_loose() {
            proxy.loose.push(key);
        }
        moved.bytes
    }

    /// Notes that the response has no body.
    pub fn has_no_body(&mut self) {
        self.down.done = true;
    }

    /// Copies data that waits since the last turn.
    pub fn settle(&mut self) {
        self.up.pipe.settle();
        self.down.pipe.settle();
    }
}

/// Whether a request is a gRPC call: "Content-Type → "content-type" "application/grpc" [("+proto" /
/// "+json" / {custom})]".
pub fn is_call(head: &RequestHead) -> bool {
    let kind = head.get_known(KnownName::CONTENT_TYPE).unwrap_or_default();
    let rest = kind.strip_prefix(b"application/grpc");
    matches!(rest, Some([] | [b'+' | b';' | b' ', ..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_response_without_content_is_whole_though_it_breaks_off() {
        for (method, status, opens_tunnel, is_bare) in [
            ("GET", 200, false, false),
            ("GET", 204, false, true),
            ("GET", 304, false, true),
            ("HEAD", 200, false, true),
            ("CONNECT", 200, true, false),
            ("CONNECT", 404, false, false),
        ] {
            let head = RequestHead::new(method, "https", "a", "/");
            let mut relay = Relay::new(&head, true, None);
            assert!(!relay.has_responded());
            relay.respond(status, opens_tunnel);
            assert_eq!(
                (relay.has_responded(), relay.is_tunnel()),
                (true, opens_tunnel)
            );
            relay.client_asks();
            assert!(!relay.lose_upstream() && relay.resets_with().is_none());
            relay.break_off(ErrorCode::CANCEL);
            let case = format!("{method} {status}");
            assert_eq!(relay.is_done(), is_bare, "{case}");
            let resets_with = (!is_bare).then_some(ErrorCode::CANCEL);
            assert_eq!(relay.resets_with(), resets_with, "{case}");
        }
    }

    #[test]
    fn grpc_calls_are_recognised_by_their_content_type() {
        for (kind, expected) in [
            ("application/grpc", true),
            ("application/grpc+proto", true),
            ("application/grpc;x=y", true),
            ("application/grpc-web", false),
            ("application/grpcx", false),
            ("application/json", false),
        ] {
            let head = RequestHead::new("POST", "https", "a", "/").field("content-type", kind);
            assert_eq!(is_call(&head), expected, "{kind}");
        }
    }
}
