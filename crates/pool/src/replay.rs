//! The body of a request, kept so that it can be sent again.

use bytes::{Bytes, BytesMut};
use tidegate_http::{Bill, Body, Fields, Stream};
use tidegate_net::StreamMut;

/// The body of a request.
#[derive(Debug)]
pub(crate) enum Outgoing {
    /// There is none.
    Empty,
    /// The whole body.
    Full(Bytes),
    /// A body that the owner writes piece by piece.
    Stream(Replay),
}

/// A body as far as its owner has written it, and a copy up to a limit.
#[derive(Debug, Default)]
pub(crate) struct Replay {
    /// A copy of the body, unless that is too long. Keeping the pieces themselves would keep all
    /// that was read together with them.
    kept: Option<BytesMut>,
    /// The bill for `kept`, if a client pays for it.
    bill: Option<Bill>,
    /// Whether the present stream hasn't got all that was written. It lacks `behind`, and perhaps
    /// the end.
    is_behind: bool,
    behind: Bytes,
    ended: bool,
    trailers: Option<Fields>,
}

impl Replay {
    /// Returns an empty body. What is kept of it goes into this bill.
    pub(crate) fn new(bill: Option<Bill>) -> Self {
        Self {
            kept: Some(BytesMut::new()),
            bill,
            ..Self::default()
        }
    }

    /// Whether all of it is kept.
    pub(crate) fn is_whole(&self) -> bool {
        self.kept.is_some()
    }

    /// Drops the copy, because the body won't be sent again.
    pub(crate) fn forget(&mut self) {
        (self.kept, self.bill) = (None, None);
    }

    /// Notes that the request has a new stream, which lacks all that was written.
    pub(crate) fn rewind(&mut self) {
        self.is_behind = self.ended || self.kept.as_ref().is_some_and(|kept| !kept.is_empty());
        self.behind = self
            .kept
            .as_ref()
            .map_or_else(Bytes::new, |kept| Bytes::copy_from_slice(kept));
    }

    /// Notes the end of the body while there is no stream that takes it. The next stream that wants
    /// more gets it.
    pub(crate) fn end_later(&mut self) {
        self.ended = true;
        self.is_behind = true;
    }

    /// Takes what the owner writes while there is no stream yet, as far as the limit and the memory
    /// allow, and the end. Returns the number of bytes.
    pub(crate) fn collect(&mut self, data: &mut Bytes, end: bool, limit: usize) -> usize {
        let Some(kept) = &mut self.kept else {
            return 0;
        };
        let taken = data.len().min(limit.saturating_sub(kept.len()));
        if !pays(&mut self.bill, taken) {
            return 0;
        }
        kept.extend_from_slice(&data.split_to(taken));
        if end && data.is_empty() {
            self.end_later();
        }
        taken
    }

    /// Whether there is nothing more to collect.
    pub(crate) fn has_enough(&self, limit: usize) -> bool {
        self.ended || self.kept.as_ref().is_none_or(|kept| kept.len() >= limit)
    }

    /// Whether the present stream hasn't got all that was written.
    pub(crate) fn is_behind(&self) -> bool {
        self.is_behind
    }

    /// Gives the present stream as much as it takes of what it lacks. Returns whether it has the
    /// end now.
    pub(crate) fn catch_up(&mut self, stream: &mut StreamMut<'_>) -> bool {
        stream.write(&mut self.behind, self.ended && self.trailers.is_none());
        self.is_behind = !self.behind.is_empty();
        if self.is_behind {
            return false;
        }
        if let Some(trailers) = &self.trailers {
            // They are valid, but may be larger than this peer accepts. RFC 9110 §6.5.1: they may
            // be discarded.
            if stream.trailers(trailers).is_err() {
                stream.write(&mut Bytes::new(), true);
            }
        }
        self.ended
    }

    /// Gives the stream as much as it takes of what the owner writes. Returns the number of bytes.
    pub(crate) fn write(
        &mut self,
        stream: &mut StreamMut<'_>,
        data: &mut Bytes,
        end: bool,
        limit: usize,
    ) -> usize {
        let before = data.clone();
        let taken = stream.write(data, end);
        if let Some(kept) = &mut self.kept {
            if kept.len() + taken > limit || !pays(&mut self.bill, taken) {
                self.forget();
            } else {
                kept.extend_from_slice(before.get(..taken).unwrap_or_default());
            }
        }
        self.ended |= end && data.is_empty();
        taken
    }

    /// Notes that the owner ended the body with trailers.
    pub(crate) fn end_with(&mut self, fields: &Fields) {
        self.ended = true;
        if self.kept.is_some() {
            self.trailers = Some(fields.clone());
        }
    }
}

