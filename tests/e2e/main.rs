//! The binary as a stranger meets it: started with flags, asked over sockets, ended by signals.
//!
//! - `server`    starts the binary on ports that the kernel picks, reads its banner, ends it
//! - `client`    a small HTTP/2 client: the engine in its client role over a blocking socket, with or without TLS
//! - `start`     banner, flags, certificates, what goes wrong at the start, logs
//! - `targets`   demo site, status, upload, echo
//! - `files`     static files: content, conditions, ranges, what is refused
//! - `disk`      the same from a disk that is waited for
//! - `logs`      logs that are stuck, full or moved away
//! - `headers`   what their compression saves
//! - `http1`     the same over HTTP/1.1
//! - `ledger`    what a connection holds is in its client's account
//! - `priorities` what goes first, by content and by `x-priority`
//! - `push`      early hints and pushes
//! - `sharing`   what a client takes from others: connections, descriptors
//! - `shutdown`  signals
//! - `slow`      peers that are slow, on purpose or not
//! - `upstream`  upstreams that a test scripts
//! - `proxy`     routes that lead to upstreams
//! - `paths`     spellings of paths that servers read in different ways
//! - `get`       `tidegate get`
//! - `documents` the page of flags
//! - `rfc9110`   the semantics of HTTP, section by section, over both protocols and through the proxy

mod client;
mod disk;
mod documents;
mod files;
mod get;
mod headers;
mod http1;
mod ledger;
mod logs;
mod paths;
mod priorities;
mod proxy;
mod push;
mod rfc9110;
mod server;
mod sharing;
mod shutdown;
mod slow;
mod start;
mod targets;
mod upstream;
