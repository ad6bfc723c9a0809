//! The table of the fields that a line can have.
//!
//! Templates, JSON and docs/logs.md have their names from here alone. Names are nginx's where nginx
//! has the same, and keys are those of OpenTelemetry's semantic conventions where there is one.

/// Something that must be gathered while a request is in progress, because nothing else needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// The client that a trusted proxy reports.
    Client,
    /// The parameters of TLS.
    Tls,
    /// The name that the client requested by TLS.
    ServerName,
    /// The stream's priority.
    Priority,
    /// The sizes of field blocks.
    Blocks,
    /// The time of the first byte.
    FirstByte,
    /// The request's id, which is made if it has none.
    RequestId,
}

/// A set of needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Needs(u8);

impl Needs {
    /// Returns the set with one more need.
    #[must_use]
    pub const fn with(self, need: Need) -> Self {
        Self(self.0 | 1 << need as u8)
    }

    /// Whether the set has this need.
    #[inline]
    pub const fn has(self, need: Need) -> bool {
        self.0 & 1 << need as u8 != 0
    }
}

macro_rules! need {
    () => {
        None
    };
    ($need:ident) => {
        Some(Need::$need)
    };
}

macro_rules! fields {
    ($(#[doc = $doc:literal] $field:ident, $name:literal, $key:literal, $example:literal
       $(, $need:ident)?;)*) => {
        /// A field of a line.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Field {
            $(#[doc = $doc] $field,)*
        }

        impl Field {
            /// All fields, in the order of the table, which is their order in JSON.
            pub const ALL: &'static [Self] = &[$(Self::$field),*];

            /// Returns the name in a template, without `$`.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$field => $name,)* }
            }

            /// Returns the key in JSON. Empty if JSON says it by other keys.
            pub const fn key(self) -> &'static str {
                match self { $(Self::$field => $key,)* }
            }

            /// Returns the key as JSON has it after another value: with a comma and a colon.
            pub(super) const fn json_key(self) -> &'static str {
                match self { $(Self::$field => concat!(",\"", $key, "\":"),)* }
            }

            /// Returns an example of the value, as in a template.
            pub const fn example(self) -> &'static str {
                match self { $(Self::$field => $example,)* }
            }

            /// Returns what the field is, as a sentence of the documentation.
            pub const fn about(self) -> &'static str {
                match self { $(Self::$field => $doc,)* }
            }

            /// Returns what must be gathered for the field.
            pub const fn need(self) -> Option<Need> {
                match self { $(Self::$field => need!($($need)?),)* }
            }
        }
    };
}

