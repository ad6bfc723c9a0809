//! The binary as a stranger meets it: started with flags, used over sockets, stopped by signals.
//!
//! - `server`    starts the binary on ports that the kernel picks, reads its banner, stops it
//! - `client`    a small HTTP/2 client: the engine in its client role over a blocking socket, with
//!   or without TLS
//! - `start`     banner, flags, certificates, failures at startup, logs
//! - `targets`   demo site, status, upload, echo
//! - `files`     static files: content, conditions, ranges, refusals
//! - `disk`      the same when each read waits for the disk
//! - `access_logs` access logs by site, formats, sampling, ids, lines on broken rules
//! - `logs`      logs that are blocked, full or moved away
//! - `headers`   savings of header compression
//! - `http1`     the same over HTTP/1.1
//! - `ledger`    a client's account has everything that its connections hold
//! - `priorities` the order of responses, by content and by `x-priority`
//! - `push`      early hints and pushes
//! - `reload`    SIGHUP, and certificates that change on disk
//! - `sharing`   greedy clients don't starve others: connections, descriptors
//! - `shutdown`  signals
//! - `sites`     several sites: hosts, certificates, routes
//! - `slow`      peers that are slow, deliberately or not
//! - `takeover`  SIGUSR2, sockets of a service manager, and what it is told
//! - `traces`    `--trace`, `tidegate trace` and `tidegate replay`
//! - `upstream`  scripted upstreams
//! - `proxy`     routes that lead to upstreams
//! - `paths`     spellings of paths that servers read in different ways
//! - `get`       `tidegate get`
//! - `documents` the page on flags
//! - `manual`    man pages and completions
//! - `examples`  the files of `examples/config`
//! - `rfc9110`   the semantics of HTTP, section by section, over both protocols and through the
//!   proxy

mod access_logs;
mod admin;
mod admin_page;
mod client;
mod disk;
mod documents;
mod examples;
mod files;
mod get;
mod headers;
mod http1;
mod ledger;
mod logs;
mod manual;
mod metrics;
mod paths;
mod priorities;
mod proxy;
mod push;
mod reload;
mod rfc9110;
mod routes;
mod server;
mod sharing;
mod shutdown;
mod sites;
mod slow;
mod start;
mod takeover;
mod targets;
mod tls;
mod traces;
mod upstream;
