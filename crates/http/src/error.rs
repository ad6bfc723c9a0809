//! The errors, by whose fault they are: a [`Violation`] is the peer's, a [`Misuse`] the caller's.

use bytes::Bytes;
use tidegate_frame::{Defect, ErrorCode, Malformed, Scope};

use crate::protocol::Protocol;

/// The column of the protocol in the table of violations.
macro_rules! of {
    (Both) => {
        None
    };
    ($protocol:ident) => {
        Some(Protocol::$protocol)
    };
}

macro_rules! violations {
    ($($(#[$doc:meta])* $name:ident => $code:ident, $scope:ident, $protocol:ident, $section:literal, $label:literal;)*) => {
        /// A rule or limit that a peer broke. [`code`](Self::code), [`scope`](Self::scope),
        /// [`protocol`](Self::protocol), [`section`](Self::section) and [`label`](Self::label)
        /// return the properties of each.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Violation {
            $($(#[$doc])* #[doc = concat!(" ", $section, ": ", stringify!($scope), " error ", stringify!($code), ".")] $name,)*
        }

        impl Violation {
            /// All violations, in the order of the table.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// Returns the error code that goes out in RST_STREAM or GOAWAY.
            pub const fn code(self) -> ErrorCode {
                match self { $(Self::$name => ErrorCode::$code,)* }
            }

            /// Returns what fails: the stream or the whole connection.
            pub const fn scope(self) -> Scope {
                match self { $(Self::$name => Scope::$scope,)* }
            }

            /// Returns the protocol whose peers can break the rule; `None` for a rule of both.
            pub const fn protocol(self) -> Option<Protocol> {
                match self { $(Self::$name => of!($protocol),)* }
            }

            /// Returns the section of the rule, or for a limit of our own the attack that it
            /// answers.
            pub const fn section(self) -> &'static str {
                match self { $(Self::$name => $section,)* }
            }

            /// Returns the variant's name.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)* }
            }

            /// Returns the name as a metric label.
            pub const fn label(self) -> &'static str {
                match self { $(Self::$name => $label,)* }
            }
        }
    };
}

