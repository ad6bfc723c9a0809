//! Field blocks: HEADERS or PUSH_PROMISE with their CONTINUATION frames on one side, lists of fields on the other. The
//! only file that touches HPACK.

use tidegate_frame::{StreamDependency, StreamId};
use tidegate_hpack::{Decoded, Decoder, Encoder, Fields, Limits};

use crate::config::Config;
use crate::error::Violation;
use crate::stats::Stats;

/// What a field block belongs to.
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

/// A block whose END_HEADERS is still to come.
#[derive(Debug)]
pub(crate) struct Partial {
    pub(crate) id: StreamId,
    pub(crate) opening: Opening,
    pub(crate) block: Vec<u8>,
    /// CONTINUATION frames so far.
    pub(crate) continuations: u32,
}

/// Both directions' compression, and the block that is being received.
pub(crate) struct FieldBlocks {
    decoder: Decoder,
    encoder: Encoder,
    limits: Limits,
    pub(crate) partial: Option<Partial>,
    /// The block that was encoded last.
    scratch: Vec<u8>,
}

impl FieldBlocks {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            // The protocol's 4,096 hold until our SETTINGS are acknowledged.
            decoder: Decoder::new(4096),
            encoder: Encoder::new(config.encoder_table_size as usize),
            limits: Limits {
                max_list_size: config.max_header_list_size as usize,
                max_fields: config.max_header_fields as usize,
                max_cookie_crumbs: config.max_cookie_crumbs as usize,
            },
            partial: None,
            scratch: Vec::new(),
        }
    }

    /// Our SETTINGS_HEADER_TABLE_SIZE binds the peer from now on.
    pub(crate) fn set_decoder_table_size(&mut self, octets: u32) {
        self.decoder.set_max_table_size(octets as usize);
    }

    /// The peer's SETTINGS_HEADER_TABLE_SIZE binds us from now on.
    pub(crate) fn set_encoder_table_size(&mut self, octets: u32) {
        self.encoder.set_max_table_size(octets as usize);
    }

    /// Decodes a whole block.
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

    /// Encodes a list of fields; the block is valid until the next call.
    pub(crate) fn encode(&mut self, fields: &Fields, stats: &mut Stats) -> &[u8] {
        self.scratch.clear();
        self.encoder.encode(fields, &mut self.scratch);
        stats.blocks_out += self.scratch.len() as u64;
        stats.fields_out += fields.octets() as u64;
        &self.scratch
    }

    /// Gives back memory that an idle connection has no use for.
    pub(crate) fn release_memory(&mut self) {
        self.scratch = Vec::new();
    }
}
