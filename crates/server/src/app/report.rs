//! Lines of the log about clients' connections and streams that end.

use tidegate_http::{CloseReason, ErrorCode, ResetCause, StreamId, Violation};
use tidegate_http2::{Direction, Head, LastFrame};
use tidegate_net::{ConnId, Conns, End, Engine};

use crate::access_log::{Entry, ResetBy, canonical};
use crate::stats::Headers;

/// Displays the address of a connection's peer, for the log.
pub(super) struct Peer<'a>(pub(super) &'a Conns, pub(super) ConnId);

impl std::fmt::Display for Peer<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0.info(self.1) {
            Some(info) => canonical(info.peer).fmt(f),
            None => f.write_str("unknown"),
        }
    }
}

/// Whether a stream was reset because its request body timed out or came too slowly.
pub(super) fn is_slow_body(cause: ResetCause) -> bool {
    use Violation::{BodyTimedOut, BodyTooSlow};
    matches!(cause, ResetCause::Violation(BodyTimedOut | BodyTooSlow))
}

/// Logs a stream that was reset: `in` by the peer, `out` by this server.
pub(super) fn log_reset(
    conns: &Conns,
    conn: ConnId,
    id: StreamId,
    code: ErrorCode,
    cause: ResetCause,
) {
    let peer = Peer(conns, conn);
    match cause {
        // Clients cancel what they no longer need.
        ResetCause::Peer => log::info!("reset in: stream {id}, peer {peer}, {code}"),
        ResetCause::Violation(rule) => {
            let flag = flag_of(rule);
            let limit = Limit(flag);
            log::warn!(
                rule = rule.name(), clause = rule.section(), code:%, client:% = peer,
                stream = id.get(), flag = flag.unwrap_or_default();
                "reset out: stream {id}, peer {peer}, {code}, {rule}{limit}"
            );
        }
        _ => log::info!("reset: stream {id}, peer {peer}, {code}, {cause:?}"),
    }
}

/// Logs the end of a connection, at a level that depends on the error.
pub(super) fn log_end(conns: &Conns, conn: ConnId, why: &End) {
    let peer = Peer(conns, conn);
    let flag = flag_of_end(why);
    match why {
        End::Closed(CloseReason::Violation(rule)) => {
            let (code, past, limit) = (rule.code(), Past::of(conns, conn), Limit(flag));
            let frames = Frames(conns, conn);
            log::warn!(
                rule = rule.name(), clause = rule.section(), code:%, client:% = peer,
                requests = past.requests, seconds = past.seconds, last_frames:% = frames,
                flag = flag.unwrap_or_default();
                "connection error out: peer {peer}, {code}, {rule}, {past}{frames}{limit}"
            );
        }
        End::Closed(CloseReason::PeerError { code, .. }) => {
            log::warn!(code:%, client:% = peer; "connection error in: peer {peer}, {code}, {why}");
        }
        End::Closed(
            CloseReason::EofInTheMiddle
            | CloseReason::ShutdownTimedOut
            | CloseReason::Aborted(_)
            | CloseReason::OverMemoryBudget
            | CloseReason::ProbeUnanswered,
        )
        | End::TlsFailed(_)
        | End::HandshakeTimedOut
        | End::WriteTimedOut
        | End::Refused => {
            let (past, limit) = (Past::of(conns, conn), Limit(flag));
            log::info!(
                cause:% = why, client:% = peer, requests = past.requests, seconds = past.seconds,
                flag = flag.unwrap_or_default();
                "connection error: peer {peer}, {why}, {past}{limit}"
            );
        }
        _ => log::debug!("connection closed: peer {peer}, {why}"),
    }
}

/// The requests and the age of a connection, for the log.
struct Past {
    requests: u64,
    seconds: f64,
}

impl Past {
    fn of(conns: &Conns, conn: ConnId) -> Self {
        let engine = conns.engine_ref(conn);
        let age = conns.info(conn).map(|info| info.began_at.elapsed());
        // Tenths are enough.
        let tenths = age.unwrap_or_default().as_millis() / 100;
        Self {
            requests: engine.map_or(0, |engine| engine.stats().requests),
            seconds: tenths as f64 / 10.0,
        }
    }
}

