//! Those who watch the server: once a second each gets an event of `text/event-stream`.
//!
//! Workers are asked only while somebody watches. A viewer that reads too slowly gets fewer events,
//! never late ones.

use std::time::{Duration, Instant};

use bytes::Bytes;
use tidegate_http::{Body, Stream};
use tidegate_net::{ConnId, Conns};

use super::question::Question;
use super::resource::Finish;
use crate::request::Key;

/// The most viewers at once.
const MOST: usize = 8;

/// The time between two events.
const EVERY: Duration = Duration::from_secs(1);

/// The head of an event's only line, and its end.
const START: &[u8] = b"data: ";
const END: &[u8] = b"\n\n";

/// One viewer.
struct Viewer {
    request: Key,
    question: Question,
    finish: Finish,
    /// The part of the last event that the stream hasn't taken.
    unsent: Bytes,
    /// Whether the workers are being asked.
    is_waiting: bool,
    /// When the next event is due.
    due: Instant,
}

/// All viewers.
#[derive(Default)]
pub(super) struct Viewers {
    all: Vec<Viewer>,
}

impl Viewers {
    /// Adds a viewer. Returns `false` if there are too many.
    pub(super) fn add(
        &mut self,
        request: Key,
        question: Question,
        finish: Finish,
        now: Instant,
    ) -> bool {
        if self.all.len() >= MOST {
            return false;
        }
        self.all.push(Viewer {
            request,
            question,
            finish,
            unsent: Bytes::new(),
            is_waiting: false,
            // The first event comes at once.
            due: now,
        });
        true
    }

    /// Whether this request is a viewer's.
    pub(super) fn has(&self, request: Key) -> bool {
        self.all.iter().any(|viewer| viewer.request == request)
    }

    /// Removes a viewer, if the request is one's.
    pub(super) fn remove(&mut self, request: Key) {
        self.all.retain(|viewer| viewer.request != request);
    }

    /// Removes the viewers on a connection that has ended.
    pub(super) fn closed(&mut self, conn: ConnId) {
        self.all.retain(|viewer| viewer.request.0 != conn);
    }

    /// Returns when the next event is due.
    pub(super) fn due(&self) -> Option<Instant> {
        self.all.iter().map(|viewer| viewer.due).min()
    }

    /// Returns the questions that are due.
    pub(super) fn ask(&mut self, now: Instant) -> Vec<(Key, Question, Finish)> {
        let mut asked = Vec::new();
        for viewer in self.all.iter_mut().filter(|viewer| viewer.due <= now) {
            viewer.due = now + EVERY;
            if !viewer.is_waiting && viewer.unsent.is_empty() {
                viewer.is_waiting = true;
                asked.push((viewer.request, viewer.question.clone(), viewer.finish));
            }
        }
        asked
    }

    /// Sends an event to a viewer, which waits for one; without text, the next one comes later.
    pub(super) fn event(&mut self, conns: &mut Conns, request: Key, text: Option<&[u8]>) {
        let mut viewers = self.all.iter_mut();
        if let Some(viewer) = viewers.find(|viewer| viewer.request == request) {
            viewer.is_waiting = false;
            if let Some(text) = text {
                viewer.unsent = [START, text, END].concat().into();
                viewer.write(conns);
            }
        }
    }

    /// Sends more of the last event, which a stream takes now.
    pub(super) fn write(&mut self, conns: &mut Conns, request: Key) {
        let mut viewers = self.all.iter_mut();
        if let Some(viewer) = viewers.find(|viewer| viewer.request == request) {
            viewer.write(conns);
        }
    }
}

impl Viewer {
    fn write(&mut self, conns: &mut Conns) {
        if let Some(mut stream) = conns.stream(self.request.0, self.request.1) {
            stream.write(&mut self.unsent, false);
        }
    }
}

/// Begins the answer to a viewer.
pub(super) fn begin(conns: &mut Conns, request: Key, head: &tidegate_http::ResponseHead) {
    if let Some(mut stream) = conns.stream(request.0, request.1) {
        let _ = stream.respond(head, Body::Stream);
    }
}
