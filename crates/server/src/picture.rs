//! Pictures of connections: what the admin listener asks workers for, and shows.
//!
//! - `look`        the question
//! - `name`        the name of a connection
//! - `row`         a connection in a list of many
//! - `connection`  one connection, with all that is known of it

pub mod connection;
pub mod look;
pub mod name;
pub mod row;
