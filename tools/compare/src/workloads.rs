//! The workloads, one row of the table for each transport.

use crate::peers::{Task, Transport};
use crate::site::{File, KB10, KB100, MB1, MB10, SMALL, STATUS, static_files};

use Transport::{H2c, Http1, Tls};

/// The unit of a figure, unless the flags say otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    /// Microseconds of CPU time per request.
    Cpu,
    /// User instructions per request.
    Instructions,
    /// System calls per request.
    Calls,
    /// KiB of memory per connection.
    Memory,
}

impl Unit {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Cpu => "CPU µs per request",
            Self::Instructions => "user instructions per request",
            Self::Calls => "system calls per request",
            Self::Memory => "KiB per connection",
        }
    }

    /// Returns a figure with as many digits as it deserves.
    pub(crate) fn show(self, figure: f64) -> String {
        match self {
            Self::Instructions => format!("{figure:.0}"),
            Self::Cpu if figure >= 100.0 => format!("{figure:.0}"),
            Self::Cpu if figure >= 10.0 => format!("{figure:.1}"),
            Self::Cpu | Self::Calls | Self::Memory => format!("{figure:.2}"),
        }
    }
}

/// The fields of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fields {
    /// Those that h2load sends.
    Few,
    /// A browser's: thirteen with the pseudo-header fields, and 400 bytes of cookies.
    Browser,
    /// The same, each time as literals with Huffman codes.
    BrowserLiterals,
}

/// The behaviour of clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// Connections, and requests in progress on each.
    Requests { connections: usize, streams: usize },
    /// As many requests as connections.
    Connections,
    /// Connections that asked once and stay.
    Idle,
    /// Requests on some of many connections; the others asked once and stay.
    MostlyIdle { connections: usize, active: usize },
    /// Three sizes, eight priorities: 16 connections of 16 streams.
    Mixed,
    /// Messages of 100 bytes to and fro, on one stream of each of 32 connections.
    PingPong,
    /// The same by WebSockets.
    WebSockets,
}

/// A row of the table, for each transport.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Workload {
    pub(crate) name: &'static str,
    pub(crate) what: &'static str,
    pub(crate) over: &'static [Transport],
    pub(crate) task: Task,
    pub(crate) shape: Shape,
    pub(crate) fields: Fields,
    pub(crate) unit: Unit,
    pub(crate) workers: usize,
}

const BOTH: &[Transport] = &[H2c, Tls];

/// 32 connections of 32 streams.
const MANY: Shape = Shape::Requests {
    connections: 32,
    streams: 32,
};

/// One stream at a time.
const ONE: Shape = Shape::Requests {
    connections: 1,
    streams: 1,
};

/// Large bodies, four at a time on each of four connections.
const LARGE: Shape = Shape::Requests {
    connections: 4,
    streams: 4,
};

const TINY: Workload = Workload {
    name: "tiny",
    what: "15-byte file, 32 connections × 32 streams",
    over: BOTH,
    task: Task::File(SMALL),
    shape: MANY,
    fields: Fields::Few,
    unit: Unit::Cpu,
    workers: 1,
};

