//! Field blocks: HEADERS or PUSH_PROMISE with their CONTINUATION frames on one side, lists of
//! fields on the other. The only file that uses HPACK.

use std::sync::Arc;

use tidegate_frame::{StreamDependency, StreamId};
use tidegate_hpack::{Decoded, Decoder, Earlier, Encoder, Fields, Limits, Mark, Packer, Unpacker};
use tidegate_http::{Config, RequestHead, Role, Stamp, Stats, Violation, is_valid_alone};

/// The frame that begins a field block.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Opening {
    /// A HEADERS frame.
    Headers {
        end_stream: bool,
        dependency: Option<StreamDependency>,
    },
    /// A PUSH_PROMISE frame.
    PushPromise { promised: StreamId },
}

/// A field block whose END_HEADERS is still to come.
#[derive(Debug)]
pub(crate) struct Partial {
    pub(crate) id: StreamId,
    pub(crate) opening: Opening,
    pub(crate) block: Vec<u8>,
    /// The number of CONTINUATION frames so far.
    pub(crate) continuations: u32,
}

/// The compression of both directions, and the block that is being received.
pub(crate) struct FieldBlocks {
    decoder: Decoder,
    encoder: Encoder,
    limits: Limits,
    pub(crate) partial: Option<Box<Partial>>,
    /// Present from the first block until the connection rests.
    recent: Option<Box<Recent>>,
    /// Whether the block that was decoded last left the table as it was.
    left_table: bool,
}

/// The blocks that were last in either direction.
#[derive(Default)]
struct Recent {
    /// The block that was encoded last.
    sent: Vec<u8>,
    /// The bytes of that block's fields.
    sent_fields: u32,
    /// The stamp of that block's list, if the list would make the same block again.
    repeats: Option<Stamp>,
    request: LastRequest,
    /// The bytes of the block that was received last. A block that comes again has the same.
    received: u32,
}

/// Sizes in bytes of the field blocks that came and went last on a connection, for logs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LastBlocks {
    /// The block that was received last.
    pub received: u32,
    /// The block that was sent last.
    pub sent: u32,
    /// Names and values of the fields in the block that was sent last.
    pub sent_fields: u32,
}

/// The largest block, and the largest list of fields in bytes, that are kept after their request.
const KEPT: usize = 2048;

/// The last request, if the same block would make the same fields again: clients of an API repeat
/// their requests, or all but the path.
#[derive(Default)]
struct LastRequest {
    block: Vec<u8>,
    head: Option<Arc<RequestHead>>,
    /// The place in the block behind the path.
    mark: Option<Mark>,
    /// The bytes of the fields as the block has them.
    fields_in: u64,
    /// An older request, whose memory the next one takes if nobody else has it.
    spare: Option<Arc<RequestHead>>,
    /// The request that was the last one until a block was decoded.
    retired: Option<Arc<RequestHead>>,
}

impl LastRequest {
    /// Returns the bytes of the block, of the head, and of older ones.
    fn memory(&self) -> usize {
        let heads = [&self.head, &self.spare, &self.retired]
            .into_iter()
            .flatten();
        let fields: usize = heads.map(|head| head.fields().memory()).sum();
        self.block.len() + fields
    }

    /// Returns the block with its list, if that is what the block says and wasn't mended.
    fn earlier(&self) -> Option<Earlier<'_>> {
        let fields = self.head.as_ref()?.fields();
        fields.all_passed().then_some(Earlier {
            block: &self.block,
            fields,
            mark: self.mark?,
        })
    }

    /// Returns an empty list, in the memory of the spare request.
    fn list(&mut self) -> Fields {
        // The block before made no request.
        if self.retired.is_some() {
            self.spare = self.retired.take();
        }
        let spare = self.spare.as_mut().and_then(Arc::get_mut);
        match spare.map(RequestHead::take_fields) {
            // The next request isn't charged for more than its own fields.
            Some(mut fields) if (1..=KEPT).contains(&fields.allocated()) => {
                fields.clear();
                fields
            }
            _ => Fields::with_capacity(12, 256),
        }
    }

    /// Shares a head, in the memory of the spare request.
    fn share(&mut self, head: RequestHead) -> Arc<RequestHead> {
        let spare = std::mem::replace(&mut self.spare, self.retired.take());
        if let Some(mut spare) = spare
            && let Some(place) = Arc::get_mut(&mut spare)
        {
            *place = head;
            return spare;
        }
        Arc::new(head)
    }
}

