//! The table of all metrics. `docs/metrics.md` and both formats are made from it.

use tidegate_http::Stats;
use tidegate_ledger::Resource;
use tidegate_net::TURN_BOUNDS;

use super::counts::{AGE_BOUNDS, TIME_BOUNDS, WAIT_BOUNDS};
use super::scrape::{MOST_CLIENTS, MOST_LABELS, Scrape, unix_seconds};
use crate::push::Refusal;

/// The course of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A count since the start, which only grows.
    Counter,
    /// A value at this moment.
    Gauge,
    /// Counts of times by how long they were.
    Histogram,
}

impl Kind {
    /// Returns the type in both formats.
    pub fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }

    /// Returns the suffix of its samples, if it isn't a histogram.
    pub fn suffix(self) -> &'static str {
        match self {
            Self::Counter => "_total",
            Self::Gauge | Self::Histogram => "",
        }
    }
}

/// A row of the table.
pub struct Family {
    /// The name, with the unit, without the suffix `_total` of counters.
    pub name: &'static str,
    /// The course.
    pub kind: Kind,
    /// The unit, which the name ends with; empty if there is none.
    pub unit: &'static str,
    /// The description, one or two sentences.
    pub help: &'static str,
    /// The names of its labels.
    pub labels: &'static [&'static str],
    /// Whose values these are.
    pub read: Read,
}

