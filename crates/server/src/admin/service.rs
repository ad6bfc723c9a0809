//! The service of the admin listener: who may ask, and the answers.

use std::time::{Instant, SystemTime};

use bytes::Bytes;
use tidegate_http::{Body, Event, RequestHead, ResponseHead, Stream};
use tidegate_net::{ConnId, Conns, Mailbox, Service};

use super::asked::Asked;
use super::host;
use super::question::Message;
use super::resource::{Response, State, Step};
use super::router;
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
}

impl Admin {
    pub(super) fn new(hosts: Hosts, state: State, workers: Vec<Mailbox<message::Message>>) -> Self {
        Self {
            hosts,
            state,
            asked: Asked::new(workers),
        }
    }

    /// Begins to answer a request. Returns `None` if workers are asked first.
    fn request(&mut self, request: Key, head: &RequestHead, now: Instant) -> Option<Response> {
        if let Hosts::Named(names) = &self.hosts
            && !host::is_known(head.authority_bytes(), names)
        {
            // RFC 9110 §15.5.20: "the request was directed at a server that is unable or unwilling
            // to produce an authoritative response for the target URI".
            let why =
                "the admin listener answers for IP addresses, localhost and --admin-name only";
            return Some(Response::text(421, why));
        }
        let Some(resource) = router::find(head.path_bytes()) else {
            return Some(Response::text(404, "there is nothing at this path"));
        };
        if !resource.methods.takes(head.method_bytes()) {
            let allow = resource.methods.allow();
            let mut response = Response::text(405, &format!("only {allow}"));
            response.fields.push(("allow", allow));
            return Some(response);
        }
        match (resource.answer)(&self.state, head) {
            Step::Done(response) => Some(response),
            Step::Ask(question, finish) => {
                if self.asked.ask(request, question, finish, now) {
                    None
                } else {
                    Some(Response::text(
                        503,
                        "too many requests wait for the workers",
                    ))
                }
            }
        }
    }
}

fn respond(conns: &mut Conns, (conn, id): Key, response: Response) {
    // The client may have left.
    let Some(mut stream) = conns.stream(conn, id) else {
        return;
    };
    let mut head = ResponseHead::new(response.status)
        .field("content-type", response.content_type)
        .field("date", http_date(seconds(SystemTime::now())))
        .field("cache-control", "no-store")
        .field("x-content-type-options", "nosniff");
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
        if let Event::Request { id, head, .. } = &event {
            let request = (conn, *id);
            if let Some(response) = self.request(request, head, conns.now()) {
                respond(conns, request, response);
            }
        } else if let Some(id) = event.stream_id()
            && let Some(mut stream) = conns.stream(conn, id)
        {
            stream.ignore(&event);
        }
    }

    fn message(&mut self, conns: &mut Conns, message: Message) {
        match message {
            Message::Answered(number, answer) => {
                let done = self.asked.answered(number, answer, &self.state);
                if let Some((request, response)) = done {
                    respond(conns, request, response);
                }
            }
            Message::Now(readiness) => self.state.readiness = readiness,
            Message::Facts(facts) => self.state.facts = facts,
            Message::Names(names) => {
                if let Hosts::Named(known) = &mut self.hosts {
                    *known = names;
                }
            }
        }
    }

    fn next_timeout(&self) -> Option<Instant> {
        self.asked.due()
    }

    fn handle_timeout(&mut self, conns: &mut Conns, now: Instant) {
        for (request, response) in self.asked.expire(now, &self.state) {
            respond(conns, request, response);
        }
    }
}
