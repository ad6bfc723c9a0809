//! Requests to the admin listener whose answers need those of the workers.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use tidegate_net::Mailbox;

use super::question::{Answer, Answers, Message as Told, Question, Reply};
use super::resource::{Finish, Response, State};
use crate::message::Message;
use crate::request::Key;

/// The time in which workers answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// The most questions that wait for answers at once.
const MOST: usize = 32;

/// A question that waits for answers.
struct Waiting {
    request: Key,
    /// The answers so far. `late` is the number of those that haven't come.
    answers: Answers,
    due: Instant,
    finish: Finish,
}

/// The questions that wait for answers.
pub(super) struct Asked {
    workers: Vec<Mailbox<Message>>,
    to: Option<Mailbox<Told>>,
    last: u64,
    waiting: HashMap<u64, Waiting>,
}

impl Asked {
    /// Takes the mailboxes of all workers.
    pub(super) fn new(workers: Vec<Mailbox<Message>>) -> Self {
        Self {
            workers,
            to: None,
            last: 0,
            waiting: HashMap::new(),
        }
    }

    /// Sets the mailbox that gets the answers.
    pub(super) fn reached_by(&mut self, to: Mailbox<Told>) {
        self.to = Some(to);
    }

    /// Asks all workers. Returns `false` if too many questions wait already.
    pub(super) fn ask(
        &mut self,
        request: Key,
        question: Question,
        finish: Finish,
        now: Instant,
    ) -> bool {
        let Some(to) = self.to.as_ref().filter(|_| self.waiting.len() < MOST) else {
            return false;
        };
        self.last += 1;
        for (worker, mailbox) in self.workers.iter().enumerate() {
            // A worker that has ended drops it, which answers too.
            let reply = Reply::new(to.clone(), self.last, worker);
            let _ = mailbox.send(Message::Ask(question.clone(), reply));
        }
        let waiting = Waiting {
            request,
            answers: Answers {
                question,
                given: Vec::with_capacity(self.workers.len()),
                late: self.workers.len(),
            },
            due: now + PATIENCE,
            finish,
        };
        self.waiting.insert(self.last, waiting);
        true
    }

    /// Takes a worker's answer, or none if it has ended. Returns the request and its answer if that
    /// was the last one.
    pub(super) fn answered(
        &mut self,
        number: u64,
        answer: Option<Answer>,
        state: &State,
    ) -> Option<(Key, Response)> {
        let answers = &mut self.waiting.get_mut(&number)?.answers;
        answers.given.extend(answer);
        answers.late -= 1;
        if answers.late > 0 {
            return None;
        }
        let Waiting {
            request,
            answers,
            finish,
            ..
        } = self.waiting.remove(&number)?;
        Some((request, finish(state, answers)))
    }

    /// Returns when the first question has waited long enough.
    pub(super) fn due(&self) -> Option<Instant> {
        self.waiting.values().map(|waiting| waiting.due).min()
    }

    /// Returns the requests whose questions have waited long enough, and their answers.
    pub(super) fn expire(&mut self, now: Instant, state: &State) -> Vec<(Key, Response)> {
        let is_due = |_: &u64, waiting: &mut Waiting| waiting.due <= now;
        let late = self.waiting.extract_if(is_due);
        late.map(|(_, waiting)| (waiting.request, (waiting.finish)(state, waiting.answers)))
            .collect()
    }
}
