//! Memory is tight: the client that holds most of it gives some back, the least to lose first.

use std::collections::HashSet;

use log::debug;
use tidegate_ledger::{Client, ClientKey, Ledger, Mode, Resource};

use crate::admission::Whose;
use crate::driver::Driver;
use crate::{ConnId, Service};

/// Idle connections that a worker closes in a second.
const SHED_AT_ONCE: usize = 64;

/// Connections whose clients a worker tells in a second that they may have fewer streams.
const HELD_BACK_AT_ONCE: usize = 1024;

/// The part of the streams of a connection that its client may still have: an eighth. What is in
/// progress goes on; what ends isn't followed by as much again.
const PART: u32 = 8;

/// How many times as much as the others on average a client holds that has to hold back.
const MUCH: u64 = 2;

/// The connections whose clients may have fewer streams for now.
#[derive(Default)]
pub(crate) struct HeldBack(HashSet<ConnId>);

impl HeldBack {
    /// Whether it is still to be seen when that is over.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// One step a second, as long as memory is tight, at the cost of the client that holds most of it. Its idle connections are closed.
    /// If that isn't enough and it holds much more than others, its connections may have fewer streams. Those may already in the
    /// next second: then the connection that holds most takes no more requests, and ends once those in progress are over.
    pub(crate) fn make_memory(&mut self, driver: &mut Driver<impl Service>) {
        let ledger = &driver.options.ledger;
        if !ledger.is_tight(Resource::Bytes) {
            return self.let_go(driver);
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

    /// Lets the connections of a client have fewer streams, or ends one if that was done before.
    fn hold_back(&mut self, client: ClientKey, driver: &mut Driver<impl Service>) {
        let now = driver.conns.now();
        let streams = driver.options.proto.max_concurrent_streams.div_ceil(PART);
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

    /// There is memory again: all may have as many streams as ever.
    fn let_go(&mut self, driver: &mut Driver<impl Service>) {
        let rule = driver.options.ledger.rule(Resource::Bytes);
        let free = rule.free(driver.options.ledger.used(Resource::Bytes));
        // Not at once, so that it doesn't go to and fro.
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
/// average. One that is alone may have nearly all.
fn must_hold_back(ledger: &Ledger, client: &Client) -> bool {
    let held = client.held(Resource::Bytes);
    let others = ledger.used(Resource::Bytes).saturating_sub(held);
    let count = (ledger.holders(Resource::Bytes) as u64).saturating_sub(1);
    ledger.limits().get_mode() == Mode::Enforce
        && ledger.is_tight(Resource::Bytes)
        && held.saturating_mul(count) > others.saturating_mul(MUCH)
}
