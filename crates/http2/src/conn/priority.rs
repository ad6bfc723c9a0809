//! The client's priority signals: those of RFC 9218, and those of RFC 7540 while it sends no
//! others.

use tidegate_frame::{Priority as PriorityFrame, PriorityUpdate, StreamDependency, StreamId};
use tidegate_http::{Config, Fields, KnownName, Priorities, Priority, Role, Violation};

use crate::conn::Connection;
use crate::conn::fault::{Fault, Outcome};
use crate::sched::EarlyPriorities;
use crate::stream::Stream;
use crate::stream::map::Lookup;
use crate::stream::state::Sender;

/// The number of streams that a dependency may move free of charge: more than a browser's page has
/// below one stream.
const FREE_MOVES: usize = 256;

/// The client's signals, apart from the priority of each stream.
#[derive(Debug)]
pub(crate) struct Signals {
    pub(super) early: EarlyPriorities,
    /// Whether signals of RFC 7540 count: the configuration allows them, and the client has sent
    /// none of RFC 9218. There is a tree only while they count.
    pub(super) dependencies_count: bool,
}

impl Signals {
    pub(super) fn new(config: &Config, role: Role) -> Self {
        Self {
            early: EarlyPriorities::default(),
            dependencies_count: role == Role::Server && config.priorities == Priorities::Auto,
        }
    }
}

/// Signals of RFC 9218.
impl Connection {
    pub(super) fn on_priority_update(&mut self, frame: &PriorityUpdate) -> Outcome {
        // RFC 9218 §7.1: "A server MUST NOT send PRIORITY_UPDATE".
        if self.role == Role::Client {
            return Err(Violation::PriorityUpdateFromServer.into());
        }
        self.charge_priority(self.streams_opened())?;
        let id = frame.prioritized_id;
        match self.streams.lookup(id) {
            Lookup::Live(slot) => {
                self.ignore_dependencies();
                let priority = Priority::parse(&frame.value);
                self.prioritize(slot, priority);
            }
            // RFC 9218 §7.1: for an idle push stream: PROTOCOL_ERROR.
            Lookup::Idle if id.is_server_initiated() => {
                return Err(Violation::PriorityUpdateOfPushedIdle.into());
            }
            Lookup::Idle if id <= self.lifetime.last_accepted => {
                self.ignore_dependencies();
                self.keep_early_priority(id, Priority::parse(&frame.value))?;
            }
            _ => self.ignore_dependencies(),
        }
        Ok(None)
    }

    /// Keeps the priority of a stream that isn't open yet.
    fn keep_early_priority(&mut self, id: StreamId, priority: Priority) -> Result<(), Violation> {
        let limit = self.config.max_concurrent_streams as usize;
        let waiting = self.signals.early.len_with(id);
        if waiting + self.streams.opened_by(Sender::Peer) > limit {
            // Streams that only our owner still holds are over for the client.
            let is_active =
                |stream: &Stream| stream.opened_by == Sender::Peer && !stream.awaits_release();
            let streams = self.streams.iter();
            let active = streams.filter(|(_, stream)| is_active(stream)).count();
            // RFC 9218 §7.1: "The number of streams that have been prioritized but remain in the
            // "idle" state plus the number of active streams … MUST NOT exceed the value of the
            // SETTINGS_MAX_CONCURRENT_STREAMS parameter. Servers that receive such a
            // PRIORITY_UPDATE MUST respond with a connection error of type PROTOCOL_ERROR."
            if waiting + active > limit && self.settings.acknowledged() {
                return Err(Violation::PriorityUpdateOverLimit);
            }
            if waiting > limit {
                return Ok(());
            }
        }
        self.signals.early.keep(id, priority);
        Ok(())
    }

    /// Ignores signals of RFC 7540 from now on, because the client has sent one of RFC 9218.
    pub(super) fn ignore_dependencies(&mut self) {
        if !std::mem::take(&mut self.signals.dependencies_count) || !self.sched.has_tree() {
            return;
        }
        let ready = self.sched.fell_tree();
        self.schedule_anew(ready);
    }

    /// Adds the streams that were ready to an empty scheduler.
    fn schedule_anew(&mut self, ready: Vec<usize>) {
        for slot in ready {
            self.sched.insert(slot, self.streams.get(slot).priority);
        }
    }
}

