//! `/api/events`: what the live page shows, once a second.

use std::sync::Arc;

use serde::Serialize;
use tidegate_http::RequestHead;

use super::connections::{self, Connections};
use super::overview::{self, Address, Overview};
use super::query;
use super::question::Question;
use super::resource::{Response, State, Step};
use crate::picture::connection::Picture;

/// An event.
#[derive(Serialize)]
struct Event {
    overview: Overview,
    upstreams: Vec<Address>,
    connections: Connections,
    /// The connection that the viewer has opened; `null` once it has ended.
    connection: Option<Box<Picture>>,
}

/// Begins to send events. The parameters are those of `/api/connections`.
pub(super) fn events(_: &State, head: &RequestHead) -> Step {
    match query::look(head.path_bytes()) {
        Ok(look) => Step::Watch(Question::Look(Arc::new(look)), |state, answers| {
            let (sum, late) = (state.stats.sum(), answers.late);
            let (connections, connection) = connections::merge(answers);
            Response::json(&Event {
                overview: Overview::of(state, &sum, late),
                upstreams: overview::addresses(&sum),
                connections,
                connection,
            })
        }),
        Err(error) => Step::Done(Response::text(400, &error)),
    }
}
