//! The two roles.

/// The role of an end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The end that opens requests.
    Client,
    /// The end that answers them, and may push.
    Server,
}

impl Role {
    /// Returns the other end's role.
    pub const fn other(self) -> Self {
        match self {
            Self::Client => Self::Server,
            Self::Server => Self::Client,
        }
    }
}
