//! Field blocks: HEADERS or PUSH_PROMISE with their CONTINUATION frames on one side, lists of
//! fields on the other. The only file that uses HPACK.

use tidegate_frame::{StreamDependency, StreamId};
use tidegate_hpack::{Decoded, Decoder, Encoder, Fields, Limits};
use tidegate_http::{Config, Stamp, Stats, Violation};

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
    pub(crate) partial: Option<Partial>,
    /// The block that was encoded last.
    scratch: Vec<u8>,
    /// The stamp of that block's list, if the list would make the same block again.
    repeats: Option<Stamp>,
}

impl FieldBlocks {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            // The protocol's 4,096 apply until our SETTINGS are acknowledged.
            decoder: Decoder::new(4096),
            encoder: Encoder::new(config.encoder_table_size as usize),
            limits: Limits {
                max_list_size: config.max_header_list_size as usize,
                max_fields: config.max_header_fields as usize,
                max_cookie_crumbs: config.max_cookie_crumbs as usize,
            },
            partial: None,
            scratch: Vec::new(),
            repeats: None,
        }
    }

    /// Applies our SETTINGS_HEADER_TABLE_SIZE, which now binds the peer.
    pub(crate) fn set_decoder_table_size(&mut self, bytes: u32) {
        self.decoder.set_max_table_size(bytes as usize);
    }

    /// Applies the peer's SETTINGS_HEADER_TABLE_SIZE, which now binds us.
    pub(crate) fn set_encoder_table_size(&mut self, bytes: u32) {
        self.encoder.set_max_table_size(bytes as usize);
        self.repeats = None;
    }

    /// Decodes a complete block.
    pub(crate) fn decode(
        &mut self,
        block: &[u8],
        stats: &mut Stats,
    ) -> Result<(Fields, Decoded), Violation> {
        let mut fields = Fields::with_capacity(12, 256);
        let decoded = self
            .decoder
            .decode(block, &self.limits, &mut fields)
            .map_err(|_| Violation::CompressionFailed)?;
        stats.blocks_in += block.len() as u64;
        stats.fields_in += (decoded.list_size - 32 * decoded.fields) as u64;
        Ok((fields, decoded))
    }

    /// Encodes a list of fields, with its stamp if it has one. The block is valid until the next
    /// call.
    pub(crate) fn encode(
        &mut self,
        fields: &Fields,
        stamp: Option<Stamp>,
        stats: &mut Stats,
    ) -> &[u8] {
        if stamp.is_none() || stamp != self.repeats {
            self.scratch.clear();
            let before = self.encoder.state();
            self.encoder.encode(fields, &mut self.scratch);
            self.repeats = stamp.filter(|_| self.encoder.state() == before);
        }
        stats.blocks_out += self.scratch.len() as u64;
        stats.fields_out += fields.byte_len() as u64;
        &self.scratch
    }

    /// Frees memory that an idle connection doesn't need.
    pub(crate) fn release_memory(&mut self) {
        self.scratch = Vec::new();
        self.repeats = None;
    }
}

#[cfg(test)]
mod tests {
    use tidegate_http::ResponseHead;

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
            let (mut ours, mut peers) = (FieldBlocks::new(&config), FieldBlocks::new(&config));
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

    #[test]
    fn a_shared_head_is_encoded_once() {
        let mut blocks = FieldBlocks::new(&Config::server());
        let mut stats = Stats::default();
        let shared = ResponseHead::new(200).field("etag", "one").shared();
        let mut lens = Vec::new();
        while blocks.repeats.is_none() {
            let block = blocks.encode(shared.fields(), shared.stamp(), &mut stats);
            lens.push(block.len());
        }
        // Only when all its fields are in the tables.
        assert_eq!(lens.last(), Some(&2), "{lens:?}");
        assert!(lens.len() > 1);
        assert_eq!(blocks.repeats, shared.stamp());
        let other = shared.clone().field("x", "y");
        assert_eq!(other.stamp(), None, "it is another list now");
        blocks.encode(other.fields(), other.stamp(), &mut stats);
        assert_eq!(blocks.repeats, None);
    }
}
