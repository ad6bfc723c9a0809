//! SETTINGS (RFC 9113 §6.5): those of the peer, and the acknowledgement of ours.

use tidegate_frame::{SettingId, Settings};
use tidegate_hpack::{Packer, Unpacker};
use tidegate_http::{Config, Priorities, Role, Violation};

use crate::conn::Connection;
use crate::conn::timer::Timer;
use crate::flow::{MAX_WINDOW, least_window};

/// The settings that the peer announced, or the protocol's defaults (RFC 9113 §6.5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PeerSettings {
    /// The bytes of the peer's decoder for our encoder's table.
    pub header_table_size: u32,
    /// Whether a client accepts pushes.
    pub enable_push: bool,
    /// The number of streams that we may have open at once; `u32::MAX` while the peer has set no
    /// limit.
    pub max_concurrent_streams: u32,
    /// The initial send window of streams, in bytes.
    pub initial_window_size: u32,
    /// The largest payload that the peer accepts, in bytes.
    pub max_frame_size: u32,
    /// The largest field list that the peer accepts, in bytes (RFC 9113 §10.5.1); `u32::MAX` while
    /// it has set no limit.
    pub max_header_list_size: u32,
    /// Whether a server accepts extended CONNECT (RFC 8441 §3).
    pub enable_connect_protocol: bool,
    /// Whether the peer ignores RFC 7540 priorities (RFC 9218 §2.1).
    pub no_rfc7540_priorities: bool,
}

impl PeerSettings {
    fn initial() -> Self {
        Self {
            header_table_size: 4096,
            enable_push: true,
            max_concurrent_streams: u32::MAX,
            initial_window_size: 65_535,
            max_frame_size: 16_384,
            max_header_list_size: u32::MAX,
            enable_connect_protocol: false,
            no_rfc7540_priorities: false,
        }
    }

    /// Returns these settings with the changes of a frame of the peer, whose role is `peer`.
    fn apply(mut self, frame: &Settings, peer: Role, first: bool) -> Result<Self, Violation> {
        for (id, value) in frame.entries() {
            match id {
                SettingId::HEADER_TABLE_SIZE => self.header_table_size = value,
                SettingId::ENABLE_PUSH => {
                    // RFC 9113 §6.5.2: "Any value other than 0 or 1 MUST be treated as a connection
                    // error".
                    if value > 1 {
                        return Err(Violation::EnablePushInvalid);
                    }
                    // "A client MUST treat receipt of a SETTINGS frame with SETTINGS_ENABLE_PUSH
                    // set to 1 as a connection error".
                    if peer == Role::Server && value == 1 {
                        return Err(Violation::ServerEnabledPush);
                    }
                    self.enable_push = value == 1;
                }
                SettingId::MAX_CONCURRENT_STREAMS => self.max_concurrent_streams = value,
                SettingId::INITIAL_WINDOW_SIZE => {
                    // "Values above the maximum flow-control window size of 2^31-1 MUST be treated
                    // as a connection error".
                    if value > 0x7fff_ffff {
                        return Err(Violation::InitialWindowSizeTooLarge);
                    }
                    self.initial_window_size = value;
                }
                SettingId::MAX_FRAME_SIZE => {
                    // "between this initial value and the maximum allowed frame size (2^24-1 or
                    // 16,777,215 octets)".
                    if !(16_384..=0xff_ffff).contains(&value) {
                        return Err(Violation::MaxFrameSizeInvalid);
                    }
                    self.max_frame_size = value;
                }
                SettingId::MAX_HEADER_LIST_SIZE => self.max_header_list_size = value,
                SettingId::ENABLE_CONNECT_PROTOCOL => {
                    // RFC 8441 §3: the value "MUST be 0 or 1", and a sender "MUST NOT send … 0
                    // after previously sending 1".
                    if value > 1 || (self.enable_connect_protocol && value == 0) {
                        return Err(Violation::EnableConnectProtocolInvalid);
                    }
                    self.enable_connect_protocol = value == 1;
                }
                SettingId::NO_RFC7540_PRIORITIES => {
                    // RFC 9218 §2.1: "MUST be 0 or 1", and no change after the first SETTINGS.
                    if value > 1 || (!first && self.no_rfc7540_priorities != (value == 1)) {
                        return Err(Violation::NoRfc7540PrioritiesInvalid);
                    }
                    self.no_rfc7540_priorities = value == 1;
                }
                // "An endpoint that receives a SETTINGS frame with any unknown or unsupported
                // identifier MUST ignore that setting."
                _ => {}
            }
        }
        Ok(self)
    }
}

