//! The conformance suite: what RFC 9113 and its companions say, clause by clause, tried on the
//! engine in memory.
//!
//! Each test quotes its clause, then is a conversation: a scripted peer (`tidegate_testkit::peer`)
//! sends raw frames, right or wrong, to one engine, and says what the engine must send back and
//! tell its owner. Time is virtual.
//!
//! - `rfc9113_3_starting`: prefaces, the handshake, idle connections, and how a connection ends by
//!   its transport
//! - `rfc9113_4_frames`: frame format and sizes, field blocks and their compression (RFC 7541)
//! - `rfc9113_5_streams`: every state, identifiers, concurrency, connection and stream errors,
//!   extensions
//! - `rfc9113_6_frames`: each frame's own section: DATA, HEADERS, … CONTINUATION, with SETTINGS and
//!   flow control
//! - `rfc9113_7_errors`: error codes, known and unknown
//! - `rfc9113_8_messages`: requests and responses: fields, pseudo-fields, bodies, trailers,
//!   CONNECT, push
//! - `rfc9218`, `rfc7540_priorities`: priorities, and those that came before them
//! - `rfc8441`: extended CONNECT
//! - `rfc7540_h2c`: connections that began as HTTP/1.1
//! - `probing`: peers that say nothing
//! - `abuse`: floods and bombs, and the honest traffic that must not be taken for one; backpressure
//! - `slow_peers`: time limits and least rates, and the slow honest that must not be taken for an
//!   attack
//! - `every_violation`, `every_misuse`: a scenario for each row of both tables, and a check that
//!   none is missing
//!
//! To add a clause, find the section's file, quote the clause as the test's first comment, and let
//! `Peer` talk.

mod abuse;
mod every_misuse;
mod every_violation;
mod probing;
mod rfc7540_h2c;
mod rfc7540_priorities;
mod rfc8441;
mod rfc9113_3_starting;
mod rfc9113_4_frames;
mod rfc9113_5_streams;
mod rfc9113_6_frames;
mod rfc9113_7_errors;
mod rfc9113_8_messages;
mod rfc9218;
mod sent;
mod slow_peers;
mod support;
