//! The question to a worker: which connections to show, in which order, and how many.

use std::cmp::Ordering;
use std::fmt::Write;

use tidegate_net::{ConnInfo, Conns, Engine, Origin, Protocol};

use super::connection::Picture;
use super::name::{Key, Name};
use super::row::Row;

/// The question.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Look {
    /// The list to return, if any.
    pub list: Option<List>,
    /// The connection to return, if any.
    pub one: Option<Name>,
}

/// The answer.
#[derive(Debug, Default)]
pub struct Looked {
    /// The number of connections.
    pub total: usize,
    /// The number of those that the filter lets pass.
    pub matched: usize,
    /// The first of them, in order.
    pub rows: Vec<Row>,
    /// The connection that was asked for, if this worker has it.
    pub one: Option<Box<Picture>>,
}

/// A list of connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct List {
    /// The connections to show.
    pub filter: Filter,
    /// The column to sort by.
    pub sort: Sort,
    /// The direction.
    pub order: Order,
    /// The number of rows to leave out at the start.
    pub offset: usize,
    /// The most rows.
    pub limit: usize,
}

impl List {
    /// Orders two connections by their keys.
    pub fn compare(&self, one: &Key, other: &Key) -> Ordering {
        let ordering = one.cmp(other);
        match self.order {
            Order::Ascending => ordering,
            Order::Descending => ordering.reverse(),
        }
    }
}

/// The direction of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// The least first.
    Ascending,
    /// The greatest first.
    Descending,
}

/// The column to sort by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sort {
    /// The client's address.
    Client,
    /// The time since the connection was accepted.
    Age,
    /// The round-trip time.
    RoundTrip,
    /// Streams that are open.
    Streams,
    /// Requests so far.
    Requests,
    /// Bytes received.
    BytesIn,
    /// Bytes sent.
    BytesOut,
    /// Bytes of heads that compression saved.
    Saved,
    /// Bytes of memory.
    Memory,
    /// Streams that the client's windows hold up.
    Stalled,
    /// The share that is spent of a budget against abuse.
    Guard,
}

impl Sort {
    /// All columns, by their names in the API.
    pub const ALL: [(&'static str, Self); 11] = [
        ("client", Self::Client),
        ("age", Self::Age),
        ("rtt", Self::RoundTrip),
        ("streams", Self::Streams),
        ("requests", Self::Requests),
        ("bytes_in", Self::BytesIn),
        ("bytes_out", Self::BytesOut),
        ("saved", Self::Saved),
        ("memory", Self::Memory),
        ("stalled", Self::Stalled),
        ("guard", Self::Guard),
    ];

    /// Returns the connection's place in the order.
    pub fn key(self, conns: &Conns, name: Name, info: &ConnInfo, engine: &Engine) -> Key {
        let number = match self {
            Self::Client => match info.peer.ip().to_canonical() {
                std::net::IpAddr::V4(v4) => v4.to_bits().into(),
                std::net::IpAddr::V6(v6) => v6.to_bits(),
            },
            Self::Age => {
                let age = conns.now().saturating_duration_since(info.began_at);
                age.as_micros()
            }
            Self::RoundTrip => {
                let rtt = conns.round_trip(name.conn);
                rtt.unwrap_or_default().as_micros()
            }
            Self::Streams => engine.active_streams() as u128,
            Self::Requests => engine.stats().requests.into(),
            Self::BytesIn => engine.stats().bytes_in.into(),
            Self::BytesOut => engine.stats().bytes_out.into(),
            Self::Saved => engine.stats().header_bytes_saved().into(),
            Self::Memory => engine.held_bytes().into(),
            Self::Stalled => engine.held_up_streams() as u128,
            Self::Guard => engine.highest_guard(conns.now()).map_or(0, |guard| {
                u128::from(guard.spent) * 1000 / u128::from(guard.limit.max(1))
            }),
        };
        (number, name.worker, name.conn.number())
    }
}

/// The connections to show: those for which every part holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// The beginning of the client's address, or a part of the name that it requested by SNI.
    pub text: String,
    /// The end that opened the connection.
    pub origin: Option<Origin>,
    /// The protocol.
    pub protocol: Option<Protocol>,
    /// The activity.
    pub activity: Option<Activity>,
}

/// The activity of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activity {
    /// Streams are open.
    Active,
    /// No stream is open.
    Idle,
    /// The client's windows hold up a stream.
    Stalled,
}

impl Filter {
    /// Whether a connection passes. `scratch` is for text.
    pub fn passes(&self, info: &ConnInfo, engine: &Engine, scratch: &mut String) -> bool {
        self.origin.is_none_or(|origin| origin == info.origin)
            && self
                .protocol
                .is_none_or(|protocol| protocol == engine.protocol())
            && self.activity.is_none_or(|activity| match activity {
                Activity::Active => engine.active_streams() > 0,
                Activity::Idle => engine.active_streams() == 0,
                Activity::Stalled => engine.held_up_streams() > 0,
            })
            && (self.text.is_empty() || self.has_text(info, scratch))
    }

    fn has_text(&self, info: &ConnInfo, scratch: &mut String) -> bool {
        scratch.clear();
        // Writing to a string doesn't fail.
        let _ = write!(scratch, "{}", info.peer);
        let sni = info.tls.as_ref().and_then(|tls| tls.sni.as_deref());
        scratch.starts_with(&self.text) || sni.is_some_and(|name| name.contains(&self.text))
    }
}
