//! Downloads on one connection, read at a bounded rate: the order of the data shows the server's
//! priorities.

use tidegate_http::{Event, Stream, StreamId};

use crate::client::{Client, MAX_WINDOW};
use crate::pace::Pace;
use crate::{Result, Target};

/// How the client reads.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct Reader {
    /// Bytes that the client reads per second.
    #[arg(long, default_value_t = 20_000_000)]
    pub(crate) rate: u64,
    /// The client's SO_RCVBUF in bytes. Linux doubles it and uses about half of that for data.
    #[arg(long, default_value_t = 65_536)]
    receive_buffer: usize,
}

/// A connection that downloads. The client's windows never hold the server up, only TCP does.
pub(crate) struct Downloads {
    pub(crate) client: Client,
    pace: Pace,
}

/// A DATA frame, or a response without content.
pub(crate) struct Piece {
    pub(crate) id: StreamId,
    pub(crate) bytes: usize,
    pub(crate) end: bool,
}

impl Downloads {
    pub(crate) fn connect(target: &Target, reader: Reader) -> Result<Self> {
        Ok(Self {
            client: Client::connect(target, Some(reader.receive_buffer), MAX_WINDOW)?,
            pace: Pace::new(reader.rate),
        })
    }

    /// Sends pending output, and returns the pieces that arrive, in order. Returns nothing if
    /// nothing arrives within a tick.
    ///
    /// # Errors
    /// Returns an error if the connection failed, or the server refused a request.
    pub(crate) fn turn(&mut self) -> Result<Vec<Piece>> {
        let before = self.client.driver.engine.stats().bytes_in;
        let events = self.client.turn(self.pace.allowance(), Pace::TICK)?;
        let bytes = self.client.driver.engine.stats().bytes_in - before;
        self.pace.note(bytes as usize);
        let mut pieces = Vec::with_capacity(events.len());
        for event in events {
            match event {
                Event::Response { id, end: true, .. } => pieces.push(Piece {
                    id,
                    bytes: 0,
                    end: true,
                }),
                Event::Data { id, data, end } => {
                    let bytes = data.len();
                    if let Some(mut stream) = self.client.driver.engine.stream(id) {
                        stream.consume(bytes);
                    }
                    pieces.push(Piece { id, bytes, end });
                }
                _ => {}
            }
        }
        Ok(pieces)
    }
}
