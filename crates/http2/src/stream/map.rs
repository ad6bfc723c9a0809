//! The map from identifiers to slots: counts of streams, idle and closed identifiers, recent
//! resets.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};

use slab::Slab;
use tidegate_frame::StreamId;
use tidegate_hpack::{Packer, Unpacker};

use crate::stream::Stream;
use crate::stream::state::{ClosedBy, Sender};

/// The status of an identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lookup {
    /// The stream is in this slot.
    Live(usize),
    /// The identifier has not been used.
    Idle,
    /// The identifier was skipped: a higher one was opened first (RFC 9113 §5.1.1), so it can no
    /// longer be used.
    Skipped,
    /// The stream is closed and has no slot.
    Closed(ClosedBy),
}

/// The number of gaps in the peer's identifiers that are remembered; honest peers leave none or
/// few.
const MAX_GAPS: usize = 16;

/// A hash for identifiers: small numbers whose spread the peer chooses, among at most as many live
/// streams as we allow. One multiplication is enough.
#[derive(Default)]
pub(crate) struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u32(u32::from(*byte));
        }
    }

    fn write_u32(&mut self, id: u32) {
        self.0 = (self.0 ^ u64::from(id))
            .wrapping_mul(0x9e37_79b9_7f4a_7c15)
            .rotate_left(32);
    }
}

type ById<T> = HashMap<StreamId, T, BuildHasherDefault<IdHasher>>;

/// The streams that RST_STREAM ended recently. A lookup takes the same time however many there are.
struct ResetLately {
    by: ById<Sender>,
    /// The same streams, oldest first.
    order: VecDeque<StreamId>,
    capacity: usize,
    /// The highest stream that we reset and no longer remember, by the parity of its identifier.
    forgotten: [u32; 2],
}

impl ResetLately {
    fn new(capacity: usize) -> Self {
        Self {
            by: HashMap::default(),
            order: VecDeque::new(),
            capacity,
            forgotten: [0; 2],
        }
    }

    fn note(&mut self, id: StreamId, by: Sender) {
        if self.by.insert(id, by).is_some() {
            return;
        }
        self.order.push_back(id);
        if self.order.len() > self.capacity
            && let Some(oldest) = self.order.pop_front()
            && self.by.remove(&oldest) == Some(Sender::Us)
        {
            let forgotten = &mut self.forgotten[oldest.get() as usize % 2];
            *forgotten = oldest.get().max(*forgotten);
        }
    }

    /// Returns how a stream without a slot ended.
    fn closed_by(&self, id: StreamId) -> ClosedBy {
        let number = id.get();
        match self.by.get(&id) {
            Some(by) => ClosedBy::Reset(*by),
            // In doubt, we reset the stream. A client may have sent any number of requests before
            // it learned how many it may have open, and must not be accused of frames that were in
            // flight when these were refused (RFC 9113 §5.1).
            None if number <= self.forgotten[number as usize % 2] => ClosedBy::Reset(Sender::Us),
            None => ClosedBy::EndStream,
        }
    }
}

/// The number of slots that are kept however few streams there are.
const FEW_SLOTS: usize = 16;

/// Slots from which a table is large: 32 KiB of streams.
const MANY_SLOTS: usize = 128;

/// The streams of a connection.
pub(crate) struct StreamMap {
    slots: Slab<Stream>,
    /// All streams but the newest.
    by_id: ById<usize>,
    /// The stream that was inserted last, if it is still here. Most requests are answered before
    /// the next one comes, so most streams never enter `by_id`.
    newest: Option<(StreamId, usize)>,
    /// The stream of `by_id` that was found last: commands follow their event.
    recent: (StreamId, usize),
    /// The highest identifier that the peer opened or promised; 0 if none.
    highest_peer: u32,
    /// The next identifier of ours.
    next_local: u32,
    /// The numbers of open or held streams, by who opened them.
    open: [usize; 2],
    /// The number of resets that are remembered.
    most_resets: u32,
    past: Option<Box<Past>>,
}

/// Closed identifiers that most peers have none of.
pub(crate) struct Past {
    /// The peer's identifiers that were skipped, as inclusive ranges.
    gaps: VecDeque<(u32, u32)>,
    reset: ResetLately,
}