fields! {
    #[doc = " The time when the line was written."]
    TimeIso8601, "time_iso8601", "timestamp", "2026-11-30T08:49:37.250Z";
    #[doc = " The same as in the Combined Log Format."]
    TimeLocal, "time_local", "", "30/Nov/2026:08:49:37 +0000";
    #[doc = " The client: as the PROXY protocol says, or a proxy of `--trust-forwarded-from`."]
    RemoteAddr, "remote_addr", "client.address", "192.0.2.7", Client;
    #[doc = " The client's port; none if a proxy's field has named the client."]
    RemotePort, "remote_port", "client.port", "52114", Client;
    #[doc = " The other end of the TCP connection: the client, or the proxy before it."]
    PeerAddr, "peer_addr", "network.peer.address", "10.0.0.1";
    #[doc = " Its port."]
    PeerPort, "peer_port", "network.peer.port", "40000";
    #[doc = " The address that the client connected to."]
    ServerAddr, "server_addr", "network.local.address", "198.51.100.1";
    #[doc = " Its port."]
    ServerPort, "server_port", "network.local.port", "443";
    #[doc = " The protocol, as in a request line."]
    ServerProtocol, "server_protocol", "", "HTTP/2";
    #[doc = " The version of HTTP."]
    ProtocolVersion, "protocol_version", "network.protocol.version", "2";
    #[doc = " The request line: method, path with query, and protocol."]
    Request, "request", "", "GET /a?b HTTP/2";
    #[doc = " The method."]
    RequestMethod, "request_method", "http.request.method", "GET";
    #[doc = " The scheme that the request has."]
    Scheme, "scheme", "url.scheme", "https";
    #[doc = " The host that the request is for, without port."]
    Host, "host", "server.address", "example.com";
    #[doc = " The path and query, as they came."]
    RequestUri, "request_uri", "", "/a?b";
    #[doc = " The path, as it came."]
    Path, "path", "url.path", "/a";
    #[doc = " The query, without `?`."]
    Args, "args", "url.query", "b";
    #[doc = " The status; 000 (JSON: none) if the stream was reset before there was one."]
    Status, "status", "http.response.status_code", "200";
    #[doc = " Bytes of the response's body that were handed to the connection."]
    BodyBytesSent, "body_bytes_sent", "http.response.body.size", "1532";
    #[doc = " Bytes of the request's body that came."]
    BodyBytesReceived, "body_bytes_received", "http.request.body.size", "0";
    #[doc = " Bytes of the request's names and values of fields."]
    HeaderBytesReceived, "header_bytes_received", "tidegate.request.header.size", "412", Blocks;
    #[doc = " Bytes of the same after compression by HPACK; HTTP/2 only."]
    HeaderBlockReceived, "header_block_received", "tidegate.request.header.compressed_size",
        "38", Blocks;
    #[doc = " Bytes of the response's names and values of fields; HTTP/2 only."]
    HeaderBytesSent, "header_bytes_sent", "tidegate.response.header.size", "184", Blocks;
    #[doc = " Bytes of the same after compression by HPACK; HTTP/2 only."]
    HeaderBlockSent, "header_block_sent", "tidegate.response.header.compressed_size",
        "12", Blocks;
    #[doc = " Seconds from the request's head to the line."]
    RequestTime, "request_time", "http.server.request.duration", "0.001234";
    #[doc = " Seconds from the request's head until the response's head was handed on."]
    FirstByteTime, "first_byte_time", "tidegate.first_byte.duration", "0.000987", FirstByte;
    #[doc = " The upstream's address that the request was sent to last."]
    UpstreamAddr, "upstream_addr", "tidegate.upstream.address", "10.0.0.9:8080";
    #[doc = " How often the request was sent to the upstream."]
    UpstreamTries, "upstream_tries", "tidegate.upstream.tries", "1";
    #[doc = " Seconds that the request waited for a place at its upstream."]
    UpstreamQueueTime, "upstream_queue_time", "tidegate.upstream.queue.duration", "0.000000";
    #[doc = " Seconds that it waited for a connection to be established; 0 on one that was there."]
    UpstreamConnectTime, "upstream_connect_time", "tidegate.upstream.connect.duration",
        "0.000310";
    #[doc = " Seconds from sending the request until the upstream's response began, or failed."]
    UpstreamHeaderTime, "upstream_header_time", "tidegate.upstream.first_byte.duration",
        "0.000640";
    #[doc = " Why there is no whole response of the upstream, as RFC 9209 §2.3 names it."]
    UpstreamError, "upstream_error", "error.type", "connection_refused";
    #[doc = " `hit` if a file was known, `miss` if the disk was asked."]
    Cache, "cache", "tidegate.cache", "hit";
    #[doc = " `pushed` if the response is a push."]
    Push, "push", "tidegate.push", "pushed";
    #[doc = " `hinted` if a 103 (Early Hints) went before the response."]
    EarlyHints, "early_hints", "tidegate.early_hints", "hinted";
    #[doc = " The code with which the stream was reset."]
    ResetCode, "reset_code", "tidegate.reset.code", "CANCEL";
    #[doc = " Who reset it: `client` or `server`."]
    ResetBy, "reset_by", "tidegate.reset.by", "client";
    #[doc = " The rule that the client broke, by the name in the log."]
    Violation, "violation", "tidegate.violation", "BodyTimedOut";
    #[doc = " The stream's number; HTTP/1.1 counts requests in the same way."]
    Stream, "stream", "tidegate.stream", "1";
    #[doc = " The priority that the client asked for (RFC 9218)."]
    Priority, "priority", "tidegate.priority", "u=3,i", Priority;
    #[doc = " The name that the client requested by TLS (SNI)."]
    SslServerName, "ssl_server_name", "tls.client.server_name", "example.com", ServerName;
    #[doc = " The version of TLS, as nginx writes it."]
    SslProtocol, "ssl_protocol", "", "TLSv1.3", Tls;
    #[doc = " The version of TLS."]
    TlsVersion, "tls_version", "tls.protocol.version", "1.3", Tls;
    #[doc = " The cipher suite, by its name at IANA."]
    SslCipher, "ssl_cipher", "tls.cipher", "TLS_AES_128_GCM_SHA256", Tls;
    #[doc = " The request's id: see `--request-id`."]
    RequestId, "request_id", "http.request.header.x-request-id",
        "5f0c6fd7-9f43-4a4e-8d0b-0c0f3f2a7b11", RequestId;
    #[doc = " The trace context that goes to the upstream (W3C)."]
    Traceparent, "traceparent", "", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    #[doc = " The trace's id in it."]
    TraceId, "trace_id", "trace_id", "0af7651916cd43dd8448eb211c80319c";
    #[doc = " The parent's id in it."]
    SpanId, "span_id", "span_id", "b7ad6b7169203331";
    #[doc = " The flags in it."]
    TraceFlags, "trace_flags", "trace_flags", "01";
    #[doc = " The part of such requests that has lines, from 0 to 1: see `--access-log-sample`."]
    SampleRate, "sample_rate", "tidegate.sample_rate", "0.01";
    #[doc = " The field `referer`."]
    HttpReferer, "http_referer", "http.request.header.referer", "https://example.com/";
    #[doc = " The field `user-agent`."]
    HttpUserAgent, "http_user_agent", "user_agent.original", "curl/8.14.1";
}

impl Field {
    /// Returns the field of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|field| field.name() == name)
    }
}

/// Returns the table of fields of docs/logs.md.
pub fn table() -> String {
    let mut text =
        String::from("| in a template | in JSON | what it is | such as |\n|---|---|---|---|\n");
    for field in Field::ALL {
        let key = match field.key() {
            "" => String::new(),
            key => format!("`{key}`"),
        };
        let (name, about) = (field.name(), field.about().trim());
        let about = about.strip_suffix('.').unwrap_or(about);
        let example = field.example();
        text.push_str(&format!("| `${name}` | {key} | {about} | `{example}` |\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_keys_are_unique() {
        for (n, field) in Field::ALL.iter().enumerate() {
            for other in &Field::ALL[..n] {
                assert_ne!(field.name(), other.name());
                assert!(
                    field.key().is_empty() || field.key() != other.key(),
                    "{field:?}"
                );
            }
        }
    }

    #[test]
    fn a_set_has_what_was_added() {
        let needs = Needs::default().with(Need::Tls).with(Need::RequestId);
        assert!(needs.has(Need::Tls) && needs.has(Need::RequestId));
        assert!(!needs.has(Need::Client) && !needs.has(Need::Blocks));
    }
}
