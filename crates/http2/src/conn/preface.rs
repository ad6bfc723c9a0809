//! The start of a connection (RFC 9113 §3.4): the client's first bytes, and SETTINGS of both ends.

use bytes::{Buf, BytesMut};
use tidegate_frame::PREFACE;
use tidegate_http::{Role, Violation};

use crate::conn::timer::Timer;
use crate::conn::{Connection, settings};

/// The client's first bytes, as far as they are still to come.
#[derive(Debug)]
pub(super) struct Preface(&'static [u8]);

impl Preface {
    pub(super) fn new(role: Role) -> Self {
        match role {
            Role::Server => Self(PREFACE),
            Role::Client => Self(&[]),
        }
    }

    /// Returns the preface of a connection that has received it.
    pub(super) fn taken() -> Self {
        Self(&[])
    }

    /// Takes the preface off the front of the input. Returns whether it is complete.
    pub(super) fn take(&mut self, input: &mut BytesMut) -> Result<bool, Violation> {
        if self.0.is_empty() {
            return Ok(true);
        }
        let n = self.0.len().min(input.len());
        let (expected, left) = self.0.split_at(n);
        // RFC 9113 §3.4: "Clients and servers MUST treat an invalid connection preface as a
        // connection error".
        if input[..n] != *expected {
            return Err(Violation::PrefaceInvalid);
        }
        input.advance(n);
        self.0 = left;
        Ok(left.is_empty())
    }
}

impl Connection {
    /// Sends the preface of our end.
    pub(super) fn send_preface(&mut self) {
        if self.role == Role::Client {
            self.control.extend(PREFACE);
        }
        let settings = settings::ours(&self.config, self.role);
        self.send(|out| settings.write(out));
        let timeouts = &self.config.timeouts;
        self.timers
            .set(Timer::Handshake, self.now, timeouts.handshake);
        self.timers
            .set(Timer::SettingsAck, self.now, timeouts.settings_ack);
    }
}