/// The settings of both ends.
#[derive(Debug)]
pub(crate) struct SettingsState {
    pub(crate) peer: PeerSettings,
    /// Whether the peer's first SETTINGS, the end of its preface, have arrived.
    pub(crate) received: bool,
    unacknowledged: Unacknowledged,
    /// Our SETTINGS_MAX_CONCURRENT_STREAMS.
    streams: Changeable,
    /// Our SETTINGS_INITIAL_WINDOW_SIZE.
    window: Changeable,
    /// Our SETTINGS_INITIAL_WINDOW_SIZE as it binds the peer now.
    pub(crate) binding_window: u32,
    /// No stream's window has been larger, apart from the credit that a change gave it.
    largest_window: u32,
}

/// The SETTINGS of ours that the peer hasn't acknowledged. One frame at a time is in flight, so
/// each acknowledgement says which values the peer has applied (RFC 9113 §6.5.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unacknowledged {
    Nothing,
    /// The first SETTINGS. The protocol's defaults bind the peer.
    First,
    /// A change. `excused` streams above the limit of streams may still have been opened before the
    /// peer heard of it.
    Change {
        excused: u32,
    },
}

/// A setting of ours that can change during the connection.
#[derive(Debug)]
struct Changeable {
    /// The value in our newest SETTINGS.
    announced: u32,
    /// The value that the owner wants, if it isn't announced yet.
    wanted: Option<u32>,
}

impl Changeable {
    fn new(announced: u32) -> Self {
        Self {
            announced,
            wanted: None,
        }
    }

    /// Takes the value that the owner wants as the one to announce, if it is another one. Returns
    /// the value before.
    fn change(&mut self) -> Option<u32> {
        let wanted = self.wanted.take()?;
        let before = std::mem::replace(&mut self.announced, wanted);
        (wanted != before).then_some(before)
    }
}

impl SettingsState {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            peer: PeerSettings::initial(),
            received: false,
            unacknowledged: Unacknowledged::First,
            streams: Changeable::new(config.max_concurrent_streams),
            window: Changeable::new(config.initial_window_size),
            binding_window: 65_535,
            largest_window: least_window(config, config.initial_window_size)
                .max(config.max_stream_window_size),
        }
    }

    /// Whether the settings of both ends are exchanged and acknowledged.
    pub(super) fn are_settled(&self) -> bool {
        let wants_nothing = self.streams.wanted.is_none() && self.window.wanted.is_none();
        self.received && self.unacknowledged == Unacknowledged::Nothing && wants_nothing
    }

    /// Whether the peer has acknowledged our newest SETTINGS.
    pub(super) fn is_acknowledged(&self) -> bool {
        self.unacknowledged == Unacknowledged::Nothing
    }

    /// Adds settings that are settled.
    pub(super) fn pack(&self, out: &mut Packer) {
        let PeerSettings {
            header_table_size,
            enable_push,
            max_concurrent_streams,
            initial_window_size,
            max_frame_size,
            max_header_list_size,
            enable_connect_protocol,
            no_rfc7540_priorities,
        } = self.peer;
        for number in [
            header_table_size,
            enable_push.into(),
            max_concurrent_streams,
            initial_window_size,
            max_frame_size,
            max_header_list_size,
            enable_connect_protocol.into(),
            no_rfc7540_priorities.into(),
            self.streams.announced,
            self.window.announced,
            self.binding_window,
            self.largest_window,
        ] {
            out.number(number.into());
        }
    }

    /// Makes the settings that others have packed.
    pub(super) fn unpack(input: &mut Unpacker<'_>) -> Self {
        Self {
            peer: PeerSettings {
                header_table_size: input.number32(),
                enable_push: input.flag(),
                max_concurrent_streams: input.number32(),
                initial_window_size: input.number32(),
                max_frame_size: input.number32(),
                max_header_list_size: input.number32(),
                enable_connect_protocol: input.flag(),
                no_rfc7540_priorities: input.flag(),
            },
            received: true,
            unacknowledged: Unacknowledged::Nothing,
            streams: Changeable::new(input.number32()),
            window: Changeable::new(input.number32()),
            binding_window: input.number32(),
            largest_window: input.number32(),
        }
    }

    /// Whether the peer has acknowledged our first SETTINGS, so that they bind it.
    pub(crate) fn acknowledged(&self) -> bool {
        self.unacknowledged != Unacknowledged::First
    }

    /// Returns how many streams the peer may have open by our newest SETTINGS.
    pub(crate) fn stream_limit(&self) -> usize {
        self.streams.announced as usize
    }

    /// Returns the SETTINGS_INITIAL_WINDOW_SIZE of our newest SETTINGS.
    pub(crate) fn announced_window(&self) -> u32 {
        self.window.announced
    }

    /// Whether a stream above the limit was opened before the peer can know the limit. For the peer
    /// all those were open at once, so they are no more than the limit before.
    pub(crate) fn excuse(&mut self) -> bool {
        match &mut self.unacknowledged {
            Unacknowledged::Change { excused } if *excused > 0 => {
                *excused -= 1;
                true
            }
            _ => false,
        }
    }

    /// Takes the changes that the owner wants and that can be announced now.
    fn take_changes(&mut self) -> Vec<(SettingId, u32)> {
        let mut changes = Vec::new();
        if self.unacknowledged != Unacknowledged::Nothing {
            return changes;
        }
        let streams_before = self.streams.change();
        if streams_before.is_some() {
            changes.push((SettingId::MAX_CONCURRENT_STREAMS, self.streams.announced));
        }
        if let Some(wanted) = &mut self.window.wanted {
            // RFC 9113 §6.9.2: a change that causes "any flow-control window to exceed the maximum
            // size" is an error. The peer may still have streams that are over for us.
            let most = MAX_WINDOW as u32 - self.largest_window;
            *wanted = (*wanted).min(most.max(self.window.announced));
            self.largest_window = self.largest_window.max(*wanted);
        }
        if self.window.change().is_some() {
            changes.push((SettingId::INITIAL_WINDOW_SIZE, self.window.announced));
        }
        if !changes.is_empty() {
            let excused = streams_before.unwrap_or(0);
            self.unacknowledged = Unacknowledged::Change { excused };
        }
        changes
    }

    /// Applies a SETTINGS frame of the peer, whose role is `peer`. Returns the settings before it.
    pub(crate) fn receive(
        &mut self,
        frame: &Settings,
        peer: Role,
    ) -> Result<PeerSettings, Violation> {
        let before = self.peer;
        self.peer = before.apply(frame, peer, !self.received)?;
        self.received = true;
        Ok(before)
    }
}

