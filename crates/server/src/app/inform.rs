//! Answers to the questions of the admin listener.

use std::time::Duration;

use tidegate_http::ErrorCode;
use tidegate_net::{ConnId, Conns};

use super::App;
use crate::admin::{Act, Answer, Question};
use crate::metrics::scrape::MOST_LABELS;
use crate::site::WorkerSite;
use crate::stats::{Snapshot, Upstream};

/// How long counters are new enough. To publish them is work for each connection, so nobody may ask
/// for more often than this.
const NEW: Duration = Duration::from_millis(50);

/// How long the levels of guards of connections that have closed are shown, at least.
const PEAKS: Duration = Duration::from_secs(60);

impl App {
    /// Publishes the worker's counters.
    pub(super) fn publish(&mut self, conns: &mut Conns) {
        self.counts.times = self.exchanges.times();
        let totals = conns.totals();
        if self.peaks_due <= conns.now() {
            self.peaks_due = conns.now() + PEAKS;
            self.former_guards = totals.guards;
            conns.take_peaks();
        }
        let mut snapshot = Snapshot {
            totals,
            pool: self.proxy.pool.stats(),
            push: self.push_stats(),
            counts: self.counts.clone(),
            sites: self.sites.iter().map(WorkerSite::counted).collect(),
            upstreams: Vec::new(),
        };
        snapshot.totals.guards.raise(&self.former_guards);
        let addresses = self.proxy.pool.overview(MOST_LABELS, conns.now());
        snapshot.upstreams = addresses.into_iter().map(Upstream::from).collect();
        self.published.set(snapshot);
        self.publish_due = conns.now() + NEW;
    }

    /// Counts a client's connection that is ready for requests.
    pub(super) fn count_opened(&mut self, conns: &Conns, conn: ConnId) {
        if let (Some(engine), Some(info)) = (conns.engine_ref(conn), conns.info(conn)) {
            self.counts.opened(engine.protocol(), info);
        }
    }

    /// Answers a question of the admin listener to the worker with this number.
    pub(super) fn answer_admin(
        &mut self,
        conns: &mut Conns,
        question: &Question,
        worker: usize,
    ) -> Answer {
        match question {
            Question::Turns => Answer::Turns,
            Question::Publish => {
                if self.publish_due <= conns.now() {
                    self.publish(conns);
                }
                Answer::Published
            }
            Question::Act(act) => Answer::Acted(self.act(conns, worker, *act)),
            Question::Look(look) => {
                if look.list.is_some() && self.publish_due <= conns.now() {
                    self.publish(conns);
                }
                Answer::Looked(Box::new(self.look(conns, worker, look)))
            }
        }
    }

    /// Makes a change. Returns whether it concerned this worker.
    fn act(&mut self, conns: &mut Conns, worker: usize, act: Act) -> bool {
        match act {
            Act::Close(name) if name.worker == worker => {
                let engine = conns.engine(name.conn);
                let is_here = engine.is_some();
                if let Some(engine) = engine {
                    engine.abort(ErrorCode::NO_ERROR, "ended by the operator");
                }
                is_here
            }
            Act::Close(_) => false,
            Act::Drain(addr) => self.proxy.pool.drain(conns, addr),
            Act::Restore(addr) => self.proxy.pool.restore(addr),
        }
    }
}
