//! Requests that handlers answer: a request and its stream, and the outcome of an answer.

use bytes::Bytes;
use tidegate_http::{
    Body, ErrorCode, KnownName, Misuse, Priority, RequestHead, ResponseHead, Stream, StreamId,
};
use tidegate_ledger::Refusal;
use tidegate_net::{ConnId, StreamMut};

use crate::clock::Clock;
use crate::priority;
use crate::rules::Terms;

/// A request of a client: its connection and stream.
pub type Key = (ConnId, StreamId);

/// The `allow` field of resources whose methods aren't known.
pub const ANY_METHODS: &str = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";

/// The status and the text for a request whose body is too large.
pub const TOO_LARGE: (u16, &str) = (413, "413 Content Too Large\n");

/// Methods of RFC 9110 §9.3 and RFC 5789.
const KNOWN_METHODS: [&[u8]; 9] = [
    b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"CONNECT", b"OPTIONS", b"TRACE", b"PATCH",
];

/// A request to answer, and its stream.
pub struct Request<'a> {
    /// The stream to answer on.
    pub stream: StreamMut<'a>,
    /// The request's head.
    pub head: &'a RequestHead,
    /// Whether the request has no body.
    pub end: bool,
    /// The time, for the `date` field.
    pub clock: &'a Clock,
    /// Fields that the preload list adds to the answer.
    pub extra: Extra<'a>,
    /// The rules of the route.
    pub terms: &'a Terms,
}

/// Fields to add to successful answers.
#[derive(Clone, Copy, Default)]
pub struct Extra<'a> {
    /// Values of `link` fields, which name what the page needs.
    pub links: &'a [String],
    /// Fields of the resource, names and values.
    pub headers: &'a [(String, String)],
}

impl Extra<'_> {
    /// Returns the head with these fields added, or `None` if its status gets none of them.
    #[inline]
    pub fn added_to(self, head: &ResponseHead) -> Option<ResponseHead> {
        let is_empty = self.links.is_empty() && self.headers.is_empty();
        if is_empty {
            None
        } else {
            self.appended_to(head)
        }
    }

    fn appended_to(self, head: &ResponseHead) -> Option<ResponseHead> {
        // RFC 9110 §15.4.5: a 304 has only those fields of the 200 that caches need.
        let (links, headers) = match head.status() {
            200 | 206 => (self.links, self.headers),
            304 => (&[][..], self.headers),
            _ => return None,
        };
        let mut head = head.clone();
        for link in links {
            head.push("link", link);
        }
        for (name, value) in headers {
            head.push(name, value);
        }
        Some(head)
    }
}

/// The result of a handler's first call. `W` holds the state of a request in progress.
pub enum Outcome<W> {
    /// The request is answered; the engine has the whole response.
    Answered(Sent),
    /// The request is in progress; the stream's events continue it.
    InProgress(Sent, W),
}

/// Whether there is more to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// There will be another step. Holds the bytes that this one gave the engine.
    More(usize),
    /// The response is whole, or is due. Holds the bytes that this step gave the engine.
    Done(usize),
}

/// The part of an answer that was sent, for the access log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    /// The status of the final response; 0 when the stream was reset instead.
    pub status: u16,
    /// Bytes of its body so far.
    pub bytes: u64,
}

impl Sent {
    /// Nothing: the stream was reset.
    pub const NOTHING: Self = Self {
        status: 0,
        bytes: 0,
    };

    /// Adds the bytes that a step of a request in progress sent. Returns whether it was the last
    /// step.
    pub(crate) fn count(&mut self, progress: Progress) -> bool {
        let (bytes, done) = match progress {
            Progress::More(bytes) => (bytes, false),
            Progress::Done(bytes) => (bytes, true),
        };
        self.bytes += bytes as u64;
        done
    }
}

