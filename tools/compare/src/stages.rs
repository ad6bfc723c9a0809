//! The instructions of a request, by the part of tidegate or of its libraries that the code is
//! from: callgrind's profile.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::profile::{Place, Profile};

/// A part of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    Loop,
    Tls,
    Cryptography,
    Frames,
    Hpack,
    Messages,
    Engine,
    Ledger,
    Server,
    Pool,
    Allocator,
    Copies,
    Rest,
}

impl Stage {
    fn name(self) -> &'static str {
        match self {
            Self::Loop => "the event loop and sockets (`net`)",
            Self::Tls => "TLS records and handshakes (rustls)",
            Self::Cryptography => "cryptography (aws-lc)",
            Self::Frames => "frames (`frame`)",
            Self::Hpack => "header compression (`hpack`)",
            Self::Messages => "heads and their rules (`http`)",
            Self::Engine => "streams, flow control, scheduling (`http2`, `http1`)",
            Self::Ledger => "clients' shares (`ledger`)",
            Self::Server => "routes and handlers (`server`)",
            Self::Pool => "upstreams (`pool`)",
            Self::Allocator => "allocator",
            Self::Copies => "copies and comparisons of the C library",
            Self::Rest => "the rest: C library, system calls, others",
        }
    }

    /// Returns the stage of code. Inlined code belongs to the file that it is written in; code of a
    /// library belongs to the function that it is inlined into.
    fn of(place: &Place) -> Self {
        let Place { function, file, .. } = place;
        if let Some((_, path)) = file.rsplit_once("/crates/")
            && let Some(stage) = Self::of_crate(path.split('/').next().unwrap_or_default())
        {
            return stage;
        }
        let own = function.split("tidegate").nth(1);
        let own = own.and_then(|rest| match rest.strip_prefix('_') {
            Some(name) => Self::of_crate(name.split(':').next().unwrap_or_default()),
            None => rest.starts_with("::").then_some(Self::Server),
        });
        if let Some(stage) = own {
            return stage;
        }
        let is_in = |names: &[&str]| {
            let is_named = |name: &&str| function.contains(name) || file.contains(name);
            names.iter().any(is_named)
        };
        if is_in(&["aws_lc", "aws-lc", "aesni", "_gcm_"]) {
            Self::Cryptography
        } else if is_in(&["rustls"]) {
            Self::Tls
        } else if is_in(&[
            "malloc",
            "calloc",
            "realloc",
            "free",
            "_int_",
            "__rust_alloc",
        ]) {
            Self::Allocator
        } else if is_in(&["memcpy", "memmove", "memset", "memcmp", "bcmp"]) {
            Self::Copies
        } else {
            Self::Rest
        }
    }

    fn of_crate(name: &str) -> Option<Self> {
        Some(match name {
            "net" => Self::Loop,
            "frame" => Self::Frames,
            "hpack" => Self::Hpack,
            "http" => Self::Messages,
            "http1" | "http2" => Self::Engine,
            "ledger" => Self::Ledger,
            "server" => Self::Server,
            "pool" => Self::Pool,
            _ => return None,
        })
    }
}

/// A column of the table: its title, and the instructions of one request by stage.
pub(crate) struct Column {
    pub(crate) title: String,
    pub(crate) stages: BTreeMap<Stage, f64>,
}

impl Column {
    pub(crate) fn of(title: String, requests: u64, profile: &Profile) -> Self {
        let mut stages = BTreeMap::new();
        for (place, cost) in &profile.costs {
            *stages.entry(Stage::of(place)).or_default() += *cost as f64 / requests as f64;
        }
        Self { title, stages }
    }
}

/// Returns a Markdown table.
pub(crate) fn table(columns: &[Column]) -> String {
    let titles: Vec<_> = columns.iter().map(|column| &*column.title).collect();
    let mut text = format!(
        "| user instructions per request | {} |\n",
        titles.join(" | ")
    );
    let _ = writeln!(text, "|---|{}", "---:|".repeat(columns.len()));
    let mut all: Vec<Stage> = columns
        .iter()
        .flat_map(|column| column.stages.keys().copied())
        .collect();
    all.sort_unstable();
    all.dedup();
    for stage in all {
        let figures = columns.iter().map(|column| column.stages.get(&stage));
        let figures: Vec<_> = figures
            .map(|figure| figure.copied().unwrap_or(0.0))
            .collect();
        if figures.iter().all(|figure| *figure < 1.0) {
            continue;
        }
        let cells: Vec<_> = figures
            .iter()
            .map(|figure| format!("{figure:.0}"))
            .collect();
        let _ = writeln!(text, "| {} | {} |", stage.name(), cells.join(" | "));
    }
    let sums = columns.iter().map(|column| column.stages.values().sum());
    let sums: Vec<_> = sums.map(|sum: f64| format!("{sum:.0}")).collect();
    let _ = writeln!(text, "| all | {} |", sums.join(" | "));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stage(function: &str, file: &str) -> Stage {
        Stage::of(&Place {
            function: function.to_owned(),
            file: file.to_owned(),
            line: 1,
            object: String::new(),
        })
    }

    #[test]
    fn code_belongs_to_its_file_or_to_the_function_around_it() {
        let library = "/rustc/0/library/core/src/slice/mod.rs";
        for (function, file, expected) in [
            (
                "tidegate_net::turn",
                "/x/crates/hpack/src/decoder.rs",
                Stage::Hpack,
            ),
            ("tidegate_net::turn", library, Stage::Loop),
            (
                "<tidegate_http2::Slots as core::Drop>::drop",
                library,
                Stage::Engine,
            ),
            ("tidegate::app::App::event", library, Stage::Server),
            ("rustls::conn::read", library, Stage::Tls),
            (
                "aws_lc_0_47_0_EVP_AEAD_CTX_seal",
                "???",
                Stage::Cryptography,
            ),
            ("_int_malloc", "malloc.c", Stage::Allocator),
            ("__memcpy_avx_unaligned_erms", "memmove.S", Stage::Copies),
            ("writev", "writev.c", Stage::Rest),
        ] {
            assert_eq!(stage(function, file), expected, "{function} in {file}");
        }
    }
}
