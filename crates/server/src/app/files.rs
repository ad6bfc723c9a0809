//! Results of the threads that look up and read files.

use tidegate_net::Conns;

use super::App;
use super::heads::note_outcome;
use crate::handlers::done::Asked;
use crate::handlers::download::Read;
use crate::handlers::look::Looked;
use crate::handlers::lookup::Refusal;
use crate::in_progress::{Exchange, Work};
use crate::request::{Key, Outcome, Request};

impl App {
    /// Answers all requests that wait for a path that a thread has now looked up.
    pub(super) fn looked(
        &mut self,
        conns: &mut Conns,
        asked: &Asked,
        looked: Result<Looked, Refusal>,
    ) {
        let (answer, waiting) = self.files.looked(asked, looked, &self.clock);
        for (conn, id) in waiting {
            // A stream that was reset meanwhile no longer waits.
            let Some(stream) = conns.stream(conn, id) else {
                continue;
            };
            let Some(Exchange {
                work,
                mut log,
                share,
                terms,
                limit,
                ..
            }) = self.exchanges.take(conn, id)
            else {
                continue;
            };
            let Work::Look(waiting) = &work else { continue };
            let request = &mut Request {
                stream,
                head: &waiting.head,
                end: waiting.end,
                clock: &self.clock,
                extra: waiting.extra(),
                terms: &terms,
            };
            let outcome = self
                .files
                .answer_waiting(request, (conn, id), &answer, waiting);
            if let Some(log) = &mut log {
                note_outcome(conns, conn, log, &outcome);
            }
            match outcome {
                Outcome::Answered(sent) => {
                    self.exchanges.ended_as_taken();
                    self.log(log, sent);
                }
                Outcome::InProgress(sent, work) => {
                    let exchange = Exchange {
                        work,
                        sent,
                        log,
                        share,
                        terms,
                        limit,
                    };
                    self.exchanges.put_back(conn, id, exchange);
                }
            }
        }
    }

    /// Sends a piece of a file that a thread has read.
    pub(super) fn read(&mut self, conns: &mut Conns, (conn, id): Key, read: Read) {
        // Release the memory even if the stream is gone.
        let read = self.files.take(read);
        let Some(mut stream) = conns.stream(conn, id) else {
            return;
        };
        if let Some(exchange) = self.exchanges.get(conn, id)
            && let Work::Download(download) = &mut exchange.work
        {
            let progress = download.arrived(&mut stream, read);
            if exchange.sent.count(progress) {
                self.finish(stream, conn, id);
            }
        }
    }
}