/// All workloads, in the order of the table.
pub(crate) const WORKLOADS: &[Workload] = &[
    TINY,
    Workload {
        name: "one-stream",
        what: "15-byte file, one stream at a time",
        shape: ONE,
        ..TINY
    },
    Workload {
        name: "browser",
        what: "a browser's 13 fields and 400 bytes of cookies, indexed",
        fields: Fields::Browser,
        ..TINY
    },
    Workload {
        name: "literals",
        what: "the same as literals with Huffman codes",
        fields: Fields::BrowserLiterals,
        ..TINY
    },
    Workload {
        name: "thousand",
        what: "15-byte file, 1,000 connections × 10 streams",
        over: &[H2c],
        shape: Shape::Requests {
            connections: 1_000,
            streams: 10,
        },
        ..TINY
    },
    Workload {
        name: "10k",
        what: "10 KB file, 32 connections × 32 streams",
        task: Task::File(KB10),
        ..TINY
    },
    Workload {
        name: "100k",
        what: "100 KB file, 4 connections × 4 streams",
        task: Task::File(KB100),
        shape: LARGE,
        ..TINY
    },
    Workload {
        name: "10m",
        what: "10 MB file, 4 connections × 4 streams",
        task: Task::File(MB10),
        shape: LARGE,
        ..TINY
    },
    Workload {
        name: "upload",
        what: "1 MiB upload, discarded by a handler, 4 connections × 4 streams",
        task: Task::Discard,
        shape: LARGE,
        ..TINY
    },
    Workload {
        name: "connections",
        what: "a new connection for each request",
        shape: Shape::Connections,
        ..TINY
    },
    Workload {
        name: "arena-streams",
        what: "15-byte file, 256 connections × 100 streams",
        shape: Shape::Requests {
            connections: 256,
            streams: 100,
        },
        ..TINY
    },
    Workload {
        name: "arena-json",
        what: "JSON made per request, 32 connections × 32 streams",
        task: Task::Status,
        ..TINY
    },
    Workload {
        name: "arena-static",
        what: "20 files of 3 to 300 KB, 32 connections × 32 streams",
        task: Task::Files,
        ..TINY
    },
    Workload {
        name: "mixed",
        what: "70 % 1 KB, 25 % 20 KB, 5 % 1 MB with 8 priorities, 16 connections × 16 streams",
        task: Task::Files,
        shape: Shape::Mixed,
        ..TINY
    },
    Workload {
        name: "mostly-idle",
        what: "15-byte file, 9,900 connections, 100 of them active with one stream",
        over: &[H2c],
        shape: Shape::MostlyIdle {
            connections: 9_900,
            active: 100,
        },
        ..TINY
    },
    Workload {
        name: "ping-pong",
        what: "messages of 100 bytes to and fro on one stream of 32 connections, per message",
        task: Task::Echo,
        shape: Shape::PingPong,
        ..TINY
    },
    Workload {
        name: "websocket",
        what: "proxied WebSocket messages of 100 bytes to and fro on 32 connections, per message",
        over: &[Http1],
        task: Task::WebSocket,
        shape: Shape::WebSockets,
        ..TINY
    },
    Workload {
        name: "proxy-h2c",
        what: "15-byte file, proxied to HTTP/2 in cleartext",
        over: &[Tls],
        task: Task::Proxy(H2c),
        ..TINY
    },
    Workload {
        name: "proxy-http1",
        what: "15-byte file, proxied to HTTP/1.1",
        over: &[Tls],
        task: Task::Proxy(Http1),
        ..TINY
    },
    Workload {
        name: "two-workers",
        what: "15-byte file, 32 connections × 32 streams, two workers",
        workers: 2,
        ..TINY
    },
    Workload {
        name: "memory",
        what: "idle connections that asked once",
        shape: Shape::Idle,
        unit: Unit::Memory,
        ..TINY
    },
    Workload {
        name: "calls",
        what: "15-byte file, one stream at a time",
        shape: ONE,
        unit: Unit::Calls,
        ..TINY
    },
];

impl Workload {
    /// Returns the paths to request in turn, and the bytes of each response's body. `None` stands
    /// for bodies of any size.
    pub(crate) fn paths(&self) -> Vec<(String, Option<u64>)> {
        match self.task {
            Task::File(File(name, size)) => vec![(format!("/{name}"), Some(size))],
            Task::Files => static_files()
                .map(|(name, size)| (format!("/{name}"), Some(size)))
                .collect(),
            Task::Status => vec![("/status".to_owned(), Some(STATUS.len() as u64))],
            Task::Discard => vec![("/discard".to_owned(), None)],
            Task::Echo => vec![("/echo".to_owned(), None)],
            Task::Proxy(_) => vec![(format!("/{}", SMALL.0), Some(SMALL.1))],
            Task::WebSocket => vec![("/websocket".to_owned(), None)],
        }
    }

    /// Returns the file that requests carry, if they do.
    pub(crate) fn upload(&self) -> Option<File> {
        (self.task == Task::Discard).then_some(MB1)
    }

    /// Returns about how many bytes a request moves, which bounds how many are made for a count.
    pub(crate) fn weight(&self) -> u64 {
        let paths = self.paths();
        let sum: u64 = paths.iter().filter_map(|(_, size)| *size).sum();
        sum / paths.len() as u64 + self.upload().map_or(0, |file| file.1)
    }
}

impl Fields {
    /// Returns lines such as `accept: */*`.
    pub(crate) fn lines(self) -> Vec<String> {
        match self {
            Self::Few => Vec::new(),
            Self::Browser | Self::BrowserLiterals => {
                let session = "0123456789abcdefghijklmnopqrstuvwxyzABCDEF".repeat(10);
                let cookie = format!("cookie: session={}; theme=dark", &session[..380]);
                [
                    "user-agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like \
                     Gecko) Chrome/142.0.0.0 Safari/537.36",
                    "accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,\
                     image/webp,*/*;q=0.8",
                    "accept-encoding: gzip, deflate, br, zstd",
                    "accept-language: en-GB,en;q=0.9,de;q=0.8",
                    "sec-ch-ua: \"Chromium\";v=\"142\", \"Not A(Brand\";v=\"99\"",
                    "sec-fetch-dest: document",
                    "sec-fetch-mode: navigate",
                    "referer: https://localhost/a/page/before.html",
                    &cookie,
                ]
                .map(str::to_owned)
                .into()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_differ_and_a_browser_sends_13_fields() {
        for (at, workload) in WORKLOADS.iter().enumerate() {
            assert!(
                WORKLOADS[..at]
                    .iter()
                    .all(|other| other.name != workload.name)
            );
        }
        let lines = Fields::Browser.lines();
        assert_eq!(lines.len() + 4, 13);
        let cookie = lines.iter().find_map(|line| line.strip_prefix("cookie: "));
        assert_eq!(cookie.map(str::len), Some(400));
    }
}
