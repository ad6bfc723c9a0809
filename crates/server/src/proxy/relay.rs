//! One forwarded request: the data that the upstream and the client have still to take.

use bytes::Bytes;
use tidegate_http::{ErrorCode, Fields, KnownName, Misuse, RequestHead, Stream};
use tidegate_net::Conns;
use tidegate_pool::RequestId;

use crate::pipe::Pipe;
use crate::proxy::{Key, Proxy};
use crate::push::Prepared;

/// A forwarded request.
pub struct Relay {
    /// The pool's id of the request, until the pool has finished it.
    request: Option<RequestId>,
    /// The client's body.
    up: Half,
    /// The upstream's body.
    down: Half,
    /// Whether the client's stream has sent all that it was given, and wants more.
    client_waits: bool,
    /// Reset the client's stream with this code once the buffered response is out.
    broken_by: Option<ErrorCode>,
    /// The part of the preload list for the response.
    pub prepared: Option<Prepared>,
    /// Whether the final response has begun.
    pub responded: bool,
    /// Whether the request asks for a tunnel.
    is_connect: bool,
    is_head: bool,
    /// Whether the response has no content. For the client it ended with its head, whatever the
    /// upstream still sends.
    is_bare: bool,
    /// Whether the tunnel was granted.
    pub is_tunnel: bool,
    /// Whether the request is a gRPC call.
    pub is_call: bool,
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
    pub fn new(head: &RequestHead, end: bool, prepared: Option<Prepared>) -> Self {
        Self {
            request: None,
            up: Half {
                done: end,
                ..Half::default()
            },
            down: Half::default(),
            client_waits: false,
            broken_by: None,
            prepared,
            responded: false,
            is_connect: head.method_bytes() == b"CONNECT",
            is_head: head.method_bytes() == b"HEAD",
            is_bare: false,
            is_tunnel: false,
            is_call: is_call(head),
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

    /// Notes that the pool has finished the request.
    pub fn ended_upstream(&mut self) {
        self.request = None;
    }

    /// Notes that nothing more comes from the upstream. Returns whether it has ended its response,
    /// after which only a tunnel goes on.
    pub fn lose_upstream(&mut self) -> bool {
        self.ended_upstream();
        let has_ended = self.down.pipe.has_ended();
        self.is_tunnel &= !has_ended;
        has_ended
    }

    /// Notes that the response broke off. The client's stream is reset once the buffered response
    /// is out. A response without content is whole already.
    pub fn break_off(&mut self, code: ErrorCode) {
        if self.is_bare {
            self.down.done = true;
        } else {
            self.broken_by = Some(code);
        }
    }

    /// Returns the code to reset the client's stream with, once the stream has sent the buffered
    /// part of a broken response.
    pub fn resets_with(&self) -> Option<ErrorCode> {
        let has_all = self.client_waits && self.down.pipe.is_empty();
        self.broken_by.filter(|_| has_all)
    }

    /// Notes that the final response has begun.
    pub fn respond(&mut self, status: u16, opens_tunnel: bool) {
        self.responded = true;
        self.is_tunnel = opens_tunnel;
        // RFC 9110 §6.4.1: responses to HEAD, and those with 204 and 304, have no content.
        self.is_bare = !self.is_tunnel && (self.is_head || matches!(status, 204 | 304));
    }

    /// Whether the client has the whole response and, through a tunnel, the upstream the whole
    /// request.
    pub fn is_done(&self) -> bool {
        self.down.done && (self.up.done || !self.is_tunnel)
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
        self.is_connect && (200..300).contains(&status)
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
        if !self.responded || self.down.done {
            return 0;
        }
        let stream = conns.stream(key.0, key.1);
        let Some(mut stream) = stream.filter(|_| !self.is_bare) else {
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
