//! The totals of seeds: how often each event that makes a simulation useful has really happened.

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident;)*) => {
        /// The totals of a seed, or of several.
        #[derive(Clone, Copy, Debug, Default)]
        #[non_exhaustive]
        pub struct Report {
            $($(#[$doc])* pub $name: u64,)*
            /// Graceful ends begun while streams were open, by the client and by the server.
            pub shut_downs: [u64; 2],
            /// The most streams that an engine had at once.
            pub most_streams: u64,
        }

        impl Report {
            /// Adds another seed's counts to these.
            pub fn add(&mut self, other: &Self) {
                $(self.$name += other.$name;)*
                for (sum, count) in self.shut_downs.iter_mut().zip(other.shut_downs) {
                    *sum += count;
                }
                self.most_streams = self.most_streams.max(other.most_streams);
            }

            /// Returns every count with its name.
            pub fn rows(&self) -> impl Iterator<Item = (&'static str, u64)> {
                let [by_client, by_server] = self.shut_downs;
                [
                    $((stringify!($name), self.$name),)*
                    ("shut_downs by client", by_client),
                    ("shut_downs by server", by_server),
                    ("most_streams at once", self.most_streams),
                ]
                .into_iter()
            }
        }
    };
}

counters! {
    /// Turns of the simulation.
    turns;
    /// Frames that either side sent.
    frames;
    /// Streams that the client opened.
    streams;
    /// Messages that arrived completely.
    messages;
    /// Body bytes that arrived.
    body_bytes;
    /// 1xx responses that arrived.
    informs;
    /// Trailer sections that arrived.
    trailers;
    /// CONNECT requests.
    tunnels;
    /// Responses to HEAD, and those of 204 and 304.
    without_content;
    /// Promises that the server made.
    pushes;
    /// Promises that it could not make because the client accepts none.
    pushes_disabled;
    /// Pushed responses that arrived completely.
    pushes_taken;
    /// Pushes that the client reset.
    pushes_cancelled;
    /// Those of them whose response the server's owner had given completely.
    pushes_cancelled_late;
    /// CONTINUATION frames.
    continuations;
    /// Streams that the client's owner reset.
    client_resets;
    /// Streams that the server's owner reset.
    server_resets;
    /// RST_STREAM frames of any cause that crossed another of the same stream, or its end.
    late_resets;
    /// RST_STREAM with NO_ERROR: the server had answered before the request's end.
    early_answers;
    /// Requests over the server's SETTINGS_MAX_CONCURRENT_STREAMS.
    refusals;
    /// Requests repeated because they were refused.
    retries;
    /// Streams that GOAWAY reported as not processed.
    unprocessed;
    /// Connections that the network cut while streams were open.
    cuts;
    /// Connections that an owner ended by an error.
    aborts;
    /// Changes of SETTINGS_INITIAL_WINDOW_SIZE that an owner asked for while streams were open.
    window_changes;
    /// Frames held up by a stalled network.
    stalled;
    /// Times when an engine had so much output that it took no input.
    backpressure;
    /// Times when DATA used a stream's window up.
    stream_windows_used_up;
    /// Times when DATA used the connection's window up.
    connection_windows_used_up;
    /// Stream windows that SETTINGS made negative.
    negative_windows;
    /// Streams given up because their window was never open.
    given_up;
    /// Frames of a third party.
    intrusions;
    /// PRIORITY_UPDATE frames, of open and of idle streams.
    priority_updates;
    /// PRIORITY frames, and HEADERS with a dependency.
    dependencies;
    /// Round-trip times reported to engines.
    rtts;
    /// Receive windows that grew.
    windows_grown;
    /// Streams refused for lack of memory.
    refusals_for_memory;
    /// Timers that fired.
    timers;
}
