//! One worker's service. This file handles the events of client connections.
//!
//! - `connections`  pictures of connections for the admin listener
//! - `files`     results of the threads that read files
//! - `ending`    requests that end
//! - `events`    events of requests in progress
//! - `forward`   requests that are to be forwarded
//! - `heads`     facts about heads, for the lines of the access logs
//! - `inform`    answers to the admin listener
//! - `limits`    limits of one request
//! - `lines`     lines of the access logs
//! - `upstream`  forwarded requests in progress, and the events of their upstreams
//! - `report`    lines of the log
//! - `sites`     which site a request is for

mod connections;
mod ending;
mod events;
mod files;
mod forward;
mod heads;
mod inform;
mod limits;
mod lines;
mod report;
mod sites;
mod upstream;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tidegate_http::{Event, GuardPeaks, Priority, RequestHead, Stream, StreamId};
use tidegate_ledger::Lease;
use tidegate_net::{ConnId, Conns, Direction, End, Engine, Mailbox, Service, StreamMut};

use crate::access_log::{AccessLogs, Cache, Entry};
use crate::client_access::Admitted;
use crate::clock::Clock;
use crate::flags::{Switch, UnknownHost};
use crate::handlers::demo::Demo;
use crate::handlers::done::Done;
use crate::handlers::fallback::{Directory, Place};
use crate::handlers::files::Files;
use crate::handlers::own_connection::{self, OwnConnection};
use crate::handlers::redirect;
use crate::hosts::Hosts;
use crate::in_progress::{Exchange, Exchanges, Work};
use crate::message::Message;
use crate::metrics::counts::Counts;
use crate::path::{PathError, RequestPath};
use crate::priority;
use crate::proxy::{Proxy, fields};
use crate::push::{self, Prepared};
use crate::request::{ANY_METHODS, Outcome, Request, TOO_LARGE};
use crate::router::Router;
use crate::rules::{NO_TERMS, Terms};
use crate::site::{Served, Target, WorkerSite};
use crate::stats::Published;
use crate::trace::Tracer;
use heads::note_outcome;
use limits::{limit_of, share};
use report::{Peer, log_end, log_total, note_end};

/// The time after which the time of day is looked at again. Dates have seconds, so a look in each
/// turn brings nothing.
const CLOCK_STEP: Duration = Duration::from_millis(10);

/// The service of one worker.
pub struct App {
    sites: Vec<WorkerSite>,
    /// `None` if the first site is for all hosts.
    hosts: Option<Arc<Hosts>>,
    unknown_host: UnknownHost,
    clock: Clock,
    time_of_day: fn() -> SystemTime,
    /// When to look at the time of day again.
    clock_due: Instant,
    demo: Demo,
    files: Files,
    proxy: Proxy,
    exchanges: Exchanges,
    /// The certificates of clients, where sites ask for them.
    admitted: Admitted,
    access_logs: AccessLogs,
    tracer: Tracer,
    /// The counters of sites that are no longer served.
    former_pushes: push::Stats,
    counts: Counts,
    published: Arc<Published>,
    /// The levels of guards in the period before this one.
    former_guards: GuardPeaks,
    /// When the next period begins.
    peaks_due: Instant,
    /// When counters are published again that somebody asks for.
    publish_due: Instant,
}

/// A request that is to be forwarded.
struct Forwarded<'a> {
    /// The index of its site.
    site: usize,
    head: &'a Arc<RequestHead>,
    path: &'a RequestPath<'a>,
    /// The path and query for the upstream.
    target: Result<Cow<'a, [u8]>, PathError>,
    end: bool,
    prepared: Option<&'a Prepared>,
    log: Option<Box<Entry>>,
    share: Option<Box<Lease>>,
    terms: Terms,
}

impl App {
    /// Returns a worker's service.
    pub fn new(served: Served, published: Arc<Published>) -> Self {
        let clock = Clock::with_engines((served.time_of_day)(), served.wall_clock);
        let now = Instant::now();
        let access_logs = AccessLogs::new(&served.logs);
        let sites = served.sites.into_iter();
        let sites = sites.map(|site| WorkerSite::new(site, &clock, &access_logs));
        Self {
            sites: sites.collect(),
            hosts: served.hosts,
            unknown_host: served.unknown_host,
            demo: Demo::new(&clock),
            clock,
            time_of_day: served.time_of_day,
            clock_due: now,
            files: Files::new(served.files, now),
            proxy: Proxy::new(served.proxy),
            exchanges: Exchanges::default(),
            admitted: Admitted::default(),
            access_logs,
            tracer: Tracer::new(served.trace),
            former_pushes: push::Stats::default(),
            counts: Counts::default(),
            published,
            former_guards: GuardPeaks::default(),
            peaks_due: now,
            publish_due: now,
        }
    }

