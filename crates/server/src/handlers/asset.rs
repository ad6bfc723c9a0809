//! Content in memory, with all that an immediate answer needs.

use aws_lc_rs::digest::{SHA256, digest};
use bytes::Bytes;
use tidegate_http::{Body, Priority, ResponseHead};

use super::conditional::{Validators, Verdict, judge};
use crate::clock::Clock;
use crate::priority;
use crate::request::{Request, Sent, head_of};

/// The description of some content.
#[derive(Clone, Debug)]
pub struct Metadata {
    /// The value of `content-type`.
    pub content_type: String,
    /// The validators of this version.
    pub validators: Validators,
    /// The length of the content, in bytes.
    pub length: u64,
}

impl Metadata {
    /// Returns the head of a response with `length` bytes of the content.
    fn head(&self, status: u16, length: u64, clock: &Clock) -> ResponseHead {
        let mut head = head_of(status, clock);
        head.push("content-type", &self.content_type);
        head.push("content-length", length.to_string());
        self.push_validators(&mut head, clock);
        head.push("accept-ranges", "bytes");
        head
    }

    fn push_validators(&self, head: &mut ResponseHead, clock: &Clock) {
        match &self.validators.modified {
            // RFC 9110 §8.8.2.1: for a modification time "in the future", "the origin server MUST
            // replace that value with the message origination date".
            Some((_, second)) if *second > clock.second() => {
                head.push("last-modified", clock.date());
            }
            Some((date, _)) => head.push("last-modified", date),
            None => {}
        }
        head.push("etag", &self.validators.etag);
    }

    /// Returns the head of a 200.
    pub fn whole(&self, clock: &Clock) -> ResponseHead {
        self.head(200, self.length, clock)
    }

    /// Returns the head of the answer with this verdict, and the range of the content that is its
    /// body.
    pub fn other(&self, verdict: Verdict, clock: &Clock) -> (ResponseHead, std::ops::Range<u64>) {
        match verdict {
            Verdict::Whole => (self.whole(clock), 0..self.length),
            Verdict::Part(range) => {
                let mut head = self.head(206, range.end - range.start, clock);
                let (first, last) = (range.start, range.end - 1);
                head.push(
                    "content-range",
                    format!("bytes {first}-{last}/{}", self.length),
                );
                (head, range)
            }
            Verdict::NotModified => {
                // RFC 9110 §15.4.5: the fields of a 200 without those that describe the content.
                let mut head = head_of(304, clock);
                self.push_validators(&mut head, clock);
                (head, 0..0)
            }
            Verdict::PreconditionFailed => (head_of(412, clock).field("content-length", "0"), 0..0),
            Verdict::RangeNotSatisfiable => {
                let mut head = head_of(416, clock).field("content-length", "0");
                head.push("content-range", format!("bytes */{}", self.length));
                (head, 0..0)
            }
        }
    }
}

/// Returns the first 64 bits of the content's SHA-256, for entity tags.
pub fn fingerprint(content: &[u8]) -> u64 {
    let digest = digest(&SHA256, content);
    let first = digest.as_ref().iter().take(8);
    first.fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// Content in memory.
#[derive(Debug)]
pub struct Asset {
    metadata: Metadata,
    content: Bytes,
    priority: Priority,
    /// The head of a 200.
    whole: ResponseHead,
    /// The time that the `date` of `whole` shows, in seconds since 1970.
    second: u64,
}

impl Asset {
    /// Returns content with this description.
    pub fn new(metadata: Metadata, content: Bytes, clock: &Clock) -> Self {
        let (whole, second) = (metadata.whole(clock).shared(), clock.second());
        Self {
            priority: priority::of_content(metadata.content_type.as_bytes()),
            metadata,
            content,
            whole,
            second,
        }
    }

    /// Returns content without a file. Its entity tag is made from its bytes.
    pub fn in_memory(content_type: &str, content: Bytes, clock: &Clock) -> Self {
        let metadata = Metadata {
            content_type: content_type.into(),
            validators: Validators::new(format!("\"{:016x}\"", fingerprint(&content)), None),
            length: content.len() as u64,
        };
        Self::new(metadata, content, clock)
    }

    /// Returns the length of the content, in bytes.
    pub fn len(&self) -> usize {
        self.content.len()
    }

    /// Whether the content is empty.
    pub fn is_empty(&self) -> bool {
        self.content.is_empty()
    }

    /// Answers a request with any method.
    pub fn answer_any(&mut self, request: &mut Request<'_>) -> Sent {
        match request.method() {
            b"GET" | b"HEAD" => self.answer(request),
            _ => request.respond_methods("GET, HEAD, OPTIONS"),
        }
    }

    /// Answers a GET or HEAD.
    pub fn answer(&mut self, request: &mut Request<'_>) -> Sent {
        let clock = request.clock;
        match judge(
            request.head,
            &self.metadata.validators,
            self.metadata.length,
        ) {
            Verdict::Whole => {
                if self.second != clock.second() {
                    self.whole = self.metadata.whole(clock).shared();
                    self.second = clock.second();
                }
                request.respond_as(self.priority, &self.whole, Body::Full(self.content.clone()))
            }
            other => {
                let (head, range) = self.metadata.other(other, clock);
                let body = if range.is_empty() {
                    Body::Empty
                } else {
                    Body::Full(self.content.slice(range.start as usize..range.end as usize))
                };
                request.respond_as(self.priority, &head, body)
            }
        }
    }
}
