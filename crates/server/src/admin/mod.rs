//! The admin listener: metrics, health and the state of the server, for its operators alone.
//!
//! It has a thread and a loop of its own, and a socket that no client of the server reaches.
//! Workers are asked by messages, and answer between two events.
//!
//! - `address`   the address as typed
//! - `listener`  the socket and the thread
//! - `service`   who may ask, and the answers
//! - `host`      the hosts that requests may name
//! - `router`    the resources by path
//! - `resource`  what a resource is
//! - `question`  what workers are asked, and their answers
//! - `asked`     requests that wait for the workers
//! - `viewers`   those who watch
//! - `query`     parameters of requests
//! - `health`    `/healthz` and `/readyz`
//! - `metrics`   `/metrics`
//! - `overview`, `connections`, `events`  the API
//! - `actions`   what operators may change
//! - `page`      the live page
//!
//! To add a resource: a file here, and a row in `router.rs`. If workers are to be asked, a variant
//! of [`Question`] and of [`Answer`], and a branch in `app/inform.rs`.

mod actions;
mod address;
mod asked;
mod connections;
mod events;
mod health;
mod host;
mod listener;
mod metrics;
mod overview;
mod page;
mod query;
mod question;
mod resource;
mod router;
mod service;
mod viewers;

pub use address::AdminAddress;
pub(crate) use listener::{AdminListener, AdminSettings, AdminSocket, Watched};
pub(crate) use question::Readiness;
pub use question::{Act, Answer, Question, Reply};
