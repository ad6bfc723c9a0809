//! Messages as the plans have them, and bodies that are being sent.

use tidegate_http::{Body, Fields, RequestHead, StreamId};
use tidegate_testkit::engine::Engine;
use tidegate_testkit::rng::Rng;

use super::plan::{ExchangePlan, MessagePlan};

/// A body that is being sent.
#[derive(Debug, Default)]
pub(super) struct Sent {
    pub(super) given: usize,
    pub(super) ended: bool,
    /// Whether the engine has asked for more.
    pub(super) asked: bool,
}

/// Writes some of a body, or its end.
pub(super) fn write(
    engine: &mut Engine,
    id: StreamId,
    plan: &MessagePlan,
    sent: &mut Sent,
    exchange: usize,
    rng: &mut Rng,
) {
    if sent.ended || !sent.asked {
        return;
    }
    let rest = plan.len - sent.given;
    let amount = match rng.below(3) {
        0 => rest.div_ceil(2),
        _ => rest,
    };
    let mut data = plan.rest(sent.given).slice(..amount);
    let is_last = amount == rest;
    let mut stream = engine.stream(id);
    let taken = stream.as_mut().map_or(0, |stream| {
        stream.write(&mut data, is_last && !plan.trailers)
    });
    sent.given += taken;
    let all = data.is_empty() && is_last;
    sent.asked = data.is_empty() && !all && taken == 0;
    if all {
        sent.ended = true;
        if plan.trailers {
            let mut fields = Fields::new();
            fields.push("x-sum", exchange.to_string());
            if let Some(stream) = &mut stream {
                stream.trailers(&fields).expect("trailers in their place");
            }
        }
    }
}

impl ExchangePlan {
    /// Returns how many bytes of the response the client gets.
    pub(super) fn response_len(&self) -> usize {
        if expected_content(self) {
            self.response.len
        } else {
            0
        }
    }
}

/// Returns whether the response has content (RFC 9110 §6.4.1).
pub(super) fn expected_content(plan: &ExchangePlan) -> bool {
    plan.method != "HEAD" && !matches!(plan.status, 204 | 304)
}

pub(super) fn body_of(plan: &MessagePlan) -> Body {
    if plan.streamed {
        Body::Stream
    } else if plan.len == 0 {
        Body::Empty
    } else {
        Body::Full(plan.rest(0))
    }
}

pub(super) fn request_head(exchange: usize, plan: &ExchangePlan) -> RequestHead {
    let path = format!("/u{}/{exchange}?x", plan.upstream);
    let mut head = if plan.is_tunnel {
        RequestHead::extended_connect("websocket", "http", "site", &path)
            .field("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
    } else {
        RequestHead::new(plan.method, "http", "site", &path)
    };
    head.push("x-id", exchange.to_string());
    if plan.request.sized && plan.request.streamed {
        head.push("content-length", plan.request.len.to_string());
    }
    head
}
