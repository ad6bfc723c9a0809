//! The traced connections of a worker.

use std::sync::Arc;
use std::time::Instant;

use rustc_hash::FxHashMap;
use tidegate_http::{CloseReason, StreamId, Violation};
use tidegate_net::{ConnId, Conns, Direction, End, Protocol};
use tidegate_trace::{
    Closed, EngineSettings, Event, Record, Shadow, Started, VantagePoint, closed, rule, write,
};

use super::Settings;
use super::destination::{Destination, Place, now};
use super::ring::{Kind, Ring};
use crate::access_log::canonical;

/// A worker hands its records to the queue when it has this many bytes of them.
const HAND_OVER_AT: usize = 16 << 10;

/// The traced connections of a worker.
pub(crate) struct Tracer {
    settings: Option<Arc<Settings>>,
    traced: FxHashMap<ConnId, Box<Traced>>,
    batch: Batch,
}

/// Records that wait until they are handed over, and their file.
#[derive(Default)]
struct Batch(Option<(Destination, String)>);

/// One traced connection.
struct Traced {
    shadow: Shadow,
    place: Place,
    destination: Destination,
    /// When the engine began.
    began: Instant,
    /// Present if only the last records are kept.
    ring: Option<Box<Kept>>,
}

/// Records that are written only if a rule ends the connection.
struct Kept {
    /// The connection's first record.
    started: String,
    ring: Ring,
}

impl Traced {
    fn record(&self, at: Instant, event: Event) -> Record {
        Record {
            time: at.saturating_duration_since(self.began),
            group_id: self.place.name.clone(),
            event,
        }
    }

    /// Adds a record to the ring, or to those to write.
    fn keep(&mut self, batch: &mut Batch, at: Instant, event: Event) {
        let record = self.record(at, event);
        match &mut self.ring {
            Some(kept) => {
                let mut text = String::new();
                write(&record, &mut text);
                text.shrink_to_fit();
                let kind = match record.event {
                    Event::Rule(_) => Kind::Rule,
                    _ => Kind::Frame,
                };
                kept.ring.push(kind, text);
            }
            None => batch.add(&self.destination, |out| write(&record, out)),
        }
    }
}

impl Batch {
    /// Adds text to the records for this file.
    fn add(&mut self, destination: &Destination, append: impl FnOnce(&mut String)) {
        if let Some((other, _)) = &self.0
            && !other.is(destination)
        {
            self.flush();
        }
        let (_, text) = self
            .0
            .get_or_insert_with(|| (destination.clone(), String::new()));
        append(text);
        if text.len() >= HAND_OVER_AT {
            self.flush();
        }
    }

    /// Hands the records to the queue, and doesn't wait until they are written.
    fn flush(&mut self) {
        if let Some((destination, text)) = self.0.take() {
            destination.push(text);
        }
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        self.flush();
    }
}

impl Tracer {
    pub(crate) fn new(settings: Option<Arc<Settings>>) -> Self {
        Self {
            settings,
            traced: FxHashMap::default(),
            batch: Batch::default(),
        }
    }

    /// Traces by other settings from now on. Connections that are traced already go on as they
    /// began.
    pub(crate) fn replace(&mut self, settings: Option<Arc<Settings>>) {
        self.settings = settings;
    }

    /// Begins the trace of a connection that was opened, if it is to be traced.
    #[inline]
    pub(crate) fn opened(&mut self, conns: &mut Conns, conn: ConnId) {
        if self.settings.is_some() {
            self.consider(conns, conn);
        }
    }

