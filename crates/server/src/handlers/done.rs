//! Results of the threads that look up and read files.

use super::download::Read;
use super::look::Looked;
use super::lookup::Refusal;
use crate::request::Key;

/// The number of a root, and a path below it as requested.
pub type Asked = (u64, Box<[u8]>);

/// The result of a thread's work for a worker.
pub enum Done {
    /// The path, and what it leads to.
    Looked(Asked, Result<Looked, Refusal>),
    /// The stream, and a piece of a file for it.
    Read(Key, Read),
}