impl FieldBlocks {
    pub(crate) fn new(config: &Config, role: Role) -> Self {
        // The protocol's 4,096 apply until our SETTINGS are acknowledged.
        let decoder = Decoder::new(4096);
        let encoder = Encoder::new(config.encoder_table_size as usize);
        Self::of(decoder, encoder, config, role)
    }

    /// Adds both ends' compression. No block may be unfinished.
    pub(super) fn pack(&self, out: &mut Packer) {
        self.decoder.pack(out);
        self.encoder.pack(out);
    }

    /// Makes the field blocks that others have packed.
    pub(super) fn unpack(input: &mut Unpacker<'_>, config: &Config, role: Role) -> Self {
        let decoder = Decoder::unpack(input);
        Self::of(decoder, Encoder::unpack(input), config, role)
    }

    fn of(mut decoder: Decoder, encoder: Encoder, config: &Config, role: Role) -> Self {
        if role == Role::Server {
            decoder = decoder.with_check(is_valid_alone);
        }
        Self {
            decoder,
            encoder,
            limits: Limits {
                max_list_size: config.max_header_list_size as usize,
                max_fields: config.max_header_fields as usize,
                max_cookie_crumbs: config.max_cookie_crumbs as usize,
            },
            partial: None,
            recent: None,
            left_table: false,
        }
    }

    /// Applies our SETTINGS_HEADER_TABLE_SIZE, which now binds the peer.
    pub(crate) fn set_decoder_table_size(&mut self, bytes: u32) {
        self.decoder.set_max_table_size(bytes as usize);
        if let Some(recent) = &mut self.recent {
            recent.request = LastRequest::default();
        }
    }

    /// Applies the peer's SETTINGS_HEADER_TABLE_SIZE, which now binds us.
    pub(crate) fn set_encoder_table_size(&mut self, bytes: u32) {
        self.encoder.set_max_table_size(bytes as usize);
        if let Some(recent) = &mut self.recent {
            recent.repeats = None;
        }
    }

    /// Returns what codes both directions, to look at.
    pub(super) fn codecs(&self) -> (&Decoder, &Encoder) {
        (&self.decoder, &self.encoder)
    }

    /// Returns the bytes that are kept of the last request.
    pub(crate) fn kept(&self) -> usize {
        let recent = self.recent.as_ref();
        recent.map_or(0, |recent| recent.request.memory())
    }

    /// Decodes a complete block.
    pub(crate) fn decode(
        &mut self,
        block: &[u8],
        stats: &mut Stats,
    ) -> Result<(Fields, Decoded), Violation> {
        let recent = &mut **self.recent.get_or_insert_default();
        let last = &mut recent.request;
        let mut fields = last.list();
        let earlier = last.earlier();
        let before = self.decoder.state();
        let mut mark = None;
        let decoded = self
            .decoder
            .decode_after(block, &self.limits, earlier, &mut fields, &mut mark)
            .map_err(|_| Violation::CompressionFailed)?;
        last.mark = mark;
        last.retired = last.head.take();
        recent.received = block.len() as u32;
        stats.blocks_in += block.len() as u64;
        last.fields_in = (decoded.list_size - 32 * decoded.fields) as u64;
        stats.fields_in += last.fields_in;
        self.left_table = self.decoder.state() == before;
        Ok((fields, decoded))
    }

    /// Keeps the head of a request whose block was decoded last.
    pub(crate) fn keep_request(&mut self, block: &[u8], head: RequestHead) -> Arc<RequestHead> {
        let last = &mut self.recent.get_or_insert_default().request;
        let head = last.share(head);
        let is_small = block.len() <= KEPT && head.fields().memory() <= KEPT;
        if is_small && self.left_table {
            last.block.clear();
            last.block.extend_from_slice(block);
            last.head = Some(Arc::clone(&head));
        }
        head
    }

