//! Questions of the admin listener to the workers, and their answers.
//!
//! A worker gets a [`Question`] and a [`Reply`] as one message, answers at once, and never waits.

use std::net::SocketAddr;
use std::sync::Arc;

use tidegate_net::Mailbox;

use crate::flags::Switch;
use crate::metrics::facts::Facts;
use crate::picture::look::{Look, Looked};
use crate::picture::name::Name;

/// A question to each worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Question {
    /// Whether the worker turns.
    Turns,
    /// The worker publishes its counters now.
    Publish,
    /// Which connections the worker has.
    Look(Arc<Look>),
    /// A change, which is made by those whom it concerns.
    Act(Act),
}

/// A change that an operator asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// End this connection.
    Close(Name),
    /// Take this address of upstreams out of use.
    Drain(SocketAddr),
    /// Take it into use again.
    Restore(SocketAddr),
}

/// A worker's answer.
#[derive(Debug)]
pub enum Answer {
    /// The worker turns.
    Turns,
    /// The worker has published its counters.
    Published,
    /// Its connections.
    Looked(Box<Looked>),
    /// Whether the change concerned the worker.
    Acted(bool),
}

/// How far the server is, for those that send it requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Readiness {
    /// The workers serve.
    Serving,
    /// Requests in progress finish; no connections are accepted.
    Leaving,
}

/// A message to the thread of the admin listener.
pub(crate) enum Message {
    /// A worker's answer to the question with this number; `None` if the worker has ended.
    Answered(u64, Option<Answer>),
    /// The server is that far now.
    Now(Readiness),
    /// The facts about the process have changed.
    Facts(Facts),
    /// The names by which clients may call the listener, and whether they may change something.
    Changed(Vec<String>, Switch),
}

/// The way in which a worker's answer reaches the admin listener.
pub struct Reply {
    to: Mailbox<Message>,
    number: u64,
    worker: usize,
    answer: Option<Answer>,
}

impl Reply {
    /// Returns the way for the answer of this worker to the question with this number.
    pub(super) fn new(to: Mailbox<Message>, number: u64, worker: usize) -> Self {
        Self {
            to,
            number,
            worker,
            answer: None,
        }
    }

    /// Returns the number of the worker that answers.
    pub fn worker(&self) -> usize {
        self.worker
    }

    /// Sends the answer.
    pub fn send(mut self, answer: Answer) {
        self.answer = Some(answer);
    }
}

/// A worker that ends drops the questions in its mailbox.
impl Drop for Reply {
    fn drop(&mut self) {
        let answered = Message::Answered(self.number, self.answer.take());
        // Another configuration may have closed the listener.
        let _ = self.to.send(answered);
    }
}

/// The answers of all workers to one question.
pub(super) struct Answers {
    /// The question.
    pub(super) question: Question,
    /// The answers, in any order. Workers that have ended have none.
    pub(super) given: Vec<Answer>,
    /// The number of workers that didn't answer in time.
    pub(super) late: usize,
}
