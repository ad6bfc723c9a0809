//! `/api/overview`, the totals of all workers, and `/api/upstreams`, the addresses of upstreams.

use std::collections::BTreeMap;
use std::time::SystemTime;

use serde::Serialize;
use tidegate_http::RequestHead;
use tidegate_ledger::Resource;

use super::question::{Answers, Question};
use super::resource::{Response, State, Step};
use crate::flags::Switch;
use crate::metrics::counts::TIME_BOUNDS;
use crate::picture::row::Headers;
use crate::stats::{Snapshot, Upstream};

/// The totals of all workers.
#[derive(Serialize)]
pub(super) struct Overview {
    version: &'static str,
    /// Seconds since the server began to serve.
    uptime: f64,
    workers: usize,
    /// Workers that didn't answer in time, whose counters may be a second old.
    late_workers: usize,
    /// Whether `--admin-write on` is given.
    may_write: bool,
    /// Connections of clients that are open.
    connections: u64,
    /// Their streams that are open.
    streams: u64,
    /// Requests so far.
    requests: u64,
    /// Responses so far, by the class of their status.
    responses: BTreeMap<&'static str, u64>,
    /// Streams of clients that were reset so far.
    resets: u64,
    /// How long requests took.
    latency: Latency,
    /// Bytes read from sockets, of clients and of upstreams.
    bytes_in: u64,
    /// Bytes written to them.
    bytes_out: u64,
    /// Bytes of fields of clients' requests and their responses, and of the blocks that they were
    /// compressed to.
    headers: Headers,
    memory: Memory,
    /// Rules and limits that clients broke so far.
    violations: BTreeMap<&'static str, u64>,
}

/// How long requests took, by buckets.
#[derive(Serialize)]
struct Latency {
    /// The upper ends of the buckets, in milliseconds.
    bounds_ms: Vec<f64>,
    /// Requests so far in each bucket; the last is for all that took longer.
    counts: Vec<u64>,
}

/// The memory that connections hold.
#[derive(Serialize)]
struct Memory {
    held: u64,
    /// The most that they may hold; `null` if there is no limit.
    budget: Option<u64>,
}

const CLASSES: [&str; 6] = ["none", "1xx", "2xx", "3xx", "4xx", "5xx"];

impl Overview {
    /// Takes the sums of all workers' counters.
    pub(super) fn of(state: &State, sum: &Snapshot, late_workers: usize) -> Self {
        let Snapshot { totals, counts, .. } = sum;
        let up = SystemTime::now().duration_since(state.facts.started);
        let durations = counts.all_times().durations;
        let mut latency = durations.buckets.to_vec();
        let inside: u64 = latency.iter().sum();
        latency.push(durations.count.saturating_sub(inside));
        let answers = CLASSES.into_iter().zip(counts.answers).skip(1);
        let violations = counts.violations.iter();
        let budget = state.ledger.rule(Resource::Bytes).capacity;
        Self {
            version: env!("CARGO_PKG_VERSION"),
            uptime: up.unwrap_or_default().as_secs_f64(),
            workers: state.stats.workers(),
            late_workers,
            may_write: state.write == Switch::On,
            connections: totals.open,
            streams: totals.active_streams,
            requests: totals.engines.requests,
            responses: answers.collect(),
            resets: counts.resets.sum(),
            latency: Latency {
                bounds_ms: TIME_BOUNDS.map(|micros| micros as f64 / 1000.0).to_vec(),
                counts: latency,
            },
            bytes_in: totals.bytes_received,
            bytes_out: totals.bytes_sent,
            headers: Headers::from(&totals.engines),
            memory: Memory {
                held: state.ledger.used(Resource::Bytes),
                budget: (budget < u64::MAX).then_some(budget),
            },
            violations: violations
                .map(|(rule, count)| (rule.label(), count))
                .collect(),
        }
    }
}

/// An address of an upstream.
#[derive(Serialize)]
pub(super) struct Address {
    name: String,
    address: String,
    health: Health,
    /// Workers that skip the address, because it failed a moment ago.
    skipping_workers: u64,
    /// Connections that take requests.
    connections: u64,
    /// Requests in progress, with those that wait for a place.
    requests: u64,
}

/// The health of an address.
#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum Health {
    Up,
    /// At least one worker skips it.
    Failing,
    /// An operator has taken it out of use.
    Draining,
}

impl From<&Upstream> for Address {
    fn from(upstream: &Upstream) -> Self {
        Self {
            name: upstream.name.clone(),
            address: upstream.addr.clone(),
            health: if upstream.drained > 0 {
                Health::Draining
            } else if upstream.skipped > 0 {
                Health::Failing
            } else {
                Health::Up
            },
            skipping_workers: upstream.skipped,
            connections: upstream.connections,
            requests: upstream.requests,
        }
    }
}

/// Returns the addresses of all upstreams.
pub(super) fn addresses(sum: &Snapshot) -> Vec<Address> {
    sum.upstreams.iter().map(Address::from).collect()
}

/// Answers with the totals.
pub(super) fn overview(_: &State, _: &RequestHead) -> Step {
    Step::Ask(Question::Publish, |state: &State, answers: Answers| {
        Response::json(&Overview::of(state, &state.stats.sum(), answers.late))
    })
}

/// Answers with the addresses of upstreams.
pub(super) fn upstreams(_: &State, _: &RequestHead) -> Step {
    Step::Ask(Question::Publish, |state: &State, _: Answers| {
        Response::json(&addresses(&state.stats.sum()))
    })
}
