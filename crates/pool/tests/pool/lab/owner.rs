//! The service that owns the pool, and its requests.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Instant;

use bytes::Bytes;
use tidegate_http::{Event as EngineEvent, Fields};
use tidegate_net::{ConnId, Conns, End, Service};
use tidegate_pool::{Event, Failure, Pool, RequestId};

/// The owner's key of a request: its number.
pub(crate) type Key = usize;

/// An event of a request, in a form that can be compared.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Seen {
    Informational(u16),
    Response {
        status: u16,
        version: &'static str,
        end: bool,
    },
    Data {
        data: Bytes,
        end: bool,
    },
    Trailers(Fields),
    Writable,
    Failed(Failure),
}

/// A request, as its owner sees it.
#[derive(Debug, Default)]
pub(crate) struct Exchange {
    pub(crate) id: Option<RequestId>,
    pub(crate) seen: Vec<Seen>,
    /// The part of its body that is still to be written, and whether the end follows.
    pub(super) to_write: Bytes,
    pub(super) ends: bool,
    pub(super) trailers: Option<Fields>,
    pub(super) is_tunnel: bool,
    /// Whether the owner withholds credit for the response.
    pub(super) holds: bool,
    pub(super) cancelled: bool,
    /// The request to cancel when the response to this one comes, or its failure.
    pub(super) cancels: Option<Key>,
}

impl Exchange {
    /// Returns how many events have ended the request. Data that ends a tunnel doesn't.
    fn finals(&self) -> usize {
        let is_final = |seen: &&Seen| match seen {
            Seen::Response { end, .. } => *end,
            Seen::Data { end, .. } => *end && !self.is_tunnel,
            Seen::Trailers(_) | Seen::Failed(_) => true,
            Seen::Informational(_) | Seen::Writable => false,
        };
        self.seen.iter().filter(is_final).count()
    }

    /// Whether an event has ended it.
    pub(crate) fn is_over(&self) -> bool {
        self.finals() > 0
    }

    /// Whether the response grants a tunnel.
    pub(crate) fn opened_tunnel(&self) -> bool {
        self.is_tunnel
            && self
                .status()
                .is_some_and(|status| (200..300).contains(&status))
    }

    pub(crate) fn status(&self) -> Option<u16> {
        self.seen.iter().find_map(|seen| match seen {
            Seen::Response { status, .. } => Some(*status),
            _ => None,
        })
    }

    pub(crate) fn failure(&self) -> Option<&Failure> {
        self.seen.iter().find_map(|seen| match seen {
            Seen::Failed(failure) => Some(failure),
            _ => None,
        })
    }

    pub(crate) fn body(&self) -> Vec<u8> {
        let data = self.seen.iter().filter_map(|seen| match seen {
            Seen::Data { data, .. } => Some(&data[..]),
            _ => None,
        });
        data.flatten().copied().collect()
    }
}

pub(super) type Order = Box<dyn FnOnce(&mut Owner, &mut Conns)>;

/// The service.
pub(crate) struct Owner {
    pub(crate) pool: Pool<Key>,
    /// Orders of the test.
    pub(super) orders: Rc<RefCell<VecDeque<Order>>>,
    pub(super) exchanges: Rc<RefCell<Vec<Exchange>>>,
    /// A time in the past, for a timeout that is due.
    pub(super) born: Instant,
}

impl Owner {
    fn drain(&mut self, conns: &mut Conns) {
        while let Some(event) = self.pool.next_event() {
            let (key, seen) = match event {
                Event::Informational { key, head } => (key, Seen::Informational(head.status())),
                Event::Response {
                    key,
                    head,
                    version,
                    end,
                    opens_tunnel,
                    ..
                } => {
                    self.exchanges.borrow_mut()[key].is_tunnel &= opens_tunnel;
                    let status = head.status();
                    let seen = Seen::Response {
                        status,
                        version,
                        end,
                    };
                    (key, seen)
                }
                Event::Data { key, data, end } => (key, Seen::Data { data, end }),
                Event::Trailers { key, fields } => (key, Seen::Trailers(fields)),
                Event::Writable { key, want } => {
                    assert!(want > 0);
                    (key, Seen::Writable)
                }
                Event::Failed { key, failure, .. } => (key, Seen::Failed(failure)),
                event => panic!("{event:?}"),
            };
            let mut exchanges = self.exchanges.borrow_mut();
            let exchange = &mut exchanges[key];
            assert!(
                !exchange.is_over() && !exchange.cancelled,
                "{seen:?} behind the end of {exchange:?}"
            );
            exchange.seen.push(seen.clone());
            let (id, holds) = (exchange.id, exchange.holds);
            if let Some(other) = exchange.cancels
                && matches!(seen, Seen::Response { .. } | Seen::Failed(_))
            {
                exchanges[other].cancelled = true;
                let other = exchanges[other].id.expect("it was begun");
                self.pool.cancel(conns, other);
            }
            drop(exchanges);
            match (seen, id) {
                (Seen::Data { data, .. }, Some(id)) if !holds => {
                    self.pool.consume(conns, id, data.len());
                }
                (Seen::Writable, Some(_)) => self.write(conns, key),
                _ => {}
            }
        }
    }

    pub(crate) fn id(&self, key: Key) -> RequestId {
        self.exchanges.borrow()[key].id.expect("it was begun")
    }

    /// Writes as much of a body as the pool takes.
    pub(super) fn write(&mut self, conns: &mut Conns, key: Key) {
        let mut exchanges = self.exchanges.borrow_mut();
        let exchange = &mut exchanges[key];
        let Some(id) = exchange.id else {
            return;
        };
        let ends = exchange.ends && exchange.trailers.is_none();
        if !exchange.to_write.is_empty() || ends {
            let data = &mut exchange.to_write;
            let before = data.len();
            let taken = self.pool.write(conns, id, data, ends);
            assert_eq!(before - data.len(), taken);
            // Once the last bytes are taken, there is no more to write.
            exchange.ends &= !(ends && data.is_empty());
        }
        if exchange.to_write.is_empty()
            && let Some(trailers) = &exchange.trailers
            && self.pool.trailers(conns, id, trailers).is_ok()
        {
            exchange.trailers = None;
            exchange.ends = false;
        }
    }
}

impl Service for Owner {
    type Message = ();

    fn opened(&mut self, conns: &mut Conns, conn: ConnId) {
        self.pool.opened(conns, conn);
    }

    fn event(&mut self, conns: &mut Conns, conn: ConnId, event: EngineEvent) {
        assert!(self.pool.owns(conn));
        self.pool.event(conns, conn, event);
    }

    fn closed(&mut self, conns: &mut Conns, conn: ConnId, why: &End) {
        self.pool.closed(conns, conn, why);
        assert!(!self.pool.owns(conn));
    }

    fn settle(&mut self, conns: &mut Conns) -> bool {
        self.drain(conns);
        false
    }

    fn next_timeout(&self) -> Option<Instant> {
        if self.orders.borrow().is_empty() {
            self.pool.next_timeout()
        } else {
            Some(self.born)
        }
    }

    fn handle_timeout(&mut self, conns: &mut Conns, now: Instant) {
        self.pool.handle_timeout(conns, now);
        self.drain(conns);
        while let Some(order) = { self.orders.borrow_mut().pop_front() } {
            order(self, conns);
            self.drain(conns);
        }
    }
}
