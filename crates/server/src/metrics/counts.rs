//! Counts of one worker's service.

use std::time::Duration;

use tidegate_http::{CloseReason, ErrorCode, Protocol, ResetCause, Violation};
use tidegate_net::{ConnInfo, End, Histogram};
use tidegate_pool::Trip;

use super::tally::Tally;

/// The upper ends of the buckets of requests' times in microseconds.
pub const TIME_BOUNDS: [u64; 6] = [1_000, 10_000, 50_000, 250_000, 1_000_000, 10_000_000];

/// The upper ends of the buckets of times until something comes in microseconds.
pub const WAIT_BOUNDS: [u64; 4] = [10_000, 100_000, 1_000_000, 10_000_000];

/// The upper ends of the buckets of connections' ages in microseconds.
pub const AGE_BOUNDS: [u64; 2] = [1_000_000, 60_000_000];

/// The times of requests that took more than a turn of the loop. All others took none, about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Times {
    /// From the head of the request until the engine had the whole response.
    /// Bounds: [`TIME_BOUNDS`].
    pub durations: Histogram<6>,
    /// From the head of the request until the engine had the head of the final response.
    /// Bounds: [`WAIT_BOUNDS`].
    pub first_bytes: Histogram<4>,
}

impl Times {
    /// Adds those of another worker.
    fn add(&mut self, other: &Self) {
        self.durations.add(&other.durations);
        self.first_bytes.add(&other.first_bytes);
    }
}

/// The end that reset a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResetBy {
    /// The client.
    Client,
    /// This server, because the client broke a rule or a limit.
    Violation,
    /// This server, because there was no memory.
    Memory,
}

impl ResetBy {
    /// Returns the label.
    pub fn label(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Violation => "violation",
            Self::Memory => "memory",
        }
    }
}

/// Counts of one worker's service since its start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Requests that ended, by the first digit of their status; 0 for those that were reset.
    pub answers: [u64; 6],
    /// The times of those that took more than a turn.
    pub times: Times,
    /// How long requests waited for an upstream: for a place, for the connection and for the head
    /// of the response. Bounds: [`WAIT_BOUNDS`].
    pub upstream_waits: Histogram<4>,
    /// Connections that became ready for requests over HTTP/2 and over HTTP/1.1.
    pub protocols: [u64; 2],
    /// Those by the version of TLS.
    pub tls_versions: Tally<&'static str>,
    /// How old connections were at their end. Bounds: [`AGE_BOUNDS`].
    pub ages: Histogram<2>,
    /// The reasons why connections ended.
    pub ends: Tally<&'static str>,
    /// Streams that were reset, by whom and with which code.
    pub resets: Tally<(ResetBy, &'static str)>,
    /// Rules and limits that clients broke.
    pub violations: Tally<Violation>,
    /// Requests that no upstream answered completely, by the error of RFC 9209 §2.3.
    pub upstream_failures: Tally<&'static str>,
}

impl Counts {
    /// Counts a request that has ended with this status, 0 if it was reset.
    #[inline]
    pub fn answered(&mut self, status: u16) {
        // Upstreams may answer with up to 999, which counts as an error.
        self.answers[usize::from(status / 100).min(5)] += 1;
    }

    /// Counts the way of a request to its upstream, until the response or its failure.
    pub fn waited(&mut self, trip: &Trip) {
        let waited = trip.queued + trip.connecting + trip.answering;
        self.upstream_waits.record(&WAIT_BOUNDS, waited);
    }

    /// Counts a client's connection that is ready for requests.
    pub fn opened(&mut self, protocol: Protocol, info: &ConnInfo) {
        self.protocols[usize::from(protocol == Protocol::Http1)] += 1;
        if let Some(tls) = &info.tls {
            self.tls_versions.count(match tls.version {
                "TLSv1_3" => "1.3",
                _ => "1.2",
            });
        }
    }

    /// Counts a client's connection that has ended.
    pub fn closed(&mut self, age: Duration, why: &End) {
        self.ages.record(&AGE_BOUNDS, age);
        self.ends.count(end(why));
        if let End::Closed(CloseReason::Violation(violation)) = why {
            self.violations.count(*violation);
        }
    }

    /// Counts a client's stream that was reset.
    pub fn reset(&mut self, code: ErrorCode, cause: ResetCause) {
        let by = match cause {
            ResetCause::Violation(violation) => {
                self.violations.count(violation);
                ResetBy::Violation
            }
            ResetCause::OverMemoryBudget => ResetBy::Memory,
            _ => ResetBy::Client,
        };
        // Clients may send any number, and only known ones have labels.
        self.resets.count((by, code.name().unwrap_or("unknown")));
    }