/// How the values of a metric are read.
pub enum Read {
    /// One value.
    One(fn(&Scrape<'_>) -> f64),
    /// A value for each combination of labels.
    Each(fn(&Scrape<'_>, &mut Samples)),
    /// A histogram: the upper ends of its buckets in microseconds, and its counts.
    Times(&'static [u64], fn(&Scrape<'_>) -> Counted),
}

/// The counts of a histogram: of each bucket, of all times, and the sum in microseconds.
pub type Counted = (Vec<u64>, u64, u64);

/// The values of a metric, each with the values of its labels.
#[derive(Debug, Default, PartialEq)]
pub struct Samples(pub Vec<(Vec<String>, f64)>);

impl Samples {
    fn push(&mut self, labels: &[&str], value: f64) {
        let labels = labels.iter().map(|label| (*label).to_owned()).collect();
        self.0.push((labels, value));
    }

    fn count(&mut self, labels: &[&str], count: u64) {
        self.push(labels, count as f64);
    }

    /// Pushes a value, unless it is 0 because the server has no use for it.
    fn used(&mut self, labels: &[&str], count: u64) {
        if count > 0 {
            self.count(labels, count);
        }
    }

    /// Makes the values after the first [`MOST_LABELS`] one, with the label `other` everywhere.
    fn bound(&mut self) {
        if self.0.len() <= MOST_LABELS {
            return;
        }
        let rest: f64 = self.0.drain(MOST_LABELS..).map(|(_, value)| value).sum();
        let labels = self.0.first().map_or(0, |(labels, _)| labels.len());
        self.push(&vec!["other"; labels], rest);
    }
}

fn counted<const N: usize>(histogram: &tidegate_net::Histogram<N>) -> Counted {
    let buckets = histogram.buckets.to_vec();
    (buckets, histogram.count, histogram.micros)
}

/// The names of the resources that clients share.
fn resource(resource: Resource) -> &'static str {
    match resource {
        Resource::Connections => "connections",
        Resource::Requests => "requests",
        Resource::Descriptors => "descriptors",
        Resource::Bytes => "memory_held",
        Resource::Credit => "memory_lent",
        Resource::UpstreamPlaces => "upstream_places",
        Resource::Dials => "dials",
    }
}

/// Pushes a value of both directions of the header fields of an engine.
fn headers(out: &mut Samples, stats: &Stats) {
    out.count(&["received", "uncompressed"], stats.fields_in);
    out.count(&["received", "compressed"], stats.blocks_in);
    out.count(&["sent", "uncompressed"], stats.fields_out);
    out.count(&["sent", "compressed"], stats.blocks_out);
}

macro_rules! families {
    ($($kind:ident $name:literal $([$unit:literal])? $(by ($($label:literal),+))? = $read:expr, $help:literal;)*) => {
        /// All metrics, in the order in which they are written.
        pub const FAMILIES: &[Family] = &[$(Family {
            name: $name,
            kind: Kind::$kind,
            unit: concat!($($unit)?),
            help: $help,
            labels: &[$($($label),+)?],
            read: $read,
        }),*];
    };
}

use Read::{Each, One, Times};

families! {
    Gauge "tidegate_build_info" by ("version") = Each(|_, out| out.push(&[env!("CARGO_PKG_VERSION")], 1.0)), "The version of the program.";
    Gauge "tidegate_start_timestamp_seconds" ["seconds"] = One(|all| unix_seconds(all.facts.started)), "When the process began to serve, in seconds since 1970.";
    Counter "tidegate_reloads" by ("result") = Each(|all, out| {
        out.count(&["used"], all.facts.reloads);
        out.count(&["refused"], all.facts.failed_reloads);
    }), "Reloads of the configuration: used, or refused because of a mistake in it.";
    Gauge "tidegate_certificate_expiry_timestamp_seconds" ["seconds"] by ("path") = Each(|all, out| {
        for (path, expires) in all.facts.expiries.iter().take(MOST_LABELS) {
            out.push(&[path], unix_seconds(*expires));
        }
    }), "When a certificate or revocation list expires, in seconds since 1970. At most 64 paths.";
    Counter "tidegate_log_lines_lost" = One(|all| all.lost_lines as f64), "Lines of logs that were dropped because they couldn't be written fast enough.";

    Counter "tidegate_connections_accepted" = One(|all| all.snapshot.totals.accepted as f64), "Connections of clients that were accepted.";
    Counter "tidegate_connections_refused" by ("reason") = Each(|all, out| {
        let totals = &all.snapshot.totals;
        out.count(&["share"], totals.refused_for_share);
        out.count(&["no_room"], totals.refused - totals.refused_for_share.min(totals.refused));
    }), "Connections of clients that were refused: their client had its share, or there was no room.";
    Counter "tidegate_connections_opened" by ("protocol") = Each(|all, out| {
        let [http2, http1] = all.snapshot.counts.protocols;
        out.count(&["HTTP/2"], http2);
        out.count(&["HTTP/1.1"], http1);
    }), "Connections of clients that became ready for requests, by protocol.";
    Counter "tidegate_tls_connections_opened" by ("version") = Each(|all, out| {
        for (version, count) in all.snapshot.counts.tls_versions.iter() {
            out.count(&[version], count);
        }
    }), "Those over TLS, by its version.";
    Gauge "tidegate_connections_open" = One(|all| all.snapshot.totals.open as f64), "Connections of clients that are open, including those in a TLS handshake.";
    Gauge "tidegate_connections_idle" = One(|all| all.snapshot.totals.idle as f64), "Connections of clients that are open without a request in progress.";
    Counter "tidegate_connections_ended" by ("reason") = Each(|all, out| {
        for (reason, count) in all.snapshot.counts.ends.iter() {
            out.count(&[reason], count);
        }
    }), "Connections of clients that ended, by reason.";
    Histogram "tidegate_connection_age_seconds" ["seconds"] = Times(&AGE_BOUNDS, |all| counted(&all.snapshot.counts.ages)), "Ages of connections of clients at their end.";
    Counter "tidegate_received_bytes" ["bytes"] = One(|all| all.snapshot.totals.bytes_received as f64), "Bytes read from sockets of clients and upstreams.";
    Counter "tidegate_sent_bytes" ["bytes"] = One(|all| all.snapshot.totals.bytes_sent as f64), "Bytes written to sockets of clients and upstreams.";

    Counter "tidegate_requests" = One(|all| all.snapshot.totals.engines.requests as f64), "Requests received.";
    Counter "tidegate_requests_refused" by ("reason") = Each(|all, out| {
        out.count(&["share"], all.snapshot.totals.requests_refused);
        out.count(&["memory"], all.snapshot.totals.engines.refused_for_memory);
    }), "Requests refused because their client had its share, or the memory budget was used up.";
    Counter "tidegate_responses" by ("status") = Each(|all, out| {
        let [reset, _, second, third, fourth, fifth] = all.snapshot.counts.answers;
        for (status, count) in [("2xx", second), ("3xx", third), ("4xx", fourth), ("5xx", fifth), ("none", reset)] {
            out.count(&[status], count);
        }
    }), "Requests that ended, by the class of their status; none if they were reset first.";
    Histogram "tidegate_request_duration_seconds" ["seconds"] = Times(&TIME_BOUNDS, |all| counted(&all.snapshot.counts.all_times().durations)), "Times from a request's head until all of its response was written or buffered. Those within a turn of the loop count as 0.";
    Histogram "tidegate_request_first_byte_seconds" ["seconds"] = Times(&WAIT_BOUNDS, |all| counted(&all.snapshot.counts.all_times().first_bytes)), "Times from a request's head until the head of its response was written or buffered.";
    Histogram "tidegate_upstream_wait_seconds" ["seconds"] = Times(&WAIT_BOUNDS, |all| counted(&all.snapshot.counts.upstream_waits)), "Times for which requests waited for upstreams: for a place, the connection and the head of the response.";
    Counter "tidegate_site_requests" by ("site") = Each(|all, out| {
        for (site, count) in &all.snapshot.sites {
            out.count(&[site], *count);
        }
        out.bound();
    }), "Requests by the first name of their site, or default. At most 64 sites; the others are together in other.";

    Gauge "tidegate_streams_active" = One(|all| all.snapshot.totals.active_streams as f64), "Requests of clients in progress.";
    Gauge "tidegate_streams_stalled" = One(|all| all.snapshot.totals.stalled_streams as f64), "Those with data to send that wait for their client's stream window.";
    Counter "tidegate_stream_stalls" = One(|all| all.snapshot.totals.engines.stream_stalls as f64), "Times that a response began to wait for its client's stream window.";
    Counter "tidegate_stalled_seconds" ["seconds"] by ("by") = Each(|all, out| {
        let (clients, upstreams) = (&all.snapshot.totals.engines, &all.snapshot.totals.dialled_engines);
        for (by, micros) in [
            ("client_stream_window", clients.stream_stalled),
            ("client_connection_window", clients.connection_stalled),
            ("upstream_stream_window", upstreams.stream_stalled),
            ("upstream_connection_window", upstreams.connection_stalled),
        ] {
            if micros > 0 {
                out.push(&[by], micros as f64 / 1e6);
            }
        }
    }), "Time for which messages with data to send waited for a window of HTTP/2, by the window's owner. It ends once 16 KiB went out.";
    Counter "tidegate_resets" by ("by", "code") = Each(|all, out| {
        for ((by, code), count) in all.snapshot.counts.resets.iter() {
            out.count(&[by.label(), code], count);
        }
    }), "Streams of clients that were reset: by the client, or by this server for a violation or for want of memory. At most 45 series.";
    Counter "tidegate_reset_frames" by ("direction") = Each(|all, out| {
        out.count(&["received"], all.snapshot.totals.engines.resets_in);
        out.count(&["sent"], all.snapshot.totals.engines.resets_out);
    }), "RST_STREAM frames of connections of clients.";
    Counter "tidegate_all_violations" = One(|all| all.snapshot.counts.violations.sum() as f64), "Violations of all rules and limits together.";
    Counter "tidegate_violations" by ("rule") = Each(|all, out| {
        for (violation, count) in all.snapshot.counts.violations.iter() {
            out.count(&[violation.label()], count);
        }
    }), "Rules and limits that clients broke, by the names of docs/limits.md. Those that were never broken have no series.";
    Gauge "tidegate_guard_used_ratio" ["ratio"] by ("guard") = Each(|all, out| {
        for (guard, percent) in all.snapshot.totals.guards.iter() {
            if percent > 0 {
                out.push(&[guard], f64::from(percent) / 100.0);
            }
        }
    }), "The largest part of a budget against abuse that a client used up at once, of open connections and those that ended in the last minutes. At 1 a connection pauses or ends; untouched budgets have no series.";
    Counter "tidegate_header_bytes" ["bytes"] by ("direction", "form") = Each(|all, out| headers(out, &all.snapshot.totals.engines)), "Bytes of the header and trailer fields of clients' requests and of responses to them, before and after compression.";

    Gauge "tidegate_shared" by ("resource") = Each(|all, out| {
        for one in Resource::ALL {
            if all.ledger.rule(one).capacity > 0 {
                out.count(&[resource(one)], all.ledger.used(one));
            }
        }
    }), "What clients hold of the resources that they share. memory_held and memory_lent are bytes; resources without a limit have no series.";
    Gauge "tidegate_shared_limit" by ("resource") = Each(|all, out| {
        for one in Resource::ALL {
            let rule = all.ledger.rule(one);
            if rule.capacity > 0 {
                out.count(&[resource(one)], rule.capacity);
            }
        }
    }), "The most that all clients together may hold.";
    Gauge "tidegate_client_memory_bytes" ["bytes"] by ("client") = Each(|all, out| {
        for (client, bytes) in all.ledger.largest_holders(Resource::Bytes, MOST_CLIENTS) {
            out.count(&[&client.to_string()], bytes);
        }
    }), "Memory of the clients that hold most of the budget. At most 10 clients.";

    Counter "tidegate_preloads" by ("result") = Each(|all, out| {
        let push = &all.snapshot.push;
        out.used(&["hinted"], push.hinted);
        out.used(&["pushed"], push.pushed);
        out.used(&["cancelled"], push.cancelled);
    }), "Resources that pages need: named in a 103 response, pushed, and pushed but reset by the client.";
    Counter "tidegate_preloads_not_pushed" by ("reason") = Each(|all, out| {
        for why in Refusal::ALL {
            let count = all.snapshot.push.not_pushed.by(why);
            out.used(&[&why.label().replace(' ', "_")], count);
        }
    }), "Resources that pages need and that weren't pushed, by reason.";

    Gauge "tidegate_upstream_connections" by ("state") = Each(|all, out| {
        let pool = &all.snapshot.pool;
        out.used(&["idle"], pool.idle);
        out.used(&["busy"], pool.open.saturating_sub(pool.idle));
    }), "Connections to upstreams that are open or being dialled: idle without a request, or busy.";
    Counter "tidegate_upstream_dials" by ("result") = Each(|all, out| {
        out.used(&["connected"], all.snapshot.pool.connected);
        out.used(&["failed"], all.snapshot.pool.connect_failures);
    }), "Connections to upstreams that were dialled, and established or not.";
    Counter "tidegate_upstream_requests" by ("connection") = Each(|all, out| {
        let pool = &all.snapshot.pool;
        out.used(&["reused"], pool.reused);
        out.used(&["new"], pool.sent.saturating_sub(pool.reused));
    }), "Requests sent to upstreams, on a connection that had carried another before or on a new one. A request that is sent again counts again.";
    Counter "tidegate_upstream_retries" = Each(|all, out| out.used(&[], all.snapshot.pool.retried)), "Requests that were sent to an upstream again.";
    Counter "tidegate_upstream_failures" by ("error") = Each(|all, out| {
        for (error, count) in all.snapshot.counts.upstream_failures.iter() {
            out.count(&[error], count);
        }
    }), "Requests that no upstream answered completely, by the error of RFC 9209 that proxy-status has.";
    Gauge "tidegate_upstream_up" by ("upstream", "address") = Each(|all, out| {
        for one in all.snapshot.upstreams.iter().take(MOST_LABELS) {
            // The same workers may do both.
            let unused = one.skipped.max(one.drained);
            let share = unused as f64 / all.workers.max(1) as f64;
            out.push(&[&one.name, &one.addr], 1.0 - share.min(1.0));
        }
    }), "The share of workers that send requests to an address; the others skip it, because it failed a moment ago or an operator has drained it. At most 64 addresses.";
    Gauge "tidegate_upstream_address_requests" by ("upstream", "address") = Each(|all, out| {
        for one in &all.snapshot.upstreams {
            out.count(&[&one.name, &one.addr], one.requests);
        }
        out.bound();
    }), "Requests in progress at an address, including those that wait for a place. At most 64 addresses; the others are together in other.";

    Histogram "tidegate_loop_turn_seconds" ["seconds"] = Times(&TURN_BOUNDS, |all| counted(&all.snapshot.totals.turns.turns)), "Times that turns of the workers' loops took. A client waits as long for the others.";
    Histogram "tidegate_loop_lag_seconds" ["seconds"] = Times(&TURN_BOUNDS, |all| counted(&all.snapshot.totals.turns.late)), "How late turns began that were due at a time. A busy machine makes them late.";
    Counter "tidegate_loop_events" = One(|all| all.snapshot.totals.turns.events as f64), "Events of the system that the workers' loops handled.";
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_units_and_sentences_are_as_openmetrics_wants_them() {
        let mut names = HashSet::new();
        for family in FAMILIES {
            let Family {
                name,
                kind,
                unit,
                help,
                ..
            } = family;
            assert!(names.insert(*name), "{name}");
            assert!(name.starts_with("tidegate_"), "{name}");
            assert!(name.ends_with(unit), "{name}: {unit}");
            assert!(
                help.ends_with('.') && !help.contains(['\n', '"', '\\']),
                "{name}"
            );
            let suffixes = ["_total", "_count", "_sum", "_bucket", "_created"];
            assert!(
                !suffixes.iter().any(|suffix| name.ends_with(suffix)),
                "{name}"
            );
            assert_eq!(
                *kind == Kind::Histogram,
                matches!(family.read, Times(..)),
                "{name}"
            );
        }
    }

    #[test]
    fn too_many_labels_are_summed_up() {
        let mut samples = Samples::default();
        for site in 0..100 {
            samples.count(&[&site.to_string()], 2);
        }
        samples.bound();
        assert_eq!(samples.0.len(), MOST_LABELS + 1);
        assert_eq!(samples.0.last().unwrap(), &(vec!["other".to_owned()], 72.0));
    }
}
