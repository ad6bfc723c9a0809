//! Changes that operators may make: end a connection, take an address of an upstream out of use.
//!
//! Only with `--admin-write on`. A page of a stranger that an operator visits can make the browser
//! send requests here, but not with a field of our own, nor from our own origin.

use std::net::SocketAddr;

use tidegate_http::RequestHead;

use super::query;
use super::question::{Act, Answer, Answers, Question};
use super::resource::{Response, State, Step};
use crate::flags::Switch;
use crate::picture::name::Name;

/// The field without which nothing is changed.
const FIELD: &[u8] = b"x-tidegate-admin";

/// Ends a connection.
pub(super) fn close(state: &State, head: &RequestHead) -> Step {
    let name = query::segment(head.path_bytes(), 2);
    let name = name.and_then(|name| Name::parse(&name));
    act(state, head, name.map(Act::Close))
}

/// Takes an address out of use.
pub(super) fn drain(state: &State, head: &RequestHead) -> Step {
    act(state, head, address(head).map(Act::Drain))
}

/// Takes an address into use again.
pub(super) fn restore(state: &State, head: &RequestHead) -> Step {
    act(state, head, address(head).map(Act::Restore))
}

fn address(head: &RequestHead) -> Option<SocketAddr> {
    query::segment(head.path_bytes(), 2)?.parse().ok()
}

fn act(state: &State, head: &RequestHead, what: Option<Act>) -> Step {
    if let Err(why) = may_act(state, head) {
        return Step::Done(Response::text(403, why));
    }
    let Some(act) = what else {
        return Step::Done(Response::text(404, "there is nothing of this name"));
    };
    match act {
        Act::Close(name) => log::warn!("admin: ends connection {name}"),
        Act::Drain(addr) => log::warn!("admin: takes {addr} out of use"),
        Act::Restore(addr) => log::warn!("admin: takes {addr} into use again"),
    }
    Step::Ask(Question::Act(act), done)
}

fn done(_: &State, answers: Answers) -> Response {
    let Answers { given, late, .. } = answers;
    let mut acted = given.into_iter();
    if acted.any(|answer| matches!(answer, Answer::Acted(true))) {
        Response::text(200, "done")
    } else if late > 0 {
        Response::text(503, "workers don't answer")
    } else {
        Response::text(404, "there is nothing of this name, or nothing to do")
    }
}

/// Checks that whoever asks may change something.
///
/// # Errors
/// A sentence that says why not.
fn may_act(state: &State, head: &RequestHead) -> Result<(), &'static str> {
    if state.write == Switch::Off {
        return Err("the admin listener changes nothing unless the server has --admin-write on");
    }
    let value = |name: &[u8]| {
        let mut fields = head.headers();
        fields
            .find(|field| field.name == name)
            .map(|field| field.value)
    };
    if value(FIELD).is_none() {
        return Err("the field x-tidegate-admin is missing, which pages of strangers can't send");
    }
    let site = value(b"sec-fetch-site");
    if site.is_some_and(|site| !matches!(site, b"same-origin" | b"none")) {
        return Err("the request comes from a page of another origin");
    }
    let host = head.authority_bytes();
    let origin = value(b"origin");
    let is_own = |origin: &[u8]| {
        let mut schemes = [&b"http://"[..], b"https://"].into_iter();
        schemes.any(|scheme| origin.strip_prefix(scheme) == Some(host))
    };
    if origin.is_some_and(|origin| !is_own(origin)) {
        return Err("the request comes from a page of another origin");
    }
    Ok(())
}