    /// Adds the counts of another worker.
    pub fn add(&mut self, other: &Self) {
        let Self {
            answers,
            times,
            upstream_waits,
            protocols,
            tls_versions,
            ages,
            ends,
            resets,
            violations,
            upstream_failures,
        } = other;
        for (sum, count) in self.answers.iter_mut().zip(answers) {
            *sum += count;
        }
        for (sum, count) in self.protocols.iter_mut().zip(protocols) {
            *sum += count;
        }
        self.times.add(times);
        self.upstream_waits.add(upstream_waits);
        self.tls_versions.add(tls_versions);
        self.ages.add(ages);
        self.ends.add(ends);
        self.resets.add(resets);
        self.violations.add(violations);
        self.upstream_failures.add(upstream_failures);
    }

    /// Returns the times of all requests that have ended.
    pub fn all_times(&self) -> Times {
        let mut times = self.times;
        let ended: u64 = self.answers.iter().sum();
        // What is counted a moment later than the request ends must not make a bucket shrink.
        times
            .durations
            .record_none(ended.saturating_sub(times.durations.count));
        let answered = ended.saturating_sub(self.answers[0]);
        times
            .first_bytes
            .record_none(answered.saturating_sub(times.first_bytes.count));
        times
    }
}

/// Returns the label of the reason why a connection ended.
fn end(why: &End) -> &'static str {
    match why {
        End::Closed(reason) => match reason {
            CloseReason::Violation(_) => "violation",
            CloseReason::PeerError { .. } => "client_error",
            CloseReason::Eof => "client_closed",
            CloseReason::EofInTheMiddle => "client_cut_off",
            CloseReason::Graceful => "graceful",
            CloseReason::ShutdownTimedOut => "shutdown_timed_out",
            CloseReason::Idle => "idle_timed_out",
            CloseReason::ProbeUnanswered => "ping_unanswered",
            CloseReason::OverMemoryBudget => "memory",
            _ => "aborted",
        },
        End::TlsFailed(_) => "tls_failed",
        End::HttpOnTlsPort => "http_on_tls_port",
        End::OnlyHttp2 => "http1_on_http2_port",
        End::HandshakeEof => "handshake_closed",
        End::HandshakeTimedOut => "handshake_timed_out",
        End::ProxyHeaderInvalid => "proxy_header_invalid",
        End::WriteTimedOut => "write_timed_out",
        End::Refused => "refused",
        End::MadeRoom => "made_room",
        End::Io(_) => "socket_failed",
        _ => "stopped",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_took_no_turn_is_in_the_first_bucket() {
        let mut counts = Counts::default();
        for status in [200, 204, 404, 0] {
            counts.answered(status);
        }
        assert_eq!(counts.answers, [1, 0, 2, 0, 1, 0]);
        let second = Duration::from_secs(1);
        counts.times.durations.record(&TIME_BOUNDS, second);
        counts.times.first_bytes.record(&WAIT_BOUNDS, second);
        let times = counts.all_times();
        assert_eq!(times.durations.buckets, [3, 0, 0, 0, 1, 0]);
        assert_eq!(times.first_bytes.buckets, [2, 0, 1, 0]);
        assert_eq!(times.durations.count, 4);
    }

    #[test]
    fn a_status_beyond_all_classes_counts_as_an_error() {
        let mut counts = Counts::default();
        for status in [599, 600, 999] {
            counts.answered(status);
        }
        assert_eq!(counts.answers, [0, 0, 0, 0, 0, 3]);
    }

    #[test]
    fn codes_that_clients_make_up_share_a_label() {
        let mut counts = Counts::default();
        counts.reset(ErrorCode::CANCEL, ResetCause::Peer);
        counts.reset(ErrorCode(4711), ResetCause::Peer);
        counts.reset(ErrorCode(4712), ResetCause::Peer);
        let violation = Violation::DataOverStreamWindow;
        counts.reset(violation.code(), ResetCause::Violation(violation));
        let resets: Vec<_> = counts.resets.iter().collect();
        assert_eq!(
            resets,
            [
                ((ResetBy::Client, "CANCEL"), 1),
                ((ResetBy::Client, "unknown"), 2),
                ((ResetBy::Violation, "FLOW_CONTROL_ERROR"), 1),
            ]
        );
        assert_eq!(counts.violations.sum(), 1);
    }
}