impl SettingsState {
    /// Applies settings that the peer announced elsewhere; its first SETTINGS frame is still to
    /// come.
    pub(crate) fn assume(&mut self, announced: &Settings, peer: Role) -> Result<(), Violation> {
        self.peer = self.peer.apply(announced, peer, true)?;
        Ok(())
    }
}

/// Our SETTINGS during the connection: limits that follow the load.
impl Connection {
    /// Server: limits the client's open streams to `streams`, at most
    /// [`Config::max_concurrent_streams`]. Open streams go on. New ones above the limit are refused
    /// with REFUSED_STREAM from now on, which doesn't count as abuse while the client can't have
    /// heard of the limit. The announcement waits until the client has acknowledged the one before.
    pub fn limit_streams(&mut self, streams: u32) {
        if self.role == Role::Client || self.lifetime.is_over() {
            return;
        }
        self.settings.streams.wanted = Some(streams.min(self.config.max_concurrent_streams));
        self.announce_changes();
    }

    /// Changes [`Config::initial_window_size`] for this connection: the bytes of its body that each
    /// stream may send before we grant more. The announcement waits until the peer has acknowledged
    /// the one before, and the old size holds until the peer acknowledges the new one (RFC 9113
    /// §6.5.3).
    ///
    /// Open streams change with it (RFC 9113 §6.9.2): a larger size is credit for each of them, and
    /// what a smaller size takes from a stream that receives is granted again. So that no window
    /// exceeds 2^31-1 bytes, the size grows to at most that less
    /// [`Config::max_stream_window_size`], and less any larger size before.
    pub fn set_initial_window_size(&mut self, bytes: u32) {
        if self.lifetime.is_over() {
            return;
        }
        self.settings.window.wanted = Some(bytes);
        self.announce_changes();
    }

    /// Announces the changes that the owner wants, if that can be done now.
    fn announce_changes(&mut self) {
        let changes = self.settings.take_changes();
        if changes.is_empty() {
            return;
        }
        let frame = Settings::of(&changes);
        // Its acknowledgement has no time limit: it may wait behind a body that isn't read for now.
        self.send(|out| frame.write(out));
        // What the peer may come to send changes for every stream.
        for slot in self.streams.slots() {
            drop(self.counted(slot));
        }
    }

    /// Handles the acknowledgement of our SETTINGS, which now bind the peer.
    pub(super) fn on_settings_ack(&mut self) -> Result<(), Violation> {
        match self.settings.unacknowledged {
            // An unexpected acknowledgement is harmless, but not part of the protocol.
            Unacknowledged::Nothing => return Err(Violation::SettingsAckUnexpected),
            Unacknowledged::First => {
                self.timers.clear(Timer::SettingsAck);
                self.blocks
                    .set_decoder_table_size(self.config.header_table_size);
            }
            Unacknowledged::Change { .. } => {}
        }
        self.settings.unacknowledged = Unacknowledged::Nothing;
        self.apply_initial_window_size();
        self.announce_changes();
        Ok(())
    }
}

