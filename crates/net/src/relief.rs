//! Relief when memory is tight: the client that holds most of it gives some back, the least to lose
//! first.

use std::collections::HashSet;

use log::debug;
use tidegate_ledger::{Client, ClientKey, Ledger, Mode, Resource};

use crate::admission::Whose;
use crate::driver::Driver;
use crate::{ConnId, Service};

/// Idle connections that a worker closes in a second.
const SHED_AT_ONCE: usize = 64;

/// Connections that a worker limits to fewer streams in a second.
const HELD_BACK_AT_ONCE: usize = 1024;

/// The part of a connection's streams that its client may still have: an eighth. Streams in
/// progress go on, but fewer follow them.
const PART: u32 = 8;

/// A client must hold back if it holds more than this many times what the others hold on average.
const MUCH: u64 = 2;

/// The connections whose clients may have fewer streams for now.
#[derive(Default)]
pub(crate) struct HeldBack(HashSet<ConnId>);

impl HeldBack {
    /// Whether no connection is limited.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes one step a second, as long as memory is tight, at the cost of the client that holds
    /// most of it. First its idle connections are closed. If it still holds much more than others,
    /// its connections may have fewer streams. From the next second on, the connection that holds
    /// most takes no more requests, and ends after those in progress.
    pub(crate) fn relieve(&mut self, driver: &mut Driver<impl Service>) {
        let ledger = &driver.options.ledger;
        if !ledger.is_tight(Resource::Bytes) {
            return self.lift(driver);
        }
        let Some(client) = ledger.largest(Resource::Bytes) else {
            return;
        };
        for _ in 0..SHED_AT_ONCE {
            if !driver.make_room(Some(client.key()), Whose::Own) {
                break;
            }
        }
        if must_hold_back(&driver.options.ledger, &client) {
            self.hold_back(client.key(), driver);
        }
    }

    /// Limits the connections of a client to fewer streams, or drains one if they were limited
    /// before.
    fn hold_back(&mut self, client: ClientKey, driver: &mut Driver<impl Service>) {
        let now = driver.conns.now();
        let streams = driver.options.engine.max_concurrent_streams.div_ceil(PART);
        let held_back = &mut self.0;
        held_back.retain(|conn| driver.conns.engine_ref(*conn).is_some());
        let all = driver.conns.of(client);
        let (known, new): (Vec<ConnId>, Vec<ConnId>) =
            all.into_iter().partition(|conn| held_back.contains(conn));
        for conn in new.into_iter().take(HELD_BACK_AT_ONCE) {
            if let Some(engine) = driver.conns.engine(conn) {
                engine.limit_streams(streams);
                self.0.insert(conn);
            }
        }
        let engines = known.iter().filter_map(|conn| {
            let engine = driver.conns.engine_ref(*conn)?;
            (!engine.is_ending()).then(|| (engine.held_bytes(), *conn))
        });
        if let Some((bytes, conn)) = engines.max_by_key(|(bytes, _)| *bytes)
            && let Some(engine) = driver.conns.engine(conn)
        {
            engine.shut_down(now);
            driver.conns.totals.drained_for_memory += 1;
            debug!("{client}: its connection that holds {bytes} bytes takes no more requests");
        }
    }

    /// Lifts the limits once there is memory again.
    fn lift(&mut self, driver: &mut Driver<impl Service>) {
        let rule = driver.options.ledger.rule(Resource::Bytes);
        let free = rule.free(driver.options.ledger.used(Resource::Bytes));
        // Wait for some reserve, so that limits don't come and go.
        if self.is_empty() || free < rule.capacity / 4 {
            return;
        }
        for conn in std::mem::take(&mut self.0) {
            if let Some(engine) = driver.conns.engine(conn) {
                engine.limit_streams(u32::MAX);
            }
        }
    }
}

/// Whether memory is tight and this client holds more than [`MUCH`] times what the others hold on
/// average. A client that is alone may have nearly everything.
fn must_hold_back(ledger: &Ledger, client: &Client) -> bool {
    let held = client.held(Resource::Bytes);
    let others = ledger.used(Resource::Bytes).saturating_sub(held);
    let count = (ledger.holders(Resource::Bytes) as u64).saturating_sub(1);
    ledger.limits().get_mode() == Mode::Enforce
        && ledger.is_tight(Resource::Bytes)
        && held.saturating_mul(count) > others.saturating_mul(MUCH)
}