/// Whether there is memory for `bytes` more.
fn pays(bill: &mut Option<Bill>, bytes: usize) -> bool {
    bill.as_mut().is_none_or(|bill| bill.admit(bytes as u64))
}

impl Outgoing {
    /// Returns the body of a new request. What is kept of it goes into `bill`.
    pub(crate) fn new(body: &Body, bill: impl FnOnce() -> Option<Bill>) -> Self {
        match body {
            Body::Empty => Self::Empty,
            Body::Full(bytes) if bytes.is_empty() => Self::Empty,
            Body::Full(bytes) => Self::Full(bytes.clone()),
            Body::Stream => Self::Stream(Replay::new(bill())),
        }
    }

    /// Returns the body that an engine gets with the head.
    pub(crate) fn body(&self) -> Body {
        match self {
            Self::Empty => Body::Empty,
            Self::Full(bytes) => Body::Full(bytes.clone()),
            Self::Stream(_) => Body::Stream,
        }
    }

    /// Whether there is a body, as far as is known.
    pub(crate) fn is_some(&self) -> bool {
        !matches!(self, Self::Empty)
    }

    /// Whether it can be sent from the start.
    pub(crate) fn can_be_sent_again(&self) -> bool {
        match self {
            Self::Empty | Self::Full(_) => true,
            Self::Stream(replay) => replay.is_whole(),
        }
    }
}

#[cfg(test)]
mod tests {
    use tidegate_http::{Config, Event, RequestHead, StreamId};
    use tidegate_testkit::pair::Pair;

    use super::*;

    const LIMIT: usize = 10_000;

    fn pattern(len: usize) -> Bytes {
        (0..len).map(|i| (i % 251) as u8).collect()
    }

    fn trailers() -> Fields {
        let mut fields = Fields::new();
        fields.push("x-checksum", "12");
        fields
    }

    /// Both ends of a connection whose server takes `window` bytes of a body at once.
    struct Ends(Pair);

    impl Ends {
        fn new(window: u32) -> Self {
            let mut server = Config::server();
            server.initial_window_size = window;
            server.max_stream_window_size = window;
            Self(Pair::connected(Config::client(), server))
        }

        /// Opens a request whose body is streamed.
        fn open(&mut self) -> StreamId {
            let head = RequestHead::new("POST", "http", "localhost", "/");
            let id = self.0.client.engine.open(&head, Body::Stream).unwrap();
            self.0.drive();
            id
        }

        fn stream(&mut self, id: StreamId) -> StreamMut<'_> {
            StreamMut::Http2(self.0.client.engine.stream(id).unwrap())
        }

