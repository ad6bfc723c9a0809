//! Incoming field lists: requests, responses and trailers (RFC 9113 §8.1).

use std::sync::Arc;

use tidegate_frame::{Data, ErrorCode, StreamDependency, StreamId};
use tidegate_hpack::{Decoded, ListLimit};
use tidegate_http::engine::head_size;
use tidegate_http::{
    Config, Event, Fields, KnownName, RequestHead, RequestRules, ResetCause, ResponseHead, Role,
    Violation, check_trailers,
};

use crate::conn::Connection;
use crate::conn::ending::reset_event;
use crate::conn::fault::{Fault, Outcome, illegal};
use crate::conn::field_block::Opening;
use crate::flow::{RecvWindow, SendWindow};
use crate::stream::map::Lookup;
use crate::stream::state::{ClosedBy, Input, Sender, State};
use crate::stream::{Phase, Stream};

/// The field list of a request.
enum RequestList<'a> {
    /// A list that is still to be checked, with its block, and the limit that it exceeded.
    New(Fields, &'a [u8], Option<ListLimit>),
    /// The head that the same block made before.
    Repeated(Arc<RequestHead>),
}

impl RequestList<'_> {
    fn fields(&self) -> &Fields {
        match self {
            Self::New(fields, ..) => fields,
            Self::Repeated(head) => head.fields(),
        }
    }
}

impl Connection {
    /// Handles a complete field block. It is decoded first, whatever happens to the stream: both
    /// ends' tables must stay in step (RFC 9113 §4.3).
    pub(super) fn on_block(&mut self, id: StreamId, opening: Opening, block: &[u8]) -> Outcome {
        if let Opening::Headers {
            end_stream,
            dependency,
        } = opening
            && self.streams.lookup(id) == Lookup::Idle
            && let Some(head) = self.blocks.repeated(block, &mut self.stats)
        {
            return self.on_request(id, end_stream, dependency, RequestList::Repeated(head));
        }
        let (fields, decoded) = self.blocks.decode(block, &mut self.stats)?;
        self.guard.header_list(decoded.list_size, decoded.fields)?;
        match opening {
            Opening::Headers {
                end_stream,
                dependency,
            } => self.on_field_list(id, end_stream, dependency, block, fields, decoded),
            Opening::PushPromise { promised } => {
                self.on_push_promise(id, promised, fields, decoded.over)
            }
        }
    }

    fn on_field_list(
        &mut self,
        id: StreamId,
        end: bool,
        dependency: Option<StreamDependency>,
        block: &[u8],
        fields: Fields,
        decoded: Decoded,
    ) -> Outcome {
        let slot = match self.streams.lookup(id) {
            Lookup::Live(slot) => slot,
            Lookup::Idle => {
                let list = RequestList::New(fields, block, decoded.over);
                return self.on_request(id, end, dependency, list);
            }
            lookup => return self.on_frame_of_gone(id, lookup),
        };
        let stream = self.streams.get_mut(slot);
        // A stream that was reset and waits for its owner takes nothing more.
        let input = if end {
            Input::HeadersEnd
        } else {
            Input::Headers
        };
        let state = stream
            .state()
            .on(Sender::Peer, input)
            .map_err(|bad| illegal(id, bad))?;
        if stream.awaits_release() {
            self.charge_closed_stream()?;
            return Ok(None);
        }
        // RFC 9113 §8.5: "Frame types other than DATA or stream management frames (RST_STREAM,
        // WINDOW_UPDATE, and PRIORITY) MUST NOT be sent on a connected stream and MUST be treated
        // as a stream error".
        if stream.is_tunnel() {
            return Err(Fault(id, Violation::HeadersOnTunnel));
        }
        self.check_dependency(id, dependency)?;
        if self.signals.dependencies_count {
            self.on_dependency(id, dependency)?;
        }
        if let Some(limit) = decoded.over {
            return Err(Fault(id, over(limit)));
        }
        let stream = self.streams.get_mut(slot);
        match (self.role, stream.recv.phase) {
            (Role::Client, Phase::Head) => self.on_response(slot, state, end, fields),
            _ => {
                // RFC 9113 §8.1: trailers carry END_STREAM; "a HEADERS frame without … END_STREAM …
                // after receiving the HEADERS frame that opens a request … MUST be treated as
                // malformed".
                if !end {
                    return Err(Fault(id, Violation::TrailersWithoutEndStream));
                }
                check_trailers(&fields).map_err(|violation| Fault(id, violation))?;
                self.counted(slot).set_state(state);
                self.end_of_message(slot)?;
                let told = !self.streams.get(slot).recv.discard;
                if told && !self.admit_trailers(slot, &fields) {
                    self.lose_for_memory(slot);
                    return Ok(None);
                }
                self.remove_if_closed(slot);
                Ok(told.then_some(Event::Trailers { id, fields }))
            }
        }
    }