    /// Answers a request, then the pushes that were promised with it.
    fn request(
        &mut self,
        conns: &mut Conns,
        conn: ConnId,
        id: StreamId,
        head: &Arc<RequestHead>,
        end: bool,
    ) {
        let path = match RequestPath::read(head.path_bytes()) {
            Ok(path) => path,
            Err(error) => {
                let log = self.begin_log(conns, (conn, id), head, None);
                let refusal = (400, error.text());
                return self.refuse(conns, (conn, id), head, log, &NO_TERMS, refusal);
            }
        };
        let Some(site) = self.site_of(conns, (conn, id), head) else {
            return;
        };
        self.sites[site].requests += 1;
        let early = self.sites[site].early_data.as_deref();
        // A connection may be early still after a reload that turned early data off.
        if conns.is_early(conn) && !early.is_some_and(|early| takes_early(early, head, &path)) {
            // RFC 8470 §5.2: "the server is unwilling to risk processing a request that might be
            // replayed".
            let log = self.begin_log(conns, (conn, id), head, Some(site));
            let refusal = (425, "425 Too Early\n");
            return self.refuse(conns, (conn, id), head, log, &NO_TERMS, refusal);
        }
        if head.protocol().is_some()
            && !self.takes_websockets(site, head, &path)
            && let Some(mut stream) = conns.stream(conn, id)
            && let StreamMut::Http1(_) = stream
        {
            stream.decline_upgrade();
            let plain = Arc::new(fields::without_upgrade(head));
            return self.request(conns, conn, id, &plain, true);
        }
        if self.sites[site].trust_x_priority
            && let Some(urgency) = priority::asked(head)
            && let Some(mut stream) = conns.stream(conn, id)
        {
            let incremental = stream.priority().incremental;
            stream.prioritize(Priority {
                urgency,
                incremental,
            });
        }
        let pusher = &mut self.sites[site].pusher;
        if pusher.is_idle() {
            return self.answer(conns, (conn, id, site), head, &path, end, None);
        }
        let now = conns.now();
        let prepared = match conns.engine(conn) {
            Some(Engine::Http2(engine)) => pusher.prepare(engine, conn, id, head, &path, now),
            // RFC 8297 §3: "a server might refrain from sending 103 (Early Hints) over HTTP/1.1
            // unless the client is known to handle informational responses correctly". Some clients
            // take it for the final response.
            Some(Engine::Http1(_)) => pusher.look_up(&path),
            Some(Engine::Resting(_)) | None => return,
        };
        self.answer(conns, (conn, id, site), head, &path, end, Some(&prepared));
        for (promised, head) in &prepared.promised {
            // All paths of the list can be read.
            if let Ok(path) = RequestPath::read(head.path_bytes()) {
                let prepared = self.sites[site].pusher.prepare_promised(&path);
                self.answer(
                    conns,
                    (conn, *promised, site),
                    head,
                    &path,
                    true,
                    Some(&prepared),
                );
            }
        }
    }

