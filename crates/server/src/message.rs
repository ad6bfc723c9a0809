//! Messages from other threads to a worker.

use tidegate_pool::Address;

use crate::handlers::download::Read;
use crate::handlers::look::Looked;
use crate::handlers::lookup::Refusal;
use crate::request::Key;

/// A message from another thread to a worker.
pub enum Message {
    /// A thread for files has finished a job.
    Done(Done),
    /// An upstream has new addresses. The number is its index in
    /// [`proxy::Settings::upstreams`](crate::proxy::Settings).
    Moved(usize, Vec<Address>),
}

/// The number of a root, and a path below it as requested.
pub type Asked = (u64, Box<[u8]>);

/// The result of a thread's work for a worker.
pub enum Done {
    /// The path, and what it leads to.
    Looked(Asked, Result<Looked, Refusal>),
    /// The stream, and a piece of a file for it.
    Read(Key, Read),
}