    #[cold]
    fn consider(&mut self, conns: &mut Conns, conn: ConnId) {
        let Some(settings) = self.settings.clone() else {
            return;
        };
        let Some(info) = conns.info(conn) else { return };
        let tls = info.tls.as_ref();
        let sni = tls.and_then(|tls| tls.sni.clone());
        let is_http2 = conns
            .engine_ref(conn)
            .is_some_and(|engine| engine.protocol() == Protocol::Http2);
        if !is_http2 || !settings.filter.admits(info.peer.ip(), sni.as_deref()) {
            return;
        }
        let Some(place) = settings.destination.place() else {
            return;
        };
        let started = Started {
            client: Some(canonical(info.peer).to_string()),
            server: Some(canonical(info.local).to_string()),
            sni,
            tls: tls.map(|tls| tls.version.to_owned()),
            reference_time: Some(now()),
            engine: EngineSettings::of(&settings.engine),
        };
        let mut traced = Traced {
            shadow: Shadow::new(VantagePoint::Server, &started.engine, settings.values),
            place,
            destination: settings.destination.clone(),
            began: conns.now(),
            ring: None,
        };
        let record = traced.record(traced.began, Event::Started(Box::new(started)));
        if settings.ring > 0 {
            let mut started = String::new();
            write(&record, &mut started);
            let ring = Ring::new(settings.ring, settings.ring_memory.clone());
            traced.ring = Some(Box::new(Kept { started, ring }));
        } else {
            self.batch
                .add(&traced.destination, |out| write(&record, out));
        }
        self.traced.insert(conn, Box::new(traced));
        conns.trace(conn);
    }

    /// Enters bytes of a traced connection.
    pub(crate) fn bytes(
        &mut self,
        conns: &Conns,
        conn: ConnId,
        direction: Direction,
        bytes: &[u8],
    ) {
        let Some(traced) = self.traced.get_mut(&conn) else {
            return;
        };
        let direction = match direction {
            Direction::In => tidegate_trace::Direction::Received,
            Direction::Out => tidegate_trace::Direction::Sent,
        };
        let mut frames = Vec::new();
        traced
            .shadow
            .read(direction, bytes, |frame| frames.push(frame));
        let at = conns.now();
        for frame in frames {
            let event = match direction {
                tidegate_trace::Direction::Received => Event::Received(frame),
                tidegate_trace::Direction::Sent => Event::Sent(frame),
            };
            traced.keep(&mut self.batch, at, event);
        }
    }

    /// Notes that a rule ended a stream.
    #[inline]
    pub(crate) fn stream_rule(
        &mut self,
        conns: &Conns,
        conn: ConnId,
        id: StreamId,
        violation: Violation,
    ) {
        if let Some(traced) = self.traced.get_mut(&conn) {
            let event = Event::Rule(rule(violation, Some(id)));
            traced.keep(&mut self.batch, conns.now(), event);
        }
    }

    /// Ends the trace of a connection that was closed. A ring is written if a rule ended it.
    #[inline]
    pub(crate) fn closed(&mut self, conns: &Conns, conn: ConnId, why: &End) {
        if !self.traced.is_empty()
            && let Some(traced) = self.traced.remove(&conn)
        {
            self.end(*traced, conns.now(), why);
        }
    }

    fn end(&mut self, mut traced: Traced, at: Instant, why: &End) {
        let violation = match why {
            End::Closed(CloseReason::Violation(violation)) => Some(*violation),
            _ => None,
        };
        if let Some(mut kept) = traced.ring.take() {
            if violation.is_none() {
                return;
            }
            let omitted = Event::Omitted {
                frames: kept.ring.dropped,
            };
            let omitted = (kept.ring.dropped > 0).then(|| traced.record(at, omitted));
            self.batch.add(&traced.destination, |out| {
                out.push_str(&kept.started);
                if let Some(omitted) = &omitted {
                    write(omitted, out);
                }
            });
            // In batches: the queue refuses what is larger than itself.
            for record in kept.ring.take() {
                self.batch
                    .add(&traced.destination, |out| out.push_str(&record));
            }
        }
        if let Some(violation) = violation {
            let record = traced.record(at, Event::Rule(rule(violation, None)));
            self.batch
                .add(&traced.destination, |out| write(&record, out));
        }
        let closed = match why {
            End::Closed(reason) => closed(reason),
            why => Closed {
                reason: "transport".into(),
                text: why.to_string(),
            },
        };
        let record = traced.record(at, Event::Closed(closed));
        self.batch
            .add(&traced.destination, |out| write(&record, out));
        self.flush();
    }

    /// Hands the waiting records to the queue, and doesn't wait until they are written.
    pub(crate) fn flush(&mut self) {
        self.batch.flush();
    }
}
