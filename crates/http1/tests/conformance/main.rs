//! The engine against a scripted client, by section of RFC 9112 and RFC 9110. Each test quotes the clause that it shows.

mod every_violation;
mod properties;
mod rfc9110;
mod rfc9112_2_messages;
mod rfc9112_3_request_line;
mod rfc9112_5_fields;
mod rfc9112_6_bodies;
mod rfc9112_7_chunks;
mod rfc9112_9_connections;
mod smuggling;
mod support;