violations! {
    // The start of the connection.
    PrefaceInvalid => PROTOCOL_ERROR, Connection, Http2, "RFC 9113 §3.4", "preface_invalid";
    PrefaceWithoutSettings => PROTOCOL_ERROR, Connection, Http2, "RFC 9113 §3.4", "preface_without_settings";
    HandshakeTimedOut => NO_ERROR, Connection, Http2, "RFC 9113 §3.4; slow start", "handshake_timed_out";

    // The format of frames: one for each `Defect` of the frame crate.
    FrameOverMaxFrameSize => FRAME_SIZE_ERROR, Connection, Http2, "RFC 9113 §4.2", "frame_over_max_frame_size";
    DataOnStreamZero => PROTOCOL_ERROR, Connection, Http2, "RFC 9113 §6.1", "data_on_stream_zero";
    DataPaddingTooLong => PROTOCOL_ERROR, Connection, Http2, "RFC 9113 §6.1", "data_padding_too_long";
    DataTooShort => FRAME_SIZE_ERROR, Connection, Http2, "RFC 9113 §4.2", "data_too_short";
    HeadersOnStreamZero => PROTOCOL_ERROR, Connection, Http2, "RFC 9113 §6.2", "headers_on_stream_zero";
    HeadersPaddingTooLong => PROTOCOL_ERROR, Connection, Http2, "RFC 9113 §6.2", "headers_padding_too_long";
    HeadersTooShort => FRAME_SIZE_ERROR, Connection, Http2, "RFC 9113 §6.2", "headers_too_short";
    PriorityOnStreamZero => PROTOCOL_ERROR, Connection, Http2, "RFC 9113 §6.3", "priority_on_stream_zero";
    PriorityLengthNot5 => FRAME_SIZE_ERROR, Stream, Http2, "RFC 9113 §6.3", "priority_length_not_5";
    RstStreamOnStreamZero => PROTOCOL_ERROR, Connection, Http2, "RFC 9113 §6.4", "rst_stream_on_stream_zero";
    RstStreamLengthNot4 => FRAME_SIZE_ERROR, Connection, Http2, "RFC 9113 §6.4", "rst_stream_length_not_4";
    SettingsOnStream => PROTOCOL_ERROR, Connection, Http2, "RFC 9113 §6.5", "settings_on_stream";
    SettingsLengthNotMultipleOf6 => FRAME_SIZE_ERROR, Connection, Http2, "RFC 9113 §6.5", "settings_length_not_multiple_of_6";
    SettingsAckWithPayload => FRAME_SIZE_ERROR, Connection, Http2, "RFC 9113 §6.5", "settings_ack_with_payload";
    PushPromiseOnStreamZero => PROTOCOL_ERROR, Connection, Http2, "RFC 9113 §6.6", "push_promise_on_stream_zero";
    PushPromisePaddingTooLong => PROTOCOL_ERROR, Connection, Http2, "RFC 9113 §6.6", "push_promise_padding_too_long";
    PushPromiseTooShort => FRAME_SIZE_ERROR, Connection, Http2, "RFC 9113 §6.6", "push_promise_too_short";
    PushPromiseOfInvalidStream => PROTOCOL_ERROR, Connection, Http2, "RFC 9113 §6.6", "push_promise_of_invalid_stream";
    PingOnStream => PROTOCOL_ERROR, Connection, Http2, "RFC 9113 §6.7", "ping_on_stream";
    PingLengthNot8 => FRAME_SIZE_ERROR, Connection, Http2, "RFC 9113 §6.7", "ping_length_not_8";
    GoAwayOnStream => PROTOCOL_ERROR, Connection, Http2, "RFC 9113 §6.8", "goaway_on_stream";
    GoAwayTooShort => FRAME_SIZE_ERROR, Connection, Http2, "RFC 9113 §6.8", "goaway_too_short";
    WindowUpdateLengthNot4 => FRAME_SIZE_ERROR, Connection, Http2, "RFC 9113 §6.9", "window_update_length_not_4";
    WindowUpdateOfZero => PROTOCOL_ERROR, Connection, Http2, "RFC 9113 §6.9", "window_update_of_zero";
    WindowUpdateOfZeroOnStream => PROTOCOL_ERROR, Stream, Http2, "RFC 9113 §6.9", "window_update_of_zero_on_stream";
    ContinuationOnStreamZero => PROTOCOL_ERROR, Connection, Http2, "RFC 9113 §6.10", "continuation_on_stream_zero";
    PriorityUpdateOnStream => PROTOCOL_ERROR, Connection, Http2, "RFC 9218 §7.1", "priority_update_on_stream";
    PriorityUpdateTooShort => FRAME_SIZE_ERROR, Connection, Http2, "RFC 9218 §7.1", "priority_update_too_short";
    PriorityUpdateOfStreamZero => PROTOCOL_ERROR, Connection, Http2, "RFC 9218 §7.1", "priority_update_of_stream_zero";

    // Header blocks.
    CompressionFailed => COMPRESSION_ERROR, Connection, Http2, "RFC 9113 §4.3", "compression_failed";
    HeaderBlockInterrupted => PROTOCOL_ERROR, Connection, Http2, "RFC 9113 §4.3", "header_block_interrupted";
    ContinuationWithoutHeaders => PROTOCOL_ERROR, Connection, Http2, "RFC 9113 §6.10", "continuation_without_headers";
    HeaderBlockTimedOut => ENHANCE_YOUR_CALM, Connection, Both, "slow headers", "header_block_timed_out";
    /// A server answers with status 431.
    HeaderListTooLarge => ENHANCE_YOUR_CALM, Stream, Both, "RFC 9113 §10.5.1; HPACK bomb", "header_list_too_large";
    /// A server answers with status 431.
    TooManyHeaderFields => ENHANCE_YOUR_CALM, Stream, Both, "RFC 9113 §10.5.1; field-count bomb", "too_many_header_fields";
    /// A server answers with status 431.
    TooManyCookieCrumbs => ENHANCE_YOUR_CALM, Stream, Both, "RFC 9113 §10.5.1; field-count bomb", "too_many_cookie_crumbs";

    // Streams.
    FrameOnIdleStream => PROTOCOL_ERROR, Connection, Http2, "RFC 9113 §5.1", "frame_on_idle_stream";
    FrameAfterEndStream => STREAM_CLOSED, Stream, Http2, "RFC 9113 §5.1", "frame_after_end_stream";
    FrameOnClosedStream => STREAM_CLOSED, Connection, Http2, "RFC 9113 §5.1", "frame_on_closed_stream";
    FrameOnResetStream => STREAM_CLOSED, Connection, Http2, "RFC 9113 §5.1", "frame_on_reset_stream";
    FrameOnReservedStream => PROTOCOL_ERROR, Connection, Http2, "RFC 9113 §5.1", "frame_on_reserved_stream";
    StreamIdOfWrongParity => PROTOCOL_ERROR, Connection, Http2, "RFC 9113 §5.1.1", "stream_id_of_wrong_parity";
    StreamIdNotIncreasing => PROTOCOL_ERROR, Connection, Http2, "RFC 9113 §5.1.1", "stream_id_not_increasing";
    TooManyConcurrentStreams => REFUSED_STREAM, Stream, Http2, "RFC 9113 §5.1.2", "too_many_concurrent_streams";
    StreamDependsOnItself => PROTOCOL_ERROR, Stream, Http2, "RFC 7540 §5.3.1", "stream_depends_on_itself";

    // SETTINGS.
    EnablePushInvalid => PROTOCOL_ERROR, Connection, Http2, "RFC 9113 §6.5.2", "enable_push_invalid";
    ServerEnabledPush => PROTOCOL_ERROR, Connection, Http2, "RFC 9113 §6.5.2", "server_enabled_push";
    InitialWindowSizeTooLarge => FLOW_CONTROL_ERROR, Connection, Http2, "RFC 9113 §6.5.2", "initial_window_size_too_large";
    MaxFrameSizeInvalid => PROTOCOL_ERROR, Connection, Http2, "RFC 9113 §6.5.2", "max_frame_size_invalid";
    EnableConnectProtocolInvalid => PROTOCOL_ERROR, Connection, Http2, "RFC 8441 §3", "enable_connect_protocol_invalid";
    NoRfc7540PrioritiesInvalid => PROTOCOL_ERROR, Connection, Http2, "RFC 9218 §2.1", "no_rfc7540_priorities_invalid";
    SettingsAckUnexpected => PROTOCOL_ERROR, Connection, Http2, "RFC 9113 §6.5.3", "settings_ack_unexpected";
    SettingsAckTimedOut => SETTINGS_TIMEOUT, Connection, Http2, "RFC 9113 §6.5.3", "settings_ack_timed_out";

    // Flow control.
    WindowOverflow => FLOW_CONTROL_ERROR, Connection, Http2, "RFC 9113 §6.9.1", "window_overflow";
    WindowOverflowOnStream => FLOW_CONTROL_ERROR, Stream, Http2, "RFC 9113 §6.9.1", "window_overflow_on_stream";
    WindowOverflowBySettings => FLOW_CONTROL_ERROR, Connection, Http2, "RFC 9113 §6.9.2", "window_overflow_by_settings";
    DataOverWindow => FLOW_CONTROL_ERROR, Connection, Http2, "RFC 9113 §6.9.1", "data_over_window";
    DataOverStreamWindow => FLOW_CONTROL_ERROR, Stream, Http2, "RFC 9113 §6.9.1", "data_over_stream_window";

    // Messages.
    PseudoFieldUnknown => PROTOCOL_ERROR, Stream, Http2, "RFC 9113 §8.3", "pseudo_field_unknown";
    PseudoFieldMisplaced => PROTOCOL_ERROR, Stream, Http2, "RFC 9113 §8.3", "pseudo_field_misplaced";
    PseudoFieldRepeated => PROTOCOL_ERROR, Stream, Http2, "RFC 9113 §8.3", "pseudo_field_repeated";
    PseudoFieldMissing => PROTOCOL_ERROR, Stream, Http2, "RFC 9113 §8.3.1", "pseudo_field_missing";
    PseudoFieldInTrailers => PROTOCOL_ERROR, Stream, Http2, "RFC 9113 §8.1", "pseudo_field_in_trailers";
    MethodInvalid => PROTOCOL_ERROR, Stream, Both, "RFC 9113 §8.3.1", "method_invalid";
    SchemeInvalid => PROTOCOL_ERROR, Stream, Both, "RFC 9113 §8.3.1", "scheme_invalid";
    AuthorityInvalid => PROTOCOL_ERROR, Stream, Both, "RFC 9113 §8.3.1", "authority_invalid";
    PathInvalid => PROTOCOL_ERROR, Stream, Both, "RFC 9113 §8.3.1", "path_invalid";
    StatusInvalid => PROTOCOL_ERROR, Stream, Both, "RFC 9113 §8.3.2", "status_invalid";
    ConnectMalformed => PROTOCOL_ERROR, Stream, Both, "RFC 9113 §8.5", "connect_malformed";
    ProtocolNotAllowed => PROTOCOL_ERROR, Stream, Http2, "RFC 8441 §4", "protocol_not_allowed";
    HostContradictsAuthority => PROTOCOL_ERROR, Stream, Http2, "RFC 9113 §8.3.1", "host_contradicts_authority";
    FieldNameInvalid => PROTOCOL_ERROR, Stream, Both, "RFC 9113 §8.2.1", "field_name_invalid";
    FieldNameUppercase => PROTOCOL_ERROR, Stream, Http2, "RFC 9113 §8.2.1", "field_name_uppercase";
    FieldValueInvalid => PROTOCOL_ERROR, Stream, Both, "RFC 9113 §8.2.1", "field_value_invalid";
    ConnectionSpecificField => PROTOCOL_ERROR, Stream, Http2, "RFC 9113 §8.2.2", "connection_specific_field";
    TeNotTrailers => PROTOCOL_ERROR, Stream, Http2, "RFC 9113 §8.2.2", "te_not_trailers";
    ContentLengthInvalid => PROTOCOL_ERROR, Stream, Both, "RFC 9110 §8.6", "content_length_invalid";
    ContentLengthMismatch => PROTOCOL_ERROR, Stream, Http2, "RFC 9113 §8.1.1", "content_length_mismatch";
    TrailersWithoutEndStream => PROTOCOL_ERROR, Stream, Http2, "RFC 9113 §8.1", "trailers_without_end_stream";
    DataBeforeResponseHead => PROTOCOL_ERROR, Stream, Http2, "RFC 9113 §8.1", "data_before_response_head";
    InformationalWithEndStream => PROTOCOL_ERROR, Stream, Http2, "RFC 9113 §8.1", "informational_with_end_stream";
    SwitchingProtocols => PROTOCOL_ERROR, Stream, Http2, "RFC 9113 §8.6", "switching_protocols";
    DataWithoutContent => PROTOCOL_ERROR, Stream, Http2, "RFC 9110 §6.4.1", "data_without_content";
    HeadersOnTunnel => PROTOCOL_ERROR, Stream, Http2, "RFC 9113 §8.5", "headers_on_tunnel";

    // Push.
    PushPromiseFromClient => PROTOCOL_ERROR, Connection, Http2, "RFC 9113 §8.4", "push_promise_from_client";
    PushNotEnabled => PROTOCOL_ERROR, Connection, Http2, "RFC 9113 §6.6", "push_not_enabled";
    PushPromiseOnClosedStream => PROTOCOL_ERROR, Connection, Http2, "RFC 9113 §6.6", "push_promise_on_closed_stream";
    PromisedStreamNotIdle => PROTOCOL_ERROR, Connection, Http2, "RFC 9113 §5.1.1", "promised_stream_not_idle";
    PromisedRequestUnsafe => PROTOCOL_ERROR, Stream, Http2, "RFC 9113 §8.4", "promised_request_unsafe";
    PromisedRequestWithBody => PROTOCOL_ERROR, Stream, Http2, "RFC 9113 §8.4", "promised_request_with_body";

    // The end of the connection.
    GoAwayLastStreamIncreased => PROTOCOL_ERROR, Connection, Http2, "RFC 9113 §6.8", "goaway_last_stream_increased";
    PriorityUpdateFromServer => PROTOCOL_ERROR, Connection, Http2, "RFC 9218 §7.1", "priority_update_from_server";
    PriorityUpdateOfPushedIdle => PROTOCOL_ERROR, Connection, Http2, "RFC 9218 §7.1", "priority_update_of_pushed_idle";
    PriorityUpdateOverLimit => PROTOCOL_ERROR, Connection, Http2, "RFC 9218 §7.1", "priority_update_over_limit";

    // Time limits.
    BodyTimedOut => CANCEL, Stream, Both, "slow POST (CVE-2018-17189)", "body_timed_out";
    BodyTooSlow => CANCEL, Stream, Both, "slow POST (CVE-2018-17189)", "body_too_slow";
    WriteTimedOut => CANCEL, Stream, Http2, "slow read (CVE-2016-1546)", "write_timed_out";
    ConnectionWindowStalled => ENHANCE_YOUR_CALM, Connection, Http2, "slow read (CVE-2016-1546)", "connection_window_stalled";

    // Abuse: allowed by the RFC, but beyond the needs of an honest peer.
    RapidReset => ENHANCE_YOUR_CALM, Connection, Http2, "CVE-2023-44487", "rapid_reset";
    MadeYouReset => ENHANCE_YOUR_CALM, Connection, Http2, "CVE-2025-8671", "made_you_reset";
    ContinuationFlood => ENHANCE_YOUR_CALM, Connection, Http2, "CVE-2024-27316", "continuation_flood";
    PingFlood => ENHANCE_YOUR_CALM, Connection, Http2, "CVE-2019-9512", "ping_flood";
    SettingsFlood => ENHANCE_YOUR_CALM, Connection, Http2, "CVE-2019-9515", "settings_flood";
    PriorityFlood => ENHANCE_YOUR_CALM, Connection, Http2, "CVE-2019-9513", "priority_flood";
    WindowUpdateFlood => ENHANCE_YOUR_CALM, Connection, Http2, "WINDOW_UPDATE flood", "window_update_flood";
    EmptyFrameFlood => ENHANCE_YOUR_CALM, Connection, Http2, "CVE-2019-9518", "empty_frame_flood";
    GoAwayFlood => ENHANCE_YOUR_CALM, Connection, Http2, "GOAWAY flood", "goaway_flood";
    ClosedStreamFlood => ENHANCE_YOUR_CALM, Connection, Http2, "RFC 9113 §5.1", "closed_stream_flood";
    UnknownFrameFlood => ENHANCE_YOUR_CALM, Connection, Http2, "RFC 9113 §10.5", "unknown_frame_flood";
    HeaderBomb => ENHANCE_YOUR_CALM, Connection, Http2, "CVE-2016-6581", "header_bomb";

    // Only HTTP/1.1. Each of these ends the connection, with the status that `tidegate-http1` has
    // for it.
    RequestLineInvalid => PROTOCOL_ERROR, Connection, Http1, "RFC 9112 §3", "request_line_invalid";
    RequestLineTooLong => ENHANCE_YOUR_CALM, Connection, Http1, "RFC 9112 §3", "request_line_too_long";
    HttpVersionUnsupported => HTTP_1_1_REQUIRED, Connection, Http1, "RFC 9112 §2.3", "http_version_unsupported";
    TargetInvalid => PROTOCOL_ERROR, Connection, Http1, "RFC 9112 §3.2", "target_invalid";
    HostMissing => PROTOCOL_ERROR, Connection, Http1, "RFC 9112 §3.2", "host_missing";
    HostRepeated => PROTOCOL_ERROR, Connection, Http1, "RFC 9112 §3.2", "host_repeated";
    HostInvalid => PROTOCOL_ERROR, Connection, Http1, "RFC 9112 §3.2", "host_invalid";
    LineEndInvalid => PROTOCOL_ERROR, Connection, Http1, "RFC 9112 §2.2", "line_end_invalid";
    FieldLineInvalid => PROTOCOL_ERROR, Connection, Http1, "RFC 9112 §5", "field_line_invalid";
    FieldLineFolded => PROTOCOL_ERROR, Connection, Http1, "RFC 9112 §5.2", "field_line_folded";
    ContentLengthRepeated => PROTOCOL_ERROR, Connection, Http1, "RFC 9112 §6.3", "content_length_repeated";
    ContentLengthWithTransferEncoding => PROTOCOL_ERROR, Connection, Http1, "RFC 9112 §6.1", "content_length_with_transfer_encoding";
    TransferEncodingNotChunked => PROTOCOL_ERROR, Connection, Http1, "RFC 9112 §6.3", "transfer_encoding_not_chunked";
    TransferCodingUnknown => PROTOCOL_ERROR, Connection, Http1, "RFC 9112 §6.1", "transfer_coding_unknown";
    TransferEncodingBeforeHttp11 => PROTOCOL_ERROR, Connection, Http1, "RFC 9112 §6.1", "transfer_encoding_before_http11";
    ChunkInvalid => PROTOCOL_ERROR, Connection, Http1, "RFC 9112 §7.1", "chunk_invalid";
    ChunkLineTooLong => ENHANCE_YOUR_CALM, Connection, Http1, "RFC 9112 §7.1.1", "chunk_line_too_long";
    StatusLineInvalid => PROTOCOL_ERROR, Connection, Http1, "RFC 9112 §4", "status_line_invalid";
    ResponseUnasked => PROTOCOL_ERROR, Connection, Http1, "RFC 9112 §9.2", "response_unasked";
    /// A 101 that wasn't asked for, for another protocol, or with a wrong Sec-WebSocket-Accept.
    UpgradeInvalid => PROTOCOL_ERROR, Connection, Http1, "RFC 6455 §4.1", "upgrade_invalid";
}