impl<'a> Request<'a> {
    /// Returns `:path` without the query.
    pub fn path(&self) -> &'a [u8] {
        let path = self.head.path_bytes();
        let end = path.iter().position(|byte| *byte == b'?');
        &path[..end.unwrap_or(path.len())]
    }

    /// Returns `:method`, such as `GET`.
    pub fn method(&self) -> &'a [u8] {
        self.head.method_bytes()
    }

    /// Answers. Resets the stream if the engine can't send this answer, for example because the
    /// client takes no head of its size.
    pub fn respond(&mut self, head: &ResponseHead, body: Body) -> Sent {
        let content_type = head.get_known(KnownName::CONTENT_TYPE);
        self.respond_as(
            priority::of_content(content_type.unwrap_or_default()),
            head,
            body,
        )
    }

    /// Answers as [`Request::respond`] does, with the priority that [`priority::of_content`] gives
    /// for the head's content type.
    pub fn respond_as(&mut self, priority: Priority, head: &ResponseHead, body: Body) -> Sent {
        let priority = self.terms.priority().unwrap_or(priority);
        if priority != Priority::default() {
            self.stream.suggest_priority(priority);
        }
        let bytes = match &body {
            Body::Full(content) if self.method() != b"HEAD" => content.len() as u64,
            _ => 0,
        };
        let responded = match self.extra.added_to(head) {
            None => self.send(head, body),
            Some(extended) => self.send_either(&extended, head, body),
        };
        match responded {
            Ok(()) => Sent {
                status: head.status(),
                bytes,
            },
            Err(misuse) => {
                let (id, path) = (self.stream.id(), self.head.path());
                log::warn!("stream {id}: can't answer {path:?}: {misuse}");
                self.stream.reset(ErrorCode::INTERNAL_ERROR);
                Sent::NOTHING
            }
        }
    }

    /// Sends an answer with an extended head, or with the plain one if the client takes only small
    /// heads.
    #[cold]
    fn send_either(
        &mut self,
        extended: &ResponseHead,
        plain: &ResponseHead,
        body: Body,
    ) -> Result<(), Misuse> {
        match self.send(extended, body.clone()) {
            Err(Misuse::HeadTooLarge) => self.send(plain, body),
            result => result,
        }
    }

    /// Sends an answer with the changes that the route makes to its fields.
    #[inline]
    fn send(&mut self, head: &ResponseHead, body: Body) -> Result<(), Misuse> {
        match self.terms.applied_to(head) {
            None => self.stream.respond(head, body),
            Some(changed) => self.stream.respond(&changed, body),
        }
    }

    /// Answers with a status and a line of text.
    pub fn respond_text(&mut self, status: u16, text: &'static str) -> Sent {
        let head = self.head_of_text(status, text);
        self.respond(&head, Body::Full(Bytes::from_static(text.as_bytes())))
    }

    /// Answers a request that its client may not have in progress now.
    pub fn respond_refused(&mut self, refusal: Refusal) -> Sent {
        let (status, text) = match refusal {
            Refusal::Exhausted => (503, "503 Service Unavailable\n"),
            // RFC 6585 §4: "the user has sent too many requests in a given amount of time".
            Refusal::Share | Refusal::ClientLimit => (429, "429 Too Many Requests\n"),
        };
        let mut head = self.head_of_text(status, text);
        head.push("retry-after", "1");
        self.respond(&head, Body::Full(Bytes::from_static(text.as_bytes())))
    }

    /// Answers a method that the target doesn't have: OPTIONS with 204, a known method with 405,
    /// others with 501.
    pub fn respond_methods(&mut self, allow: &'static str) -> Sent {
        if self.method() == b"OPTIONS" {
            let mut head = self.head_of(204);
            head.push("allow", allow);
            return self.respond(&head, Body::Empty);
        }
        // RFC 9110 §9.1: "An origin server that receives a request method that is unrecognized or
        // not implemented SHOULD respond with the 501 (Not Implemented) status code."
        if !KNOWN_METHODS.contains(&self.method()) {
            return self.respond_text(501, "501 Not Implemented\n");
        }
        let text = "405 Method Not Allowed\n";
        let mut head = self.head_of_text(405, text);
        head.push("allow", allow);
        self.respond(&head, Body::Full(Bytes::from_static(text.as_bytes())))
    }

    /// Sends 100 (Continue) if the client waits for it (RFC 9110 §10.1.1).
    pub fn invite_body(&mut self) {
        if self.head.expects_continue() && !self.end {
            // This fails only if the stream is gone already.
            let _ = self.stream.inform(&ResponseHead::new(100));
        }
    }

    /// Returns a head with the fields that all answers have.
    pub fn head_of(&self, status: u16) -> ResponseHead {
        head_of(status, self.clock)
    }

    /// Returns the head of an answer with a line of text.
    pub fn head_of_text(&self, status: u16, text: &str) -> ResponseHead {
        head_of_text(status, text, self.clock)
    }
}

/// Returns the head of an answer with a line of text.
pub fn head_of_text(status: u16, text: &str, clock: &Clock) -> ResponseHead {
    head_of(status, clock)
        .field("content-type", "text/plain; charset=utf-8")
        .field("content-length", text.len().to_string())
}

/// Returns a head with the fields that all answers have.
pub fn head_of(status: u16, clock: &Clock) -> ResponseHead {
    ResponseHead::new(status)
        .field("server", "tidegate")
        .field("date", clock.date())
}
