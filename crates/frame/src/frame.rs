//! Any frame.

use crate::{
    Continuation, Data, GoAway, Headers, Ping, Priority, PriorityUpdate, PushPromise, RstStream,
    Settings, Unknown, WindowUpdate,
};

/// Any frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// DATA (RFC 9113 §6.1).
    Data(Data),
    /// HEADERS (RFC 9113 §6.2).
    Headers(Headers),
    /// PRIORITY (RFC 9113 §6.3).
    Priority(Priority),
    /// RST_STREAM (RFC 9113 §6.4).
    RstStream(RstStream),
    /// SETTINGS (RFC 9113 §6.5).
    Settings(Settings),
    /// PUSH_PROMISE (RFC 9113 §6.6).
    PushPromise(PushPromise),
    /// PING (RFC 9113 §6.7).
    Ping(Ping),
    /// GOAWAY (RFC 9113 §6.8).
    GoAway(GoAway),
    /// WINDOW_UPDATE (RFC 9113 §6.9).
    WindowUpdate(WindowUpdate),
    /// CONTINUATION (RFC 9113 §6.10).
    Continuation(Continuation),
    /// PRIORITY_UPDATE (RFC 9218 §7.1).
    PriorityUpdate(PriorityUpdate),
    /// A frame of an unknown type. The reader skips its payload; the engine counts it against abuse
    /// and refuses it inside a field block.
    Unknown(Unknown),
}

impl Frame {
    /// Appends the frame's bytes to `out`, without padding.
    pub fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Data(frame) => frame.write(out),
            Self::Headers(frame) => frame.write(out),
            Self::Priority(frame) => frame.write(out),
            Self::RstStream(frame) => frame.write(out),
            Self::Settings(frame) => frame.write(out),
            Self::PushPromise(frame) => frame.write(out),
            Self::Ping(frame) => frame.write(out),
            Self::GoAway(frame) => frame.write(out),
            Self::WindowUpdate(frame) => frame.write(out),
            Self::Continuation(frame) => frame.write(out),
            Self::PriorityUpdate(frame) => frame.write(out),
            Self::Unknown(frame) => frame.write(out),
        }
    }
}