    fn answer(
        &mut self,
        conns: &mut Conns,
        (conn, id, site): (ConnId, StreamId, usize),
        head: &Arc<RequestHead>,
        path: &RequestPath<'_>,
        end: bool,
        prepared: Option<&Prepared>,
    ) {
        let mut log = self.begin_log(conns, (conn, id), head, Some(site));
        let WorkerSite {
            routes,
            rules,
            pusher,
            ..
        } = &mut self.sites[site];
        let found = routes.find(path);
        let rules = found.as_ref().map_or(&*rules, |found| &found.target.rules);
        let terms = match rules {
            None => Terms::default(),
            Some(rules) => Terms::new(rules, self.proxy.is_secure(conns.info(conn), head)),
        };
        let share = match share(&self.proxy, conns, (conn, id), head) {
            Ok(share) => share,
            // The refusal is for the proxy's client. REFUSED_STREAM would only reach the proxy.
            Err(refusal) => {
                return self.answer_with(conns, (conn, id), head, log, &terms, |request| {
                    request.respond_refused(refusal)
                });
            }
        };
        let (extra, asset) = match prepared {
            Some(prepared) => pusher.contribution(prepared),
            None => Default::default(),
        };
        if path.is_asterisk() {
            // RFC 9110 §9.3.7: "an asterisk ("*") as the request target … applies to the server in
            // general rather than to a specific resource". This server answers, not an upstream.
            return self.answer_with(conns, (conn, id), head, log, &terms, |request| {
                request.respond_methods(ANY_METHODS)
            });
        }
        if let Some(redirect) = terms.to_https() {
            let route = found.map_or(&[][..], |found| found.path).to_owned();
            return self.answer_with(conns, (conn, id), head, log, &terms, |request| {
                redirect::answer(redirect, request, path, &route)
            });
        }
        if terms.body_limit().is_exceeded_by(head) {
            return self.refuse(conns, (conn, id), head, log, &terms, TOO_LARGE);
        }
        if let (None, Some(found)) = (&asset, &found)
            && let Target::Proxy(route) = &found.target.target
        {
            let target = if routes.is_ambiguous(path, found) {
                Err(PathError::Ambiguous)
            } else {
                path.mapped(found.path, route.base.as_deref().map(str::as_bytes))
            };
            let route = Arc::clone(route);
            let forwarded = Forwarded {
                site,
                head,
                path,
                target,
                end,
                prepared,
                log,
                share,
                terms,
            };
            return self.forward(conns, (conn, id), &route, forwarded);
        }
        if let (None, Some(found)) = (&asset, &found)
            && let Target::Demo = found.target.target
            && path.raw() == own_connection::PATH
            && let Some(own) = conns.engine_ref(conn).map(OwnConnection::of)
        {
            return self.answer_with(conns, (conn, id), head, log, &terms, |request| {
                own_connection::answer(request, &own)
            });
        }
        let Some(stream) = conns.stream(conn, id) else {
            return;
        };
        let request = &mut Request {
            stream,
            head,
            end,
            clock: &self.clock,
            extra,
            terms: &terms,
        };
        let outcome = match (asset, found.as_ref().map(|found| &found.target.target)) {
            (Some(asset), _) => Outcome::Answered(asset.answer_any(request)),
            (None, Some(Target::Files(directory))) => {
                let route = found.as_ref().map_or(&[][..], |found| found.path);
                let path = path.raw();
                let place = Place { path, route };
                let Directory { root, fallback } = directory;
                let fallback = fallback.as_ref();
                self.files
                    .answer(request, (conn, id), root, place, fallback)
            }
            (None, Some(Target::Redirect(redirect))) => {
                let route = found.as_ref().map_or(&[][..], |found| found.path);
                Outcome::Answered(redirect::answer(redirect, request, path, route))
            }
            (None, Some(Target::Demo)) => self.demo.answer(request),
            (None, Some(Target::Named(named))) => named.answer(request),
            (None, Some(Target::Proxy(_)) | None) => {
                Outcome::Answered(request.respond_text(404, "404 Not Found\n"))
            }
        };
        if let Some(log) = &mut log {
            note_outcome(conns, conn, log, &outcome);
            let is_file = matches!(found, Some(found) if found.target.is_file());
            if is_file {
                log.note_cache(if let Outcome::InProgress(_, Work::Look(_)) = &outcome {
                    Cache::Miss
                } else {
                    Cache::Hit
                });
            }
            if prepared.is_some_and(|prepared| prepared.is_hinted) {
                log.note_hint();
            }
        }
        match outcome {
            Outcome::Answered(sent) => self.log(log, sent),
            Outcome::InProgress(sent, work) => {
                let exchange = Exchange {
                    work,
                    sent,
                    log,
                    share,
                    limit: limit_of(&terms, head),
                    terms,
                };
                self.exchanges.insert(conn, id, exchange);
            }
        }
    }
}

/// Whether a request may be answered although it may be a copy.
fn takes_early(early: &Router<Switch>, head: &RequestHead, path: &RequestPath<'_>) -> bool {
    let is_safe = matches!(head.method_bytes(), b"GET" | b"HEAD") && head.protocol().is_none();
    let route = early.find(path);
    is_safe && route.is_some_and(|route| *route.target == Switch::On)
}

