//! RFC 9110, section by section, as clients see it: over HTTP/1.1 and HTTP/2, directly and through
//! the proxy. Each test quotes the clause that it tests.
//!
//! - `ways`                the server, the proxy in front of it, and the ways to send a request
//! - `s5_fields`           §5 and §6: fields, dates, content, trailers
//! - `s7_routing`          §7: Host, Connection, Max-Forwards, Via, Upgrade
//! - `s8_representations`  §8: type, length, validators
//! - `s9_methods`          §9: methods
//! - `s10_context`         §10 to §12: Expect, TE, credentials, negotiation
//! - `s13_conditions`      §13: conditional requests
//! - `s14_ranges`          §14: ranges
//! - `s15_statuses`        §15: statuses and what goes with them

mod s10_context;
mod s13_conditions;
mod s14_ranges;
mod s15_statuses;
mod s5_fields;
mod s7_routing;
mod s8_representations;
mod s9_methods;
mod ways;
