//! Serving: reads a connection's socket and lets its engine take the bytes.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use log::debug;
use tidegate_http::WallClock;
use tidegate_ledger::{ClientKey, Refusal, Resource};

use crate::Engine;
use crate::admission::{Account, Whose};
use crate::conn::{Conn, Taken};
use crate::driver::{Driver, HowMuch};
use crate::incoming::Input;
use crate::opening::{Phase, Step};
use crate::outgoing::Output;
use crate::ready::Ready;
use crate::socket::ReadOutcome;
use crate::transport::Transport;
use crate::turns::Queue;
use crate::{ConnInfo, End, Origin, Protocols, Service};

/// The time for which a graceful end waits for the first request of a new connection, which may be
/// in flight.
const FIRST_IN_FLIGHT: Duration = Duration::from_secs(1);

/// The time for which it waits for another request by HTTP/1.1: one way of a long path.
const NEXT_IN_FLIGHT: Duration = Duration::from_millis(300);

impl<S: Service> Driver<S> {
    /// Adds an accepted connection.
    pub(crate) fn register_accepted(
        &mut self,
        (transport, protocols): (Transport, Protocols),
        account: Account,
        peer: SocketAddr,
        local: SocketAddr,
    ) {
        let now = self.conns.now();
        let info = ConnInfo {
            origin: Origin::Accepted,
            peer,
            local,
            via: None,
            tls: None,
            began_at: now,
        };
        let timeout = self.options.handshake_timeout;
        let deadline = (!timeout.is_zero()).then(|| now + timeout);
        let id = self
            .conns
            .insert(|id| Conn::accepted(id, info, transport, protocols, account, deadline));
        self.conns.totals.accepted += 1;
        let is_proxy = self.is_proxy(peer);
        if !is_proxy {
            self.leave_requests_of(id.slot, peer);
        }
        let Some(conn) = self.conns.get(id.slot) else {
            return;
        };
        if is_proxy {
            conn.opening.expect_proxy_header();
        }
        match self.conns.register(id.slot) {
            Ok(()) => self.rearm(id.slot),
            Err(error) => self.cut_off(id.slot, End::Io(error)),
        }
    }

    /// Notes a change of a socket's readiness. It may be about an earlier connection in the same
    /// slot, and then causes at most a needless look.
    pub(crate) fn note(&mut self, slot: u32, ready: Ready) {
        let Some(conn) = self.conns.get(slot) else {
            return;
        };
        if ready.readable || ready.read_closed || ready.error {
            let end = ready.read_closed || ready.error;
            conn.incoming = conn.incoming.on(Input::Event { end });
            if !conn.takes_input() {
                // The engine may wait for memory. Settling makes it look again after a while.
                self.conns.mark(slot);
            } else {
                self.enqueue(slot, Queue::New);
            }
        }
        let Some(conn) = self.conns.get(slot) else {
            return;
        };
        if conn.outgoing.is_blocked() && (ready.writable || ready.error) {
            conn.outgoing = conn.outgoing.on(Output::Event);
            self.enqueue(slot, Queue::Again);
        }
        if ready.read_closed || ready.error {
            self.look_for_end(slot);
        }
    }

    /// Reads once, and hands the bytes on.
    pub(crate) fn serve(&mut self, slot: u32) {
        // The connection is settled afterwards in any case, so the service's calls cost nothing
        // more here.
        self.conns.mark(slot);
        let Some((conn, totals)) = self.conns.get_and_totals(slot) else {
            return;
        };
        if conn.phase() == Phase::Closing {
            return self.linger(slot);
        }
        let (conn, totals) = if conn.phase() == Phase::ProxyHeader {
            match conn.take_proxy_header() {
                Ok(Some(len)) => totals.bytes_received += len as u64,
                Ok(None) => return,
                Err(end) => return self.cut_off(slot, end),
            }
            if !self.rekey(slot) {
                return self.cut_off(slot, End::Refused);
            }
            match self.conns.get_and_totals(slot) {
                Some(found) => found,
                None => return,
            }
        } else {
            (conn, totals)
        };
        if conn.can_go_on() {
            let left_over = conn.left_over();
            match conn.fill(&mut self.buffers) {
                Ok(count) => totals.bytes_received += count as u64,
                Err(End::HttpOnTlsPort) => {
                    let clock = self.options.engine.wall_clock.as_ref();
                    let answer = https_wanted(clock.and_then(WallClock::date));
                    return conn.answer_in_cleartext(&answer);
                }
                Err(End::TlsFailed(error)) => {
                    // Close later, so that the peer can read the alert.
                    conn.begin_close(End::TlsFailed(error));
                    return self.report_eof(slot);
                }
                Err(end) => return self.cut_off(slot, end),
            }
            if self.options.trace {
                self.trace_input(slot, left_over);
            }
            let taken = self.advance(slot);
            if self.shutdown_deadline.is_some() {
                self.shut_down_behind_request(slot);
            }
            if let Some(conn) = self.conns.get(slot) {
                conn.keep(&mut self.buffers, taken);
                if conn.incoming.is_end_near() {
                    self.look_for_end(slot);
                }
            }
        }
    }

