//! Pictures of this worker's connections, for the admin listener.

use tidegate_http2::InspectionScope;
use tidegate_net::{ConnId, Conns, Origin};

use super::App;
use crate::in_progress::Work;
use crate::picture::connection::{Http2, Owner, Picture, Stream, Wait};
use crate::picture::look::{List, Look, Looked};
use crate::picture::name::{Key, Name};
use crate::picture::row::Row;

/// The most streams and entries of tables that a picture shows.
const SCOPE: InspectionScope = InspectionScope::new(200, 100);

impl App {
    /// Returns what the admin listener wants to see. `worker` is the number of this one.
    pub(super) fn look(&self, conns: &Conns, worker: usize, look: &Look) -> Looked {
        let mut looked = Looked {
            total: conns.iter().count(),
            ..Looked::default()
        };
        if let Some(list) = &look.list {
            let mut keys = keys(conns, worker, list);
            looked.matched = keys.len();
            let most = list.offset.saturating_add(list.limit);
            let by = |one: &(Key, ConnId), other: &(Key, ConnId)| list.compare(&one.0, &other.0);
            if keys.len() > most {
                keys.select_nth_unstable_by(most, by);
                keys.truncate(most);
            }
            keys.sort_unstable_by(by);
            let rows = keys.into_iter().filter_map(|(key, conn)| {
                let name = Name { worker, conn };
                let (info, engine) = (conns.info(conn)?, conns.engine_ref(conn)?);
                Some(Row::of(conns, name, info, engine, key))
            });
            looked.rows = rows.collect();
        }
        if let Some(name) = look.one.filter(|name| name.worker == worker) {
            looked.one = self.picture(conns, name).map(Box::new);
        }
        looked
    }

    /// Returns a picture of one connection.
    fn picture(&self, conns: &Conns, name: Name) -> Option<Picture> {
        let (info, engine) = (conns.info(name.conn)?, conns.engine_ref(name.conn)?);
        let row = Row::of(conns, name, info, engine, Key::default());
        let Some(mut inspection) = engine.inspect(SCOPE, conns.now()) else {
            let streams = self.exchanges.streams(name.conn);
            let streams = streams.map(|id| Stream {
                id: id.get(),
                state: "open",
                urgency: None,
                incremental: false,
                send_window: None,
                receive_window: None,
                unconsumed: 0,
                queued: 0,
                sent: 0,
                stalled_ms: None,
                waits_for: if conns.is_blocked(name.conn) {
                    Wait::Socket
                } else if self.owner(name.conn, id) == Owner::Upstream {
                    Wait::Upstream
                } else {
                    Wait::Handler
                },
                status: self.status(name.conn, id),
                handler: self.handler(name.conn, id),
            });
            return Some(Picture {
                open_streams: streams.collect(),
                http2: None,
                row,
            });
        };
        let streams = std::mem::take(&mut inspection.streams).into_iter();
        let streams = streams.map(|stream| {
            let id = stream.id;
            let owner = match info.origin {
                Origin::Accepted => self.owner(name.conn, id),
                Origin::Dialled => Owner::Pool,
            };
            Stream {
                id: id.get(),
                state: stream.state,
                urgency: Some(stream.priority.urgency),
                incremental: stream.priority.incremental,
                send_window: Some(stream.send_window),
                receive_window: Some(stream.receive_window),
                unconsumed: stream.unconsumed,
                queued: stream.queued,
                sent: stream.sent,
                stalled_ms: stream.stalled.map(|stalled| stalled.as_millis() as u64),
                waits_for: Wait::of(stream.waits_for, owner),
                status: self.status(name.conn, id),
                handler: self.handler(name.conn, id),
            }
        });
        Some(Picture {
            open_streams: streams.collect(),
            http2: Some(Http2::from(inspection)),
            row,
        })
    }

    fn owner(&self, conn: ConnId, id: tidegate_http::StreamId) -> Owner {
        match self.exchanges.look(conn, id).map(|exchange| &exchange.work) {
            Some(Work::Relay(_)) => Owner::Upstream,
            _ => Owner::Handler,
        }
    }

    fn status(&self, conn: ConnId, id: tidegate_http::StreamId) -> Option<u16> {
        let exchange = self.exchanges.look(conn, id)?;
        Some(exchange.sent.status).filter(|status| *status > 0)
    }

    fn handler(&self, conn: ConnId, id: tidegate_http::StreamId) -> Option<&'static str> {
        let exchange = self.exchanges.look(conn, id)?;
        Some(match exchange.work {
            Work::Upload(_) => "upload",
            Work::Echo(_) => "echo",
            Work::Look(_) | Work::Download(_) => "file",
            Work::Relay(_) => "proxy",
        })
    }
}

/// Returns the connections that a list may show, with their places in it.
fn keys(conns: &Conns, worker: usize, list: &List) -> Vec<(Key, ConnId)> {
    let mut scratch = String::new();
    let all = conns.iter();
    let shown = all.filter_map(|conn| {
        let (info, engine) = (conns.info(conn)?, conns.engine_ref(conn)?);
        let name = Name { worker, conn };
        let passes = list.filter.passes(info, engine, &mut scratch);
        passes.then(|| (list.sort.key(conns, name, info, engine), conn))
    });
    shown.collect()
}