impl std::fmt::Display for Violation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.name(), self.section())
    }
}

impl std::error::Error for Violation {}

impl From<Malformed> for Violation {
    fn from(malformed: Malformed) -> Self {
        match malformed.defect {
            Defect::FrameOverMaxFrameSize => Self::FrameOverMaxFrameSize,
            Defect::DataOnStreamZero => Self::DataOnStreamZero,
            Defect::DataPaddingTooLong => Self::DataPaddingTooLong,
            Defect::DataTooShort => Self::DataTooShort,
            Defect::HeadersOnStreamZero => Self::HeadersOnStreamZero,
            Defect::HeadersPaddingTooLong => Self::HeadersPaddingTooLong,
            Defect::HeadersTooShort => Self::HeadersTooShort,
            Defect::PriorityOnStreamZero => Self::PriorityOnStreamZero,
            Defect::PriorityLengthNot5 => Self::PriorityLengthNot5,
            Defect::RstStreamOnStreamZero => Self::RstStreamOnStreamZero,
            Defect::RstStreamLengthNot4 => Self::RstStreamLengthNot4,
            Defect::SettingsOnStream => Self::SettingsOnStream,
            Defect::SettingsLengthNotMultipleOf6 => Self::SettingsLengthNotMultipleOf6,
            Defect::SettingsAckWithPayload => Self::SettingsAckWithPayload,
            Defect::PushPromiseOnStreamZero => Self::PushPromiseOnStreamZero,
            Defect::PushPromisePaddingTooLong => Self::PushPromisePaddingTooLong,
            Defect::PushPromiseTooShort => Self::PushPromiseTooShort,
            Defect::PushPromiseOfInvalidStream => Self::PushPromiseOfInvalidStream,
            Defect::PingOnStream => Self::PingOnStream,
            Defect::PingLengthNot8 => Self::PingLengthNot8,
            Defect::GoAwayOnStream => Self::GoAwayOnStream,
            Defect::GoAwayTooShort => Self::GoAwayTooShort,
            Defect::WindowUpdateLengthNot4 => Self::WindowUpdateLengthNot4,
            Defect::WindowUpdateOfZero if malformed.stream_id.is_connection() => {
                Self::WindowUpdateOfZero
            }
            Defect::WindowUpdateOfZero => Self::WindowUpdateOfZeroOnStream,
            Defect::ContinuationOnStreamZero => Self::ContinuationOnStreamZero,
            Defect::PriorityUpdateOnStream => Self::PriorityUpdateOnStream,
            Defect::PriorityUpdateTooShort => Self::PriorityUpdateTooShort,
            Defect::PriorityUpdateOfStreamZero => Self::PriorityUpdateOfStreamZero,
            // `Defect` may grow; one without a row here is still a broken frame.
            _ => Self::FrameOverMaxFrameSize,
        }
    }
}

