//! The order of connections: those that can go on wait in four queues, and a turn does a share of
//! each.
//!
//! A connection with something new doesn't wait for others' backlogs: a connection that had its
//! turn and has more events, or takes more of its answers, waits behind those that arrive
//! meanwhile. Each queue has its share of each turn, so none starves.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Events that one turn handles for one queue, about. This limit is for loops in memory, whose
/// turns don't depend on the machine's speed, and for machines that are faster than [`TIME`]
/// expects.
pub(crate) const EVENTS: usize = 256;

/// The time that one turn takes for one queue, about. Others wait this long for clients with more
/// to do than a turn takes, and for the other queues' shares.
const TIME: Duration = Duration::from_micros(250);

/// Events from one look at the clock to the next. A look costs as much as a small event.
const EVENTS_A_LOOK: usize = 64;

/// Events that take as long as one write or close, about. The service causes one when it uses
/// another connection than the one whose event it handles.
pub(crate) const TOUCH: usize = 8;

/// Events that take as long as opening a connection, about.
pub(crate) const DIAL: usize = 32;

/// Bytes whose writing takes as long as an event, about.
const BYTES_AN_EVENT: u64 = 4096;

/// Events that take as long as one step of a TLS handshake, about.
pub(crate) const HANDSHAKE: usize = 32;

/// The kinds of connections that wait, each with a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Queue {
    /// Connections that we opened and whose end has arrived. A turn serves all of them: the end
    /// counts before more is asked on the connection.
    Ending,
    /// Connections that we opened. An upstream's data is handled before it is asked for more.
    Dialled,
    /// Connections of clients with something new.
    New,
    /// Connections of clients that had their turn and have more, or whose sockets take more.
    Again,
}

impl Queue {
    /// The queues in the order of a turn.
    pub(crate) const ALL: [Self; 4] = [Self::Ending, Self::Dialled, Self::New, Self::Again];
}

/// The slots of connections that can go on. Some may be gone, or belong to other connections by
/// now, or have had their turn.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    queues: [VecDeque<u32>; 4],
}

impl Turns {
    pub(crate) fn push(&mut self, queue: Queue, slot: u32) {
        self.queues[queue as usize].push_back(slot);
    }

    /// Puts back a connection that was next.
    pub(crate) fn push_front(&mut self, queue: Queue, slot: u32) {
        self.queues[queue as usize].push_front(slot);
    }

    pub(crate) fn pop(&mut self, queue: Queue) -> Option<u32> {
        self.queues[queue as usize].pop_front()
    }

    pub(crate) fn len(&self, queue: Queue) -> usize {
        self.queues[queue as usize].len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.queues.iter().all(VecDeque::is_empty)
    }
}

/// The rest of a turn for one queue.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Budget {
    events: usize,
    /// Events, or work that takes as long, until the next look at the clock.
    until_look: usize,
    /// When the turn is over. `None` for loops in memory.
    until: Option<Instant>,
}

impl Budget {
    /// Returns the budget of a loop that works in real time.
    pub(crate) fn in_real_time() -> Self {
        Self {
            until: Some(Instant::now() + TIME),
            ..Self::in_memory()
        }
    }

    /// Returns the budget of a loop in memory.
    pub(crate) fn in_memory() -> Self {
        Self {
            events: EVENTS,
            until_look: EVENTS_A_LOOK,
            until: None,
        }
    }

    /// Charges `count` events that the service handled, or work that takes as long.
    pub(crate) fn charge(&mut self, count: usize) {
        self.events = self.events.saturating_sub(count);
        if count < self.until_look {
            self.until_look -= count;
        } else {
            self.until_look = EVENTS_A_LOOK;
            if self.until.is_some_and(|until| Instant::now() >= until) {
                self.events = 0;
            }
        }
    }

    /// Charges `written` bytes.
    pub(crate) fn charge_bytes(&mut self, written: u64) {
        let events = written / BYTES_AN_EVENT;
        self.charge(usize::try_from(events).unwrap_or(usize::MAX));
    }

    pub(crate) fn is_used_up(&self) -> bool {
        self.events == 0
    }
}