/// Returns our SETTINGS frame: the values that differ from the protocol's defaults.
pub(crate) fn ours(config: &Config, role: Role) -> Settings {
    let mut entries = Vec::with_capacity(8);
    let mut announce = |id, value: u32, default: u32| {
        if value != default {
            entries.push((id, value));
        }
    };
    announce(SettingId::HEADER_TABLE_SIZE, config.header_table_size, 4096);
    if role == Role::Client {
        announce(SettingId::ENABLE_PUSH, u32::from(config.enable_push), 1);
    }
    announce(
        SettingId::MAX_CONCURRENT_STREAMS,
        config.max_concurrent_streams,
        u32::MAX,
    );
    announce(
        SettingId::INITIAL_WINDOW_SIZE,
        config.initial_window_size,
        65_535,
    );
    announce(SettingId::MAX_FRAME_SIZE, config.max_frame_size, 16_384);
    announce(
        SettingId::MAX_HEADER_LIST_SIZE,
        config.max_header_list_size,
        u32::MAX,
    );
    if role == Role::Server {
        announce(
            SettingId::ENABLE_CONNECT_PROTOCOL,
            u32::from(config.enable_connect_protocol),
            0,
        );
    }
    // RFC 9218 §2.1: "If endpoints use SETTINGS_NO_RFC7540_PRIORITIES, they MUST send it in the
    // first SETTINGS frame."
    announce(
        SettingId::NO_RFC7540_PRIORITIES,
        u32::from(config.priorities == Priorities::Rfc9218),
        0,
    );
    Settings::of(&entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn apply(entries: &[(SettingId, u32)], peer: Role) -> Result<PeerSettings, Violation> {
        PeerSettings::initial().apply(&Settings::of(entries), peer, true)
    }

    #[test]
    fn values_out_of_range_are_refused_and_unknown_ones_ignored() {
        use Violation::{
            EnableConnectProtocolInvalid, EnablePushInvalid, InitialWindowSizeTooLarge,
            MaxFrameSizeInvalid, NoRfc7540PrioritiesInvalid, ServerEnabledPush,
        };
        for (id, value, peer, expected) in [
            (SettingId::ENABLE_PUSH, 2, Role::Client, EnablePushInvalid),
            (SettingId::ENABLE_PUSH, 1, Role::Server, ServerEnabledPush),
            (
                SettingId::INITIAL_WINDOW_SIZE,
                1 << 31,
                Role::Client,
                InitialWindowSizeTooLarge,
            ),
            (
                SettingId::MAX_FRAME_SIZE,
                16_383,
                Role::Client,
                MaxFrameSizeInvalid,
            ),
            (
                SettingId::MAX_FRAME_SIZE,
                1 << 24,
                Role::Client,
                MaxFrameSizeInvalid,
            ),
            (
                SettingId::ENABLE_CONNECT_PROTOCOL,
                2,
                Role::Server,
                EnableConnectProtocolInvalid,
            ),
            (
                SettingId::NO_RFC7540_PRIORITIES,
                2,
                Role::Client,
                NoRfc7540PrioritiesInvalid,
            ),
        ] {
            assert_eq!(apply(&[(id, value)], peer), Err(expected));
        }
        assert_eq!(
            apply(&[(SettingId(0xfafa), 7)], Role::Client),
            Ok(PeerSettings::initial())
        );
    }

    #[test]
    fn the_last_of_repeated_values_holds() {
        // RFC 9113 §6.5.3: "The values in the SETTINGS frame MUST be processed in the order they
        // appear".
        let id = SettingId::INITIAL_WINDOW_SIZE;
        let settings = apply(&[(id, 1), (id, 5)], Role::Client).unwrap();
        assert_eq!(settings.initial_window_size, 5);
    }

    #[test]
    fn only_what_differs_is_announced() {
        let entries: Vec<_> = ours(&Config::server(), Role::Server).entries().collect();
        let expected = [
            (SettingId::MAX_CONCURRENT_STREAMS, 100),
            (SettingId::MAX_HEADER_LIST_SIZE, 32 << 10),
            (SettingId::NO_RFC7540_PRIORITIES, 1),
        ];
        assert_eq!(entries, expected);
        let client = ours(&Config::client(), Role::Client);
        assert!(
            client
                .entries()
                .any(|entry| entry == (SettingId::ENABLE_PUSH, 0))
        );
    }
}