impl StreamMap {
    /// Makes an empty map. `first_local` is 1 for a client and 2 for a server.
    pub(crate) fn new(first_local: u32, max_concurrent_streams: u32) -> Self {
        Self {
            slots: Slab::new(),
            by_id: HashMap::default(),
            newest: None,
            recent: (StreamId::CONNECTION, 0),
            highest_peer: 0,
            next_local: first_local,
            open: [0, 0],
            most_resets: max_concurrent_streams.clamp(64, 1024),
            past: None,
        }
    }

    /// Adds the identifiers of an empty map. What is remembered of closed streams is returned: most
    /// peers have none of it.
    pub(crate) fn pack(&mut self, out: &mut Packer) -> Option<Box<Past>> {
        out.number(self.highest_peer.into());
        out.number(self.next_local.into());
        self.past.take()
    }

    /// Makes the map that another one has packed.
    pub(crate) fn unpack(input: &mut Unpacker<'_>, streams: u32, past: Option<Box<Past>>) -> Self {
        let highest_peer = input.number32();
        Self {
            highest_peer,
            past,
            ..Self::new(input.number32(), streams)
        }
    }

    fn past(&mut self) -> &mut Past {
        self.past.get_or_insert_with(|| {
            Box::new(Past {
                gaps: VecDeque::new(),
                reset: ResetLately::new(self.most_resets as usize),
            })
        })
    }

    pub(crate) fn lookup(&mut self, id: StreamId) -> Lookup {
        let number = id.get();
        let is_local = self.is_local(id);
        let is_idle = if is_local {
            number >= self.next_local
        } else {
            number > self.highest_peer
        };
        if is_idle {
            return Lookup::Idle;
        }
        if let Some(slot) = self.find(id) {
            return Lookup::Live(slot);
        }
        let Some(past) = &self.past else {
            return Lookup::Closed(ClosedBy::EndStream);
        };
        let skipped = |(from, to): &(u32, u32)| (*from..=*to).contains(&number);
        if !is_local && past.gaps.iter().any(skipped) {
            return Lookup::Skipped;
        }
        Lookup::Closed(past.reset.closed_by(id))
    }

    /// Returns the slot of a stream that has one.
    pub(crate) fn find(&mut self, id: StreamId) -> Option<usize> {
        if let Some((newest, slot)) = self.newest
            && newest == id
        {
            return Some(slot);
        }
        if self.recent.0 == id && !id.is_connection() {
            return Some(self.recent.1);
        }
        let slot = *self.by_id.get(&id)?;
        self.recent = (id, slot);
        Some(slot)
    }

    /// Returns a stream that has a slot, for getters.
    pub(crate) fn peek(&self, id: StreamId) -> Option<&Stream> {
        let newest = self.newest.filter(|(newest, _)| *newest == id);
        let slot = newest.map(|(_, slot)| slot);
        Some(self.get(slot.or_else(|| self.by_id.get(&id).copied())?))
    }

    fn is_local(&self, id: StreamId) -> bool {
        id.get() % 2 == self.next_local % 2
    }

    /// Returns our next identifier, unless they are used up (RFC 9113 §5.1.1).
    pub(crate) fn next_local(&self) -> Option<StreamId> {
        (self.next_local <= StreamId::MAX.get()).then(|| StreamId::new(self.next_local))
    }

    /// Notes that the peer used an idle identifier, and thereby all below it.
    pub(crate) fn note_used(&mut self, id: StreamId) {
        let number = id.get();
        if self.is_local(id) {
            self.next_local = number + 2;
            return;
        }
        let expected = if self.highest_peer == 0 {
            2 - number % 2
        } else {
            self.highest_peer + 2
        };
        if number > expected {
            self.note_gap(expected, number - 2);
        }
        self.highest_peer = number;
    }

    #[cold]
    fn note_gap(&mut self, from: u32, to: u32) {
        let gaps = &mut self.past().gaps;
        if gaps.len() == MAX_GAPS {
            gaps.pop_front();
        }
        gaps.push_back((from, to));
    }

