//! Help for the tests inside this crate.

use std::time::Instant;

/// Some start of time: tests go on from there by themselves.
#[expect(clippy::disallowed_methods, reason = "tests need some start of time")]
pub(crate) fn some_start() -> Instant {
    Instant::now()
}