/// A mistake of the caller; never caused by the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Misuse {
    /// The stream has been reset or is closed.
    StreamClosed,
    /// The final response was sent already.
    AlreadyResponded,
    /// A body or trailers before the final response, or an interim response after it.
    OutOfOrder,
    /// Only a client opens requests; only a server responds, informs and pushes.
    WrongRole,
    /// An interim response needs a status of 100 to 199 but not 101, a final one 200 to 999.
    StatusOutOfRange,
    /// A field that HTTP/2 forbids: invalid bytes, upper case, connection-specific, or a misplaced
    /// pseudo-field.
    InvalidField,
    /// The peer's SETTINGS_MAX_CONCURRENT_STREAMS is reached, or the identifiers are used up.
    TooManyStreams,
    /// The connection is ending: no new streams.
    GoingAway,
    /// The peer doesn't accept pushes.
    PushDisabled,
    /// A promised request must be safe, cacheable and without a body (RFC 9113 §8.4).
    UnsafePush,
    /// The fields exceed the peer's SETTINGS_MAX_HEADER_LIST_SIZE.
    HeadTooLarge,
    /// Extended CONNECT needs the server's SETTINGS_ENABLE_CONNECT_PROTOCOL (RFC 8441 §3).
    ConnectProtocolDisabled,
    /// [`Config::memory_budget`](crate::Config::memory_budget) has no room for a response's body. A
    /// later call may succeed.
    OverMemoryBudget,
}