impl std::fmt::Display for Past {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { requests, seconds } = self;
        let plural = if *requests == 1 { "" } else { "s" };
        write!(f, "{requests} request{plural} in {seconds:.1} s")
    }
}

/// The last frames of a connection, for the log: `>` from the client, `<` to it.
struct Frames<'a>(&'a Conns, ConnId);

impl std::fmt::Display for Frames<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Some(Engine::Http2(engine)) = self.0.engine_ref(self.1) else {
            return Ok(());
        };
        for (
            n,
            LastFrame {
                direction, head, ..
            },
        ) in engine.last_frames().enumerate()
        {
            let mark = match direction {
                Direction::Received => '>',
                Direction::Sent => '<',
            };
            let before = if n == 0 { ", last frames: " } else { " " };
            let Head {
                length,
                kind,
                stream_id,
                ..
            } = head;
            write!(f, "{before}{mark}{kind}:{stream_id}:{length}")?;
        }
        Ok(())
    }
}

/// The flag that sets a limit, for the log.
struct Limit(Option<&'static str>);

impl std::fmt::Display for Limit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Some(flag) => write!(f, "; --{flag} sets the limit"),
            None => Ok(()),
        }
    }
}

/// Returns the flag that sets the limit by which a connection was ended.
fn flag_of_end(why: &End) -> Option<&'static str> {
    match why {
        End::Closed(CloseReason::Violation(rule)) => flag_of(*rule),
        End::Closed(CloseReason::ShutdownTimedOut) => Some("shutdown-timeout"),
        End::Closed(CloseReason::OverMemoryBudget) => Some("memory-budget"),
        End::HandshakeTimedOut => Some("handshake-timeout"),
        End::WriteTimedOut => Some("write-timeout"),
        End::Refused => Some("client-shares"),
        _ => None,
    }
}

/// Returns the flag that sets the limit that a peer has exceeded.
fn flag_of(rule: Violation) -> Option<&'static str> {
    match rule {
        Violation::HandshakeTimedOut => Some("handshake-timeout"),
        Violation::HeaderBlockTimedOut => Some("header-timeout"),
        Violation::BodyTimedOut => Some("body-timeout"),
        Violation::BodyTooSlow => Some("min-body-rate"),
        Violation::WriteTimedOut | Violation::ConnectionWindowStalled => Some("write-timeout"),
        Violation::TooManyConcurrentStreams => Some("max-streams"),
        _ => None,
    }
}

/// Notes in the line of a request that was cut off how its connection ended.
pub(super) fn note_end(entry: &mut Entry, why: &End) {
    match why {
        End::Closed(CloseReason::Violation(violation)) => entry.note_violation(*violation),
        End::Closed(CloseReason::PeerError { code, .. }) => {
            entry.note_reset(*code, ResetBy::Client);
        }
        _ => {}
    }
}

/// Logs the totals of a connection that made requests.
pub(super) fn log_total(conns: &mut Conns, conn: ConnId) {
    if log::log_enabled!(log::Level::Debug)
        && let Some(stats) = conns.engine(conn).map(|engine| engine.stats())
        && stats.requests > 0
    {
        let (peer, headers) = (Peer(conns, conn), Headers::of(&stats));
        let requests = stats.requests;
        log::debug!("connection total: peer {peer}, {requests} requests, headers {headers}");
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;
    use crate::flags::Flags;

    #[test]
    fn limits_have_flags_that_exist() {
        let command = Flags::command();
        let rules = Violation::ALL.iter().filter_map(|rule| flag_of(*rule));
        let ends = [
            End::Closed(CloseReason::ShutdownTimedOut),
            End::Closed(CloseReason::OverMemoryBudget),
            End::HandshakeTimedOut,
            End::WriteTimedOut,
            End::Refused,
        ];
        for flag in rules.chain(ends.iter().filter_map(flag_of_end)) {
            let mut flags = command.get_arguments();
            assert!(flags.any(|known| known.get_long() == Some(flag)), "{flag}");
        }
    }
}
