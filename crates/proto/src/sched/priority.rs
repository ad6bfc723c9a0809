//! The priority of a stream (RFC 9218 §4).

/// Urgency and incremental delivery (RFC 9218 §4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Priority {
    /// 0 (first) to 7 (last). Default 3.
    pub urgency: u8,
    /// Whether pieces of the response are of use before it is whole. Default no.
    pub incremental: bool,
}

impl Default for Priority {
    fn default() -> Self {
        Self {
            urgency: 3,
            incremental: false,
        }
    }
}
