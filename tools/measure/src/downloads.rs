//! Downloads on one connection, read at a bounded rate: what comes when shows whom the server lets go first.

use tidegate_proto::{Event, StreamId};

use crate::client::{Client, MAX_WINDOW};
use crate::pace::Pace;
use crate::{Result, Target};

/// How the client reads.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct Reader {
    /// Octets that the client reads in a second.
    #[arg(long, default_value_t = 20_000_000)]
    pub(crate) rate: u64,
    /// The client's SO_RCVBUF in octets; Linux doubles it and lets about half of that be data.
    #[arg(long, default_value_t = 65_536)]
    receive_buffer: usize,
}

/// A connection that downloads. No window of the client's holds the server up, only TCP does.
pub(crate) struct Downloads {
    pub(crate) client: Client,
    pace: Pace,
}

/// A DATA frame, or a response without content.
pub(crate) struct Piece {
    pub(crate) id: StreamId,
    pub(crate) octets: usize,
    pub(crate) end: bool,
}

impl Downloads {
    pub(crate) fn connect(target: &Target, reader: Reader) -> Result<Self> {
        Ok(Self {
            client: Client::connect(target, Some(reader.receive_buffer), MAX_WINDOW)?,
            pace: Pace::new(reader.rate),
        })
    }

    /// Sends what is to be sent, and returns what comes, in order; nothing if nothing comes within a moment.
    ///
    /// # Errors
    /// The connection failed, or the server refused a request.
    pub(crate) fn turn(&mut self) -> Result<Vec<Piece>> {
        let before = self.client.engine.stats().bytes_in;
        let events = self.client.turn(self.pace.allowance(), Pace::TICK)?;
        let octets = self.client.engine.stats().bytes_in - before;
        self.pace.note(octets as usize);
        let mut pieces = Vec::with_capacity(events.len());
        for event in events {
            match event {
                Event::Response { id, end: true, .. } => pieces.push(Piece {
                    id,
                    octets: 0,
                    end: true,
                }),
                Event::Data { id, data, end } => {
                    let octets = data.len();
                    if let Some(mut stream) = self.client.engine.stream(id) {
                        stream.consume(octets);
                    }
                    pieces.push(Piece { id, octets, end });
                }
                _ => {}
            }
        }
        Ok(pieces)
    }
}
