//! Traces as tests.

use std::time::Instant;

/// Replays all connections of a trace.
///
/// # Errors
/// Sentences about where the engine does otherwise than recorded.
pub fn agrees(file: &[u8]) -> Result<(), String> {
    tidegate_trace::replay::agrees(file, Instant::now())
}