    /// Handles HEADERS on an idle stream: a request.
    fn on_request(
        &mut self,
        id: StreamId,
        end: bool,
        dependency: Option<StreamDependency>,
        list: RequestList<'_>,
    ) -> Outcome {
        if self.role == Role::Client {
            return Err(Violation::FrameOnIdleStream.into());
        }
        // RFC 9113 §5.1.1: "Streams initiated by a client MUST use odd-numbered stream
        // identifiers".
        if !id.is_client_initiated() {
            return Err(Violation::StreamIdOfWrongParity.into());
        }
        // RFC 9113 §6.8: frames on streams above the one in our GOAWAY are ignored.
        if id > self.lifetime.last_accepted {
            return Ok(None);
        }
        self.streams.note_used(id);
        // Whatever happens to the request, its stream is no longer idle.
        let early_priority = self.signals.early.take(id);
        self.guard.stream_opened();
        self.stats.requests += 1;
        if let Err(Fault(_, violation)) = self.check_dependency(id, dependency) {
            return self.answer_400(id, end, violation, list.fields());
        }
        // RFC 9113 §5.1.2: more than SETTINGS_MAX_CONCURRENT_STREAMS.
        if self.streams.opened_by(Sender::Peer) >= self.settings.stream_limit() {
            return self.refuse(id);
        }
        let head = match list {
            RequestList::Repeated(head) => head,
            RequestList::New(.., Some(limit)) => return self.answer_431(id, end, over(limit)),
            RequestList::New(fields, block, None) => {
                let rules = RequestRules {
                    extended_connect: self.config.enable_connect_protocol,
                };
                match RequestHead::received(fields, rules) {
                    Ok(head) => self.blocks.keep_request(block, head),
                    Err((violation, fields)) => {
                        return self.answer_400(id, end, violation, &fields);
                    }
                }
            }
        };
        let size = head_size(head.fields());
        let state = if end {
            State::HalfClosed(Sender::Peer)
        } else {
            State::Open
        };
        let mut stream = self.new_stream(id, Sender::Peer, state);
        stream.recv.phase = if end { Phase::Done } else { Phase::Body };
        stream.note_request(&head);
        // RFC 9113 §8.1.1: a content-length that does not equal the sum of the DATA payloads is
        // malformed.
        if end && stream.recv.lacks_content() {
            return self.answer_400(id, end, Violation::ContentLengthMismatch, head.fields());
        }
        // RFC 9218 §7: a PRIORITY_UPDATE frame overrides the field, even if it came first.
        if let Some(priority) = early_priority {
            stream.priority = priority;
            stream.prioritized = true;
        }
        if !self.admit_request(&mut stream, size) {
            return Ok(Some(self.refuse_for_memory(id)));
        }
        let slot = self.insert(stream);
        if self.signals.dependencies_count {
            self.place(slot, dependency)?;
        }
        self.wake();
        if !end {
            self.watch_bodies();
            self.open_body(slot);
        }
        Ok(Some(Event::Request { id, head, end }))
    }

    /// Refuses a stream beyond the peer's limit.
    pub(super) fn refuse(&mut self, id: StreamId) -> Outcome {
        // Streams that were sent before our first limit was known are no abuse, but not free
        // either.
        if !self.settings.excuse() {
            self.charge_peer_reset()?;
        }
        let violation = Violation::TooManyConcurrentStreams;
        self.reset_without_slot(id, violation.code());
        Ok(Some(reset_event(id, violation)))
    }

