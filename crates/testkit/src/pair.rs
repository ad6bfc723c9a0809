//! A client engine and a server engine, joined in memory with a virtual clock and a perfect
//! network.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::{Buf, BytesMut};
use tidegate_http::{Config, Event, Flow, Outbox};
use tidegate_http2::Connection;

/// One of the two ends.
pub struct End {
    /// The engine.
    pub engine: Connection,
    /// The events of the engine, oldest first.
    pub events: VecDeque<Event>,
    /// The bytes that have arrived for the engine.
    input: BytesMut,
    outbox: Outbox,
    /// Whether the engine asked to close the transport.
    pub closed: bool,
    told_eof: bool,
}

/// The two ends.
///
/// Call a method of an engine, then [`Pair::drive`]; the events are in each end's queue.
pub struct Pair {
    /// The client's end.
    pub client: End,
    /// The server's end.
    pub server: End,
    /// The virtual time.
    pub now: Instant,
}

impl End {
    fn new(engine: Connection) -> Self {
        Self {
            engine,
            events: VecDeque::new(),
            input: BytesMut::new(),
            outbox: Outbox::new(),
            closed: false,
            told_eof: false,
        }
    }

    /// Runs the engine on the bytes that have arrived. Returns whether anything happened.
    fn run(&mut self, now: Instant) -> bool {
        let mut busy = false;
        while let Some(event) = self.engine.receive(&mut self.input, now) {
            self.events.push_back(event);
            busy = true;
        }
        loop {
            match self.engine.transmit(&mut self.outbox, usize::MAX, now) {
                Flow::Event(event) => {
                    self.events.push_back(event);
                    busy = true;
                }
                Flow::Closed => {
                    self.closed = true;
                    return busy;
                }
                Flow::Drained | Flow::Full => return busy,
            }
        }
    }

    /// Moves the engine's output to the other end. Returns whether there was any.
    fn deliver(&mut self, to: &mut Self, now: Instant) -> bool {
        let takes = to.engine.can_receive() || to.engine.is_closed();
        let mut busy = takes && !self.outbox.is_empty();
        let mut room = if takes { AT_ONCE } else { 0 };
        while self.outbox.has_remaining() && room > 0 {
            let chunk = self.outbox.chunk();
            let len = chunk.len().min(room);
            to.input.extend_from_slice(&chunk[..len]);
            self.outbox.advance(len);
            room -= len;
        }
        if self.outbox.is_empty() && self.closed && !to.told_eof {
            to.told_eof = true;
            // Bytes that arrived before the end are received before it.
            while let Some(event) = to.engine.receive(&mut to.input, now) {
                to.events.push_back(event);
            }
            to.engine.receive_eof(now);
            busy = true;
        }
        busy
    }
}

/// The bytes that one end reads at once.
const AT_ONCE: usize = 64 << 10;

impl Pair {
    /// Makes two engines that haven't exchanged anything.
    pub fn new(client: Config, server: Config) -> Self {
        let now = Instant::now();
        let client = client.build().expect("a test's config is valid");
        let server = server.build().expect("a test's config is valid");
        Self {
            client: End::new(Connection::client(client, now)),
            server: End::new(Connection::server(server, now)),
            now,
        }
    }

    /// Makes two engines with the handshake done, and its events dropped.
    pub fn connected(client: Config, server: Config) -> Self {
        let mut pair = Self::new(client, server);
        pair.drive();
        pair.client.events.clear();
        pair.server.events.clear();
        pair
    }

    /// Runs both engines until neither has more output.
    pub fn drive(&mut self) {
        loop {
            let mut busy = self.client.run(self.now);
            busy |= self.client.deliver(&mut self.server, self.now);
            busy |= self.server.run(self.now);
            busy |= self.server.deliver(&mut self.client, self.now);
            if !busy {
                return;
            }
        }
    }

