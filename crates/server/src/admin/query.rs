//! The parameters of requests to the API.

use std::borrow::Cow;

use percent_encoding::percent_decode;
use tidegate_http::Protocol;
use tidegate_net::Origin;

use crate::picture::look::{Activity, Filter, List, Look, Order, Sort};
use crate::picture::name::Name;

/// The rows of a list if the request asks for no other number, and the most.
const ROWS: usize = 50;
const MOST_ROWS: usize = 200;

/// The most rows that a request may leave out.
const MOST_OFFSET: usize = 5_000;

/// The longest text to filter by, in bytes.
const MOST_TEXT: usize = 100;

/// Returns the query of a target.
fn query(target: &[u8]) -> &[u8] {
    let at = target.iter().position(|byte| *byte == b'?');
    at.map_or(&[], |at| &target[at + 1..])
}

/// Returns a segment of the path of a target, decoded. The first is number 0.
pub(super) fn segment(target: &[u8], number: usize) -> Option<Cow<'_, str>> {
    let path = target.split(|byte| *byte == b'?').next()?;
    let segment = path.split(|byte| *byte == b'/').nth(number + 1)?;
    percent_decode(segment).decode_utf8().ok()
}

/// Returns the parameters of a target, decoded.
fn parameters(target: &[u8]) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
    let parts = query(target).split(|byte| *byte == b'&');
    parts.filter(|part| !part.is_empty()).map(|part| {
        let at = part.iter().position(|byte| *byte == b'=');
        let (name, value) = part.split_at(at.unwrap_or(part.len()));
        let decoded = |text| percent_decode(text).decode_utf8_lossy();
        (decoded(name), decoded(value.get(1..).unwrap_or_default()))
    })
}

/// Reads a list's parameters, and a connection's name as `connection`.
///
/// # Errors
/// A sentence about the parameter that is wrong.
pub(super) fn look(target: &[u8]) -> Result<Look, String> {
    let mut list = List {
        filter: Filter {
            origin: Some(Origin::Accepted),
            ..Filter::default()
        },
        sort: Sort::Streams,
        order: Order::Descending,
        offset: 0,
        limit: ROWS,
    };
    let mut one = None;
    for (name, value) in parameters(target) {
        match &*name {
            "sort" => {
                let mut known = Sort::ALL.iter();
                let found = known.find(|(name, _)| *name == value);
                list.sort = found.map(|(_, sort)| *sort).ok_or_else(|| {
                    let names = Sort::ALL.map(|(name, _)| name).join(", ");
                    format!("sort: expected one of {names}")
                })?;
            }
            "order" => {
                list.order = choice("order", &value, &ORDERS)?;
            }
            "side" => list.filter.origin = choice("side", &value, &SIDES)?,
            "protocol" => list.filter.protocol = choice("protocol", &value, &PROTOCOLS)?,
            "activity" => list.filter.activity = choice("activity", &value, &ACTIVITIES)?,
            "filter" if value.len() <= MOST_TEXT => value.trim().clone_into(&mut list.filter.text),
            "filter" => return Err(format!("filter: at most {MOST_TEXT} bytes")),
            "offset" => list.offset = number("offset", &value, MOST_OFFSET)?,
            "limit" => list.limit = number("limit", &value, MOST_ROWS)?,
            "connection" if value.is_empty() => {}
            "connection" => {
                let name = Name::parse(&value);
                one = Some(name.ok_or("connection: expected an id from /api/connections")?);
            }
            other => return Err(format!("there is no parameter {other:.40}")),
        }
    }
    let list = Some(list);
    Ok(Look { list, one })
}

const ORDERS: [(&str, Order); 2] = [("asc", Order::Ascending), ("desc", Order::Descending)];

const SIDES: [(&str, Option<Origin>); 3] = [
    ("client", Some(Origin::Accepted)),
    ("upstream", Some(Origin::Dialled)),
    ("all", None),
];

const PROTOCOLS: [(&str, Option<Protocol>); 3] = [
    ("http2", Some(Protocol::Http2)),
    ("http1", Some(Protocol::Http1)),
    ("all", None),
];

const ACTIVITIES: [(&str, Option<Activity>); 4] = [
    ("active", Some(Activity::Active)),
    ("idle", Some(Activity::Idle)),
    ("stalled", Some(Activity::Stalled)),
    ("all", None),
];

/// Returns the choice of this name.
fn choice<T: Copy>(name: &str, value: &str, choices: &[(&str, T)]) -> Result<T, String> {
    let found = choices.iter().find(|(choice, _)| *choice == value);
    found.map(|(_, choice)| *choice).ok_or_else(|| {
        let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
        format!("{name}: expected one of {}", names.join(", "))
    })
}

fn number(name: &str, value: &str, most: usize) -> Result<usize, String> {
    let number = value.parse().ok().filter(|number| *number <= most);
    number.ok_or_else(|| format!("{name}: expected a number of at most {most}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_read() {
        let target = b"/api/connections?sort=rtt&order=asc&filter=192.0.2.&protocol=http1\
                       &activity=idle&side=all&offset=5&limit=7&connection=1-2a";
        let Look { list, one } = look(target).unwrap();
        let list = list.unwrap();
        assert_eq!((list.sort, list.order), (Sort::RoundTrip, Order::Ascending));
        assert_eq!((list.offset, list.limit), (5, 7));
        let expected = Filter {
            text: "192.0.2.".to_owned(),
            origin: None,
            protocol: Some(Protocol::Http1),
            activity: Some(Activity::Idle),
        };
        assert_eq!(list.filter, expected);
        assert_eq!(one.map(|name| name.to_string()).as_deref(), Some("1-2a"));
        let list = look(b"/api/connections").unwrap().list.unwrap();
        assert_eq!((list.sort, list.limit), (Sort::Streams, ROWS));
        let list = look(b"/?filter=%5B2001%3Adb8").unwrap().list.unwrap();
        assert_eq!(list.filter.text, "[2001:db8");
    }

    #[test]
    fn wrong_parameters_are_named() {
        for (query, says) in [
            ("sort=colour", "sort: expected one of client, age"),
            ("limit=201", "limit: expected a number of at most 200"),
            ("offset=-1", "offset: expected a number"),
            ("connection=x", "connection: expected an id"),
            ("side=both", "side: expected one of client, upstream, all"),
            ("colour=red", "there is no parameter colour"),
        ] {
            let error = look(format!("/api/connections?{query}").as_bytes()).unwrap_err();
            assert!(error.contains(says), "{query}: {error}");
        }
        let long = format!("/?filter={}", "x".repeat(101));
        assert!(look(long.as_bytes()).is_err());
    }
}