    /// Refuses a request or a promise for lack of memory. RFC 9113 §8.7: "The REFUSED_STREAM error
    /// code can be included in a RST_STREAM frame to indicate that the stream is being closed prior
    /// to any processing having occurred."
    pub(super) fn refuse_for_memory(&mut self, id: StreamId) -> Event {
        self.stats.refused_for_memory += 1;
        let code = ErrorCode::REFUSED_STREAM;
        self.reset_without_slot(id, code);
        Event::Reset {
            id,
            code,
            cause: ResetCause::OverMemoryBudget,
        }
    }

    /// Resets a stream for lack of memory for its trailers; its owner has the head already.
    fn lose_for_memory(&mut self, slot: usize) {
        self.stats.refused_for_memory += 1;
        let code = ErrorCode::ENHANCE_YOUR_CALM;
        self.send_reset(slot, code);
        self.lose(slot, code, ResetCause::OverMemoryBudget);
    }

    /// RFC 9113 §10.5.1: "A server that receives a larger field block than it is willing to handle
    /// can send an HTTP 431 (Request Header Fields Too Large) status code".
    fn answer_431(&mut self, id: StreamId, end: bool, violation: Violation) -> Outcome {
        self.charge_own_reset()?;
        let head = own_head(&self.config, 431);
        self.send_block(id, head.fields(), head.stamp(), true);
        if !end {
            self.send_rst_stream(id, ErrorCode::NO_ERROR);
        }
        self.streams.note_reset(id, Sender::Us);
        Ok(Some(reset_event(id, violation)))
    }

    /// Answers a malformed request. RFC 9113 §8.1.1: "For malformed requests, a server MAY send an
    /// HTTP response prior to closing or resetting the stream." So the sender of the request learns
    /// what is wrong with it, and clients don't retry because of a reset.
    #[cold]
    fn answer_400(
        &mut self,
        id: StreamId,
        end: bool,
        violation: Violation,
        fields: &Fields,
    ) -> Outcome {
        self.charge_own_reset()?;
        let window = self.settings.peer.initial_window_size as usize;
        let is_head = fields.get_known(KnownName::METHOD) == Some(b"HEAD");
        // A stream that both ends have ended can't be reset (RFC 9113 §5.1), so the response then
        // ends without a reset. A client that keeps sending is asked to stop, as after any early
        // response (§8.1).
        self.send_400(id, violation, is_head, window, !end);
        let code = if end {
            violation.code()
        } else {
            ErrorCode::NO_ERROR
        };
        self.reset_without_slot(id, code);
        Ok(Some(Event::Reset {
            id,
            code,
            cause: ResetCause::Violation(violation),
        }))
    }

    /// Sends the response to a malformed request. Its content is a sentence, if `window`, the
    /// stream's in bytes, has room for it. `ends` says whether it ends our side; else a reset must
    /// follow.
    #[cold]
    pub(super) fn send_400(
        &mut self,
        id: StreamId,
        violation: Violation,
        is_head: bool,
        window: usize,
        ends: bool,
    ) {
        let sentence = format!("The request is malformed: {violation}.\n");
        let window = self.send_window.available().min(window);
        // RFC 9110 §9.3.2: in answer to HEAD, a server "MUST NOT send content".
        let has_content = !is_head && sentence.len() <= window;
        let mut head = own_head(&self.config, 400);
        if has_content {
            head.push("content-type", "text/plain; charset=utf-8");
            head.push("content-length", sentence.len().to_string());
        }
        self.send_block(id, head.fields(), head.stamp(), ends && !has_content);
        if has_content {
            self.send_window.take(sentence.len());
            self.stats.body_out += sentence.len() as u64;
            self.guard.data_sent();
            let len = sentence.len() as u32;
            self.send(|out| {
                out.extend_from_slice(&Data::head(id, len, ends));
                out.extend_from_slice(sentence.as_bytes());
            });
        }
    }