/// Signals of RFC 7540.
impl Connection {
    pub(super) fn on_priority(&mut self, frame: PriorityFrame) -> Outcome {
        self.charge_priority(self.streams_opened())?;
        let PriorityFrame {
            stream_id: id,
            dependency,
        } = frame;
        self.check_dependency(id, Some(dependency))?;
        let takes_a_place = match self.streams.lookup(id) {
            Lookup::Live(_) => true,
            // RFC 7540 §5.3.4: "streams that are in the "idle" state can be assigned priority or
            // become a parent of other streams."
            Lookup::Idle => id.is_client_initiated() && id <= self.lifetime.last_accepted,
            Lookup::Skipped | Lookup::Closed(_) => self.sched.knows(id),
        };
        if self.signals.dependencies_count && takes_a_place {
            self.depend(id, dependency);
        }
        Ok(None)
    }

    /// Puts a request, which has its slot, into the tree while signals of RFC 7540 count. If the
    /// request has a signal of RFC 9218, they no longer count.
    #[cold]
    pub(super) fn place(
        &mut self,
        slot: usize,
        dependency: Option<StreamDependency>,
    ) -> Result<(), Violation> {
        let stream = self.streams.get(slot);
        if stream.prioritized {
            self.ignore_dependencies();
            return Ok(());
        }
        let id = stream.id;
        self.sched.open(slot, id, stream.priority);
        self.on_dependency(id, dependency)
    }

    /// Puts a push, which has its slot, into the tree. RFC 7540 §5.3.5: "Pushed streams initially
    /// depend on their associated stream" and "are assigned a default weight of 16".
    #[cold]
    pub(super) fn place_push(&mut self, slot: usize, parent: StreamId) {
        let stream = self.streams.get(slot);
        let id = stream.id;
        self.sched.open(slot, id, stream.priority);
        let dependency = StreamDependency {
            depends_on: parent,
            exclusive: false,
            weight: 15,
        };
        self.sched.depend(id, dependency);
    }

    /// Handles a dependency. RFC 7540 §6.2: "Prioritization information in a HEADERS frame is
    /// logically equivalent to a separate PRIORITY frame". The stream has its slot.
    #[cold]
    pub(super) fn on_dependency(
        &mut self,
        id: StreamId,
        dependency: Option<StreamDependency>,
    ) -> Result<(), Violation> {
        let Some(dependency) = dependency else {
            return Ok(());
        };
        if self.depend(id, dependency) > FREE_MOVES {
            // Each request would justify its own signal.
            self.charge_priority(0)?;
        }
        Ok(())
    }

    fn depend(&mut self, id: StreamId, dependency: StreamDependency) -> usize {
        if !self.sched.has_tree() {
            let ready = self.sched.plant_tree();
            for (slot, stream) in self.streams.iter() {
                self.sched.open(slot, stream.id, stream.priority);
            }
            self.schedule_anew(ready);
        }
        if let Lookup::Live(slot) = self.streams.lookup(id) {
            self.streams.get_mut(slot).prioritized = true;
        }
        self.sched.depend(id, dependency)
    }

    /// RFC 7540 §5.3.1: "A stream cannot depend on itself."
    pub(super) fn check_dependency(
        &self,
        id: StreamId,
        dependency: Option<StreamDependency>,
    ) -> Result<(), Fault> {
        match dependency {
            Some(dependency) if dependency.depends_on == id => {
                Err(Fault(id, Violation::StreamDependsOnItself))
            }
            _ => Ok(()),
        }
    }
}

/// The owner's priorities.
impl Connection {
    /// Sets a stream's priority as the client or the owner says.
    pub(crate) fn prioritize(&mut self, slot: usize, priority: Priority) {
        self.streams.get_mut(slot).prioritized = true;
        self.set_priority(slot, priority);
    }

    /// Merges a response's `priority` field over the client's priority (RFC 9218 §8).
    pub(super) fn merge_priority(&mut self, slot: usize, response: &Fields) {
        let Some(first) = response.get_known(KnownName::PRIORITY) else {
            return;
        };
        let priority = self.streams.get(slot).priority;
        let merged = priority.merge(&Priority::whole_value(response, first));
        // With a tree, `priority` lacks the client's dependency: a field without a change must not
        // touch it.
        if merged != priority {
            self.set_priority(slot, merged);
        }
    }

    pub(crate) fn set_priority(&mut self, slot: usize, priority: Priority) {
        self.streams.get_mut(slot).priority = priority;
        self.sched.reprioritize(slot, priority);
    }
}