    /// Lets time pass, timer by timer.
    pub fn wait(&mut self, time: Duration) {
        let end = self.now + time;
        let mut fired = 0;
        loop {
            let client = self.client.engine.next_timeout();
            let server = self.server.engine.next_timeout();
            let Some(due) = [client, server].into_iter().flatten().min() else {
                break;
            };
            if due > end {
                break;
            }
            fired += 1;
            assert!(fired < 10_000, "a timer that never stops firing");
            self.now = self.now.max(due);
            self.client.engine.handle_timeout(self.now);
            self.server.engine.handle_timeout(self.now);
            self.drive();
        }
        self.now = end;
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use tidegate_http::{Body, CloseReason, ErrorCode, RequestHead, ResponseHead, Stream as _};

    use super::*;

    #[test]
    fn a_request_and_its_response_then_the_end() {
        let mut pair = Pair::connected(Config::client(), Config::server());
        let head = RequestHead::new("GET", "https", "localhost", "/");
        let id = pair
            .client
            .engine
            .open(&head, Body::Empty)
            .expect("there is room");
        pair.drive();
        let Some(Event::Request { id: on, head, end }) = pair.server.events.pop_front() else {
            panic!("{:?}", pair.server.events);
        };
        assert_eq!((on, head.path(), end), (id, "/", true));
        let mut stream = pair.server.engine.stream(id).expect("it is open");
        stream
            .respond(&ResponseHead::new(200), Body::Full(Bytes::from("hello")))
            .expect("it is the first response");
        pair.drive();
        let Some(Event::Response { head, .. }) = pair.client.events.pop_front() else {
            panic!("{:?}", pair.client.events);
        };
        assert_eq!(head.status(), 200);
        let Some(Event::Data { data, end, .. }) = pair.client.events.pop_front() else {
            panic!("{:?}", pair.client.events);
        };
        assert_eq!((&data[..], end), (&b"hello"[..], true));

        pair.server.engine.shut_down(pair.now);
        pair.drive();
        assert!(
            matches!(
                pair.server.events.pop_back(),
                Some(Event::Closed(CloseReason::Graceful))
            ),
            "the server's end is graceful"
        );
        assert!(pair.client.engine.is_closed());
    }

    /// Lets both ends ignore their events. Returns whether a body ended.
    fn ignore_all(pair: &mut Pair) -> bool {
        let mut ended = false;
        for end in [&mut pair.client, &mut pair.server] {
            while let Some(event) = end.events.pop_front() {
                ended |= matches!(event, Event::Data { end: true, .. });
                if let Some(mut stream) = event.stream_id().and_then(|id| end.engine.stream(id)) {
                    stream.ignore(&event);
                }
            }
        }
        pair.drive();
        ended
    }

    #[test]
    fn what_is_ignored_holds_nothing_up() {
        let mut client = Config::client();
        client.enable_push = true;
        let mut pair = Pair::connected(client, Config::server());
        let request = |method| RequestHead::new(method, "https", "localhost", "/");
        let body = Body::Full(Bytes::from(vec![0; 1 << 20]));
        let upload = pair.client.engine.open(&request("POST"), body).unwrap();
        pair.drive();
        let rounds = (1..1000).find(|_| ignore_all(&mut pair));
        assert!(rounds.is_some_and(|rounds| rounds > 1), "{rounds:?}");

        let second = pair
            .client
            .engine
            .open(&request("GET"), Body::Empty)
            .unwrap();
        pair.drive();
        pair.client
            .engine
            .stream(second)
            .unwrap()
            .reset(ErrorCode::CANCEL);
        pair.drive();
        ignore_all(&mut pair);
        assert_eq!(pair.server.engine.active_streams(), 1);

        let mut stream = pair.server.engine.stream(upload).unwrap();
        let promised = stream.push(&request("GET")).unwrap();
        pair.drive();
        ignore_all(&mut pair);
        let told = pair.server.events.front();
        assert_eq!(told.and_then(Event::stream_id), Some(promised), "{told:?}");
        assert!(matches!(
            told,
            Some(Event::Reset {
                code: ErrorCode::CANCEL,
                ..
            })
        ));
        ignore_all(&mut pair);
        assert_eq!(pair.server.engine.active_streams(), 1);
        assert_eq!(pair.client.engine.active_streams(), 1);
    }
}
