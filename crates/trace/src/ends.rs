//! The rules that ended streams and connections, and other reasons, as records.

use tidegate_http::{CloseReason, StreamId, Violation};

use crate::record::{Closed, Rule};

/// Returns the record of a rule that was applied to a stream, or to the connection.
pub fn rule(violation: Violation, stream: Option<StreamId>) -> Rule {
    Rule {
        stream_id: stream.map(StreamId::get),
        rule: violation.label().into(),
        section: violation.section().into(),
        error: violation.code().to_string(),
    }
}

/// Returns the record of a connection's end, as its engine reports it.
pub fn closed(reason: &CloseReason) -> Closed {
    let kind = match reason {
        CloseReason::Violation(_) => "rule",
        CloseReason::PeerError { .. } => "peer_error",
        CloseReason::Eof => "eof",
        CloseReason::EofInTheMiddle => "eof_in_the_middle",
        CloseReason::Graceful => "graceful",
        CloseReason::ShutdownTimedOut => "shutdown_timed_out",
        CloseReason::Idle => "idle",
        CloseReason::ProbeUnanswered => "probe_unanswered",
        CloseReason::Aborted(_) => "aborted",
        CloseReason::OverMemoryBudget => "memory",
        _ => "other",
    };
    let text = match reason {
        // The debug data is the peer's.
        CloseReason::PeerError { code, .. } => format!("peer sent GOAWAY {code}"),
        reason => reason.to_string(),
    };
    Closed {
        reason: kind.into(),
        text,
    }
}
