//! The states of the side on which the peer sends.
//!
//! Everything that moves a connection from state to state is in this file.
//!
//! ```text
//!        Announce             Eof             Eof
//! Open ───────────> Announced ─────> Ended <───── Open
//!   │                   │              │
//!   │           Discard │              │ Discard
//!   └───────────────────┴> Discarded ──┴──> Over
//!                                     Eof
//! ```

/// The content of the socket, as far as events show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waiting {
    /// Nothing, until the next event.
    Nothing,
    /// Perhaps bytes.
    Bytes,
    /// The peer's end, perhaps after bytes.
    End,
}

/// How the peer's side ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum How {
    /// Cleanly: by FIN, and over TLS by close_notify.
    InOrder,
    /// By FIN without close_notify, although the TLS handshake was done. Somebody else may have
    /// truncated the data.
    Truncated,
}

/// The parts of the program that know of the end of the peer's side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Known {
    /// Neither the engine nor the service.
    No,
    /// The service, by [`Service::half_closed`](crate::Service::half_closed). The engine doesn't
    /// read, because it answers an HTTP/1.1 request.
    ToService,
    /// The engine, which then reports it to the service.
    ToEngine,
}

/// The side of a connection on which the peer sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Incoming {
    /// The peer's end hasn't been read.
    Open(Waiting),
    /// The peer's end is in the socket, perhaps after bytes, and the service knows.
    Announced,
    /// The peer's end was read.
    Ended {
        /// How the side ended.
        how: How,
        /// The part that knows.
        known: Known,
    },
    /// The connection closes, and data from the peer is thrown away.
    Discarded(Waiting),
    /// The connection closes, and the peer's end was read.
    Over(How),
}

/// Something that happens on the side on which the peer sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Input {
    /// An event announced something to read.
    Event {
        /// Whether the end is part of it.
        end: bool,
    },
    /// A read brought bytes.
    Bytes {
        /// Whether there may be more.
        more: bool,
    },
    /// There was nothing to read, or nothing that is useful before more arrives.
    Empty,
    /// A read brought the end.
    Eof(How),
    /// The service learned that the peer's side ends.
    Announce,
    /// The engine learned that the peer's side has ended.
    Report,
    /// The connection begins to close.
    Discard,
}

impl Incoming {
    /// Returns the state after `input`.
    #[inline]
    pub(crate) fn on(self, input: Input) -> Self {
        use Input::{Announce, Bytes, Discard, Empty, Eof, Event, Report};
        match (self, input) {
            (Self::Open(waiting), Event { .. } | Bytes { .. } | Empty) => {
                Self::Open(waiting.on(input))
            }
            (Self::Open(_), Eof(how)) => Self::Ended {
                how,
                known: Known::No,
            },
            (Self::Open(Waiting::End), Announce) => Self::Announced,
            (Self::Open(_), Announce) => self,
            // The transport is gone, so nothing follows.
            (Self::Open(_) | Self::Announced, Report) => self,
            (Self::Open(waiting), Discard) => Self::Discarded(waiting),

            (Self::Announced, Empty) => Self::Open(Waiting::Nothing),
            (Self::Announced, Eof(how)) => Self::Ended {
                how,
                known: Known::ToService,
            },
            (Self::Announced, Discard) => Self::Discarded(Waiting::End),
            (Self::Announced, Event { .. } | Bytes { .. } | Announce) => self,

            (
                Self::Ended {
                    how,
                    known: Known::No,
                },
                Announce,
            ) => Self::Ended {
                how,
                known: Known::ToService,
            },
            (Self::Ended { how, .. }, Report) => Self::Ended {
                how,
                known: Known::ToEngine,
            },
            (Self::Ended { how, .. }, Discard) => Self::Over(how),
            // Data after the end isn't read.
            (Self::Ended { .. }, _) => self,

            (Self::Discarded(waiting), Event { .. } | Bytes { .. } | Empty) => {
                Self::Discarded(waiting.on(input))
            }
            (Self::Discarded(_), Eof(how)) => Self::Over(how),
            (Self::Discarded(_), Announce | Report | Discard) => self,

            (Self::Over(_), _) => self,
        }
    }

