//! Outgoing heads and the start of their bodies.

use std::sync::Arc;

use bytes::Bytes;
use tidegate_frame::{Data, Headers, StreamId};
use tidegate_hpack::Fields;
use tidegate_http::engine::SMALL_BODY;
use tidegate_http::{Body, Misuse, RequestHead, Role, Stamp};
use tidegate_ledger::Client;

use crate::conn::Connection;
use crate::stream::state::{Input, Sender, State};
use crate::stream::{More, Phase};

/// Requests.
impl Connection {
    /// Client: sends a request.
    ///
    /// # Errors
    /// Returns the [`Misuse`]; nothing was sent then.
    pub fn open(&mut self, head: &RequestHead, body: Body) -> Result<StreamId, Misuse> {
        self.open_for(None, head, body)
    }

    /// Sends a request like [`Connection::open`], on behalf of a client of the owner. The memory
    /// that the stream holds of [`Config::memory_budget`](crate::Config::memory_budget) is billed
    /// to that client instead of the connection, if the client is of the budget's ledger.
    ///
    /// # Errors
    /// As for [`Connection::open`].
    pub fn open_for(
        &mut self,
        client: Option<&Arc<Client>>,
        head: &RequestHead,
        body: Body,
    ) -> Result<StreamId, Misuse> {
        if self.role != Role::Client {
            return Err(Misuse::WrongRole);
        }
        if self.lifetime.is_ending() {
            return Err(Misuse::GoingAway);
        }
        if head.is_invalid() {
            return Err(Misuse::InvalidField);
        }
        // RFC 8441 §3: a client may use extended CONNECT once it has received
        // SETTINGS_ENABLE_CONNECT_PROTOCOL of 1.
        if head.protocol().is_some() && !self.settings.peer.enable_connect_protocol {
            return Err(Misuse::ConnectProtocolDisabled);
        }
        if !self.can_open() {
            return Err(Misuse::TooManyStreams);
        }
        self.check_list_size(head.fields())?;
        let id = self.streams.next_local().ok_or(Misuse::TooManyStreams)?;
        let mut stream = self.new_stream(id, Sender::Us, State::Idle);
        stream.note_request(head);
        // Any response may have a body.
        if !self.admit_response(&mut stream, client) {
            return Err(Misuse::OverMemoryBudget);
        }
        self.streams.note_used(id);
        let slot = self.insert(stream);
        self.wake();
        self.stats.requests += 1;
        self.send_head(slot, head.fields(), head.stamp(), body);
        Ok(id)
    }
}

/// The heads of both roles.
impl Connection {
    /// Sends the head of a message, whose size was checked, and takes its body.
    pub(crate) fn send_head(
        &mut self,
        slot: usize,
        fields: &Fields,
        stamp: Option<Stamp>,
        body: Body,
    ) {
        let body = match body {
            Body::Full(bytes) if bytes.is_empty() => Body::Empty,
            body => body,
        };
        let end = matches!(body, Body::Empty);
        let id = self.streams.get(slot).id;
        self.send_block(id, fields, stamp, end);
        let stream = self.streams.get_mut(slot);
        stream.note_sent(if end {
            Input::HeadersEnd
        } else {
            Input::Headers
        });
        stream.send.phase = Phase::Body;
        match body {
            Body::Empty => self.our_message_ended(slot),
            Body::Full(bytes) => self.send_whole_body(slot, bytes, fields),
            Body::Stream => {
                stream.send.buf.more = More::Ask;
                self.queue_body(slot, fields);
            }
        }
    }

    fn send_whole_body(&mut self, slot: usize, bytes: Bytes, head: &Fields) {
        let stream = self.streams.get_mut(slot);
        let len = bytes.len();
        let fits = len <= SMALL_BODY
            && len <= stream.send.window.available()
            && len <= self.send_window.available();
        if fits && self.sched.is_empty() {
            let head = Data::head(stream.id, len as u32, true);
            self.control.extend(&head);
            self.control.extend(&bytes);
            self.last_frames.sent(&head);
            return self.note_data_sent(slot, len, true);
        }
        stream.send.buf.pending = bytes;
        self.queue_body(slot, head);
    }

    /// Queues a body for its turn: only now does the response's priority matter.
    fn queue_body(&mut self, slot: usize, head: &Fields) {
        // A request's own field was read when its stream was made.
        if self.role == Role::Server {
            self.merge_priority(slot, head);
        }
        self.queue_if_ready(slot);
    }

    /// Sends an interim response.
    pub(crate) fn send_interim_head(&mut self, slot: usize, fields: &Fields) -> Result<(), Misuse> {
        self.check_list_size(fields)?;
        let id = self.streams.get(slot).id;
        self.send_block(id, fields, None, false);
        self.streams.get_mut(slot).note_sent(Input::Headers);
        Ok(())
    }

    pub(crate) fn check_list_size(&self, fields: &Fields) -> Result<(), Misuse> {
        let max = self.settings.peer.max_header_list_size;
        // RFC 9113 §10.5.1: the limit is advisory, but the peer would refuse a larger list.
        if max != u32::MAX && fields.list_size() > max as usize {
            return Err(Misuse::HeadTooLarge);
        }
        Ok(())
    }

    /// Sends a HEADERS frame, and CONTINUATION frames as needed.
    pub(super) fn send_block(
        &mut self,
        id: StreamId,
        fields: &Fields,
        stamp: Option<Stamp>,
        end: bool,
    ) {
        let block = self.blocks.encode(fields, stamp, &mut self.stats);
        let max_frame_size = self.settings.peer.max_frame_size;
        let before = self.control.len();
        Headers::write_block(id, block, end, max_frame_size, None, self.control.end());
        self.note_block_sent(before, max_frame_size);
    }
}
