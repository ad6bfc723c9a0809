//! The dependency tree of RFC 7540 §5.3, for clients that send no other priorities.

use std::collections::{BTreeSet, HashMap};
use std::hash::BuildHasherDefault;

use slab::Slab;
use tidegate_frame::{StreamDependency, StreamId};
use tidegate_http::Priority;

use super::lists::Lists;
use crate::stream::map::IdHasher;

/// The number of idle and closed streams that keep their place; the one unused for longest goes
/// first. Browsers have six idle streams that group the others.
const MAX_RETAINED: usize = 100;

/// The most streams on the way from the root to the deepest stream, without the root. A stream that
/// would be deeper is attached further up.
const MAX_DEPTH: usize = 32;

/// RFC 7540 §5.3.5: "All streams are initially assigned a non-exclusive dependency on stream 0x0"
/// and "a default weight of 16".
const DEFAULT: StreamDependency = StreamDependency {
    depends_on: StreamId::CONNECTION,
    exclusive: false,
    weight: 15,
};

/// A weight of 1. Fractions arise when a stream's weight is distributed to its children.
const ONE: u32 = 256;

/// The largest weight. The bytes of a stream of this weight count once, those of a lighter one
/// more.
const HEAVIEST: u32 = 256 * ONE;

/// The node of stream 0.
const ROOT: u32 = 0;

/// The only list of retained nodes.
const RETAINED: u32 = 0;

/// Streams in the order of their dependencies; some are ready.
///
/// A ready stream precedes those that depend on it. RFC 7540 §5.3.1: "a dependent stream SHOULD
/// only be allocated resources if either all of the streams that it depends on … are closed or it
/// is not possible to make progress on them." Siblings share by weighted fair queueing: each has a
/// time that advances with the bytes sent for it or its dependents, faster the lighter it is. The
/// one that is furthest behind goes first.
///
/// With n streams, picking takes O(log n) at each of at most 32 levels, and so do `insert`,
/// `remove` and `sent`. `depend` takes O(m) more for m direct and indirect dependents of the moved
/// stream, and O(log n) for each direct one that has something to send.
#[derive(Debug)]
pub(super) struct Tree {
    nodes: Slab<Node>,
    /// The children of each node; a list has the number of the parent.
    children: Lists,
    by_id: HashMap<StreamId, u32, BuildHasherDefault<IdHasher>>,
    /// The node of each slot.
    by_slot: Vec<u32>,
    /// Nodes of idle and closed streams, the one unused for longest at the front.
    retained: Lists,
    retained_len: usize,
    /// The number of nodes visited or moved since `depend` began.
    work: usize,
}

#[derive(Debug)]
struct Node {
    id: StreamId,
    /// The slot of the stream; `None` if it is idle or closed.
    slot: Option<u32>,
    /// The weight, in parts of `ONE`.
    weight: u32,
    /// Whether the stream has something to send.
    ready: bool,
    /// The bytes of its parent's turns that this node has used, scaled to the heaviest stream.
    time: u64,
    /// Children that are ready or have a ready descendant, by their times.
    queue: BTreeSet<(u64, u32)>,
    /// The time of the child that was furthest behind at the last turn. Children that join start
    /// from here.
    now: u64,
}

impl Node {
    fn new(id: StreamId, slot: Option<u32>, weight: u32) -> Self {
        Self {
            id,
            slot,
            weight,
            ready: false,
            time: 0,
            queue: BTreeSet::new(),
            now: 0,
        }
    }

    /// Whether the node takes turns, for itself or a descendant.
    fn is_active(&self) -> bool {
        self.ready || !self.queue.is_empty()
    }
}

/// Returns the weight for an urgency: 3 has the default weight of 16, each step down twice as much.
fn weight_of(priority: Priority) -> u32 {
    (128 * ONE) >> priority.urgency.min(7)
}

impl Default for Tree {
    fn default() -> Self {
        let mut nodes = Slab::new();
        let root = nodes.insert(Node::new(StreamId::CONNECTION, None, HEAVIEST));
        debug_assert_eq!(root, ROOT as usize);
        Self {
            nodes,
            children: Lists::default(),
            by_id: HashMap::default(),
            by_slot: Vec::new(),
            retained: Lists::default(),
            retained_len: 0,
            work: 0,
        }
    }
}