    /// Whether a read may bring something, or the engine must still learn of the end.
    #[inline]
    pub(crate) fn has_news(self) -> bool {
        match self {
            Self::Open(waiting) | Self::Discarded(waiting) => waiting != Waiting::Nothing,
            Self::Announced => true,
            Self::Ended { known, .. } => known != Known::ToEngine,
            Self::Over(_) => false,
        }
    }

    /// Whether a read may bring something.
    pub(crate) fn is_readable(self) -> bool {
        match self {
            Self::Open(waiting) | Self::Discarded(waiting) => waiting != Waiting::Nothing,
            Self::Announced => true,
            Self::Ended { .. } | Self::Over(_) => false,
        }
    }

    /// Whether the peer's end was read, or is in the socket.
    pub(crate) fn is_end_near(self) -> bool {
        match self {
            Self::Open(waiting) | Self::Discarded(waiting) => waiting == Waiting::End,
            Self::Announced | Self::Ended { .. } | Self::Over(_) => true,
        }
    }

    /// Whether the peer's end was read.
    pub(crate) fn has_ended(self) -> bool {
        matches!(self, Self::Ended { .. } | Self::Over(_))
    }

    /// Whether the peer's end was read, and it ended in order.
    pub(crate) fn has_ended_in_order(self) -> bool {
        matches!(
            self,
            Self::Ended {
                how: How::InOrder,
                ..
            }
        )
    }

    /// Whether TCP ended without close_notify of TLS.
    pub(crate) fn is_truncated(self) -> bool {
        match self {
            Self::Ended { how, .. } | Self::Over(how) => how == How::Truncated,
            Self::Open(_) | Self::Announced | Self::Discarded(_) => false,
        }
    }

    /// Whether the engine must still learn of the end.
    pub(crate) fn is_unreported(self) -> bool {
        matches!(self, Self::Ended { known, .. } if known != Known::ToEngine)
    }

    /// Whether the engine knows of the end.
    pub(crate) fn is_reported(self) -> bool {
        matches!(self, Self::Ended { known, .. } if known == Known::ToEngine)
    }

    /// Whether the end is near, and neither the service nor the engine knows.
    pub(crate) fn is_unannounced(self) -> bool {
        match self {
            Self::Open(waiting) => waiting == Waiting::End,
            Self::Ended { known, .. } => known == Known::No,
            Self::Announced | Self::Discarded(_) | Self::Over(_) => false,
        }
    }
}

