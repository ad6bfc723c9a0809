//! Sends a body back while it is received.

use bytes::Bytes;
use tidegate_http::{Body, KnownName, Stream};
use tidegate_net::StreamMut;

use crate::pipe::{Moved, Pipe};
use crate::request::{Outcome, Progress, Request};

/// A body on its way back.
#[derive(Default)]
pub struct Echo {
    pipe: Pipe,
}

/// Answers any method but TRACE, which asks for the request itself, not its content
/// (RFC 9110 §9.3.8), and CONNECT, which asks for a tunnel (§9.3.6).
pub fn answer<W: From<Echo>>(request: &mut Request<'_>) -> Outcome<W> {
    if matches!(request.method(), b"TRACE" | b"CONNECT") {
        let allow = "GET, HEAD, POST, PUT, DELETE, PATCH, OPTIONS";
        return Outcome::Answered(request.respond_methods(allow));
    }
    request.invite_body();
    let mut head = request.head_of(200);
    let kind = request.head.get_known(KnownName::CONTENT_TYPE);
    head.push("content-type", kind.unwrap_or(b"application/octet-stream"));
    if request.end {
        head.push("content-length", "0");
        return Outcome::Answered(request.respond(&head, Body::Empty));
    }
    if let Some(length) = request.head.content_length() {
        head.push("content-length", length.to_string());
    }
    let sent = request.respond(&head, Body::Stream);
    match sent.status {
        0 => Outcome::Answered(sent),
        // RFC 9110 §9.3.2: "the server MUST NOT send content in the response", so it is whole.
        _ if request.head.method() == "HEAD" => Outcome::Answered(sent),
        _ => Outcome::InProgress(sent, Echo::default().into()),
    }
}

impl Echo {
    /// Takes a piece of the body, and sends back what the client takes.
    pub fn data(&mut self, stream: &mut StreamMut<'_>, data: Bytes, end: bool) -> Progress {
        self.pipe.push(data, end);
        let progress = self.write(stream);
        self.pipe.settle();
        progress
    }

    /// Sends what the client takes.
    pub fn write(&mut self, stream: &mut StreamMut<'_>) -> Progress {
        let Moved { bytes, done } = self.pipe.write(true, |data, end| {
            let taken = stream.write(data, end);
            if !(end && data.is_empty()) {
                stream.consume(taken);
            }
            taken
        });
        if done {
            // The stream has ended, and the engine has taken back all credit.
            Progress::Done(bytes)
        } else {
            Progress::More(bytes)
        }
    }
}
