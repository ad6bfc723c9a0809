//! Priorities of streams that the client has not opened yet.

use tidegate_frame::StreamId;
use tidegate_http::Priority;

/// The priorities of idle streams from PRIORITY_UPDATE frames (RFC 9218 §7.1), the newest for each
/// stream. The owner limits their number.
#[derive(Debug, Default)]
pub(crate) struct EarlyPriorities {
    waiting: Vec<(StreamId, Priority)>,
}

impl EarlyPriorities {
    /// Whether no stream's priority is kept.
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Returns how many streams there would be with this one.
    pub(crate) fn len_with(&self, id: StreamId) -> usize {
        let known = self.waiting.iter().any(|(waiting, _)| *waiting == id);
        self.waiting.len() + usize::from(!known)
    }

    /// Keeps a priority until its stream is opened.
    pub(crate) fn keep(&mut self, id: StreamId, priority: Priority) {
        match self.waiting.iter_mut().find(|(waiting, _)| *waiting == id) {
            Some((_, kept)) => *kept = priority,
            None => self.waiting.push((id, priority)),
        }
    }

    /// Returns the priority of a stream that is being opened. Lower streams can no longer be opened
    /// (RFC 9113 §5.1.1), so theirs are dropped.
    pub(crate) fn take(&mut self, id: StreamId) -> Option<Priority> {
        if self.waiting.is_empty() {
            return None;
        }
        let found = self.waiting.iter().find(|(waiting, _)| *waiting == id);
        let priority = found.map(|(_, priority)| *priority);
        self.waiting.retain(|(waiting, _)| *waiting > id);
        priority
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_word_is_kept_until_the_stream_is_opened_or_passed_by() {
        let id = StreamId::new;
        let (low, high) = (Priority::parse(b"u=7"), Priority::parse(b"u=0"));
        let mut early = EarlyPriorities::default();
        assert_eq!(early.take(id(1)), None);
        early.keep(id(3), low);
        assert_eq!((early.len_with(id(3)), early.len_with(id(5))), (1, 2));
        early.keep(id(3), high);
        early.keep(id(5), low);
        early.keep(id(7), low);
        assert_eq!(early.take(id(1)), None);
        assert_eq!(early.take(id(3)), Some(high));
        assert_eq!(early.take(id(3)), None);
        assert_eq!(early.take(id(7)), Some(low));
        assert_eq!(early.len_with(id(9)), 1, "5 can't be opened any more");
    }
}