impl Waiting {
    /// Returns what waits after an event, or a read that didn't bring the end.
    #[inline]
    fn on(self, input: Input) -> Self {
        match (self, input) {
            (_, Input::Empty) => Self::Nothing,
            (_, Input::Event { end: true }) => Self::End,
            // An end that waits stays there until it is read.
            (Self::End, _) => Self::End,
            (_, Input::Event { end: false } | Input::Bytes { more: true }) => Self::Bytes,
            (_, Input::Bytes { more: false }) => Self::Nothing,
            (_, Input::Eof(_) | Input::Announce | Input::Report | Input::Discard) => self,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INPUTS: [Input; 10] = [
        Input::Event { end: false },
        Input::Event { end: true },
        Input::Bytes { more: false },
        Input::Bytes { more: true },
        Input::Empty,
        Input::Eof(How::InOrder),
        Input::Eof(How::Truncated),
        Input::Announce,
        Input::Report,
        Input::Discard,
    ];

    #[test]
    fn every_state_and_input() {
        use How::{InOrder, Truncated};
        use Incoming::{Announced, Discarded, Ended, Open, Over};
        use Known::{No, ToEngine, ToService};
        use Waiting::{Bytes, End, Nothing};
        let fin = |known| Ended {
            how: InOrder,
            known,
        };
        let cut = |known| Ended {
            how: Truncated,
            known,
        };
        // Columns: Event, Event with the end, Bytes, Bytes and more, Empty, Eof, Eof without
        // close_notify, Announce, Report, Discard.
        #[rustfmt::skip]
        let table = [
            (Open(Nothing), [Open(Bytes), Open(End), Open(Nothing), Open(Bytes), Open(Nothing),
                fin(No), cut(No), Open(Nothing), Open(Nothing), Discarded(Nothing)]),
            (Open(Bytes), [Open(Bytes), Open(End), Open(Nothing), Open(Bytes), Open(Nothing),
                fin(No), cut(No), Open(Bytes), Open(Bytes), Discarded(Bytes)]),
            (Open(End), [Open(End), Open(End), Open(End), Open(End), Open(Nothing),
                fin(No), cut(No), Announced, Open(End), Discarded(End)]),
            (Announced, [Announced, Announced, Announced, Announced, Open(Nothing),
                fin(ToService), cut(ToService), Announced, Announced, Discarded(End)]),
            (fin(No), [fin(No), fin(No), fin(No), fin(No), fin(No),
                fin(No), fin(No), fin(ToService), fin(ToEngine), Over(InOrder)]),
            (fin(ToService), [fin(ToService), fin(ToService), fin(ToService), fin(ToService),
                fin(ToService), fin(ToService), fin(ToService), fin(ToService), fin(ToEngine),
                Over(InOrder)]),
            (fin(ToEngine), [fin(ToEngine), fin(ToEngine), fin(ToEngine), fin(ToEngine),
                fin(ToEngine), fin(ToEngine), fin(ToEngine), fin(ToEngine), fin(ToEngine),
                Over(InOrder)]),
            (cut(No), [cut(No), cut(No), cut(No), cut(No), cut(No),
                cut(No), cut(No), cut(ToService), cut(ToEngine), Over(Truncated)]),
            (cut(ToService), [cut(ToService), cut(ToService), cut(ToService), cut(ToService),
                cut(ToService), cut(ToService), cut(ToService), cut(ToService), cut(ToEngine),
                Over(Truncated)]),
            (cut(ToEngine), [cut(ToEngine), cut(ToEngine), cut(ToEngine), cut(ToEngine),
                cut(ToEngine), cut(ToEngine), cut(ToEngine), cut(ToEngine), cut(ToEngine),
                Over(Truncated)]),
            (Discarded(Nothing), [Discarded(Bytes), Discarded(End), Discarded(Nothing),
                Discarded(Bytes), Discarded(Nothing), Over(InOrder), Over(Truncated),
                Discarded(Nothing), Discarded(Nothing), Discarded(Nothing)]),
            (Discarded(Bytes), [Discarded(Bytes), Discarded(End), Discarded(Nothing),
                Discarded(Bytes), Discarded(Nothing), Over(InOrder), Over(Truncated),
                Discarded(Bytes), Discarded(Bytes), Discarded(Bytes)]),
            (Discarded(End), [Discarded(End), Discarded(End), Discarded(End),
                Discarded(End), Discarded(Nothing), Over(InOrder), Over(Truncated),
                Discarded(End), Discarded(End), Discarded(End)]),
            (Over(InOrder), [Over(InOrder); 10]),
            (Over(Truncated), [Over(Truncated); 10]),
        ];
        let states = table.map(|(state, _)| state);
        for (state, row) in table {
            for (input, expected) in INPUTS.into_iter().zip(row) {
                assert_eq!(state.on(input), expected, "{state:?}, {input:?}");
                assert!(states.contains(&expected), "{expected:?} has no row");
            }
        }
    }

    #[test]
    fn an_end_is_announced_and_reported_once() {
        let mut state = Incoming::Open(Waiting::Nothing).on(Input::Event { end: true });
        assert!(state.is_end_near() && state.is_readable() && state.is_unannounced());
        state = state.on(Input::Announce);
        assert!(state.is_end_near() && state.is_readable() && !state.is_unannounced());
        state = state.on(Input::Eof(How::InOrder));
        assert!(state.has_ended_in_order() && !state.is_unannounced() && state.is_unreported());
        state = state.on(Input::Report);
        assert!(!state.is_unannounced() && state.is_reported() && !state.is_unreported());
    }
}
