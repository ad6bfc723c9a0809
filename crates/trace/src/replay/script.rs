//! The application's part of a connection, read from the frames that the server sent.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Duration;

use tidegate_frame::{Flags, SettingId};
use tidegate_hpack::Fields;

use super::client::fields;
use super::heads::{Head, Heads};
use crate::record::{Event, FrameRecord, Payload, Record, Setting};

/// One thing that the application did, or that the engine did by itself.
#[derive(Clone, Debug)]
pub(super) enum Act {
    /// A head: interim or final response, or trailers.
    Head {
        fields: Fields,
        end: bool,
    },
    /// Bytes of the body.
    Body {
        len: u32,
        end: bool,
    },
    Push {
        promised: u32,
        fields: Fields,
    },
    Reset {
        code: u32,
    },
}

/// The acts on one stream in their order, with their times.
pub(super) type Acts = VecDeque<(Duration, Act)>;

/// The acts of the server.
#[derive(Default)]
pub(super) struct Script {
    pub(super) streams: HashMap<u32, Acts>,
    /// The streams that a rule ended.
    ruled: HashSet<u32>,
    /// Whether a rule ended the connection.
    pub(super) is_ruled: bool,
    /// The streams on which there is more than a reset.
    acted: HashSet<u32>,
    /// Streams whose responses wait for the client's windows until a rule ends them.
    stalled: HashSet<u32>,
    is_stalled: bool,
    /// The streams whose response ended.
    ended: HashSet<u32>,
    /// Whether the client broke the rules of windows.
    pub(super) overran_window: bool,
}

impl Script {
    pub(super) fn of(records: &[Record]) -> Self {
        let mut script = Self::default();
        let mut heads = Heads::default();
        for record in records {
            match &record.event {
                Event::Sent(frame) => script.sent(record.time, frame, &mut heads),
                Event::Rule(rule) => script.rule(rule.stream_id, &rule.rule),
                _ => {}
            }
        }
        script
    }

    fn rule(&mut self, stream: Option<u32>, rule: &str) {
        match stream {
            Some(id) => {
                self.ruled.insert(id);
                if rule == "write_timed_out" {
                    self.stalled.insert(id);
                }
            }
            None => {
                self.is_ruled = true;
                self.is_stalled |= rule == "connection_window_stalled";
            }
        }
        self.overran_window |= matches!(rule, "data_over_window" | "data_over_stream_window");
    }

    fn sent(&mut self, time: Duration, frame: &FrameRecord, heads: &mut Heads) {
        let id = frame.stream_id;
        let has_end = Flags(frame.flags).has(Flags::END_STREAM);
        if let Some(Head {
            stream,
            promised,
            end,
            block,
        }) = heads.next(frame)
        {
            let fields = fields(block);
            let act = match promised {
                Some(promised) => Act::Push { promised, fields },
                None => Act::Head { fields, end },
            };
            self.add(stream, time, act);
        }
        match &frame.payload {
            Payload::Data { data_length } => {
                let len = *data_length;
                self.add(id, time, Act::Body { len, end: has_end });
            }
            Payload::RstStream { code, .. } => self.add(id, time, Act::Reset { code: *code }),
            _ => {}
        }
        if has_end
            && matches!(
                frame.payload,
                Payload::Headers { .. } | Payload::Data { .. }
            )
        {
            self.ended.insert(id);
        }
    }

    fn add(&mut self, id: u32, time: Duration, act: Act) {
        if !matches!(act, Act::Reset { .. }) {
            self.acted.insert(id);
        }
        self.streams.entry(id).or_default().push_back((time, act));
    }

    /// Whether the application reset the stream with this code, if the engine doesn't: no rule did.
    /// The application may also refuse a stream that would exceed a limit.
    pub(super) fn may_reset(&self, id: u32, code: u32) -> bool {
        !self.ruled.contains(&id) || code == tidegate_frame::ErrorCode::REFUSED_STREAM.0
    }

    /// Whether the application has more for a stream than the client's windows ever took.
    pub(super) fn has_more_for(&self, id: u32) -> bool {
        (self.is_stalled || self.stalled.contains(&id)) && !self.ended.contains(&id)
    }

    /// Whether the application did nothing with a stream but reset it, until now.
    pub(super) fn is_reset_at_once(&self, id: u32, now: Duration) -> bool {
        let acts = self.streams.get(&id);
        let mut acts = acts.into_iter().flatten();
        matches!(acts.next(), Some((time, Act::Reset { .. })) if *time <= now)
            && !self.acted.contains(&id)
            && !self.ruled.contains(&id)
    }

    /// Takes the whole body of a response off the script, if it went out together with the head.
    /// Returns its length. A small body that was given as a whole goes out even if the client
    /// resets the stream.
    pub(super) fn whole_body(&mut self, id: u32) -> Option<usize> {
        let acts = self.streams.get_mut(&id)?;
        let (first, _) = acts.front()?;
        let (mut whole, mut count) = (0, 0);
        for (time, act) in acts.iter() {
            let Act::Body { len, end } = act else {
                return None;
            };
            if time != first {
                return None;
            }
            whole += *len as usize;
            count += 1;
            if *end {
                acts.drain(..count);
                return Some(whole);
            }
        }
        None
    }

    /// Whether a rule ended the stream.
    pub(super) fn is_ruled(&self, id: u32) -> bool {
        self.ruled.contains(&id)
    }
}

/// Returns the value of a setting, if it is among these.
pub(super) fn value(settings: &[Setting], id: SettingId) -> Option<u32> {
    let found = settings.iter().find(|setting| setting.id == id.0);
    found.map(|setting| setting.value)
}
