//! Plain counters of one connection.

use tidegate_hpack::{Packer, Unpacker};

/// The table of counters, each with its documentation.
macro_rules! counters {
    ($(#[doc = $doc:literal] $name:ident,)*) => {
        /// The totals of one connection. Bytes are counted at the frame layer, without TLS.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct Stats {
            $(#[doc = $doc] pub $name: u64,)*
        }

        impl Stats {
            /// Adds another connection's counts to these.
            pub fn add(&mut self, other: &Self) {
                $(self.$name += other.$name;)*
            }

            /// Adds all counts to the state of a connection at rest.
            pub fn pack(&self, out: &mut Packer) {
                $(out.number(self.$name);)*
            }

            /// Returns the counts that [`Stats::pack`] has added.
            pub fn unpack(input: &mut Unpacker<'_>) -> Self {
                Self { $($name: input.number(),)* }
            }
        }
    };
}

counters! {
    /// Frames received.
    frames_in,
    /// Frames sent.
    frames_out,
    /// Bytes that `receive` took.
    bytes_in,
    /// Bytes that `transmit` produced.
    bytes_out,
    /// Requests received (server) or sent (client), without pushes.
    requests,
    /// Bytes of bodies received, without padding.
    body_in,
    /// Bytes of bodies sent, without padding.
    body_out,
    /// Bytes of names and values of fields received, before compression.
    fields_in,
    /// Bytes of the header blocks received.
    blocks_in,
    /// Bytes of names and values of fields sent, before compression.
    fields_out,
    /// Bytes of the header blocks sent.
    blocks_out,
    /// RST_STREAM frames received.
    resets_in,
    /// RST_STREAM frames sent.
    resets_out,
    /// PUSH_PROMISE frames received.
    pushes_in,
    /// PUSH_PROMISE frames sent.
    pushes_out,
    /// WINDOW_UPDATE frames received.
    window_updates_in,
    /// WINDOW_UPDATE frames sent.
    window_updates_out,
    /// How often a stream's receive window was doubled, the first grant included.
    windows_grown,
    /// How often a stream's receive window was halved.
    windows_shrunk,
    /// Streams refused because the memory budget was used up.
    refused_for_memory,
    /// Times that a stream with data to send began to wait for its window.
    stream_stalls,
    /// Microseconds that streams with data to send waited for their windows.
    stream_stalled,
    /// Microseconds that streams with data to send waited for the connection's window.
    connection_stalled,
}

/// How near the limits of the guards against abuse a peer is: the largest part of each budget that
/// was used up at once, in per cent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GuardPeaks([u8; 11]);

impl GuardPeaks {
    /// The names of the guards, in their order.
    pub const NAMES: [&str; 11] = [
        "resets",
        "small_continuations",
        "pings",
        "settings",
        "goaways",
        "priorities",
        "window_updates",
        "empty_data",
        "unknown_frames",
        "closed_streams",
        "pauses",
    ];

    /// Raises the level of the `guard`th guard to `percent`, at most 100.
    pub fn set(&mut self, guard: usize, percent: u8) {
        if let Some(level) = self.0.get_mut(guard) {
            *level = percent.clamp(*level, 100);
        }
    }

    /// Raises each level to that of another peer, if it is higher.
    pub fn raise(&mut self, other: &Self) {
        for (level, other) in self.0.iter_mut().zip(other.0) {
            *level = other.max(*level);
        }
    }

    /// Returns each guard's name and its level in per cent.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u8)> {
        Self::NAMES.into_iter().zip(self.0)
    }
}

impl Stats {
    /// Returns the bytes that header compression saved, in both directions together.
    pub fn header_bytes_saved(&self) -> u64 {
        (self.fields_in + self.fields_out).saturating_sub(self.blocks_in + self.blocks_out)
    }
}
