//! Messages from other threads to a worker.

use std::sync::mpsc::Sender;

use tidegate_pool::Address;

use crate::admin::{Question, Reply};
use crate::handlers::done::Done;
use crate::site::Served;

/// A message from another thread to a worker.
pub enum Message {
    /// A thread for files has finished a job.
    Done(Done),
    /// An upstream has new addresses.
    Moved {
        /// The generation of the [settings](crate::proxy::Settings) that the upstream is in.
        generation: u64,
        /// Its index in these settings.
        upstream: usize,
        /// All its addresses.
        addresses: Vec<Address>,
    },
    /// The service serves something else from now on, and then answers.
    Serve(Box<Served>, Sender<()>),
    /// The service answers, which shows that its worker turns.
    Answer(Sender<()>),
    /// The admin listener asks something.
    Ask(Question, Reply),
}
