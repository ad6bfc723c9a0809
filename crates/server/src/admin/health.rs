//! `/healthz` and `/readyz`, for those that restart the server or send it requests.

use tidegate_http::RequestHead;

use super::question::{Question, Readiness};
use super::resource::{Response, State, Step};

/// Answers 200 if every worker turns.
pub(super) fn healthz(_: &State, _: &RequestHead) -> Step {
    Step::Ask(Question::Turns, |_, answers| match answers.late {
        0 => Response::text(200, "ok"),
        late => Response::text(503, &format!("workers that don't answer: {late}")),
    })
}

/// Answers 200 if the server accepts connections.
pub(super) fn readyz(state: &State, _: &RequestHead) -> Step {
    Step::Done(match state.readiness {
        Readiness::Serving => Response::text(200, "ready"),
        Readiness::Leaving => Response::text(503, "the server finishes its requests and ends"),
    })
}
