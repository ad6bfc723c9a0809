//! Lines of the log about clients' connections and streams that end.

use tidegate_http::{CloseReason, ErrorCode, ResetCause, StreamId, Violation};
use tidegate_net::{ConnId, Conns, End};

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
        ResetCause::Violation(violation) => {
            log::warn!("reset out: stream {id}, peer {peer}, {code}, {violation}");
        }
        _ => log::info!("reset: stream {id}, peer {peer}, {code}, {cause:?}"),
    }
}

/// Logs the end of a connection, at a level that depends on the error.
pub(super) fn log_end(conns: &Conns, conn: ConnId, why: &End) {
    let peer = Peer(conns, conn);
    match why {
        End::Closed(CloseReason::Violation(violation)) => {
            log::warn!(
                "connection error out: peer {peer}, {}, {violation}",
                violation.code()
            );
        }
        End::Closed(CloseReason::PeerError { code, .. }) => {
            log::warn!("connection error in: peer {peer}, {code}, {why}");
        }
        End::Closed(
            CloseReason::EofInTheMiddle
            | CloseReason::ShutdownTimedOut
            | CloseReason::Aborted(_)
            | CloseReason::OverMemoryBudget,
        )
        | End::TlsFailed(_)
        | End::HandshakeTimedOut
        | End::WriteTimedOut => log::info!("connection error: peer {peer}, {why}"),
        _ => log::debug!("connection closed: peer {peer}, {why}"),
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