impl Misuse {
    /// All misuses.
    pub const ALL: &'static [Self] = &[
        Self::StreamClosed,
        Self::AlreadyResponded,
        Self::OutOfOrder,
        Self::WrongRole,
        Self::StatusOutOfRange,
        Self::InvalidField,
        Self::TooManyStreams,
        Self::GoingAway,
        Self::PushDisabled,
        Self::UnsafePush,
        Self::HeadTooLarge,
        Self::ConnectProtocolDisabled,
        Self::OverMemoryBudget,
    ];
}

impl std::fmt::Display for Misuse {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::StreamClosed => "the stream was reset or is closed",
            Self::AlreadyResponded => "the final response was sent already",
            Self::OutOfOrder => {
                "a message must be sent in order: interim responses, final response, body, trailers"
            }
            Self::WrongRole => {
                "only a client opens requests; only a server responds, informs and pushes"
            }
            Self::StatusOutOfRange => {
                "an interim status is 100 or 102 to 199, a final one 200 to 999"
            }
            Self::InvalidField => "HTTP/2 forbids this field, its name or its value",
            Self::TooManyStreams => {
                "the peer allows no more concurrent streams; wait until one has ended"
            }
            Self::GoingAway => "the connection is ending; open the stream on another one",
            Self::PushDisabled => "the peer doesn't accept pushes",
            Self::UnsafePush => "a promised request must be GET or HEAD, without a body",
            Self::HeadTooLarge => "the fields exceed the peer's SETTINGS_MAX_HEADER_LIST_SIZE",
            Self::ConnectProtocolDisabled => "the server doesn't accept extended CONNECT",
            Self::OverMemoryBudget => {
                "the memory budget has no room for a response; try again later"
            }
        })
    }
}

