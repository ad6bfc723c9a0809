//! The states of a stream (RFC 9113 §5.1, Figure 2).
//!
//! Everything that moves a stream from state to state is in this file, and this file does not know
//! which role we play: it knows who sent.
//!
//! ```text
//!                   Promise              Headers
//!   Reserved(by) <────────── Idle ──────────────────> Open
//!        │                    │                        │
//!        │ Headers by         │ HeadersEnd             │ …End by
//!        ▼                    ▼                        ▼
//!   HalfClosed(other)    HalfClosed(by) <──────────────┘
//!        │                    │
//!        │ …End by the one whose side is open, or RstStream by anyone
//!        └────────────────────┴──────────> Closed(how)
//! ```

/// The end that sent a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sender {
    /// This engine.
    Us,
    /// The other end.
    Peer,
}

impl Sender {
    /// Returns the other end.
    pub(crate) const fn other(self) -> Self {
        match self {
            Self::Us => Self::Peer,
            Self::Peer => Self::Us,
        }
    }
}

/// How a stream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ClosedBy {
    /// Both sides sent END_STREAM.
    EndStream,
    /// RST_STREAM.
    Reset(Sender),
}

/// The state of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Not used.
    Idle,
    /// Promised by PUSH_PROMISE: only the promiser may send HEADERS.
    Reserved(Sender),
    /// Both sides may send.
    Open,
    /// This side has sent END_STREAM.
    HalfClosed(Sender),
    /// Closed.
    Closed(ClosedBy),
}

/// A frame on the stream, as far as it affects the state. PRIORITY doesn't: RFC 9113 §5.1 allows it
/// in any state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Input {
    /// A PUSH_PROMISE that reserves this stream.
    Promise,
    /// A header block without END_STREAM.
    Headers,
    /// A header block with END_STREAM.
    HeadersEnd,
    /// DATA without END_STREAM.
    Data,
    /// DATA with END_STREAM.
    DataEnd,
    /// WINDOW_UPDATE.
    WindowUpdate,
    /// RST_STREAM.
    RstStream,
}

/// The reason why a frame is not allowed in a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Illegal {
    /// The stream is idle.
    Idle,
    /// The stream is reserved.
    Reserved,
    /// The sender has sent END_STREAM; the other side is open.
    HalfClosed,
    /// The stream was closed by END_STREAM on both sides.
    Closed,
    /// The sender itself has reset the stream.
    Reset,
}

impl State {
    /// Returns the state after `sender` sent `input`.
    pub(crate) fn on(self, sender: Sender, input: Input) -> Result<Self, Illegal> {
        use Input::{Data, DataEnd, Headers, HeadersEnd, Promise, RstStream, WindowUpdate};
        Ok(match (self, input) {
            (Self::Idle, Promise) => Self::Reserved(sender),
            (Self::Idle, Headers) => Self::Open,
            (Self::Idle, HeadersEnd) => Self::HalfClosed(sender),
            (Self::Idle, _) => return Err(Illegal::Idle),

            (Self::Reserved(by), Headers) if sender == by => Self::HalfClosed(by.other()),
            (Self::Reserved(by), HeadersEnd) if sender == by => Self::Closed(ClosedBy::EndStream),
            (Self::Reserved(by), WindowUpdate) if sender != by => self,
            (Self::Reserved(_), RstStream) => Self::Closed(ClosedBy::Reset(sender)),
            (Self::Reserved(_), _) => return Err(Illegal::Reserved),

            (Self::Open, Headers | Data | WindowUpdate) => self,
            (Self::Open, HeadersEnd | DataEnd) => Self::HalfClosed(sender),
            (Self::Open, RstStream) => Self::Closed(ClosedBy::Reset(sender)),
            // A promise reserves an idle stream, never a live one.
            (Self::Open | Self::HalfClosed(_), Promise) => return Err(Illegal::HalfClosed),

            (Self::HalfClosed(_), WindowUpdate) => self,
            (Self::HalfClosed(_), RstStream) => Self::Closed(ClosedBy::Reset(sender)),
            // RFC 9113 §5.1: half-closed (remote): any other frame is a stream error STREAM_CLOSED.
            (Self::HalfClosed(by), _) if sender == by => return Err(Illegal::HalfClosed),
            (Self::HalfClosed(_), Headers | Data) => self,
            (Self::HalfClosed(_), HeadersEnd | DataEnd) => Self::Closed(ClosedBy::EndStream),

            // RFC 9113 §5.1: WINDOW_UPDATE and RST_STREAM can arrive for a short time after
            // END_STREAM was sent.
            (Self::Closed(ClosedBy::EndStream), WindowUpdate | RstStream) => self,
            (Self::Closed(ClosedBy::EndStream), _) => return Err(Illegal::Closed),
            // Frames that were in flight when the other side reset the stream are ignored. A second
            // RST_STREAM may cross ours.
            (Self::Closed(ClosedBy::Reset(_)), RstStream) => self,
            (Self::Closed(ClosedBy::Reset(by)), _) if sender != by => self,
            (Self::Closed(ClosedBy::Reset(_)), WindowUpdate) => self,
            (Self::Closed(ClosedBy::Reset(_)), _) => return Err(Illegal::Reset),
        })
    }

    /// Whether `sender` has sent its last frame on this stream.
    pub(crate) fn has_ended(self, sender: Sender) -> bool {
        match self {
            Self::Idle | Self::Open => false,
            Self::Reserved(by) => by != sender,
            Self::HalfClosed(by) => by == sender,
            Self::Closed(_) => true,
        }
    }