        /// Returns what the server has got of a stream, whether that ended, and its trailers. Gives
        /// credit for more.
        fn got(&mut self, id: StreamId) -> (Vec<u8>, bool, Option<Fields>) {
            self.0.drive();
            let (mut body, mut ended, mut trailers) = (Vec::new(), false, None);
            while let Some(event) = self.0.server.events.pop_front() {
                match event {
                    Event::Data { id: on, data, end } if on == id => {
                        body.extend_from_slice(&data);
                        ended |= end;
                        if let Some(mut stream) = self.0.server.engine.stream(id) {
                            stream.consume(data.len());
                        }
                    }
                    Event::Trailers { id: on, fields } if on == id => {
                        ended = true;
                        trailers = Some(fields);
                    }
                    _ => {}
                }
            }
            self.0.drive();
            (body, ended, trailers)
        }
    }

    /// Writes all of `data`.
    fn write(replay: &mut Replay, ends: &mut Ends, id: StreamId, mut data: Bytes, end: bool) {
        let len = data.len();
        let taken = replay.write(&mut ends.stream(id), &mut data, end, LIMIT);
        assert_eq!((taken, data.len()), (len, 0));
        ends.0.drive();
    }

    #[test]
    fn another_stream_gets_what_the_first_one_got() {
        let body = pattern(5000);
        for (ended, with_trailers) in [(false, false), (true, false), (true, true)] {
            let mut ends = Ends::new(65_535);
            let mut replay = Replay::new(None);
            let first = ends.open();
            // A new stream lacks nothing of an empty body.
            replay.rewind();
            assert!(!replay.is_behind());
            let end = ended && !with_trailers;
            write(&mut replay, &mut ends, first, body.slice(..2000), false);
            write(&mut replay, &mut ends, first, body.slice(2000..), end);
            if with_trailers {
                ends.stream(first).trailers(&trailers()).unwrap();
                replay.end_with(&trailers());
            }
            let expected = (body.to_vec(), ended, with_trailers.then(trailers));
            assert_eq!(ends.got(first), expected);
            // This can be repeated.
            for _ in 0..2 {
                let next = ends.open();
                replay.rewind();
                assert!(replay.is_behind() && replay.is_whole());
                assert_eq!(replay.catch_up(&mut ends.stream(next)), ended);
                assert!(!replay.is_behind());
                assert_eq!(ends.got(next), expected);
            }
        }
    }

    #[test]
    fn a_stream_that_takes_less_catches_up_step_by_step() {
        let body = pattern(5000);
        let mut replay = Replay::new(None);
        let mut ends = Ends::new(65_535);
        let first = ends.open();
        write(&mut replay, &mut ends, first, body.clone(), true);
        let mut ends = Ends::new(700);
        let next = ends.open();
        replay.rewind();
        let mut got = Vec::new();
        let mut steps = 0;
        loop {
            let is_whole = replay.catch_up(&mut ends.stream(next));
            let (bytes, ended, _) = ends.got(next);
            got.extend(bytes);
            steps += 1;
            assert_eq!((is_whole, replay.is_behind()), (ended, !ended));
            if ended {
                break;
            }
        }
        assert!(got == body && steps == 8, "{steps}");
    }

    #[test]
    fn no_more_than_the_limit_is_kept() {
        for (len, is_kept) in [(LIMIT, true), (LIMIT + 1, false)] {
            let mut ends = Ends::new(65_535);
            let mut replay = Replay::new(None);
            let id = ends.open();
            write(&mut replay, &mut ends, id, pattern(LIMIT - 1), false);
            assert!(replay.is_whole());
            write(&mut replay, &mut ends, id, pattern(len - (LIMIT - 1)), true);
            assert_eq!(replay.is_whole(), is_kept);
            let body = Outgoing::Stream(replay);
            assert_eq!(body.can_be_sent_again(), is_kept);
        }
        // A body that was given as a whole is kept anyway, by reference.
        let full = Outgoing::new(&Body::Full(pattern(LIMIT + 1)), || None);
        assert!(full.can_be_sent_again());
        assert!(matches!(full.body(), Body::Full(bytes) if bytes == pattern(LIMIT + 1)));
        let empty = Outgoing::new(&Body::Full(Bytes::new()), || None);
        assert!(matches!(empty.body(), Body::Empty) && empty.can_be_sent_again());
    }

    #[test]
    fn what_was_not_taken_is_not_kept() {
        let mut ends = Ends::new(1000);
        let mut replay = Replay::new(None);
        let first = ends.open();
        let mut data = pattern(3000);
        let taken = replay.write(&mut ends.stream(first), &mut data, true, LIMIT);
        assert_eq!((taken, data.len()), (1000, 2000));
        let next = ends.open();
        replay.rewind();
        // Nor is the end kept, because there is more to come.
        assert!(!replay.catch_up(&mut ends.stream(next)));
        assert!(!replay.is_behind());
        let (body, ended, _) = ends.got(next);
        assert!(body == pattern(1000) && !ended);
    }

    #[test]
    fn what_is_collected_goes_to_the_first_stream() {
        let body = pattern(3000);
        for (len, end) in [(3000, false), (1000, true), (1000, false)] {
            let mut ends = Ends::new(65_535);
            let mut replay = Replay::new(None);
            let mut data = body.slice(..len);
            assert_eq!(replay.collect(&mut data, end, 2000), len.min(2000));
            assert_eq!(data.len(), len - len.min(2000));
            assert_eq!(replay.has_enough(2000), len > 2000 || end);
            let first = ends.open();
            replay.rewind();
            assert_eq!(replay.catch_up(&mut ends.stream(first)), end);
            assert_eq!(ends.got(first), (body[..len.min(2000)].to_vec(), end, None));
        }
    }

    #[test]
    fn an_end_that_no_stream_could_take_is_kept_for_the_next() {
        for written in [0, 500] {
            let mut ends = Ends::new(65_535);
            let mut replay = Replay::new(None);
            if written > 0 {
                let first = ends.open();
                write(&mut replay, &mut ends, first, pattern(written), false);
            }
            replay.end_later();
            let next = ends.open();
            replay.rewind();
            assert!(replay.is_behind());
            assert!(replay.catch_up(&mut ends.stream(next)));
            assert_eq!(ends.got(next), (pattern(written).to_vec(), true, None));
        }
        // The present stream gets it too, once it takes an end.
        let mut ends = Ends::new(65_535);
        let mut replay = Replay::new(None);
        let id = ends.open();
        replay.forget();
        replay.end_later();
        assert!(replay.is_behind() && !replay.is_whole());
        assert!(replay.catch_up(&mut ends.stream(id)));
        assert_eq!(ends.got(id), (Vec::new(), true, None));
    }
}
