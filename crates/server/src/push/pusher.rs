//! A worker's use of the list: looks up requests, promises pushes, sends hints, and counts the
//! results.

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Instant;

use tidegate_http::{KnownName, RequestHead, ResetCause, Stream, StreamId};
use tidegate_http2::Connection;
use tidegate_net::ConnId;

use super::diary::{Diary, Pushed};
use super::learn::{Learning, Verdict, Watch};
use super::list::{Found, PushCache, Resource};
use super::{MAX_PUSHES, Mode, Options, Refusal, Stats, promise};
use crate::clock::Clock;
use crate::handlers::asset::Asset;
use crate::path::RequestPath;
use crate::request::Extra;

/// The push cache of one worker. `C` is the id of a connection.
pub struct Pusher<C = ConnId> {
    options: Options,
    /// The answer for each resource whose content is in memory.
    assets: Vec<Option<Asset>>,
    /// The state of connections whose clients take pushes.
    clients: HashMap<C, Client>,
    learning: Learning,
    stats: Stats,
}

/// The state of a connection.
#[derive(Debug, Default)]
struct Client {
    diary: Diary,
    watch: Option<Watch>,
}

/// A request that was looked up in the list, and the pushes promised with it.
#[derive(Clone, Default)]
pub struct Prepared {
    found: Found,
    /// Whether the answer has the page's `link` fields.
    links: bool,
    /// Whether a 103 with these was sent.
    pub is_hinted: bool,
    /// Requests that were promised, to be answered after this request.
    pub promised: Vec<(StreamId, Arc<RequestHead>)>,
}

impl Prepared {
    /// Returns the fields that the list, in which the request was looked up, adds to the answer.
    pub fn extra<'a>(&self, list: &'a PushCache) -> Extra<'a> {
        let Found { page, resource } = self.found;
        let page = page.filter(|_| self.links);
        Extra {
            links: page.map_or(&[], |page| &list.page(page).links),
            headers: resource.map_or(&[], |resource| &list.resource(resource).headers),
        }
    }
}

/// A page that a client is about to get.
struct View<'a, C> {
    conn: C,
    id: StreamId,
    page: u16,
    head: &'a RequestHead,
    now: Instant,
}

impl<C: Copy + Eq + Hash> Pusher<C> {
    /// Returns a worker's push cache.
    pub fn new(options: Options, clock: &Clock, now: Instant) -> Self {
        let list = &options.list;
        let asset = |resource: &Resource| {
            let content = resource.content.as_ref()?;
            let (content_type, bytes) = (&content.content_type, content.bytes.clone());
            Some(Asset::in_memory(content_type, bytes, clock))
        };
        Self {
            assets: list.resources.iter().map(asset).collect(),
            clients: HashMap::new(),
            learning: Learning::new(list.pages.iter().map(|page| page.needs.len()), now),
            stats: Stats::default(),
            options,
        }
    }

    /// Returns the settings.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// Returns the counters of hints and pushes.
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// Whether the list is empty, so no request needs a lookup.
    pub fn is_idle(&self) -> bool {
        self.options.list.is_empty()
    }

    /// Looks up a request before it is answered. For a page in the list, promises pushes and sends
    /// 103.
    pub fn prepare(
        &mut self,
        engine: &mut Connection,
        conn: C,
        id: StreamId,
        head: &RequestHead,
        path: &RequestPath<'_>,
        now: Instant,
    ) -> Prepared {
        let found = self.options.list.find(path);
        let mut prepared = Prepared {
            found,
            links: self.options.early_hints,
            is_hinted: false,
            promised: Vec::new(),
        };
        if head.method_bytes() != b"GET" {
            return prepared;
        }
        let takes_pushes = engine.peer_settings().enable_push;
        if let Some(resource) = found.resource
            && takes_pushes
            && self.options.mode != Mode::Off
        {
            self.note_asked(conn, resource, now);
        }
        let Some(page) = found.page else {
            return prepared;
        };
        // A script that fetches the page, or an image at its path, isn't a view. Clients that
        // aren't browsers don't send this field.
        let mode = head.get_known(KnownName::SEC_FETCH_MODE);
        if mode.is_some_and(|mode| mode != b"navigate") {
            return prepared;
        }
        let view = View {
            conn,
            id,
            page,
            head,
            now,
        };
        if self.options.mode != Mode::Off {
            if let Some(why) = self.why_not_at_all(&view, takes_pushes) {
                self.refuse_all(&view, why);
                prepared.links &= why != Refusal::Observed;
            } else {
                prepared.promised = self.promise(engine, &view);
            }
        }
        // RFC 9113 §8.1: "zero or more" interim responses come before a final one, so HTTP/2
        // clients are ready for a 103.
        if prepared.links && !promise::is_conditional(head) {
            prepared.is_hinted = self.hint(engine, &view);
        }
        prepared
    }

    /// Looks up a request of a client that takes neither pushes nor 103. Its answer may have links.
    pub fn look_up(&self, path: &RequestPath<'_>) -> Prepared {
        Prepared {
            found: self.options.list.find(path),
            links: self.options.early_hints,
            is_hinted: false,
            promised: Vec::new(),
        }
    }

    /// Looks up a request that was promised.
    pub fn prepare_promised(&self, path: &RequestPath<'_>) -> Prepared {
        Prepared {
            found: self.options.list.find(path),
            ..Prepared::default()
        }
    }