    /// Whether the stream is closed.
    pub(crate) fn is_closed(self) -> bool {
        matches!(self, Self::Closed(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SENDERS: [Sender; 2] = [Sender::Us, Sender::Peer];
    const INPUTS: [Input; 7] = [
        Input::Promise,
        Input::Headers,
        Input::HeadersEnd,
        Input::Data,
        Input::DataEnd,
        Input::WindowUpdate,
        Input::RstStream,
    ];
    const STATES: [State; 9] = [
        State::Idle,
        State::Reserved(Sender::Us),
        State::Reserved(Sender::Peer),
        State::Open,
        State::HalfClosed(Sender::Us),
        State::HalfClosed(Sender::Peer),
        State::Closed(ClosedBy::EndStream),
        State::Closed(ClosedBy::Reset(Sender::Us)),
        State::Closed(ClosedBy::Reset(Sender::Peer)),
    ];

    fn mirror(state: State) -> State {
        match state {
            State::Reserved(by) => State::Reserved(by.other()),
            State::HalfClosed(by) => State::HalfClosed(by.other()),
            State::Closed(ClosedBy::Reset(by)) => State::Closed(ClosedBy::Reset(by.other())),
            other => other,
        }
    }

    #[test]
    fn the_other_end_sees_the_mirror_image() {
        for state in STATES {
            for input in INPUTS {
                for sender in SENDERS {
                    let ours = state.on(sender, input).map(mirror);
                    let theirs = mirror(state).on(sender.other(), input);
                    assert_eq!(ours, theirs, "{state:?}, {sender:?} sends {input:?}");
                }
            }
        }
    }

    /// The complete table for frames that the peer sends; by the mirror test it holds for ours too.
    #[test]
    fn every_state_and_input() {
        use Illegal::{Closed, HalfClosed, Idle, Reserved, Reset};
        use Sender::{Peer, Us};
        let open = State::Open;
        let (half_us, half_peer) = (State::HalfClosed(Us), State::HalfClosed(Peer));
        let ended = State::Closed(ClosedBy::EndStream);
        let (by_us, by_peer) = (
            State::Closed(ClosedBy::Reset(Us)),
            State::Closed(ClosedBy::Reset(Peer)),
        );
        let (res_us, res_peer) = (State::Reserved(Us), State::Reserved(Peer));
        let idle = State::Idle;
        // Columns: Promise, Headers, HeadersEnd, Data, DataEnd, WindowUpdate, RstStream.
        let table: [(State, [Result<State, Illegal>; 7]); 9] = [
            (
                idle,
                [
                    Ok(res_peer),
                    Ok(open),
                    Ok(half_peer),
                    Err(Idle),
                    Err(Idle),
                    Err(Idle),
                    Err(Idle),
                ],
            ),
            (
                res_us,
                [
                    Err(Reserved),
                    Err(Reserved),
                    Err(Reserved),
                    Err(Reserved),
                    Err(Reserved),
                    Ok(res_us),
                    Ok(by_peer),
                ],
            ),
            (
                res_peer,
                [
                    Err(Reserved),
                    Ok(half_us),
                    Ok(ended),
                    Err(Reserved),
                    Err(Reserved),
                    Err(Reserved),
                    Ok(by_peer),
                ],
            ),
            (
                open,
                [
                    Err(HalfClosed),
                    Ok(open),
                    Ok(half_peer),
                    Ok(open),
                    Ok(half_peer),
                    Ok(open),
                    Ok(by_peer),
                ],
            ),
            (
                half_us,
                [
                    Err(HalfClosed),
                    Ok(half_us),
                    Ok(ended),
                    Ok(half_us),
                    Ok(ended),
                    Ok(half_us),
                    Ok(by_peer),
                ],
            ),
            (
                half_peer,
                [
                    Err(HalfClosed),
                    Err(HalfClosed),
                    Err(HalfClosed),
                    Err(HalfClosed),
                    Err(HalfClosed),
                    Ok(half_peer),
                    Ok(by_peer),
                ],
            ),
            (
                ended,
                [
                    Err(Closed),
                    Err(Closed),
                    Err(Closed),
                    Err(Closed),
                    Err(Closed),
                    Ok(ended),
                    Ok(ended),
                ],
            ),
            (
                by_us,
                [
                    Ok(by_us),
                    Ok(by_us),
                    Ok(by_us),
                    Ok(by_us),
                    Ok(by_us),
                    Ok(by_us),
                    Ok(by_us),
                ],
            ),
            (
                by_peer,
                [
                    Err(Reset),
                    Err(Reset),
                    Err(Reset),
                    Err(Reset),
                    Err(Reset),
                    Ok(by_peer),
                    Ok(by_peer),
                ],
            ),
        ];
        assert_eq!(table.len(), STATES.len());
        for (state, row) in table {
            for (input, expected) in INPUTS.into_iter().zip(row) {
                assert_eq!(
                    state.on(Peer, input),
                    expected,
                    "{state:?}, peer sends {input:?}"
                );
            }
        }
    }

    #[test]
    fn nothing_leaves_the_closed_states() {
        for state in STATES.into_iter().filter(|state| state.is_closed()) {
            for input in INPUTS {
                for sender in SENDERS {
                    assert!(
                        state.on(sender, input).is_err() || state.on(sender, input) == Ok(state)
                    );
                }
            }
        }
    }

    #[test]
    fn only_a_side_that_has_not_ended_may_send_a_message() {
        for state in STATES {
            for sender in SENDERS {
                if state.has_ended(sender)
                    && state != State::Closed(ClosedBy::Reset(sender.other()))
                {
                    assert!(
                        state.on(sender, Input::Data).is_err(),
                        "{state:?} {sender:?}"
                    );
                    assert!(
                        state.on(sender, Input::HeadersEnd).is_err(),
                        "{state:?} {sender:?}"
                    );
                }
            }
        }
    }
}
