//! `/api/connections`, a list, and `/api/connections/ID`, one of them.

use std::sync::Arc;

use serde::Serialize;
use tidegate_http::RequestHead;

use super::query;
use super::question::{Answer, Answers, Question};
use super::resource::{Response, State, Step};
use crate::picture::connection::Picture;
use crate::picture::look::{Look, Looked};
use crate::picture::name::Name;
use crate::picture::row::Row;

/// A part of the list of connections.
#[derive(Serialize)]
pub(super) struct Connections {
    /// All connections.
    total: usize,
    /// Those that the filter lets pass.
    matched: usize,
    /// The number of rows left out before the first.
    offset: usize,
    rows: Vec<Row>,
    /// Workers that didn't answer in time: their connections are missing.
    late_workers: usize,
}

/// Answers with a list of connections.
pub(super) fn list(_: &State, head: &RequestHead) -> Step {
    match query::look(head.path_bytes()) {
        Ok(look) => Step::Ask(Question::Look(Arc::new(look)), |_, answers| {
            Response::json(&merge(answers).0)
        }),
        Err(error) => Step::Done(Response::text(400, &error)),
    }
}

/// Answers with one connection.
pub(super) fn one(_: &State, head: &RequestHead) -> Step {
    let name = query::segment(head.path_bytes(), 2);
    let Some(name) = name.and_then(|name| Name::parse(&name)) else {
        return Step::Done(Response::text(404, "expected an id from /api/connections"));
    };
    let look = Look {
        list: None,
        one: Some(name),
    };
    Step::Ask(Question::Look(Arc::new(look)), |_, answers| {
        match merge(answers).1 {
            Some(picture) => Response::json(&picture),
            None => Response::text(404, "the connection has ended"),
        }
    })
}

/// Merges what the workers see.
pub(super) fn merge(answers: Answers) -> (Connections, Option<Box<Picture>>) {
    let Answers {
        question,
        given,
        late,
    } = answers;
    let mut all = Connections {
        total: 0,
        matched: 0,
        offset: 0,
        rows: Vec::new(),
        late_workers: late,
    };
    let mut one = None;
    for answer in given {
        if let Answer::Looked(looked) = answer {
            let Looked {
                total,
                matched,
                rows,
                one: its,
            } = *looked;
            all.total += total;
            all.matched += matched;
            all.rows.extend(rows);
            one = one.or(its);
        }
    }
    if let Question::Look(look) = &question
        && let Some(list) = &look.list
    {
        all.rows
            .sort_unstable_by(|one, other| list.compare(&one.key, &other.key));
        all.rows.drain(..list.offset.min(all.rows.len()));
        all.rows.truncate(list.limit);
        all.offset = list.offset;
    }
    (all, one)
}
