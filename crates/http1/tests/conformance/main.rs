//! The engine against a scripted client or server, by section of RFC 9112 and RFC 9110. Each test
//! quotes the clause that it checks.

mod client_properties;
mod client_requests;
mod client_responses;
mod every_violation;
mod framing;
mod properties;
mod response_smuggling;
mod rfc6455_websockets;
mod rfc7540_h2c;
mod rfc9110;
mod rfc9112_2_messages;
mod rfc9112_3_request_line;
mod rfc9112_5_fields;
mod rfc9112_6_bodies;
mod rfc9112_7_chunks;
mod rfc9112_9_connections;
mod sent;
mod slow_peers;
mod smuggling;
mod support;