    /// Notes that a client that takes pushes requests a resource of the list.
    fn note_asked(&mut self, conn: C, resource: u16, now: Instant) {
        let client = self.clients.entry(conn).or_default();
        client.diary.asked(resource);
        if let Some(watch) = &mut client.watch
            && let Some(place) = self.options.list.place(watch.page, resource)
            && watch.asks(place, now)
        {
            self.learning.asked(watch.page, place);
        }
    }

    /// Returns the reason not to push anything for this view, if there is one.
    fn why_not_at_all(&mut self, view: &View<'_, C>, takes_pushes: bool) -> Option<Refusal> {
        if !takes_pushes {
            return Some(Refusal::Disabled);
        }
        if promise::is_conditional(view.head) {
            return Some(Refusal::Conditional);
        }
        let is_observed = self.options.mode == Mode::Learned && self.observe(view);
        is_observed.then_some(Refusal::Observed)
    }

    /// Begins to observe the client if this view is to be observed. Returns whether it is.
    fn observe(&mut self, view: &View<'_, C>) -> bool {
        let needs = &self.options.list.page(view.page).needs;
        let client = self.clients.entry(view.conn).or_default();
        let fresh = needs
            .iter()
            .map(|resource| !client.diary.has(*resource))
            .enumerate()
            .filter_map(|(place, is_fresh)| is_fresh.then_some(place));
        let fresh: Vec<usize> = fresh.collect();
        if !self
            .learning
            .is_observed(view.page, fresh.iter().copied(), view.now)
        {
            return false;
        }
        // A client that gets the page repeatedly counts once.
        if client.diary.observed(view.page) {
            client.watch = Some(Watch::new(view.page, fresh.iter().copied(), view.now));
            for place in fresh {
                self.learning.observed(view.page, place);
            }
        }
        true
    }

    fn refuse_all(&mut self, view: &View<'_, C>, why: Refusal) {
        let list = &self.options.list;
        for resource in &list.page(view.page).needs {
            refuse(&mut self.stats, view.id, list.resource(*resource), why);
        }
    }

    /// Promises what the page needs and the client is likely to want.
    fn promise(
        &mut self,
        engine: &mut Connection,
        view: &View<'_, C>,
    ) -> Vec<(StreamId, Arc<RequestHead>)> {
        let Self {
            options: Options { list, mode, .. },
            clients,
            learning,
            stats,
            ..
        } = self;
        let diary = &mut clients.entry(view.conn).or_default().diary;
        let is_open = |push: &Pushed| engine.stream(push.stream).is_some();
        let open = diary.pushes().filter(is_open).count();
        let mut promised = Vec::new();
        for (place, number) in list.page(view.page).needs.iter().enumerate() {
            let resource = list.resource(*number);
            let is_likely =
                *mode == Mode::On || learning.verdict(view.page, place) == Verdict::Likely;
            let outcome = if diary.has(*number) {
                Err(Refusal::Repeated)
            } else if diary.is_full() {
                Err(Refusal::DiaryFull)
            } else if !is_likely {
                Err(Refusal::Unlikely)
            } else if open + promised.len() >= MAX_PUSHES {
                Err(Refusal::Cap)
            } else {
                promise::send(engine, view.id, view.head, resource)
            };
            match outcome {
                Ok((stream, head)) => {
                    stats.pushed += 1;
                    learning.pushed(view.page, place);
                    diary.pushed(Pushed {
                        stream,
                        resource: *number,
                        page: view.page,
                    });
                    promised.push((stream, Arc::new(head)));
                }
                Err(why) => refuse(stats, view.id, resource, why),
            }
        }
        promised
    }

    /// Sends a 103 with the links of the page. Returns whether it was sent.
    fn hint(&mut self, engine: &mut Connection, view: &View<'_, C>) -> bool {
        let page = self.options.list.page(view.page);
        let Some(mut stream) = engine.stream(view.id) else {
            return false;
        };
        let informed = stream.inform(&page.hint);
        match informed {
            Ok(()) => self.stats.hinted += page.needs.len() as u64,
            Err(misuse) => log::debug!("no 103 on stream {}: {misuse}", view.id),
        }
        informed.is_ok()
    }

    /// Returns what the list adds to the answer: fields, and the content if it is in memory.
    pub fn contribution(&mut self, prepared: &Prepared) -> (Extra<'_>, Option<&mut Asset>) {
        let extra = prepared.extra(&self.options.list);
        let resource = prepared.found.resource;
        let asset = resource.and_then(|resource| self.assets.get_mut(usize::from(resource)));
        (extra, asset.and_then(Option::as_mut))
    }

    /// Handles the reset of a stream. If a client cancelled a push, counts that, and returns the
    /// resource and its page for the log.
    pub fn reset(&mut self, conn: C, id: StreamId, cause: ResetCause) -> Option<(&str, &str)> {
        if !id.is_server_initiated() || !matches!(cause, ResetCause::Peer) {
            return None;
        }
        let diary = &self.clients.get(&conn)?.diary;
        let Pushed { resource, page, .. } = diary.pushes().find(|push| push.stream == id)?;
        self.stats.cancelled += 1;
        let list = &self.options.list;
        if let Some(place) = list.place(page, resource) {
            self.learning.cancelled(page, place);
        }
        Some((&list.resource(resource).path, &list.page(page).path))
    }

    /// Removes the state of a connection that has closed.
    pub fn closed(&mut self, conn: C) {
        self.clients.remove(&conn);
    }
}

fn refuse(stats: &mut Stats, stream: StreamId, resource: &Resource, why: Refusal) {
    stats.not_pushed.count(why);
    log::debug!("push refused: {} on stream {stream}: {why}", resource.path);
}