    /// Processes `buffers.input` as far as the connection's phase allows, and into the next phases.
    fn advance(&mut self, slot: u32) -> Taken {
        let Some(conn) = self.conns.get(slot) else {
            return Taken::All;
        };
        if conn.phase() != Phase::Open {
            match conn.advance(&self.buffers.input) {
                Step::Speaks(protocol) => self.open(slot, protocol),
                Step::Fails(End::NotHttp2) => self.cut_off(slot, End::NotHttp2),
                Step::Fails(End::OnlyHttp2) => {
                    let clock = self.options.engine.wall_clock.as_ref();
                    let answer = http2_wanted(clock.and_then(WallClock::date));
                    conn.outbox.extend(&answer);
                    conn.begin_close(End::OnlyHttp2);
                }
                Step::Fails(end) => conn.begin_close(end),
                Step::NeedsMore => {}
            }
        }
        self.receive(slot, HowMuch::Share)
    }

    fn linger(&mut self, slot: u32) {
        let Some(conn) = self.conns.get(slot) else {
            return;
        };
        if conn.linger(&mut self.buffers).unwrap_or(true) {
            self.remove(slot);
        }
    }

    /// Handles everything that is due on a connection whose timer fired.
    pub(crate) fn expire(&mut self, slot: u32) {
        let now = self.conns.now();
        let Some(conn) = self.conns.get(slot) else {
            return;
        };
        conn.timer = None;
        if conn.incoming.is_readable() && std::mem::take(&mut conn.is_ready) {
            // The connection waits for its turn. Data that has arrived is read before time is up.
            self.serve(slot);
        }
        let Some(conn) = self.conns.get(slot) else {
            return;
        };
        let due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        if due(conn.outgoing.deadline()) {
            self.cut_off(slot, End::WriteTimedOut);
            return;
        }
        if due(conn.deadline) {
            conn.deadline = None;
            match conn.phase() {
                Phase::Connecting | Phase::Handshake if conn.opening.is_dialling() => {
                    self.cut_off(slot, End::ConnectTimedOut);
                    return;
                }
                Phase::Connecting | Phase::ProxyHeader | Phase::Handshake | Phase::Guess => {
                    conn.begin_close(End::HandshakeTimedOut);
                }
                // A graceful end has waited for a request.
                Phase::Open if self.shutdown_deadline.is_some() => {
                    if let Some(engine) = &mut conn.engine {
                        engine.shut_down(now);
                    }
                }
                // The deadline was that of a handshake with early data, which is done meanwhile.
                Phase::Open if !conn.is_handshaking() => {}
                // The engine may take no input now, so the rest of the handshake isn't read.
                Phase::Open if conn.incoming.is_readable() => {
                    conn.deadline = Some(now + self.options.handshake_timeout);
                }
                Phase::Open => {
                    conn.begin_close(End::HandshakeTimedOut);
                    self.conns.mark(slot);
                    return self.report_eof(slot);
                }
                Phase::Closing => {
                    self.remove(slot);
                    return;
                }
            }
        }
        if let (Some(engine), Phase::Open) = (&mut conn.engine, conn.opening.phase())
            && due(engine.next_timeout())
        {
            engine.handle_timeout(now);
            self.drain_events(slot);
        }
        // Settling also enters the next deadline.
        self.conns.mark(slot);
    }

    /// EOF is waiting in the socket, but an HTTP/1.1 engine doesn't read while it answers a
    /// request. Peek, so the service learns that the client half-closed.
    fn look_for_end(&mut self, slot: u32) {
        let Some(conn) = self.conns.get(slot) else {
            return;
        };
        let watches = match (&conn.engine, conn.phase()) {
            (Some(engine), Phase::Open) => engine.watches_for_end(),
            _ => false,
        };
        if !watches {
            return;
        }
        let has_whole_request = conn.engine.as_ref().is_some_and(Engine::has_whole_request);
        let socket = &mut conn.transport.socket;
        if let Some(error) = socket.take_error() {
            return self.cut_off(slot, End::Io(error));
        }
        let has_ended = match socket.peek(&mut [0]) {
            // The client may have sent another request before the end. Over TLS that looks like the
            // end of TLS. Before a request is whole, it may be the rest of that.
            Ok(ReadOutcome::Bytes { .. }) => conn.transport.tls.is_some() && has_whole_request,
            Ok(ReadOutcome::Blocked) => conn.incoming.has_ended(),
            Ok(ReadOutcome::Eof) => true,
            Err(error) => return self.cut_off(slot, End::Io(error)),
        };
        // An end that the engine knows of isn't the request's, but one of the two ends of a tunnel.
        // And bytes left over may be another request.
        if has_ended && conn.incoming.is_unannounced() && conn.left_over() == 0 {
            conn.incoming = conn.incoming.on(Input::Announce);
            let id = conn.id;
            self.call(|service, conns| service.half_closed(conns, id));
        }
    }

