//! Answers to the questions of the admin listener.

use tidegate_net::Conns;

use super::App;
use crate::admin::{Answer, Question};

impl App {
    /// Answers a question of the admin listener.
    pub(super) fn answer_admin(&mut self, _conns: &mut Conns, question: Question) -> Answer {
        match question {
            Question::Turns => Answer::Turns,
        }
    }
}