impl std::error::Error for Misuse {}

/// The end that reset a stream, and the reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ResetCause {
    /// The peer sent RST_STREAM.
    Peer,
    /// The engine sent RST_STREAM, because the peer broke a rule or a limit.
    Violation(Violation),
    /// The peer's GOAWAY shows that it never processed the stream: it can be retried elsewhere (RFC
    /// 9113 §6.8).
    Unprocessed,
    /// [`Config::memory_budget`](crate::Config::memory_budget) was used up. Either the engine
    /// refused the request with REFUSED_STREAM, and no other event reports the stream; or it reset
    /// the stream with ENHANCE_YOUR_CALM in place of its trailers.
    OverMemoryBudget,
}

/// Why a connection closed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CloseReason {
    /// The peer broke a rule or a limit; GOAWAY reported it to the peer.
    Violation(Violation),
    /// The peer sent GOAWAY with an error code.
    PeerError {
        /// The peer's code.
        code: ErrorCode,
        /// The peer's debug data, if any.
        debug_data: Bytes,
    },
    /// The transport ended while no stream was open.
    Eof,
    /// The transport ended in the middle of streams or of a frame.
    EofInTheMiddle,
    /// A graceful end, begun by the owner or by the peer's GOAWAY, with all streams complete.
    Graceful,
    /// A graceful end whose time ran out: open streams were cut off.
    ShutdownTimedOut,
    /// No stream was open for the whole idle timeout.
    Idle,
    /// The peer sent nothing while streams were open, and didn't answer a PING either.
    ProbeUnanswered,
    /// The owner called `abort`.
    Aborted(ErrorCode),
    /// HTTP/1.1: [`Config::memory_budget`](crate::Config::memory_budget) had no room for a
    /// request's body.
    OverMemoryBudget,
}

