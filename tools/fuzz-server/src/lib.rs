//! The bodies of the fuzz targets that need more than engines: paths, the heads of forwarded
//! requests, upstreams as a user types them, and the PROXY protocol. The engines' targets are in
//! `tidegate-testkit`.

mod forwarded;
mod path;
mod proxy_header;
mod upstream_target;

pub use forwarded::forwarded;
pub use path::request_path;
pub use proxy_header::proxy_header;
pub use upstream_target::upstream_target;

use tidegate_testkit::fuzz::Target;

/// All targets.
pub const TARGETS: &[Target] = &[
    Target {
        name: "request_path",
        body: request_path,
    },
    Target {
        name: "forwarded",
        body: forwarded,
    },
    Target {
        name: "upstream_target",
        body: upstream_target,
    },
    Target {
        name: "proxy_header",
        body: proxy_header,
    },
];

#[cfg(test)]
mod tests {
    use tidegate_testkit::fuzz::replay;

    #[test]
    fn every_input_of_the_corpora_passes() {
        replay(super::TARGETS);
    }

    #[test]
    fn inputs_may_be_empty() {
        for target in super::TARGETS {
            (target.body)(&[]);
        }
    }
}