    /// Returns the head of the last request if it had the same block, which needs no decoding then.
    #[inline]
    pub(crate) fn repeated(&self, block: &[u8], stats: &mut Stats) -> Option<Arc<RequestHead>> {
        let last = &self.recent.as_ref()?.request;
        let head = last.head.as_ref()?;
        if *block != *last.block {
            return None;
        }
        stats.blocks_in += block.len() as u64;
        stats.fields_in += last.fields_in;
        Some(Arc::clone(head))
    }

    /// Encodes a list of fields, with its stamp if it has one. The block is valid until the next
    /// call.
    #[inline]
    pub(crate) fn encode(
        &mut self,
        fields: &Fields,
        stamp: Option<Stamp>,
        stats: &mut Stats,
    ) -> &[u8] {
        let recent = self.recent.get_or_insert_default();
        if stamp.is_none() || stamp != recent.repeats {
            recent.sent.clear();
            let before = self.encoder.state();
            self.encoder.encode(fields, &mut recent.sent);
            recent.repeats = stamp.filter(|_| self.encoder.state() == before);
        }
        let fields = fields.byte_len();
        recent.sent_fields = fields as u32;
        stats.blocks_out += recent.sent.len() as u64;
        stats.fields_out += fields as u64;
        &recent.sent
    }

    /// Returns the sizes of the blocks that came and went last.
    pub(crate) fn last_blocks(&self) -> LastBlocks {
        let Some(recent) = &self.recent else {
            return LastBlocks::default();
        };
        LastBlocks {
            received: recent.received,
            sent: recent.sent.len() as u32,
            sent_fields: recent.sent_fields,
        }
    }

    /// Frees memory that an idle connection doesn't need.
    pub(crate) fn release_memory(&mut self) {
        self.decoder.release_memory();
        self.encoder.release_memory();
        self.recent = None;
    }
}

