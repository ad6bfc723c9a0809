//! A connection of the pool.

use std::time::Instant;

use rustc_hash::FxHashMap;
use tidegate_http::StreamId;
use tidegate_net::Protocol;

use crate::endpoint::Class;
use crate::ids::{Place, RequestId};
use crate::queue::Client;

/// A connection.
pub(super) struct Pooled {
    /// How many connections were dialled before it.
    pub(super) number: u64,
    pub(super) place: Place,
    pub(super) class: Class,
    /// The protocol, once the connection is established.
    pub(super) protocol: Option<Protocol>,
    pub(super) streams: FxHashMap<StreamId, RequestId>,
    pub(super) taking: Taking,
    /// Requests that it has carried.
    pub(super) carried: u64,
    /// Whether it was idle once, or answered a request. From then on the upstream may close it for
    /// a reason that says nothing about the next request.
    pub(super) was_of_use: bool,
    /// If it has no request: the value of `Pool::uses` when it became idle.
    pub(super) idle_since: Option<u64>,
    /// Whether the upstream may take all requests on it for those of one client.
    pub(super) is_private: bool,
    /// The exchange in progress, if nobody wants its response.
    pub(super) abandoned: Option<Abandoned>,
}

/// Whether a connection takes requests.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Taking {
    Requests,
    Nothing,
    /// Nothing, by a GOAWAY that names a last stream above 0: some of our requests were, or may
    /// have been, processed.
    NothingAfterSome,
}

/// An exchange whose response nobody wants.
#[derive(Clone, Copy, Debug)]
pub(super) struct Abandoned {
    pub(super) stream: StreamId,
    /// The client that holds the place.
    pub(super) client: Client,
    /// Bytes of the response that may still come.
    pub(super) left: usize,
    pub(super) until: Instant,
}

impl Pooled {
    /// Whether it takes no more requests.
    pub(super) fn is_ending(&self) -> bool {
        self.taking != Taking::Requests
    }

    /// Returns a connection that was just dialled.
    pub(super) fn new(number: u64, place: Place, class: Class) -> Self {
        Self {
            number,
            place,
            class,
            protocol: None,
            streams: FxHashMap::default(),
            taking: Taking::Requests,
            carried: 0,
            was_of_use: false,
            idle_since: None,
            is_private: false,
            abandoned: None,
        }
    }
}
