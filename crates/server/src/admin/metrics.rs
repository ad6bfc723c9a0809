//! `/metrics`, for Prometheus and programs like it.

use tidegate_http::RequestHead;

use super::question::{Answers, Question};
use super::resource::{Response, State, Step};
use crate::logs::queue;
use crate::metrics::scrape::Scrape;
use crate::metrics::text::{self, Format};

/// Answers with all metrics, in OpenMetrics if the client accepts it. Workers that don't answer in
/// time are there with the counters that they published last.
pub(super) fn metrics(_: &State, head: &RequestHead) -> Step {
    let mut fields = head.headers();
    let accept = fields.find(|field| field.name == b"accept");
    Step::Ask(
        Question::Publish,
        match accept.map(|accept| Format::accepted(accept.value)) {
            Some(Format::OpenMetrics) => openmetrics,
            Some(Format::Prometheus) | None => prometheus,
        },
    )
}

fn openmetrics(state: &State, _: Answers) -> Response {
    respond(state, Format::OpenMetrics)
}

fn prometheus(state: &State, _: Answers) -> Response {
    respond(state, Format::Prometheus)
}

fn respond(state: &State, format: Format) -> Response {
    let all = Scrape {
        snapshot: &state.stats.sum(),
        facts: &state.facts,
        ledger: &state.ledger,
        workers: state.stats.workers(),
        lost_lines: queue::lost_lines(),
    };
    Response {
        status: 200,
        content_type: format.content_type(),
        body: text::write(format, &all).into_bytes(),
        fields: vec![("vary", "accept")],
    }
}