/// Turns.
impl Tree {
    /// Returns the stream whose turn it is.
    pub(super) fn next(&self) -> Option<u32> {
        let mut node = self.node(ROOT);
        loop {
            if node.ready {
                return node.slot;
            }
            node = self.node(node.queue.first()?.1);
        }
    }

    /// Notes that a stream has something to send.
    pub(super) fn insert(&mut self, slot: u32) {
        let Some(at) = self.at(slot) else { return };
        let was_active = self.node(at).is_active();
        self.node_mut(at).ready = true;
        if !was_active {
            self.activate(at);
        }
    }

    /// Notes that a stream has nothing more to send, or may not send.
    pub(super) fn remove(&mut self, slot: u32) {
        let Some(at) = self.at(slot) else { return };
        let node = self.node_mut(at);
        if std::mem::take(&mut node.ready) && !node.is_active() {
            self.deactivate(at);
        }
    }

    /// Notes that a ready stream has sent `bytes`.
    pub(super) fn sent(&mut self, slot: u32, bytes: usize) {
        let Some(mut at) = self.at(slot) else { return };
        while at != ROOT {
            let parent = self.parent(at);
            let node = self.node_mut(at);
            let before = node.time;
            // 2^24 bytes at a weight of one part make 2^40; a connection has room for 2^24 such
            // turns.
            node.time += bytes as u64 * u64::from(HEAVIEST) / u64::from(node.weight);
            let after = node.time;
            let parent_node = self.node_mut(parent);
            if let Some((furthest_behind, _)) = parent_node.queue.first() {
                parent_node.now = parent_node.now.max(*furthest_behind);
            }
            parent_node.queue.remove(&(before, at));
            parent_node.queue.insert((after, at));
            at = parent;
        }
    }

    /// Lets a node take turns from now on, and with it the nodes above.
    fn activate(&mut self, mut at: u32) {
        while at != ROOT {
            let parent = self.parent(at);
            let now = self.node(parent).now;
            let node = self.node_mut(at);
            // A node that comes late has no claim on what the others used before.
            node.time = node.time.max(now);
            let entry = (node.time, at);
            let parent_node = self.node_mut(parent);
            let was_active = parent_node.is_active();
            parent_node.queue.insert(entry);
            if was_active {
                return;
            }
            at = parent;
        }
    }

    /// Ends the turns of a node, and of the nodes above that have no other active child.
    fn deactivate(&mut self, mut at: u32) {
        while at != ROOT {
            let parent = self.parent(at);
            let entry = (self.node(at).time, at);
            let parent_node = self.node_mut(parent);
            parent_node.queue.remove(&entry);
            if parent_node.is_active() {
                return;
            }
            at = parent;
        }
    }
}

/// Dependencies.
impl Tree {
    pub(super) fn knows(&self, id: StreamId) -> bool {
        self.by_id.contains_key(&id)
    }

    /// Notes that a stream has a slot. If a PRIORITY frame named it before, it has a place;
    /// otherwise it depends on stream 0.
    pub(super) fn open(&mut self, slot: u32, id: StreamId, priority: Priority) {
        let at = match self.by_id.get(&id) {
            Some(&at) => {
                self.node_mut(at).slot = Some(slot);
                if self.retained.remove(at).is_some() {
                    self.retained_len -= 1;
                }
                at
            }
            None => self.grow(Node::new(id, Some(slot), weight_of(priority))),
        };
        if self.by_slot.len() <= slot as usize {
            self.by_slot.resize(slot as usize + 1, ROOT);
        }
        self.by_slot[slot as usize] = at;
    }

    /// Notes that a stream has lost its slot. RFC 7540 §5.3.4: "an endpoint SHOULD retain stream
    /// prioritization state for a period after streams become closed."
    pub(super) fn close(&mut self, slot: u32) {
        let Some(at) = self.at(slot) else { return };
        self.by_slot[slot as usize] = ROOT;
        self.node_mut(at).slot = None;
        self.retain(at);
    }

