//! Heads that were forwarded last, in case the same clients repeat their requests: those of APIs
//! and of gRPC do.

use std::hash::{BuildHasher as _, Hash};
use std::sync::{Arc, Weak};

use rustc_hash::FxBuildHasher;
use tidegate_http::RequestHead;

/// Connections whose last request is known, at most. A connection pushes out another one with the
/// same place.
const PLACES: usize = 128;

/// Bytes of the largest head that is kept.
const MOST: usize = 4 << 10;

/// The last requests of connections, as they were forwarded. `C` identifies a client's connection.
#[derive(Debug)]
pub(crate) struct Repeated<C> {
    /// Empty until there is a request.
    last: Vec<Option<Last<C>>>,
}

#[derive(Debug)]
struct Last<C> {
    conn: C,
    /// The request as it came. An engine returns the same allocation for a request that repeats the
    /// last one of its connection.
    received: Weak<RequestHead>,
    sent: Arc<RequestHead>,
}

impl<C> Default for Repeated<C> {
    fn default() -> Self {
        Self { last: Vec::new() }
    }
}

impl<C: Copy + Eq + Hash> Repeated<C> {
    /// Returns the head with which this request went on when it came on this connection before.
    /// Everything else that a forwarded head depends on is the same for all requests of a
    /// connection.
    pub(crate) fn find(
        &mut self,
        conn: C,
        received: &Arc<RequestHead>,
    ) -> Option<Arc<RequestHead>> {
        let last = self.last.get_mut(place(conn))?.as_mut()?;
        // While `last` exists, no other head gets the same address.
        if last.conn != conn || !std::ptr::eq(last.received.as_ptr(), Arc::as_ptr(received)) {
            return None;
        }
        if last.sent.stamp().is_none() {
            last.sent = Arc::new(RequestHead::clone(&last.sent).shared());
        }
        Some(Arc::clone(&last.sent))
    }

    /// Notes how a request went on.
    pub(crate) fn note(&mut self, conn: C, received: &Arc<RequestHead>, sent: &Arc<RequestHead>) {
        if sent.fields().allocated() > MOST {
            return;
        }
        self.last.resize_with(PLACES, || None);
        self.last[place(conn)] = Some(Last {
            conn,
            received: Arc::downgrade(received),
            sent: Arc::clone(sent),
        });
    }

    /// Forgets the request of a connection that has closed: its fields, such as cookies, are for
    /// nobody else to keep.
    pub(crate) fn closed(&mut self, conn: C) {
        if let Some(place) = self.last.get_mut(place(conn)) {
            place.take_if(|last| last.conn == conn);
        }
    }
}

/// Returns the place of a connection.
fn place(conn: impl Hash) -> usize {
    FxBuildHasher.hash_one(conn) as usize % PLACES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_head_on_the_same_connection_is_found() {
        let head = |path: &str| Arc::new(RequestHead::new("GET", "https", "a", path));
        let (received, sent) = (head("/a"), head("/b"));
        let mut repeated = Repeated::default();
        assert!(repeated.find(1, &received).is_none());
        repeated.note(1, &received, &sent);
        let found = repeated.find(1, &received).unwrap();
        assert_eq!(found.fields(), sent.fields());
        // From now on the upstream's connection may encode it once.
        assert!(found.stamp().is_some());
        assert!(Arc::ptr_eq(&found, &repeated.find(1, &received).unwrap()));
        assert!(repeated.find(2, &received).is_none());
        assert!(repeated.find(1, &head("/a")).is_none());
        repeated.note(1, &head("/c"), &sent);
        assert!(repeated.find(1, &received).is_none());
    }

    #[test]
    fn nothing_is_kept_of_a_connection_that_has_closed() {
        let head = || Arc::new(RequestHead::new("GET", "https", "a", "/"));
        let (received, sent) = (head(), head());
        let mut repeated = Repeated::default();
        repeated.closed(1);
        repeated.note(1, &received, &sent);
        repeated.closed(2);
        assert_eq!(Arc::strong_count(&sent), 2);
        repeated.closed(1);
        assert_eq!(Arc::strong_count(&sent), 1);
        assert!(repeated.find(1, &received).is_none());
    }

    #[test]
    fn there_is_a_bound() {
        let head = Arc::new(RequestHead::new("GET", "https", "a", "/"));
        let mut repeated = Repeated::default();
        for conn in 0..10_000 {
            repeated.note(conn, &head, &head);
        }
        let found = (0..10_000).filter(|conn| repeated.find(*conn, &head).is_some());
        assert!((1..=PLACES).contains(&found.count()));
        let large = RequestHead::new("GET", "https", "a", "/").field("x-large", [b'a'; MOST]);
        let large = Arc::new(large);
        repeated.note(1, &large, &large);
        assert!(repeated.find(1, &large).is_none());
    }

    #[test]
    fn a_head_that_is_gone_is_not_found_at_its_address() {
        let mut repeated = Repeated::default();
        let sent = Arc::new(RequestHead::new("GET", "https", "a", "/"));
        repeated.note(
            1,
            &Arc::new(RequestHead::new("GET", "https", "a", "/x")),
            &sent,
        );
        for _ in 0..100 {
            let other = Arc::new(RequestHead::new("GET", "https", "a", "/y"));
            assert!(repeated.find(1, &other).is_none());
        }
    }
}