    /// Begins a graceful end of a connection.
    pub(crate) fn shut_down(&mut self, slot: u32) {
        let now = self.conns.now();
        let Some(conn) = self.conns.get(slot) else {
            return;
        };
        if conn.info.origin == Origin::Dialled {
            // Requests in progress may need it.
            return;
        }
        match (&mut conn.engine, conn.opening.phase()) {
            (Some(engine), Phase::Open) => {
                conn.deadline = None;
                engine.shut_down_after_request(NEXT_IN_FLIGHT, now);
            }
            (_, Phase::Closing) => {}
            // No request has arrived, but the first may be in flight, because the client found the
            // port open.
            _ => {
                let at = now + FIRST_IN_FLIGHT;
                conn.deadline = Some(conn.deadline.map_or(at, |deadline| deadline.min(at)));
            }
        }
        self.conns.mark(slot);
    }

    /// Drains a connection whose first request may have arrived after a graceful end began.
    fn shut_down_behind_request(&mut self, slot: u32) {
        let now = self.conns.now();
        if let Some(conn) = self.conns.get(slot)
            && conn.info.origin == Origin::Accepted
            && let Some(engine) = &mut conn.engine
            && !engine.is_ending()
            && !engine.awaits_first_request()
        {
            engine.shut_down(now);
            conn.deadline = None;
        }
    }

    /// Moves a connection to the account of the client that the PROXY header named. Returns whether
    /// that client may have it.
    pub(crate) fn rekey(&mut self, slot: u32) -> bool {
        let Some(conn) = self.conns.get(slot) else {
            return false;
        };
        let peer = conn.info.peer;
        let key = ClientKey::from(peer.ip());
        let client = self.options.ledger.client(key);
        self.leave_requests_of(slot, peer);
        if self.conns.client_of(slot) == Some(key) {
            return true;
        }
        if let Err(refusal) = client.check(Resource::Connections, 1) {
            // The total doesn't change.
            let may_come = refusal == Refusal::Exhausted || self.make_room(Some(key), Whose::Own);
            if !may_come {
                self.conns.totals.refused += 1;
                self.conns.totals.refused_for_share += 1;
                debug!("{peer}: refused: {refusal}");
                return false;
            }
        }
        self.conns.transfer(slot, &client);
        true
    }

    /// Leaves counting the requests to the service if the peer, which is known now, makes them for
    /// clients of its own.
    pub(crate) fn leave_requests_of(&mut self, slot: u32, peer: SocketAddr) {
        if self.makes_requests_for_others(peer)
            && let Some(conn) = self.conns.get(slot)
            && let Some(account) = &mut conn.account
        {
            account.leave_requests();
        }
    }

    /// Whether connections from `peer` begin with a PROXY protocol header.
    pub(crate) fn is_proxy(&self, peer: SocketAddr) -> bool {
        let ip = peer.ip().to_canonical();
        let mut proxies = self.options.proxy_protocol_from.iter();
        proxies.any(|net| net.contains(&ip))
    }

    /// Whether the service counts the requests from `peer`.
    fn makes_requests_for_others(&self, peer: SocketAddr) -> bool {
        let ip = peer.ip().to_canonical();
        let mut peers = self.options.makes_requests_for_others.iter();
        peers.any(|net| net.contains(&ip))
    }
}

/// Returns the answer to a request in cleartext on a port for TLS.
fn https_wanted(date: Option<String>) -> Vec<u8> {
    let text = "This port speaks HTTPS, and the request came in cleartext: begin its address with https://.\n";
    refusal("400 Bad Request", text, date)
}

/// Returns the answer to a request of HTTP/1.1 on a port for HTTP/2 alone. RFC 9110 §15.6.6: "the
/// server does not support, or refuses to support, the major version of HTTP that was used in the
/// request message".
fn http2_wanted(date: Option<String>) -> Vec<u8> {
    let text = "This port speaks HTTP/2 alone, and the request came by HTTP/1.1.\n";
    refusal("505 HTTP Version Not Supported", text, date)
}

fn refusal(status: &str, text: &str, date: Option<String>) -> Vec<u8> {
    let date = date.map_or_else(String::new, |date| format!("date: {date}\r\n"));
    let len = text.len();
    format!(
        "HTTP/1.1 {status}\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: {len}\r\n\
         {date}connection: close\r\n\r\n{text}"
    )
    .into_bytes()
}