    fn on_response(&mut self, slot: usize, state: State, end: bool, fields: Fields) -> Outcome {
        let id = self.streams.get(slot).id;
        let mut head =
            ResponseHead::from_fields(fields).map_err(|violation| Fault(id, violation))?;
        if head.is_informational() {
            // RFC 9113 §8.1: an interim response with END_STREAM is malformed.
            if end {
                return Err(Fault(id, Violation::InformationalWithEndStream));
            }
            self.counted(slot).set_state(state);
            return Ok(Some(Event::Informational { id, head }));
        }
        let mut stream = self.counted(slot);
        stream.set_state(state);
        stream.recv.phase = Phase::Body;
        // RFC 9113 §8.5: only a 2xx makes a tunnel.
        stream.connect_request &= (200..300).contains(&head.status());
        let no_content = stream.head_request || matches!(head.status(), 204 | 304);
        if stream.connect_request {
            head.drop_length();
        }
        let has_length = !stream.connect_request && !no_content;
        let length = has_length.then(|| head.content_length()).flatten();
        stream.expect(no_content, length);
        drop(stream);
        if end {
            self.end_of_message(slot)?;
            self.remove_if_closed(slot);
        } else {
            self.watch_bodies();
            self.open_body(slot);
        }
        Ok(Some(Event::Response { id, head, end }))
    }

    /// Handles the end of the peer's message on this stream.
    pub(super) fn end_of_message(&mut self, slot: usize) -> Result<(), Fault> {
        let stream = self.streams.get_mut(slot);
        stream.recv.phase = Phase::Done;
        if stream.recv.lacks_content() {
            return Err(Fault(stream.id, Violation::ContentLengthMismatch));
        }
        Ok(())
    }

    /// Handles a frame on a stream that has no slot, or never had one.
    pub(super) fn on_frame_of_gone(&mut self, id: StreamId, lookup: Lookup) -> Outcome {
        match lookup {
            Lookup::Skipped => Err(Violation::StreamIdNotIncreasing.into()),
            // RFC 9113 §5.1: frames that were in flight when we sent RST_STREAM are ignored.
            Lookup::Closed(ClosedBy::Reset(Sender::Us)) => {
                self.charge_closed_stream()?;
                Ok(None)
            }
            // RFC 9113 §5.1: an end that has reset a stream sends nothing more on it. The other end
            // "MAY" treat more as a connection error.
            Lookup::Closed(ClosedBy::Reset(Sender::Peer)) => {
                Err(Violation::FrameOnResetStream.into())
            }
            _ if id > self.lifetime.last_accepted => Ok(None),
            Lookup::Closed(ClosedBy::EndStream) => Err(Violation::FrameOnClosedStream.into()),
            _ => Err(Violation::FrameOnIdleStream.into()),
        }
    }

    /// Makes a stream, which still needs a slot.
    pub(super) fn new_stream(&self, id: StreamId, opened_by: Sender, state: State) -> Stream {
        Stream::new(
            id,
            opened_by,
            state,
            RecvWindow::new(self.settings.binding_window, self.least_window()),
            SendWindow::new(self.settings.peer.initial_window_size),
            self.now,
        )
    }

    /// Gives a stream its slot, and counts it.
    pub(super) fn insert(&mut self, stream: Stream) -> usize {
        let receives = stream.is_receiving();
        let slot = self.streams.insert(stream);
        if receives {
            drop(self.counted(slot));
        }
        slot
    }
}

/// Returns the head of the engine's own response. RFC 9110 §6.6.1: "An origin server with a clock …
/// MUST generate a Date header field in all 2xx (Successful), 3xx (Redirection), and 4xx (Client
/// Error) responses".
pub(super) fn own_head(config: &Config, status: u16) -> ResponseHead {
    let head = ResponseHead::new(status);
    match config.date() {
        Some(date) => head.field("date", date),
        None => head,
    }
}

/// Returns the violation of a list that exceeded this limit.
pub(super) fn over(limit: ListLimit) -> Violation {
    match limit {
        ListLimit::Size => Violation::HeaderListTooLarge,
        ListLimit::Fields => Violation::TooManyHeaderFields,
        ListLimit::CookieCrumbs => Violation::TooManyCookieCrumbs,
    }
}
