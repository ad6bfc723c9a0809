//! Answers with a redirect.

use tidegate_http::Body;

use crate::path::RequestPath;
use crate::redirect::Redirect;
use crate::request::{ANY_METHODS, Request, Sent};

/// Answers a request for `path`, which `route` covers.
pub fn answer(
    redirect: &Redirect,
    request: &mut Request<'_>,
    path: &RequestPath<'_>,
    route: &[u8],
) -> Sent {
    if request.method() == b"CONNECT" {
        return request.respond_methods(ANY_METHODS);
    }
    let Some(location) = redirect.location(request.head, path, route) else {
        return request.respond_text(400, "400 Bad Request: the request names no host\n");
    };
    let mut head = request.head_of(redirect.status());
    head.push("location", location);
    head.push("content-length", "0");
    request.respond(&head, Body::Empty)
}