    /// Sets the owner's priority of a stream, whatever it depends on.
    pub(super) fn set_priority(&mut self, slot: u32, priority: Priority) {
        if let Some(at) = self.at(slot) {
            self.node_mut(at).weight = weight_of(priority);
        }
    }

    /// Makes a stream depend on another, with all its dependents. Returns how many streams were
    /// visited or moved.
    pub(super) fn depend(&mut self, id: StreamId, dependency: StreamDependency) -> usize {
        self.work = 0;
        // RFC 7540 §5.3.1: "A dependency on a stream that is not currently in the tree … results in
        // that stream being given a default priority".
        let (parent, dependency) = match self.by_id.get(&dependency.depends_on) {
            Some(&parent) => (parent, dependency),
            None if dependency.depends_on.is_connection() => (ROOT, dependency),
            None => (ROOT, DEFAULT),
        };
        self.touch(parent);
        let at = match self.by_id.get(&id) {
            Some(&at) => at,
            None => {
                let at = self.grow(Node::new(id, None, 16 * ONE));
                self.retain(at);
                at
            }
        };
        if parent == at {
            return self.work;
        }
        self.node_mut(at).weight = (u32::from(dependency.weight) + 1) * ONE;
        // RFC 7540 §5.3.3: "If a stream is made dependent on one of its own dependencies, the
        // formerly dependent stream is first moved to be dependent on the reprioritized stream's
        // previous parent. The moved dependency retains its weight."
        if self.is_below(parent, at) {
            let above = self.parent(at);
            self.move_to(parent, above);
        }
        self.touch(at);
        let height = self.height(at);
        if dependency.exclusive && self.takes_over(at, parent, height) {
            return self.work;
        }
        let mut place = parent;
        while place != ROOT && self.depth(place) + 1 + height > MAX_DEPTH {
            place = self.parent(place);
        }
        self.move_to(at, place);
        self.work
    }

    /// Makes `at` the only child of `parent`. RFC 7540 §5.3.1: an exclusive dependency "causes the
    /// stream to become the sole dependency of its parent stream, causing other dependencies to
    /// become dependent on the exclusive stream". Refuses it if a stream would be too deep.
    fn takes_over(&mut self, at: u32, parent: u32, height: usize) -> bool {
        let others = self.children.iter(parent).filter(|child| *child != at);
        let others: Vec<u32> = others.collect();
        let heights = others.iter().map(|child| self.height(*child) + 1);
        let heights: Vec<usize> = heights.collect();
        let height = heights.into_iter().max().unwrap_or(0).max(height);
        if self.depth(parent) + 1 + height > MAX_DEPTH {
            return false;
        }
        self.move_to(at, parent);
        for child in others {
            self.move_to(child, at);
        }
        true
    }

    /// Adds a new node under the root.
    fn grow(&mut self, node: Node) -> u32 {
        let id = node.id;
        let at = self.nodes.insert(node) as u32;
        self.by_id.insert(id, at);
        self.children.push_back(ROOT, at);
        at
    }

    /// Makes a node the last child of another, which isn't below it. Its lead over the child
    /// furthest behind stays the same.
    fn move_to(&mut self, at: u32, parent: u32) {
        self.work += 1;
        let old = self.parent(at);
        if old == parent {
            return;
        }
        let is_active = self.node(at).is_active();
        if is_active {
            self.deactivate(at);
        }
        self.children.remove(at);
        self.children.push_back(parent, at);
        let (old_now, now) = (self.node(old).now, self.node(parent).now);
        let node = self.node_mut(at);
        node.time = now + node.time.saturating_sub(old_now);
        if is_active {
            self.activate(at);
        }
    }

    /// Keeps the node of an idle or closed stream for a while; the one unused for longest is
    /// dropped.
    fn retain(&mut self, at: u32) {
        self.retained.push_back(RETAINED, at);
        self.retained_len += 1;
        if self.retained_len > MAX_RETAINED
            && let Some(oldest) = self.retained.front(RETAINED)
        {
            self.retained.remove(oldest);
            self.retained_len -= 1;
            self.cut(oldest);
        }
    }