impl Service for App {
    type Message = Message;

    fn started(&mut self, mailbox: &Mailbox<Message>) {
        let mailbox = mailbox.clone();
        self.files.reached_by(move |done| {
            // The worker may have ended.
            let _ = mailbox.send(Message::Done(done));
        });
    }

    fn turn(&mut self, now: Instant) {
        if now >= self.clock_due {
            self.clock.set((self.time_of_day)());
            self.clock_due = now + CLOCK_STEP;
        }
        self.files.turn(now);
        self.exchanges.turn(now);
        self.settle_relays();
    }

    fn opened(&mut self, conns: &mut Conns, conn: ConnId) {
        if self.proxy.pool.owns(conn) {
            self.proxy.pool.opened(conns, conn);
        } else {
            self.tracer.opened(conns, conn);
            self.count_opened(conns, conn);
            self.announce_origins(conns, conn);
        }
    }

    #[inline]
    fn event(&mut self, conns: &mut Conns, conn: ConnId, event: Event) {
        if self.proxy.pool.owns(conn) {
            return self.proxy.pool.event(conns, conn, event);
        }
        match event {
            Event::Request { id, head, end } => self.request(conns, conn, id, &head, end),
            event => self.other_event(conns, conn, event),
        }
    }

    fn half_closed(&mut self, conns: &mut Conns, conn: ConnId) {
        self.client_may_have_left(conns, conn);
    }

    fn closed(&mut self, conns: &mut Conns, conn: ConnId, why: &End) {
        if self.proxy.pool.owns(conn) {
            return self.proxy.pool.closed(conns, conn, why);
        }
        self.tracer.closed(conns, conn, why);
        log_end(conns, conn, why);
        if let Some(info) = conns.info(conn) {
            let age = conns.now().saturating_duration_since(info.began_at);
            self.counts.closed(age, why);
        }
        self.push_closed(conn);
        self.proxy.repeated.closed(conn);
        self.admitted.closed(conn);
        log_total(conns, conn);
        let cut_off: Vec<Exchange> = self.exchanges.remove_all(conn).collect();
        let requests = cut_off
            .iter()
            .filter_map(|exchange| exchange.work.request());
        self.proxy.pool.cancel_all(conns, requests);
        if let Some(client) = crate::proxy::on_behalf(conns, conn) {
            self.proxy.pool.client_left(conns, client);
        }
        for Exchange { sent, mut log, .. } in cut_off {
            if let Some(log) = &mut log {
                note_end(log, why);
            }
            self.log(log, sent);
        }
    }

    fn next_timeout(&self) -> Option<Instant> {
        self.proxy.pool.next_timeout()
    }

    fn handle_timeout(&mut self, conns: &mut Conns, now: Instant) {
        self.proxy.pool.handle_timeout(conns, now);
    }

    fn settle(&mut self, conns: &mut Conns) -> bool {
        let Some(event) = self.proxy.pool.next_event() else {
            return false;
        };
        self.pool_event(conns, event);
        true
    }

    fn message(&mut self, conns: &mut Conns, message: Message) {
        match message {
            Message::Done(Done::Looked(asked, looked)) => self.looked(conns, &asked, looked),
            Message::Done(Done::Read(key, read)) => self.read(conns, key, read),
            Message::Moved {
                generation,
                upstream,
                addresses,
            } => self.proxy.moved(conns, generation, upstream, addresses),
            Message::Serve(served, done) => {
                self.serve(conns, *served);
                // The main thread may wait no longer.
                let _ = done.send(());
            }
            Message::Answer(answer) => {
                let _ = answer.send(());
            }
            Message::Ask(question, reply) => {
                let answer = self.answer_admin(conns, &question, reply.worker());
                reply.send(answer);
            }
        }
    }

    fn trace(&mut self, conns: &Conns, conn: ConnId, direction: Direction, bytes: &[u8]) {
        self.tracer.bytes(conns, conn, direction, bytes);
    }

    fn tick(&mut self, conns: &mut Conns, _now: Instant) {
        self.access_logs.flush();
        self.tracer.flush();
        self.publish(conns);
    }
}
