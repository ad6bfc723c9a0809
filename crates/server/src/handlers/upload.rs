//! Takes a body of any size and answers with its length and digest.

use aws_lc_rs::digest::{Context, SHA256};
use bytes::Bytes;
use tidegate_http::{Body, ErrorCode, Stream};
use tidegate_net::StreamMut;

use crate::clock::Clock;
use crate::request::{Outcome, Progress, Request, Sent, head_of};
use crate::rules::Terms;

/// A body that is being received. None of it is kept.
pub struct Upload {
    digest: Context,
    bytes: u64,
}

/// Begins to receive the body of a POST or PUT.
pub fn answer<W: From<Upload>>(request: &mut Request<'_>) -> Outcome<W> {
    if !matches!(request.method(), b"POST" | b"PUT") {
        return Outcome::Answered(request.respond_methods("POST, PUT, OPTIONS"));
    }
    request.invite_body();
    let upload = Upload {
        digest: Context::new(&SHA256),
        bytes: 0,
    };
    if request.end {
        let (head, body) = upload.report(request.clock);
        return Outcome::Answered(request.respond(&head, Body::Full(body)));
    }
    Outcome::InProgress(Sent::NOTHING, upload.into())
}

impl Upload {
    /// Counts and digests a piece of the body. The answer is due after the last one.
    pub fn data(&mut self, stream: &mut StreamMut<'_>, data: &Bytes, end: bool) -> Progress {
        self.digest.update(data);
        self.bytes += data.len() as u64;
        stream.consume(data.len());
        if end {
            Progress::Done(0)
        } else {
            Progress::More(0)
        }
    }

    /// Answers after the whole body. Resets the stream if the engine can't send the answer.
    pub fn finish(self, stream: &mut StreamMut<'_>, clock: &Clock, terms: &Terms) -> Sent {
        let (head, body) = self.report(clock);
        let head = terms.applied_to(&head).unwrap_or(head);
        let bytes = body.len() as u64;
        if stream.respond(&head, Body::Full(body)).is_ok() {
            return Sent { status: 200, bytes };
        }
        stream.reset(ErrorCode::INTERNAL_ERROR);
        Sent::NOTHING
    }

    fn report(self, clock: &Clock) -> (tidegate_http::ResponseHead, Bytes) {
        let digest = self.digest.finish();
        let mut text = format!("{{\"bytes\":{},\"sha256\":\"", self.bytes);
        for byte in digest.as_ref() {
            text.push_str(&format!("{byte:02x}"));
        }
        text.push_str("\"}");
        let mut head = head_of(200, clock);
        head.push("content-type", "application/json");
        head.push("content-length", text.len().to_string());
        (head, text.into())
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    #[test]
    fn reports_size_and_digest() {
        let mut upload = Upload {
            digest: Context::new(&SHA256),
            bytes: 0,
        };
        // FIPS 180-2, appendix B.1.
        for piece in ["a", "", "bc"] {
            upload.digest.update(piece.as_bytes());
            upload.bytes += piece.len() as u64;
        }
        let (_, body) = upload.report(&Clock::new(UNIX_EPOCH));
        assert_eq!(
            body,
            r#"{"bytes":3,"sha256":"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"}"#
        );
    }
}
