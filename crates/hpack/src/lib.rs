//! HPACK (RFC 7541): header compression for HTTP/2, without I/O.
//!
//! ```
//! use tidegate_hpack::{Decoder, Encoder, Fields, KnownName, Limits};
//!
//! let mut request = Fields::new();
//! request.push_known(KnownName::METHOD, "GET");
//! request.push_known(KnownName::SCHEME, "https");
//! request.push_known(KnownName::AUTHORITY, "example.org");
//! request.push_known(KnownName::PATH, "/");
//! request.push("x-trace", "off");
//!
//! // One encoder and one decoder for each direction of a connection; both remember earlier blocks.
//! let mut encoder = Encoder::new(4096);
//! let mut block = Vec::new();
//! encoder.encode(&request, &mut block);
//!
//! let limits = Limits { max_list_size: 32_768, max_fields: 100, max_cookie_crumbs: 256 };
//! let mut decoder = Decoder::new(4096);
//! let mut received = Fields::new();
//! let decoded = decoder.decode(&block, &limits, &mut received)?;
//! assert_eq!(decoded.over, None);
//! assert_eq!(received, request);
//!
//! // The same list again costs one byte per field.
//! block.clear();
//! encoder.encode(&request, &mut block);
//! assert_eq!(block.len(), request.len());
//! # Ok::<(), tidegate_hpack::Error>(())
//! ```

mod decoder;
mod dynamic_table;
mod earlier;
mod encoder;
mod error;
mod fields;
mod huffman;
mod huffman_table;
mod index;
mod integer;
mod known;
mod packed;
mod policy;
mod static_table;

pub use decoder::{Check, Decoded, Decoder, DecoderState, Limits, ListLimit};
pub use dynamic_table::TableEntry;
pub use earlier::{Earlier, Mark};
pub use encoder::{Encoder, EncoderState};
pub use error::Error;
pub use fields::{Field, Fields, Iter};
pub use huffman::Alphabet;
pub use known::{KnownName, KnownNames};
pub use packed::{Packer, Unpacker};
