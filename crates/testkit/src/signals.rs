//! Signals that end a program in order: whatever waits returns an error, so that the programs that
//! it started are ended on the way out.

use std::error::Error;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};
use std::{io, thread};

use signal_hook::consts::{SIGINT, SIGTERM};

/// How often a condition is looked at.
const INTERVAL: Duration = Duration::from_millis(5);

/// Set once a signal has asked this program to end.
static ENDED: LazyLock<Arc<AtomicBool>> = LazyLock::new(Arc::default);

/// Lets SIGINT and SIGTERM end the program by errors of [`check_ended`].
///
/// # Errors
/// Returns an error if the system refuses a handler.
pub fn end_on_signals() -> io::Result<()> {
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&ENDED))?;
    }
    Ok(())
}

/// Does nothing until the program is to end. Called wherever it waits.
///
/// # Errors
/// Returns an error once a signal has asked the program to end.
pub fn check_ended() -> io::Result<()> {
    if ENDED.load(Ordering::Relaxed) {
        return Err(io::Error::other("ended by a signal"));
    }
    Ok(())
}

/// Returns true as soon as the condition holds, and false if it still doesn't after `bound`.
///
/// # Errors
/// Returns an error of the condition, or when a signal has asked this program to end.
pub fn eventually(
    bound: Duration,
    mut holds: impl FnMut() -> Result<bool, Box<dyn Error + Send + Sync>>,
) -> Result<bool, Box<dyn Error + Send + Sync>> {
    let deadline = Instant::now() + bound;
    loop {
        check_ended()?;
        if holds()? {
            return Ok(true);
        }
        if Instant::now() > deadline {
            return Ok(false);
        }
        thread::sleep(INTERVAL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_is_an_error_from_then_on() {
        end_on_signals().unwrap();
        check_ended().unwrap();
        signal_hook::low_level::raise(SIGTERM).unwrap();
        assert!(check_ended().is_err() && check_ended().is_err());
    }
}
