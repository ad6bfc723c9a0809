//! The service of the admin listener: who may ask, and the answers.

use std::time::{Instant, SystemTime};

use bytes::Bytes;
use tidegate_http::{Body, Event, RequestHead, ResponseHead, Stream};
use tidegate_net::{ConnId, Conns, End, Mailbox, Service};

use super::asked::Asked;
use super::host;
use super::question::Message;
use super::resource::{Response, State, Step};
use super::router;
use super::viewers::{self, Viewers};
use crate::clock::http_date;
use crate::clock::seconds;
use crate::message;
use crate::request::Key;

/// Whether requests must name a known host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Hosts {
    /// No browser can reach a Unix socket, so any host is fine.
    Any,
    /// IP addresses, `localhost`, and these names.
    Named(Vec<String>),
}

/// The service of the admin listener.
pub(super) struct Admin {
    hosts: Hosts,
    state: State,
    asked: Asked,
    viewers: Viewers,
}

/// The first part of an answer.
enum Begun {
    /// All of it.
    Whole(Response),
    /// Nothing: workers are asked first.
    Nothing,
    /// The head of a viewer's events.
    Events,
}

impl Admin {
    pub(super) fn new(hosts: Hosts, state: State, workers: Vec<Mailbox<message::Message>>) -> Self {
        Self {
            hosts,
            state,
            asked: Asked::new(workers),
            viewers: Viewers::default(),
        }
    }

    /// Begins to answer a request.
    fn request(&mut self, request: Key, head: &RequestHead, now: Instant) -> Begun {
        if let Hosts::Named(names) = &self.hosts
            && !host::is_known(head.authority_bytes(), names)
        {
            // RFC 9110 §15.5.20: "the request was directed at a server that is unable or unwilling
            // to produce an authoritative response for the target URI".
            let why =
                "the admin listener answers for IP addresses, localhost and --admin-name only";
            return Begun::Whole(Response::text(421, why));
        }
        if is_from_elsewhere(head) {
            return Begun::Whole(Response::text(
                403,
                "the request comes from a page of another site",
            ));
        }
        let Some(resource) = router::find(head.path_bytes()) else {
            return Begun::Whole(Response::text(404, "there is nothing at this path"));
        };
        if !resource.methods.takes(head.method_bytes()) {
            let allow = resource.methods.allow();
            let mut response = Response::text(405, &format!("only {allow}"));
            response.fields.push(("allow", allow));
            return Begun::Whole(response);
        }
        match (resource.answer)(&self.state, head) {
            Step::Done(response) => Begun::Whole(response),
            Step::Ask(question, finish) => {
                if self.asked.ask(request, question, finish, now) {
                    Begun::Nothing
                } else {
                    let why = "too many requests wait for the workers";
                    Begun::Whole(Response::text(503, why))
                }
            }
            // It has no body, so it is over at once.
            Step::Watch(..) if head.method_bytes() == b"HEAD" => Begun::Events,
            Step::Watch(question, finish) => {
                if self.viewers.add(request, question, finish, now) {
                    Begun::Events
                } else {
                    Begun::Whole(Response::text(503, "too many others watch already"))
                }
            }
        }
    }

    /// Answers a request with those of the workers, or sends them to a viewer.
    fn finish(&mut self, conns: &mut Conns, request: Key, response: Response) {
        if self.viewers.has(request) {
            let text = (response.status == 200).then_some(&response.body[..]);
            self.viewers.event(conns, request, text);
        } else {
            respond(conns, request, response);
        }
    }

    /// Asks the workers for the viewers whose next event is due.
    fn ask_for_viewers(&mut self, conns: &mut Conns, now: Instant) {
        for (request, question, finish) in self.viewers.ask(now) {
            if !self.asked.ask(request, question, finish, now) {
                self.viewers.event(conns, request, None);
            }
        }
    }
}

/// Whether a browser says that a page of another site sent the request.
fn is_from_elsewhere(head: &RequestHead) -> bool {
    let mut fields = head.headers();
    fields.any(|field| field.name == b"sec-fetch-site" && field.value == b"cross-site")
}

/// Returns the head of every answer.
fn head_of(status: u16, content_type: &str) -> ResponseHead {
    ResponseHead::new(status)
        .field("content-type", content_type)
        .field("date", http_date(seconds(SystemTime::now())))
        .field("cache-control", "no-store")
        .field("x-content-type-options", "nosniff")
}

fn respond(conns: &mut Conns, (conn, id): Key, response: Response) {
    // The client may have left.
    let Some(mut stream) = conns.stream(conn, id) else {
        return;
    };
    let mut head = head_of(response.status, response.content_type);
    for (name, value) in response.fields {
        head.push(name, value);
    }
    let _ = stream.respond(&head, Body::Full(Bytes::from(response.body)));
}

impl Service for Admin {
    type Message = Message;

    fn started(&mut self, mailbox: &Mailbox<Message>) {
        self.asked.reached_by(mailbox.clone());
    }

    fn event(&mut self, conns: &mut Conns, conn: ConnId, event: Event) {
        let Some(id) = event.stream_id() else {
            return;
        };
        let request = (conn, id);
        match &event {
            Event::Request { head, .. } => match self.request(request, head, conns.now()) {
                Begun::Whole(response) => respond(conns, request, response),
                Begun::Nothing => {}
                Begun::Events => {
                    viewers::begin(conns, request, &head_of(200, "text/event-stream"));
                }
            },
            Event::Writable { .. } => self.viewers.write(conns, request),
            _ => {
                if let Event::Reset { .. } = event {
                    self.viewers.remove(request);
                }
                if let Some(mut stream) = conns.stream(conn, id) {
                    stream.ignore(&event);
                }
            }
        }
    }

    fn half_closed(&mut self, _: &mut Conns, conn: ConnId) {
        self.viewers.closed(conn);
    }

    fn closed(&mut self, _: &mut Conns, conn: ConnId, _: &End) {
        self.viewers.closed(conn);
    }

    fn message(&mut self, conns: &mut Conns, message: Message) {
        match message {
            Message::Answered(number, answer) => {
                let done = self.asked.answered(number, answer, &self.state);
                if let Some((request, response)) = done {
                    self.finish(conns, request, response);
                }
            }
            Message::Now(readiness) => self.state.readiness = readiness,
            Message::Facts(facts) => self.state.facts = facts,
            Message::Changed(names, write) => {
                self.state.write = write;
                if let Hosts::Named(known) = &mut self.hosts {
                    *known = names;
                }
            }
        }
    }

    fn next_timeout(&self) -> Option<Instant> {
        let due = [self.asked.due(), self.viewers.due()];
        due.into_iter().flatten().min()
    }

    fn handle_timeout(&mut self, conns: &mut Conns, now: Instant) {
        for (request, response) in self.asked.expire(now, &self.state) {
            self.finish(conns, request, response);
        }
        self.ask_for_viewers(conns, now);
    }
}
