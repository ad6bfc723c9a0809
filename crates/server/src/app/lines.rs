//! Lines of the access logs, from a request's begin to its end.

use std::sync::Arc;
use std::time::Instant;

use tidegate_http::{RequestHead, Stream, StreamId};
use tidegate_net::{ConnId, Conns};

use super::App;
use super::heads::last_blocks;
use crate::access_log::{Entry, Need};
use crate::request::{Key, Sent};

impl App {
    /// Begins the line of a request, if its site has an access log. `site` is `None` for a request
    /// that is for no site.
    #[inline]
    pub(super) fn begin_log(
        &mut self,
        conns: &mut Conns,
        key: Key,
        head: &Arc<RequestHead>,
        site: Option<usize>,
    ) -> Option<Box<Entry>> {
        let log = match site {
            Some(site) => self.sites[site].log,
            None => self.access_logs.of_no_site(),
        };
        self.begin_line(conns, key, head, log?)
    }

    #[inline(never)]
    fn begin_line(
        &mut self,
        conns: &mut Conns,
        (conn, id): (ConnId, StreamId),
        head: &Arc<RequestHead>,
        log: usize,
    ) -> Option<Box<Entry>> {
        let now = conns.now();
        let stream = conns.stream(conn, id);
        let (version, priority) = stream.map_or(("", Default::default()), |stream| {
            (stream.version(), stream.priority())
        });
        let mut entry = self.access_logs.begin(log, head, id, version, now)?;
        entry.note_priority(priority);
        let needs = entry.needs();
        if let Some(info) = conns.info(conn) {
            let reported = if needs.has(Need::Client) {
                self.proxy.reported_client(info, head)
            } else {
                None
            };
            entry.note_connection(info, reported);
            if needs.has(Need::RequestId)
                && let Some(id) = self.proxy.request_id(info, head)
            {
                entry.note_request_id(&id);
            }
        }
        if needs.has(Need::Blocks)
            && id.is_client_initiated()
            && let Some(blocks) = last_blocks(conns, conn)
        {
            entry.note_request_block(blocks);
        }
        Some(entry)
    }

    /// Counts a request that has ended, and writes its line, if it has one.
    #[inline]
    pub(super) fn log(&mut self, entry: Option<Box<Entry>>, sent: Sent) {
        self.counts.answered(sent.status);
        if let Some(entry) = entry {
            self.access_logs
                .end(&entry, sent, &self.clock, Instant::now());
        }
    }
}