    /// Notes that RST_STREAM ended a stream. The map remembers it for a while.
    pub(crate) fn note_reset(&mut self, id: StreamId, by: Sender) {
        self.past().reset.note(id, by);
    }

    /// Inserts a stream whose identifier was noted as used, and counts it.
    pub(crate) fn insert(&mut self, stream: Stream) -> usize {
        self.open[stream.opened_by as usize] += 1;
        let id = stream.id;
        if self.slots.capacity() == 0 {
            self.make_first_slot();
        }
        let slot = self.slots.insert(stream);
        if let Some((older, slot)) = self.newest.replace((id, slot)) {
            self.by_id.insert(older, slot);
        }
        slot
    }

    /// Makes one slot: many connections never have two streams at once.
    #[cold]
    fn make_first_slot(&mut self) {
        self.slots.reserve_exact(1);
    }

    /// Removes a stream and frees its slot.
    pub(crate) fn remove(&mut self, slot: usize) {
        let Stream { id, opened_by, .. } = self.slots.remove(slot);
        self.open[opened_by as usize] -= 1;
        if self.newest == Some((id, slot)) {
            self.newest = None;
            return;
        }
        self.by_id.remove(&id);
        if self.recent.0 == id {
            self.recent = (StreamId::CONNECTION, 0);
        }
    }

    pub(crate) fn get(&self, slot: usize) -> &Stream {
        &self.slots[slot]
    }

    pub(crate) fn get_mut(&mut self, slot: usize) -> &mut Stream {
        &mut self.slots[slot]
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (usize, &Stream)> {
        self.slots.iter()
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (usize, &mut Stream)> {
        self.slots.iter_mut()
    }

    /// Returns the slots of all streams, to change streams one by one.
    pub(crate) fn slots(&self) -> Vec<usize> {
        self.slots.iter().map(|(slot, _)| slot).collect()
    }

    /// Returns the number of streams that `sender` opened and that are open or held.
    pub(crate) fn opened_by(&self, sender: Sender) -> usize {
        self.open[sender as usize]
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Returns the highest stream that the peer opened: the one that GOAWAY names.
    pub(crate) fn highest_peer(&self) -> StreamId {
        StreamId::new(self.highest_peer)
    }

    /// Whether most of the slots' memory belonged to streams that are gone.
    pub(crate) fn is_sparse(&self) -> bool {
        let capacity = self.slots.capacity();
        capacity > FEW_SLOTS && self.slots.len() * 4 <= capacity
    }

    /// Whether a large table has only a few streams left. Such a table shrinks at once, not after
    /// a rest: connections that each had a thousand streams within a second would otherwise hold
    /// all their tables at the same time, and the allocator could not return the memory later,
    /// because small allocations lie between the tables.
    ///
    /// At least seven of eight streams have ended since the table grew, so their number pays for
    /// the moves.
    pub(crate) fn is_mostly_free(&self) -> bool {
        let capacity = self.slots.capacity();
        capacity >= MANY_SLOTS && !self.slots.is_empty() && self.slots.len() * 8 <= capacity
    }

    /// Moves all streams to the lowest slots, and calls `moved` with the old and the new slot of
    /// each.
    pub(crate) fn compact(&mut self, mut moved: impl FnMut(usize, usize)) {
        let by_id = &mut self.by_id;
        if let Some((id, slot)) = self.newest.take() {
            by_id.insert(id, slot);
        }
        self.slots.compact(|stream, from, to| {
            by_id.insert(stream.id, to);
            moved(from, to);
            true
        });
        self.recent = (StreamId::CONNECTION, 0);
    }

    /// Frees the memory of streams that are gone.
    pub(crate) fn release_memory(&mut self) {
        self.slots.shrink_to_fit();
        self.by_id.shrink_to_fit();
        if let Some(past) = &mut self.past {
            past.reset.by.shrink_to_fit();
            past.reset.order.shrink_to_fit();
        }
    }

    /// Removes all streams and frees their memory.
    pub(crate) fn clear(&mut self) {
        self.slots = Slab::new();
        self.by_id = HashMap::default();
        self.newest = None;
        self.recent = (StreamId::CONNECTION, 0);
        self.open = [0, 0];
        self.past = None;
    }
}
