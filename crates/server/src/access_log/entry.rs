//! Facts about a request that gets a line when it ends.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tidegate_http::{ErrorCode, Priority, RequestHead, ResetCause, StreamId, Violation};
use tidegate_http2::LastBlocks;
use tidegate_net::{ConnInfo, TlsInfo};
use tidegate_pool::{Failure, Trip};

use super::fields::{Need, Needs};
use super::format::Shape;

/// The end that reset a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResetBy {
    /// The client.
    Client,
    /// This server.
    Server,
}

/// How a file was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cache {
    /// The server knew it.
    Hit,
    /// A thread looked it up.
    Miss,
}

/// The addresses of a request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Addresses {
    /// The client that the connection says, by its address or by the PROXY protocol.
    pub(super) peer: SocketAddr,
    /// The proxy that has named `peer`.
    pub(super) via: Option<SocketAddr>,
    pub(super) local: SocketAddr,
    /// The client that a trusted proxy's fields say.
    pub(super) reported: Option<IpAddr>,
}

/// Parameters of TLS.
#[derive(Clone, Debug)]
pub(super) struct Tls {
    pub(super) version: &'static str,
    pub(super) cipher: &'static str,
    pub(super) server_name: Option<Box<str>>,
}

/// A request that gets a line when it ends.
pub struct Entry {
    /// The log of the line.
    pub(super) shape: Arc<Shape>,
    pub(super) head: Arc<RequestHead>,
    pub(super) began: Instant,
    pub(super) stream: StreamId,
    /// The protocol, written as in a request line.
    pub(super) version: &'static str,
    pub(super) addresses: Option<Addresses>,
    pub(super) tls: Option<Tls>,
    pub(super) priority: Priority,
    pub(super) block_received: u32,
    pub(super) blocks_sent: Option<LastBlocks>,
    pub(super) received: u64,
    pub(super) first_byte: Option<Duration>,
    pub(super) trip: Option<Trip>,
    pub(super) error: Option<&'static str>,
    pub(super) cache: Option<Cache>,
    /// Whether a 103 went before the response.
    pub(super) is_hinted: bool,
    pub(super) reset: Option<(ErrorCode, ResetBy)>,
    pub(super) violation: Option<Violation>,
    pub(super) request_id: Option<Box<str>>,
    /// The trace context that was made for the request.
    pub(super) traceparent: Option<Box<str>>,
}

impl Entry {
    /// Begins the line of a request that was received or promised at `began`. `version` is the
    /// protocol, such as `HTTP/1.1`.
    pub(super) fn new(
        shape: Arc<Shape>,
        head: Arc<RequestHead>,
        stream: StreamId,
        version: &'static str,
        began: Instant,
    ) -> Self {
        Self {
            shape,
            head,
            began,
            stream,
            version,
            addresses: None,
            tls: None,
            priority: Priority::default(),
            block_received: 0,
            blocks_sent: None,
            received: 0,
            first_byte: None,
            trip: None,
            error: None,
            cache: None,
            is_hinted: false,
            reset: None,
            violation: None,
            request_id: None,
            traceparent: None,
        }
    }

    /// Returns what must be gathered for the line.
    pub fn needs(&self) -> Needs {
        self.shape.format.needs()
    }

    /// Notes the connection. `reported` is the client that a trusted proxy's fields say.
    pub fn note_connection(&mut self, info: &ConnInfo, reported: Option<IpAddr>) {
        self.addresses = Some(Addresses {
            peer: info.peer,
            via: info.via,
            local: info.local,
            reported,
        });
        let needs = self.needs();
        if (needs.has(Need::Tls) || needs.has(Need::ServerName))
            && let Some(tls) = info.tls.as_deref()
        {
            let TlsInfo {
                version,
                cipher,
                sni,
                ..
            } = tls;
            let server_name = sni.as_deref().filter(|_| needs.has(Need::ServerName));
            self.tls = Some(Tls {
                version,
                cipher,
                server_name: server_name.map(Into::into),
            });
        }
    }

    /// Notes the priority that the client asked for.
    pub fn note_priority(&mut self, priority: Priority) {
        self.priority = priority;
    }

    /// Notes the size of the request's field block.
    pub fn note_request_block(&mut self, blocks: LastBlocks) {
        self.block_received = blocks.received;
    }

    /// Notes that the response's head was handed on, after which the connection has these blocks.
    pub fn note_response(&mut self, blocks: Option<LastBlocks>, now: Instant) {
        self.blocks_sent = self.blocks_sent.or(blocks);
        let since = now.saturating_duration_since(self.began);
        self.first_byte.get_or_insert(since);
    }

    /// Notes a piece of the request's body.
    pub fn note_received(&mut self, bytes: usize) {
        self.received += bytes as u64;
    }

    /// Notes the way to an upstream that has answered.
    pub fn note_trip(&mut self, trip: Trip) {
        self.trip = Some(trip);
    }

    /// Notes why there is no whole response of an upstream.
    pub fn note_failure(&mut self, failure: &Failure, trip: Option<Trip>) {
        self.trip = trip.or(self.trip);
        self.error = Some(failure.label());
    }

    /// Notes how a file was found.
    pub fn note_cache(&mut self, cache: Cache) {
        self.cache = Some(cache);
    }

    /// Notes that a 103 goes before the response.
    pub fn note_hint(&mut self) {
        self.is_hinted = true;
    }

    /// Notes that the stream was reset, with this code.
    pub fn note_reset(&mut self, code: ErrorCode, by: ResetBy) {
        self.reset = Some((code, by));
    }

    /// Notes why the engine has reported that the stream was reset.
    pub fn note_cause(&mut self, code: ErrorCode, cause: ResetCause) {
        let by = match cause {
            ResetCause::Peer => ResetBy::Client,
            ResetCause::Violation(violation) => {
                self.violation = Some(violation);
                ResetBy::Server
            }
            _ => ResetBy::Server,
        };
        self.note_reset(code, by);
    }

    /// Notes the rule by which the connection was ended.
    pub fn note_violation(&mut self, violation: Violation) {
        self.violation = Some(violation);
        self.note_reset(violation.code(), ResetBy::Server);
    }

    /// Notes the request's id.
    pub fn note_request_id(&mut self, id: &str) {
        self.request_id = Some(id.into());
    }

    /// Returns the request's id, if it was given one.
    pub fn request_id(&self) -> Option<&str> {
        self.request_id.as_deref()
    }

    /// Notes the trace context that was made for the request.
    pub fn note_traceparent(&mut self, traceparent: &str) {
        self.traceparent = Some(traceparent.into());
    }
}