#[cfg(test)]
mod tests {
    use tidegate_http::{RequestRules, ResponseHead};

    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Step {
        /// Send the shared head of this number.
        Shared(usize),
        /// Send another head, whose field enters the table.
        Other(u8),
        /// The peer allows a table of this many bytes.
        TableSize(u32),
        Rest,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            6 => (0_usize..2).prop_map(Step::Shared),
            2 => any::<u8>().prop_map(Step::Other),
            1 => prop::sample::select(vec![0, 100, 4096]).prop_map(Step::TableSize),
            1 => Just(Step::Rest),
        ];
        prop::collection::vec(step, 0..40)
    }

    proptest! {
        #[test]
        fn a_block_that_is_kept_says_what_a_new_one_would(steps in steps()) {
            let config = Config::server();
            let (mut ours, mut peers) = (FieldBlocks::new(&config, Role::Server), FieldBlocks::new(&config, Role::Server));
            let mut stats = Stats::default();
            let head = |tag: &str| ResponseHead::new(200).field("etag", tag).field("server", "s");
            let shared = [head("one").shared(), head("other").shared()];
            for step in steps {
                let sent = match step {
                    Step::Shared(number) => shared[number].clone(),
                    Step::Other(tag) => head(&format!("{tag}")),
                    Step::TableSize(bytes) => {
                        ours.set_encoder_table_size(bytes);
                        peers.set_decoder_table_size(bytes);
                        continue;
                    }
                    Step::Rest => {
                        ours.release_memory();
                        continue;
                    }
                };
                let block = ours.encode(sent.fields(), sent.stamp(), &mut stats).to_vec();
                let (got, _) = peers.decode(&block, &mut stats).expect("the block is whole");
                let text = |fields: &Fields| format!("{fields:?}");
                prop_assert_eq!(text(&got), text(sent.fields()));
            }
        }
    }

    /// Takes a request's block as the connection does. Returns its head, and whether it was known.
    fn take(blocks: &mut FieldBlocks, block: &[u8]) -> (Arc<RequestHead>, bool) {
        let mut stats = Stats::default();
        if let Some(head) = blocks.repeated(block, &mut stats) {
            return (head, true);
        }
        let (fields, _) = blocks
            .decode(block, &mut stats)
            .expect("the block is whole");
        let head = RequestHead::received(fields, RequestRules::default());
        let head = head.expect("the request is valid");
        (blocks.keep_request(block, head), false)
    }

    proptest! {
        #[test]
        fn a_request_that_comes_again_is_what_its_block_says(steps in steps()) {
            let config = Config::server();
            let (mut ours, mut peers) = (FieldBlocks::new(&config, Role::Server), FieldBlocks::new(&config, Role::Server));
            let mut stats = Stats::default();
            for step in steps {
                let (path, tag) = match step {
                    Step::Shared(number) => ("/".to_owned(), format!("shared {number}")),
                    Step::Other(tag) if tag % 2 == 0 => (format!("/{tag}"), "shared 0".to_owned()),
                    Step::Other(tag) => (format!("/{tag}"), format!("{tag}")),
                    Step::TableSize(bytes) => {
                        ours.set_decoder_table_size(bytes);
                        peers.set_encoder_table_size(bytes);
                        continue;
                    }
                    Step::Rest => {
                        ours.release_memory();
                        continue;
                    }
                };
                let sent = RequestHead::new("GET", "https", "host", &path).field("x-tag", &tag);
                let block = peers.encode(sent.fields(), None, &mut stats).to_vec();
                let (got, _) = take(&mut ours, &block);
                prop_assert_eq!(got.fields(), sent.fields());
                prop_assert_eq!((got.path(), got.get("x-tag")), (&*path, Some(tag.as_bytes())));
            }
        }
    }

    #[test]
    fn the_sizes_of_the_last_blocks_are_known() {
        let config = Config::server();
        let mut ours = FieldBlocks::new(&config, Role::Server);
        let mut peers = FieldBlocks::new(&config, Role::Server);
        assert_eq!(ours.last_blocks(), LastBlocks::default());
        let mut stats = Stats::default();
        for path in ["/", "/", "/", "/other"] {
            let sent = RequestHead::new("GET", "https", "host", path).field("x-tag", "tag");
            let block = peers.encode(sent.fields(), None, &mut stats).to_vec();
            let LastBlocks {
                sent: size,
                sent_fields,
                ..
            } = peers.last_blocks();
            assert_eq!(size as usize, block.len());
            assert_eq!(sent_fields as usize, sent.fields().byte_len());
            take(&mut ours, &block);
            assert_eq!(ours.last_blocks().received as usize, block.len());
        }
    }

    #[test]
    fn a_request_that_comes_again_is_not_decoded_again() {
        let config = Config::server();
        let (mut ours, mut peers) = (
            FieldBlocks::new(&config, Role::Server),
            FieldBlocks::new(&config, Role::Server),
        );
        let mut stats = Stats::default();
        let mut took = |path: &str, crumbs: usize| {
            let mut head = RequestHead::new("GET", "https", "host", path);
            for _ in 0..crumbs {
                head.push("cookie", [b'c'; 1000]);
            }
            let block = peers.encode(head.fields(), None, &mut stats).to_vec();
            take(&mut ours, &block).1
        };
        assert_eq!([(); 4].map(|()| took("/", 0)), [false, false, true, true]);
        assert!(!took("/other", 0));
        assert!(!took("/", 0), "only the last one is kept");
        assert!(took("/", 0));
        assert_eq!(
            [(); 6].map(|()| took("/", 3)),
            [false; 6],
            "too large to keep"
        );
    }

    #[test]
    fn a_shared_head_is_encoded_once() {
        let mut blocks = FieldBlocks::new(&Config::server(), Role::Server);
        let mut stats = Stats::default();
        let shared = ResponseHead::new(200).field("etag", "one").shared();
        let mut lens = Vec::new();
        while blocks
            .recent
            .as_ref()
            .is_none_or(|recent| recent.repeats.is_none())
        {
            let block = blocks.encode(shared.fields(), shared.stamp(), &mut stats);
            lens.push(block.len());
        }
        // Only when all its fields are in the tables.
        assert_eq!(lens.last(), Some(&2), "{lens:?}");
        assert!(lens.len() > 1);
        let repeats =
            |blocks: &FieldBlocks| blocks.recent.as_ref().and_then(|recent| recent.repeats);
        assert_eq!(repeats(&blocks), shared.stamp());
        let other = shared.clone().field("x", "y");
        assert_eq!(other.stamp(), None, "it is another list now");
        blocks.encode(other.fields(), other.stamp(), &mut stats);
        assert_eq!(repeats(&blocks), None);
    }
}
