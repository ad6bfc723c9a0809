//! The bodies of the fuzz targets in `fuzz/`. They are ordinary functions, so that `cargo test`
//! replays every input of the corpora (`fuzz/corpus/<target>/`) on any machine, without a fuzzer.
//!
//! Each body takes any bytes, and panics if a check fails. Its comment describes the checks.

use std::path::Path;

use tidegate_http::{CloseReason, Event, Protocol, ResetCause};

mod connection;
mod frames;
mod hpack;
mod http1;
mod http1_client;
mod operations;
mod sent;

pub use connection::{client_connection, server_connection};
pub use frames::frame_decoder;
pub use hpack::{hpack_decoder, hpack_round_trip};
pub use http1::http1_connection;
pub use http1_client::http1_client;
pub use operations::operations;

/// A fuzz target.
pub struct Target {
    /// The name of the binary and of the corpus.
    pub name: &'static str,
    /// The body.
    pub body: fn(&[u8]),
}

/// All targets.
pub const TARGETS: &[Target] = &[
    Target {
        name: "frame_decoder",
        body: frame_decoder,
    },
    Target {
        name: "hpack_decoder",
        body: hpack_decoder,
    },
    Target {
        name: "hpack_round_trip",
        body: hpack_round_trip,
    },
    Target {
        name: "server_connection",
        body: server_connection,
    },
    Target {
        name: "client_connection",
        body: client_connection,
    },
    Target {
        name: "http1_connection",
        body: http1_connection,
    },
    Target {
        name: "http1_client",
        body: http1_client,
    },
    Target {
        name: "operations",
        body: operations,
    },
];

/// Checks that a violation which this event reports is one that a peer of `protocol` can commit.
fn check_protocol(event: &Event, protocol: Protocol) {
    if let Event::Closed(CloseReason::Violation(violation))
    | Event::Reset {
        cause: ResetCause::Violation(violation),
        ..
    } = event
    {
        let of = violation.protocol();
        assert!(of.is_none_or(|of| of == protocol), "{violation}");
    }
}

/// Gives each target every input of its corpus.
///
/// # Panics
/// When one fails, or a target has none.
pub fn replay(targets: &[Target]) {
    let corpora = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus");
    for target in targets {
        let dir = corpora.join(target.name);
        let mut inputs = 0;
        for entry in std::fs::read_dir(&dir).expect("every target has a corpus") {
            let path = entry.expect("the corpus can be listed").path();
            let input = std::fs::read(&path).expect("the input can be read");
            println!("{}", path.display()); // shown when it fails
            (target.body)(&input);
            inputs += 1;
        }
        assert!(inputs > 0, "{} is empty", dir.display());
    }
}

/// A fuzz input, read as a list of small choices. Its end reads as zeros, so that every input has a
/// meaning and cutting one short changes little.
struct Choices<'a> {
    rest: &'a [u8],
}

impl<'a> Choices<'a> {
    fn new(input: &'a [u8]) -> Self {
        Self { rest: input }
    }

    fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    fn byte(&mut self) -> u8 {
        let Some((&first, rest)) = self.rest.split_first() else {
            return 0;
        };
        self.rest = rest;
        first
    }

    /// Returns one of these values.
    fn one_of<T: Copy>(&mut self, values: &[T]) -> T {
        values[usize::from(self.byte()) % values.len()]
    }

    /// Returns the next `len` bytes, or fewer at the end.
    fn bytes(&mut self, len: usize) -> &'a [u8] {
        let (taken, rest) = self.rest.split_at(len.min(self.rest.len()));
        self.rest = rest;
        taken
    }

    /// Returns the bytes that follow a byte with their length.
    fn part(&mut self) -> &'a [u8] {
        let len = usize::from(self.byte());
        self.bytes(len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_input_of_the_corpora_passes() {
        replay(TARGETS);
    }

    #[test]
    fn inputs_may_be_empty() {
        for target in TARGETS {
            (target.body)(&[]);
        }
    }
}
