//! An upload that a thread works on. A client can't send faster than the thread works: its credit
//! returns piece by piece, as the thread is done with them. Try `curl --http2-prior-knowledge -T
//! FILE 127.0.0.1:8080`.

use std::collections::HashMap;
use std::sync::mpsc::{self, Sender};
use std::thread;

use bytes::Bytes;
use tidegate_net::http::{Body, Config, Event, ResponseHead, Stream, StreamId};
use tidegate_net::{ConnId, Conns, End, EventLoop, Listener, Mailbox, Options, Security, Service};

/// A piece of an upload, for the thread.
struct Piece {
    conn: ConnId,
    id: StreamId,
    data: Bytes,
    /// Whether the upload ends here.
    end: bool,
}

/// The message that the thread is done with a piece.
pub(crate) struct Done {
    piece: Piece,
    lines: usize,
}

#[derive(Default)]
pub(crate) struct Upload {
    pieces: Option<Sender<Piece>>,
    /// The lines counted so far, of each upload.
    lines: HashMap<(ConnId, StreamId), usize>,
}

impl Service for Upload {
    type Message = Done;

    fn started(&mut self, mailbox: &Mailbox<Done>) {
        let mailbox = mailbox.clone();
        let (pieces, queue) = mpsc::channel::<Piece>();
        self.pieces = Some(pieces);
        // The queue needs no limit: it holds no more bytes than the clients have credit for.
        thread::spawn(move || {
            for piece in queue {
                // Work that may take its time, such as writing to a disk.
                let lines = piece.data.iter().filter(|&&byte| byte == b'\n').count();
                mailbox.send(Done { piece, lines });
            }
        });
    }

    fn event(&mut self, conns: &mut Conns, conn: ConnId, event: Event) {
        let (id, data, end) = match event {
            Event::Request { id, end, .. } => {
                self.lines.insert((conn, id), 0);
                (id, Bytes::new(), end)
            }
            // Not consumed yet: until then the data counts against the client's windows.
            Event::Data { id, data, end } => (id, data, end),
            Event::Trailers { id, .. } => (id, Bytes::new(), true),
            event => {
                if let Some(id) = event.stream_id()
                    && let Some(mut stream) = conns.stream(conn, id)
                {
                    stream.ignore(&event);
                    self.lines.remove(&(conn, id));
                }
                return;
            }
        };
        if let Some(pieces) = &self.pieces {
            let _ = pieces.send(Piece {
                conn,
                id,
                data,
                end,
            });
        }
    }

    fn message(&mut self, conns: &mut Conns, Done { piece, lines }: Done) {
        let (conn, id) = (piece.conn, piece.id);
        // The client may have left, or reset the stream.
        let Some(mut stream) = conns.stream(conn, id) else {
            return;
        };
        stream.consume(piece.data.len());
        let Some(counted) = self.lines.get_mut(&(conn, id)) else {
            return;
        };
        *counted += lines;
        if piece.end {
            let text = format!("{counted} lines\n");
            self.lines.remove(&(conn, id));
            let _ = stream.respond(&ResponseHead::new(200), Body::Full(text.into()));
        }
    }

    fn closed(&mut self, _: &mut Conns, conn: ConnId, _: &End) {
        self.lines.retain(|(of, _), _| *of != conn);
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let listener = Listener::bind("127.0.0.1:8080".parse()?, Security::Plain)?;
    let options = Options::new(Config::server().build()?);
    EventLoop::new(vec![listener], options, Upload::default())?.run()?;
    Ok(())
}