    /// Marks a stream, and those above it, as used. RFC 7540 §5.3.4: "Implementations SHOULD also
    /// attempt to retain state for streams that are in active use in the priority tree."
    fn touch(&mut self, mut at: u32) {
        while at != ROOT {
            self.retained.move_to_back(at);
            at = self.parent(at);
        }
    }

    /// Removes a stream that has no slot. RFC 7540 §5.3.4: "When a stream is removed from the
    /// dependency tree, its dependencies can be moved to become dependent on the parent of the
    /// closed stream. The weights of new dependencies are recalculated by distributing the weight
    /// of the dependency of the closed stream proportionally based on the weights of its
    /// dependencies."
    fn cut(&mut self, at: u32) {
        let parent = self.parent(at);
        let weight = u64::from(self.node(at).weight);
        let orphans: Vec<u32> = self.children.iter(at).collect();
        let weights = orphans
            .iter()
            .map(|child| u64::from(self.node(*child).weight));
        let sum: u64 = weights.sum();
        for child in orphans {
            let node = self.node_mut(child);
            let share = u64::from(node.weight) * weight / sum;
            // A share is at most the whole, so it fits.
            node.weight = (share as u32).max(1);
            self.move_to(child, parent);
        }
        self.children.remove(at);
        let node = self.nodes.remove(at as usize);
        self.by_id.remove(&node.id);
    }

    /// Returns the number of nodes above.
    fn depth(&self, mut at: u32) -> usize {
        let mut depth = 0;
        while at != ROOT {
            at = self.parent(at);
            depth += 1;
        }
        depth
    }

    /// Returns the number of levels below.
    fn height(&mut self, at: u32) -> usize {
        self.work += 1;
        if self.children.is_empty(at) {
            return 0;
        }
        let (mut height, mut level) = (0, vec![at]);
        loop {
            let below = level.iter().flat_map(|node| self.children.iter(*node));
            level = below.collect();
            if level.is_empty() {
                return height;
            }
            self.work += level.len();
            height += 1;
        }
    }

    /// Whether node `above` is above this one.
    fn is_below(&self, mut at: u32, above: u32) -> bool {
        while at != ROOT {
            at = self.parent(at);
            if at == above {
                return true;
            }
        }
        false
    }

    fn parent(&self, at: u32) -> u32 {
        self.children.list_of(at).unwrap_or(ROOT)
    }

    fn node(&self, at: u32) -> &Node {
        &self.nodes[at as usize]
    }

    fn node_mut(&mut self, at: u32) -> &mut Node {
        &mut self.nodes[at as usize]
    }

    /// Returns the node of a stream that has a slot.
    fn at(&self, slot: u32) -> Option<u32> {
        let at = *self.by_slot.get(slot as usize)?;
        (at != ROOT).then_some(at)
    }
}

