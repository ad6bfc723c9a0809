//! One request on its way through: what of it the upstream has still to take, and of the response the client.

use bytes::Bytes;
use tidegate_net::Conns;
use tidegate_pool::RequestId;
use tidegate_proto::{ErrorCode, Fields, KnownName, Misuse, RequestHead};

use crate::pipe::Pipe;
use crate::proxy::{Key, Proxy};
use crate::push::Prepared;

/// A request on its way through.
pub struct Relay {
    /// The pool's name of it, until that says that it is over.
    request: Option<RequestId>,
    /// The client's body.
    up: Way,
    /// The upstream's.
    down: Way,
    /// The client's stream has sent all that it was given, and has been given nothing since.
    client_waits: bool,
    /// What comes behind what there is of the response, in place of its end.
    broken_by: Option<ErrorCode>,
    /// What the preload list adds to the response.
    pub prepared: Option<Prepared>,
    /// The final response has begun.
    pub responded: bool,
    /// It is a request for a tunnel.
    is_connect: bool,
    is_head: bool,
    /// The response has no content: it ended with its head for the client, whatever the upstream still says.
    is_bare: bool,
    /// That was granted.
    pub is_tunnel: bool,
    /// It is a call of gRPC.
    pub is_call: bool,
}

/// One body.
#[derive(Debug, Default)]
struct Way {
    pipe: Pipe,
    /// What follows it.
    trailers: Option<Fields>,
    /// The other side has all of it.
    done: bool,
}

impl Relay {
    /// A request that has just come in.
    pub fn new(head: &RequestHead, end: bool, prepared: Option<Prepared>) -> Self {
        Self {
            request: None,
            up: Way {
                done: end,
                ..Way::default()
            },
            down: Way::default(),
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

    /// The pool has it.
    pub fn begun(&mut self, request: RequestId) {
        self.request = Some(request);
    }

    /// The pool's name of it, if it isn't over there.
    pub fn request(&self) -> Option<RequestId> {
        self.request
    }

    /// It is over for the pool.
    pub fn ended_upstream(&mut self) {
        self.request = None;
    }

    /// The upstream will say no more. Returns whether it has ended its response, which only a tunnel outlives.
    pub fn lose_upstream(&mut self) -> bool {
        self.ended_upstream();
        let has_ended = self.down.pipe.has_ended();
        self.is_tunnel &= !has_ended;
        has_ended
    }

    /// The response breaks off: behind what there is of it, the client's stream is to be reset. Of one without content the client
    /// has all.
    pub fn break_off(&mut self, code: ErrorCode) {
        match self.is_bare {
            true => self.down.done = true,
            false => self.broken_by = Some(code),
        }
    }

    /// What the client's stream is to be reset with, if it has sent all that there is of the response.
    pub fn resets_with(&self) -> Option<ErrorCode> {
        let has_all = self.client_waits && self.down.pipe.is_empty();
        self.broken_by.filter(|_| has_all)
    }

    /// The final response has begun.
    pub fn respond(&mut self, status: u16, opens_tunnel: bool) {
        self.responded = true;
        self.is_tunnel = opens_tunnel;
        // RFC 9110 §6.4.1.
        self.is_bare = !self.is_tunnel && (self.is_head || matches!(status, 204 | 304));
    }

    /// Whether both sides have all that there is: the response, and through a tunnel the request too.
    pub fn is_done(&self) -> bool {
        self.down.done && (self.up.done || !self.is_tunnel)
    }

    /// The upstream asks for the client's body. That it asks after the end means that it had no place for the request yet when it
    /// was given that: an end without octets takes no room, so nobody else would give it again.
    pub fn asked(&mut self) {
        self.up.done = false;
    }

    /// A piece of the client's body, or its end.
    pub fn from_client(&mut self, data: Bytes, end: bool) {
        self.up.pipe.push(data, end);
    }

    /// The client's trailers.
    pub fn trailers_from_client(&mut self, fields: Fields) {
        self.up.trailers = Some(fields);
        self.up.pipe.push(Bytes::new(), true);
    }

    /// A piece of the upstream's body, or its end.
    pub fn from_upstream(&mut self, data: Bytes, end: bool) {
        self.down.pipe.push(data, end);
    }

    /// Whether a response with this status, which opens no tunnel, would be taken for one that does.
    pub fn seems_to_open_tunnel(&self, status: u16) -> bool {
        self.is_connect && (200..300).contains(&status)
    }

    /// The upstream's trailers.
    pub fn trailers_from_upstream(&mut self, fields: Fields) {
        self.down.trailers = Some(fields);
        self.down.pipe.push(Bytes::new(), true);
    }

    /// Gives the upstream what it takes of the client's body, and the client credit for that. An upstream that has answered takes
    /// no more; nobody needs the rest then.
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
                // Without a stream at the moment they are asked for again.
                Err(Misuse::OutOfOrder) => false,
                Ok(()) => true,
                // The upstream takes no such trailers. RFC 9110 §6.5.1: they may be discarded.
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

    /// The client's stream asks for more.
    pub fn client_asks(&mut self) {
        self.client_waits = true;
    }

    /// Gives the client what it takes of the upstream's body, and the upstream credit for that. Returns how many octets those
    /// were.
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
            // Without them, which the client doesn't take, the response is not whole: the status of a call of gRPC is in them.
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

    /// The response has no body.
    pub fn has_no_body(&mut self) {
        self.down.done = true;
    }

    /// What waits since the last turn is copied.
    pub fn settle(&mut self) {
        self.up.pipe.settle();
        self.down.pipe.settle();
    }
}

/// Whether it is a call of gRPC: "Content-Type → "content-type" "application/grpc" [("+proto" / "+json" / {custom})]".
pub fn is_call(head: &RequestHead) -> bool {
    let kind = head.get_known(KnownName::CONTENT_TYPE).unwrap_or_default();
    let rest = kind.strip_prefix(b"application/grpc");
    matches!(rest, Some([] | [b'+' | b';' | b' ', ..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_of_grpc_are_told_by_their_content_type() {
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
