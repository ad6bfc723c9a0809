//! The parts of a resource of the admin listener. `router.rs` has the table of all of them.

use std::sync::Arc;

use serde::Serialize;
use tidegate_http::RequestHead;
use tidegate_ledger::Ledger;

use super::question::{Answers, Question, Readiness};
use crate::flags::Switch;
use crate::metrics::facts::Facts;
use crate::stats::Stats;

/// The methods that a resource takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Methods {
    /// GET and HEAD.
    Read,
    /// POST.
    Act,
}

impl Methods {
    /// Returns the value of the `allow` field.
    pub(super) fn allow(self) -> &'static str {
        match self {
            Self::Read => "GET, HEAD",
            Self::Act => "POST",
        }
    }

    pub(super) fn takes(self, method: &[u8]) -> bool {
        match self {
            Self::Read => matches!(method, b"GET" | b"HEAD"),
            Self::Act => method == b"POST",
        }
    }
}

/// A resource of the admin listener.
pub(super) struct Resource {
    /// The path, without a query. `*` stands for any one segment.
    pub(super) path: &'static str,
    pub(super) methods: Methods,
    /// Begins to answer a request.
    pub(super) answer: fn(&State, &RequestHead) -> Step,
}

/// Facts that all resources may use.
pub(super) struct State {
    pub(super) readiness: Readiness,
    /// The counters of all workers.
    pub(super) stats: Stats,
    pub(super) ledger: Arc<Ledger>,
    pub(super) facts: Facts,
    /// Whether clients may change something.
    pub(super) write: Switch,
}

/// Makes the answer of those of all workers.
pub(super) type Finish = fn(&State, Answers) -> Response;

/// The first step of an answer.
pub(super) enum Step {
    /// The answer.
    Done(Response),
    /// All workers are asked, and the function makes the answer of theirs.
    Ask(Question, Finish),
    /// The same once a second, as events, until the client leaves.
    Watch(Question, Finish),
}

/// A whole answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Response {
    pub(super) status: u16,
    pub(super) content_type: &'static str,
    pub(super) body: Vec<u8>,
    /// Further fields.
    pub(super) fields: Vec<(&'static str, &'static str)>,
}

impl Response {
    /// Returns a value as JSON.
    pub(super) fn json(value: &impl Serialize) -> Self {
        match serde_json::to_vec(value) {
            Ok(body) => Self {
                status: 200,
                content_type: "application/json",
                body,
                fields: Vec::new(),
            },
            // No value here has a map with keys that aren't text.
            Err(error) => Self::text(500, &error.to_string()),
        }
    }

    /// Returns a line of text.
    pub(super) fn text(status: u16, line: &str) -> Self {
        Self {
            status,
            content_type: "text/plain; charset=utf-8",
            body: format!("{line}\n").into_bytes(),
            fields: Vec::new(),
        }
    }
}
