//! A service whose answers take long: a thread works on them, and sends them to the loop's mailbox.
//! Try `curl --http2-prior-knowledge 127.0.0.1:8080/some/path`.

use std::sync::mpsc::{self, Sender};
use std::thread;

use tidegate_net::http::{Body, Config, Event, ResponseHead, Stream, StreamId};
use tidegate_net::{ConnId, Conns, EventLoop, Listener, Mailbox, Options, Security, Service};

/// A request for the thread.
struct Job {
    conn: ConnId,
    id: StreamId,
    path: String,
}

/// The message that answers a request.
pub(crate) struct Answer {
    conn: ConnId,
    id: StreamId,
    text: String,
}

#[derive(Default)]
pub(crate) struct Later {
    jobs: Option<Sender<Job>>,
}

impl Service for Later {
    type Message = Answer;

    fn started(&mut self, mailbox: &Mailbox<Answer>) {
        let mailbox = mailbox.clone();
        let (jobs, queue) = mpsc::channel::<Job>();
        self.jobs = Some(jobs);
        // The thread ends with the service, which owns the sender.
        thread::spawn(move || {
            for Job { conn, id, path } in queue {
                // Work that may take its time, such as a query to a database.
                let text = path.chars().rev().collect();
                mailbox.send(Answer { conn, id, text });
            }
        });
    }

    fn event(&mut self, conns: &mut Conns, conn: ConnId, event: Event) {
        if let (Event::Request { id, head, .. }, Some(jobs)) = (&event, &self.jobs) {
            let (id, path) = (*id, head.path().to_owned());
            let _ = jobs.send(Job { conn, id, path });
        } else if let Some(id) = event.stream_id()
            && let Some(mut stream) = conns.stream(conn, id)
        {
            stream.ignore(&event);
        }
    }

    fn message(&mut self, conns: &mut Conns, Answer { conn, id, text }: Answer) {
        // The client may have left, or reset the stream: then there is no stream to answer.
        if let Some(mut stream) = conns.stream(conn, id) {
            let head = ResponseHead::new(200).field("content-type", "text/plain");
            let _ = stream.respond(&head, Body::Full(text.into()));
        }
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let listener = Listener::bind("127.0.0.1:8080".parse()?, Security::Plain)?;
    let options = Options::new(Config::server().build()?);
    EventLoop::new(vec![listener], options, Later::default())?.run()?;
    Ok(())
}
