//! Helpers for the tests inside this crate.

use std::time::Instant;

/// Returns a time for tests to start from; they advance it themselves.
#[expect(clippy::disallowed_methods, reason = "tests need some start of time")]
pub(crate) fn some_start() -> Instant {
    Instant::now()
}