impl std::fmt::Display for CloseReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Violation(violation) => write!(f, "{violation}"),
            Self::PeerError { code, debug_data } if debug_data.is_empty() => {
                write!(f, "peer sent GOAWAY {code}")
            }
            Self::PeerError { code, debug_data } => {
                write!(
                    f,
                    "peer sent GOAWAY {code}: {:?}",
                    String::from_utf8_lossy(debug_data)
                )
            }
            Self::Eof => f.write_str("closed by the peer"),
            Self::EofInTheMiddle => {
                f.write_str("cut off by the peer in the middle of a stream or frame")
            }
            Self::Graceful => f.write_str("graceful end"),
            Self::ShutdownTimedOut => f.write_str("graceful end timed out"),
            Self::Idle => f.write_str("idle timeout"),
            Self::ProbeUnanswered => f.write_str("the peer was silent and didn't answer a PING"),
            Self::Aborted(code) => write!(f, "aborted with {code}"),
            Self::OverMemoryBudget => f.write_str("the memory budget had no room for a request"),
        }
    }
}

impl std::error::Error for CloseReason {}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn labels_are_the_names_in_snake_case_and_unique() {
        let mut seen = HashSet::new();
        for violation in Violation::ALL {
            let letters = violation.label().replace('_', "");
            assert_eq!(letters, violation.name().to_lowercase(), "{violation:?}");
            assert!(seen.insert(violation.label()), "{violation:?}");
        }
    }

    #[test]
    fn all_misuses_are_in_the_list() {
        for (place, misuse) in Misuse::ALL.iter().enumerate() {
            assert_eq!(*misuse as usize, place);
        }
        // The last variant of the enum. A variant added after it must be added to the list and
        // named here.
        assert_eq!(Misuse::ALL.last(), Some(&Misuse::OverMemoryBudget));
    }

    #[test]
    fn displays_name_and_section() {
        assert_eq!(
            Violation::WindowUpdateOfZero.to_string(),
            "WindowUpdateOfZero (RFC 9113 §6.9)"
        );
    }
}
