//! The sums of the memory that a connection holds, and the bills of streams that have their own.

use tidegate_http::Holding;

use crate::flow::Share;
use crate::stream::Stream;

/// The bytes that count for each stream beside its head and body: its slot here, and its owner's
/// state.
pub(crate) const STREAM: u64 = 1 << 10;

/// The bytes held that have no sum elsewhere.
pub(crate) struct Memory {
    pub(crate) holding: Holding,
    /// Heads and trailers of requests whose streams are open here.
    pub(crate) heads: u64,
    /// Pieces of bodies that owners wrote and that wait to be sent.
    pub(crate) streamed: u64,
    /// The bytes of all streams that have their own bill.
    pub(crate) billed: u64,
}

impl Memory {
    pub(crate) fn new(holding: Holding) -> Self {
        Self {
            holding,
            heads: 0,
            streamed: 0,
            billed: 0,
        }
    }

    /// Notes that the owner wrote `bytes` of a body: all that waits of it.
    pub(crate) fn written(&mut self, stream: &mut Stream, bytes: usize) {
        self.streamed += bytes as u64;
        stream.send.buf.streamed += bytes;
        self.settle_bill(stream);
    }

    /// Notes that `bytes` of a waiting body were sent or dropped.
    pub(crate) fn sent(&mut self, stream: &mut Stream, bytes: usize) {
        let bytes = bytes.min(stream.send.buf.streamed);
        self.streamed -= bytes as u64;
        stream.send.buf.streamed -= bytes;
        self.settle_bill(stream);
    }

    /// Updates a stream's own bill, if it has one.
    #[inline]
    pub(crate) fn settle_bill(&mut self, stream: &mut Stream) {
        if let Some(bill) = &mut stream.bill {
            let Share {
                allowed,
                unconsumed,
                ..
            } = stream.recv.share();
            let bytes = STREAM
                + u64::from(allowed)
                + u64::from(unconsumed)
                + stream.send.buf.streamed as u64;
            self.billed = self.billed + bytes - bill.bytes();
            bill.settle(bytes);
        }
    }

    /// Whether a stream may hold `more` bytes, by its own bill or the connection's.
    pub(crate) fn admit(&mut self, stream: &mut Stream, more: u64) -> bool {
        let Some(bill) = &mut stream.bill else {
            return self.holding.admit(more);
        };
        let has_room = bill.admit(more);
        if has_room {
            self.billed += more;
        }
        has_room
    }

    /// Notes that a stream is gone.
    pub(crate) fn gone(&mut self, stream: &Stream) {
        self.heads -= u64::from(stream.recv.head);
        self.streamed -= stream.send.buf.streamed as u64;
        self.billed -= stream.bill.as_ref().map_or(0, |bill| bill.bytes());
    }

    /// Notes that all streams are gone.
    pub(crate) fn close(&mut self) {
        (self.heads, self.streamed, self.billed) = (0, 0, 0);
    }

    pub(crate) fn is_tight(&self) -> bool {
        self.holding.is_tight()
    }

    /// Checks the sums against all streams.
    pub(crate) fn audit<'a>(
        &self,
        streams: impl Iterator<Item = &'a Stream>,
    ) -> Result<(), String> {
        let (mut heads, mut streamed, mut billed) = (0, 0, 0);
        for stream in streams {
            heads += u64::from(stream.recv.head);
            streamed += stream.send.buf.streamed as u64;
            billed += stream.bill.as_ref().map_or(0, |bill| bill.bytes());
        }
        let found = (heads, streamed, billed);
        let counted = (self.heads, self.streamed, self.billed);
        if found != counted {
            return Err(format!(
                "heads, written pieces and bills come to {found:?}, counted are {counted:?}"
            ));
        }
        Ok(())
    }
}