/// For tests.
impl Tree {
    /// Checks that this is a tree and that its books agree. Returns the slots of ready streams.
    pub(super) fn check(&self) -> Result<Vec<u32>, String> {
        let (mut ready, mut retained, mut seen) = (Vec::new(), 0, 1);
        let mut level = vec![ROOT];
        for depth in 0.. {
            let below = level.iter().flat_map(|node| self.children.iter(*node));
            let below: Vec<u32> = below.collect();
            for at in &level {
                let node = self.node(*at);
                let active = self
                    .children
                    .iter(*at)
                    .filter(|child| self.node(*child).is_active());
                let queue: BTreeSet<_> =
                    active.map(|child| (self.node(child).time, child)).collect();
                if queue != node.queue {
                    return Err(format!(
                        "{} has queued {:?} of {queue:?}",
                        node.id, node.queue
                    ));
                }
                if *at == ROOT {
                    continue;
                }
                if self.by_id.get(&node.id) != Some(at)
                    || node.slot.is_some_and(|slot| self.at(slot) != Some(*at))
                {
                    return Err(format!("{} is not found where it is", node.id));
                }
                if node.slot.is_some() == self.retained.list_of(*at).is_some()
                    || node.ready && node.slot.is_none()
                {
                    return Err(format!("{} is retained without need, or lost", node.id));
                }
                retained += usize::from(node.slot.is_none());
                ready.extend(node.slot.filter(|_| node.ready));
            }
            if below.is_empty() {
                break;
            }
            if depth == MAX_DEPTH {
                return Err("it is too deep".into());
            }
            seen += below.len();
            level = below;
        }
        if seen != self.nodes.len() || seen != self.by_id.len() + 1 {
            return Err(format!(
                "{seen} of {} nodes hang on the root",
                self.nodes.len()
            ));
        }
        if retained != self.retained_len || retained > MAX_RETAINED {
            return Err(format!(
                "{retained} nodes are retained, counted were {}",
                self.retained_len
            ));
        }
        Ok(ready)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn id(number: u32) -> StreamId {
        StreamId::new(number)
    }

    /// Makes a dependency with a weight of 1 to 256, as in the RFC.
    fn on(parent: u32, weight: u32, exclusive: bool) -> StreamDependency {
        StreamDependency {
            depends_on: id(parent),
            exclusive,
            weight: (weight - 1) as u8,
        }
    }

    /// Makes a tree of streams, each with its parent and weight. Their numbers are their slots.
    fn tree(streams: &[(u32, u32, u32)]) -> Tree {
        let mut tree = Tree::default();
        for (stream, parent, weight) in streams {
            tree.open(*stream, id(*stream), Priority::default());
            tree.depend(id(*stream), on(*parent, *weight, false));
        }
        tree
    }

    fn ready(mut tree: Tree, slots: &[u32]) -> Tree {
        for slot in slots {
            tree.insert(*slot);
        }
        tree
    }

    /// Returns the bytes that each slot sent in `turns` turns of different sizes.
    fn serve(tree: &mut Tree, turns: usize) -> HashMap<u32, usize> {
        let mut bytes = HashMap::new();
        for turn in 0..turns {
            let slot = tree.next().expect("somebody is ready");
            let len = 1 + turn * 7919 % 16_384;
            tree.sent(slot, len);
            *bytes.entry(slot).or_default() += len;
        }
        bytes
    }

    fn is_about(ratio: f64, expected: f64) -> bool {
        (ratio / expected - 1.0).abs() < 0.1
    }

    impl Tree {
        fn parent_of(&self, stream: u32) -> u32 {
            self.node(self.parent(self.by_id[&id(stream)])).id.get()
        }

        /// Returns the weight as in the RFC, with fractions.
        fn weight_of(&self, stream: u32) -> f64 {
            f64::from(self.node(self.by_id[&id(stream)]).weight) / f64::from(ONE)
        }
    }

    #[test]
    fn siblings_share_by_their_weights() {
        // RFC 7540 §5.3.2: "Streams with the same parent SHOULD be allocated resources
        // proportionally based on their weight."
        for (one, other) in [(256, 1), (3, 1), (16, 16), (200, 100)] {
            let mut tree = ready(tree(&[(1, 0, one), (3, 0, other)]), &[1, 3]);
            let bytes = serve(&mut tree, 100_000);
            let ratio = bytes[&1] as f64 / bytes[&3] as f64;
            let expected = f64::from(one) / f64::from(other);
            assert!(
                is_about(ratio, expected),
                "{one}:{other} came out as {ratio}"
            );
        }
    }

    #[test]
    fn a_subtree_shares_as_its_root_does() {
        // 1 has nothing to send: 3 and 5, which depend on it, share its part 3:1.
        let streams = [(1, 0, 100), (3, 1, 3), (5, 1, 1), (7, 0, 100)];
        let mut tree = ready(tree(&streams), &[3, 5, 7]);
        let bytes = serve(&mut tree, 100_000);
        let below = (bytes[&3] + bytes[&5]) as f64;
        assert!(is_about(below / bytes[&7] as f64, 1.0), "{bytes:?}");
        assert!(
            is_about(bytes[&3] as f64 / bytes[&5] as f64, 3.0),
            "{bytes:?}"
        );
    }

    #[test]
    fn children_wait_until_their_parent_can_not_progress() {
        // RFC 7540 §5.3.1: "a dependent stream SHOULD only be allocated resources if either all of
        // the streams that it depends on (the chain of parent streams up to 0x0) are closed or it
        // is not possible to make progress on them."
        let mut tree = ready(tree(&[(1, 0, 1), (3, 1, 256), (5, 3, 256)]), &[5, 3, 1]);
        assert!(serve(&mut tree, 100).keys().eq(&[1]));
        tree.remove(1);
        assert!(serve(&mut tree, 100).keys().eq(&[3]));
        tree.remove(3);
        assert!(serve(&mut tree, 100).keys().eq(&[5]));
        tree.insert(1);
        assert!(serve(&mut tree, 100).keys().eq(&[1]));
    }

    #[test]
    fn who_was_not_ready_has_no_claim_on_what_the_others_had() {
        let mut tree = ready(tree(&[(1, 0, 16), (3, 0, 16)]), &[1]);
        serve(&mut tree, 1000);
        tree.insert(3);
        let bytes = serve(&mut tree, 1000);
        assert!(
            is_about(bytes[&3] as f64 / bytes[&1] as f64, 1.0),
            "{bytes:?}"
        );
    }

    #[test]
    fn an_exclusive_stream_gets_between_a_parent_and_its_children() {
        // RFC 7540 §5.3.1, Figure 4.
        let mut tree = tree(&[(1, 0, 16), (3, 1, 12), (5, 1, 4)]);
        tree.depend(id(7), on(1, 16, true));
        let parents = [1, 3, 5, 7].map(|stream| tree.parent_of(stream));
        assert_eq!(parents, [0, 7, 7, 1]);
        assert_eq!((tree.weight_of(3), tree.weight_of(5)), (12.0, 4.0));
    }

    #[test]
    fn a_stream_may_move_below_what_depended_on_it() {
        // RFC 7540 §5.3.3, Figure 5, with the streams A, B, C, D, E, F as 1 to 11: A is made to
        // depend on D.
        let streams = [
            (1, 0, 16),
            (3, 1, 16),
            (5, 1, 16),
            (7, 5, 20),
            (9, 5, 16),
            (11, 7, 16),
        ];
        for (exclusive, expected) in [(false, [7, 1, 1, 0, 5, 7]), (true, [7, 1, 1, 0, 5, 1])] {
            let mut tree = tree(&streams);
            tree.depend(id(1), on(7, 16, exclusive));
            let parents = [1, 3, 5, 7, 9, 11].map(|stream| tree.parent_of(stream));
            assert_eq!(parents, expected);
            // "The moved dependency retains its weight."
            assert_eq!(tree.weight_of(7), 20.0);
        }
    }

    #[test]
    fn a_stream_below_an_unknown_one_has_the_default_priority() {
        // RFC 7540 §5.3.1: "A dependency on a stream that is not currently in the tree … results in
        // that stream being given a default priority". §5.3.5: "a non-exclusive dependency on
        // stream 0x0" and "a default weight of 16".
        let mut tree = tree(&[(1, 0, 16), (3, 1, 7)]);
        tree.depend(id(3), on(99, 200, true));
        assert_eq!((tree.parent_of(3), tree.parent_of(1)), (0, 0));
        assert_eq!(tree.weight_of(3), 16.0);
    }

    #[test]
    fn an_idle_stream_keeps_its_place_until_it_is_opened() {
        let mut tree = tree(&[(1, 0, 16)]);
        tree.depend(id(5), on(1, 99, false));
        tree.open(0, id(5), Priority::default());
        assert_eq!((tree.parent_of(5), tree.weight_of(5)), (1, 99.0));
    }

    #[test]
    fn what_depended_on_a_forgotten_stream_shares_its_weight() {
        // RFC 7540 §5.3.4: "assume streams A and B share a parent, and streams C and D both depend
        // on stream A. … If stream A is removed from the tree, the weight of stream A is divided
        // between streams C and D. If stream D is still unable to proceed, … For equal starting
        // weights, C receives one third, rather than one half, of available resources."
        let mut tree = tree(&[(1, 0, 16), (3, 0, 16), (5, 1, 16), (7, 1, 16)]);
        tree.close(1);
        for stream in 0..MAX_RETAINED as u32 {
            assert!(tree.knows(id(1)));
            tree.depend(id(1001 + 2 * stream), on(0, 1, false));
        }
        assert!(!tree.knows(id(1)));
        let known = [3, 5, 7].map(|stream| (tree.parent_of(stream), tree.weight_of(stream)));
        assert_eq!(known, [(0, 16.0), (0, 8.0), (0, 8.0)]);
        let mut tree = ready(tree, &[3, 5]);
        let bytes = serve(&mut tree, 10_000);
        assert!(
            is_about(bytes[&3] as f64 / bytes[&5] as f64, 2.0),
            "{bytes:?}"
        );
    }

    #[test]
    fn streams_that_others_go_on_to_depend_on_are_kept() {
        // Firefox never opens 3 to 13: they exist for others to depend on.
        let mut tree = Tree::default();
        tree.depend(id(3), on(0, 201, false));
        tree.depend(id(5), on(3, 1, false));
        for stream in 0..1000 {
            let slot = 20;
            tree.open(slot, id(1001 + 2 * stream), Priority::default());
            tree.depend(id(1001 + 2 * stream), on(5, 22, false));
            tree.close(slot);
            assert_eq!(tree.parent_of(1001 + 2 * stream), 5);
        }
        assert_eq!((tree.parent_of(5), tree.weight_of(3)), (3, 201.0));
        assert_eq!(tree.retained_len, MAX_RETAINED);
        tree.check().expect("it is a tree");
    }

    #[test]
    fn a_chain_is_no_deeper_than_the_limit() {
        // Chrome made each request depend on the one before, exclusively.
        for exclusive in [false, true] {
            let mut tree = Tree::default();
            for stream in 1..=200 {
                tree.open(stream, id(stream), Priority::default());
                tree.depend(id(stream), on(stream - 1, 16, exclusive));
                tree.check().expect("it is a tree and not too deep");
            }
            assert_eq!(tree.depth(tree.by_id[&id(32)]), MAX_DEPTH);
            assert_eq!(tree.depth(tree.by_id[&id(200)]), MAX_DEPTH);
            // An exclusive dependency that would make the tree too deep takes nothing over.
            tree.open(201, id(201), Priority::default());
            tree.depend(id(201), on(0, 16, true));
            assert_eq!((tree.parent_of(201), tree.parent_of(1)), (0, 0));
            tree.check().expect("it is a tree and not too deep");
        }
    }

    #[test]
    fn what_a_signal_costs_has_a_bound() {
        // As many streams as the server allows, on one that moves back and forth: a signal can't
        // make the tree visit more.
        const STREAMS: u32 = 1000;
        let mut tree = Tree::default();
        for stream in 1..=STREAMS {
            tree.open(stream, id(stream), Priority::default());
            tree.depend(id(stream), on(u32::from(stream > 2), 16, false));
            tree.insert(stream);
        }
        let most = 4 * (STREAMS as usize + MAX_RETAINED);
        for n in 0..2000 {
            let exclusive = n % 3 != 0;
            assert!(tree.depend(id(1), on(n % 2 * 2, 16, exclusive)) <= most);
            assert!(tree.depend(id(2001 + n), on(n % 2, 16, exclusive)) <= most);
            assert!(tree.nodes.len() <= 1 + STREAMS as usize + MAX_RETAINED);
        }
        tree.check().expect("it is a tree");
    }

    /// Parents and weights, as the RFC describes them.
    #[derive(Default)]
    struct Model(HashMap<u32, (u32, u32)>);

    impl Model {
        fn is_below(&self, mut stream: u32, above: u32) -> bool {
            while stream != 0 {
                stream = self.0[&stream].0;
                if stream == above {
                    return true;
                }
            }
            false
        }

        fn depend(&mut self, stream: u32, parent: u32, weight: u32, exclusive: bool) {
            let is_known = parent == 0 || self.0.contains_key(&parent);
            let (parent, weight, exclusive) = if is_known {
                (parent, weight, exclusive)
            } else {
                (0, 16, false)
            };
            let above = self.0.entry(stream).or_insert((0, 16)).0;
            if self.is_below(parent, stream) {
                self.0.entry(parent).and_modify(|node| node.0 = above);
            }
            for (other, node) in &mut self.0 {
                if exclusive && node.0 == parent && *other != stream {
                    node.0 = stream;
                }
            }
            self.0.insert(stream, (parent, weight));
        }
    }

    #[derive(Clone, Debug)]
    enum Operation {
        Depend(u32, u32, u32, bool),
        Open(u32),
        Close(u32),
        Insert(u32),
        Remove(u32),
        Serve(usize),
    }

    fn operations(streams: u32) -> impl Strategy<Value = Vec<Operation>> {
        let stream = move || 1..=streams;
        let operation = prop_oneof![
            6 => (stream(), 0..=streams, 1_u32..=256, any::<bool>())
                .prop_map(|(stream, parent, weight, exclusive)| Operation::Depend(stream, parent, weight, exclusive)),
            2 => stream().prop_map(Operation::Open),
            1 => stream().prop_map(Operation::Close),
            3 => stream().prop_map(Operation::Insert),
            1 => stream().prop_map(Operation::Remove),
            3 => (1_usize..=16_384).prop_map(Operation::Serve),
        ];
        prop::collection::vec(operation, 0..400)
    }

    /// Runs the operations and checks the tree after each step. Streams have their numbers as
    /// slots.
    fn run(operations: &[Operation], mut model: Option<Model>) {
        let mut tree = Tree::default();
        let mut open = std::collections::BTreeMap::new();
        for operation in operations {
            match *operation {
                Operation::Depend(stream, parent, ..) if stream == parent => {}
                Operation::Depend(stream, parent, weight, exclusive) => {
                    tree.depend(id(stream), on(parent, weight, exclusive));
                    if let Some(model) = &mut model {
                        model.depend(stream, parent, weight, exclusive);
                    }
                }
                Operation::Open(stream) if !open.contains_key(&stream) => {
                    open.insert(stream, false);
                    tree.open(stream, id(stream), Priority::default());
                    if let Some(model) = &mut model {
                        model.0.entry(stream).or_insert((0, 16));
                    }
                }
                Operation::Close(stream) if open.contains_key(&stream) => {
                    open.remove(&stream);
                    tree.remove(stream);
                    tree.close(stream);
                }
                Operation::Insert(stream) if open.contains_key(&stream) => {
                    open.insert(stream, true);
                    tree.insert(stream);
                }
                Operation::Remove(stream) if open.contains_key(&stream) => {
                    open.insert(stream, false);
                    tree.remove(stream);
                }
                Operation::Serve(bytes) => {
                    let next = tree.next();
                    assert_eq!(next.is_some(), open.values().any(|ready| *ready));
                    if let Some(stream) = next {
                        assert!(open[&stream]);
                        tree.sent(stream, bytes);
                    }
                    if let (Some(stream), Some(model)) = (next, &model) {
                        let above = open.iter().filter(|(_, ready)| **ready);
                        let mut above = above.filter(|(other, _)| model.is_below(stream, **other));
                        assert_eq!(above.next(), None, "{stream} was served before its parent");
                    }
                }
                _ => {}
            }
            let mut found = tree
                .check()
                .unwrap_or_else(|error| panic!("{operation:?}: {error}"));
            found.sort_unstable();
            let expected = open
                .iter()
                .filter(|(_, ready)| **ready)
                .map(|(stream, _)| *stream);
            assert_eq!(found, expected.collect::<Vec<_>>());
            if let Some(model) = &model {
                for (stream, (parent, weight)) in &model.0 {
                    assert_eq!(tree.parent_of(*stream), *parent, "parent of {stream}");
                    assert_eq!(tree.weight_of(*stream), f64::from(*weight));
                }
            }
        }
    }

    proptest! {
        /// Few streams, so that none is too deep or forgotten.
        #[test]
        fn it_is_the_tree_that_the_rfc_describes(operations in operations(12)) {
            run(&operations, Some(Model::default()));
        }

        #[test]
        fn it_stays_a_tree_when_streams_are_forgotten(operations in operations(600)) {
            run(&operations, None);
        }
    }
}
