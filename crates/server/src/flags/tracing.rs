//! The flags of traces.

use std::path::PathBuf;

use clap::Args;
use ipnet::IpNet;

use super::values::{Switch, net, number};
use crate::trace::Sample;

/// The flags of traces.
#[derive(Clone, Debug, Args)]
pub struct TraceFlags {
    /// Record the frames of HTTP/2 connections in this file, for tidegate trace and tidegate
    /// replay. See docs/traces.md
    #[arg(long, value_name = "FILE", help_heading = "Traces")]
    pub trace: Option<PathBuf>,

    /// Trace only clients with these addresses. Repeatable
    #[arg(long, value_name = "ADDR[/BITS]", help_heading = "Traces", value_parser = net, requires = "trace")]
    pub trace_client: Vec<IpNet>,

    /// Trace only connections whose client requests this name by TLS (SNI); *.example.com is each
    /// name below example.com. Repeatable
    #[arg(long, value_name = "NAME", help_heading = "Traces", requires = "trace")]
    pub trace_site: Vec<String>,

    /// Trace one of N of the connections that the other flags choose
    #[arg(long, value_name = "1/N", help_heading = "Traces", default_value = "1/1", value_parser = sample, requires = "trace")]
    pub trace_sample: Sample,

    /// Whether to record the values of fields, but for credentials; otherwise only their lengths
    #[arg(long, value_name = "on|off", help_heading = "Traces", value_enum, default_value_t = Switch::Off, hide_possible_values = true, requires = "trace")]
    pub trace_values: Switch,

    /// Keep the last N frames of each connection in memory, and write them when a rule ends it. 0:
    /// write all frames of all connections
    #[arg(long, value_name = "N", help_heading = "Traces", default_value_t = 0,
          value_parser = number::<0, 10_000>, requires = "trace")]
    pub trace_ring: u32,
}

fn sample(typed: &str) -> Result<Sample, String> {
    let number = typed.strip_prefix("1/").and_then(|of| of.parse().ok());
    let number = number.filter(|number| *number > 0);
    number
        .map(Sample)
        .ok_or_else(|| "expected 1/N, such as 1/100".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples() {
        assert_eq!(sample("1/100"), Ok(Sample(100)));
        for wrong in ["", "100", "1/0", "2/3", "1/", "1/x"] {
            assert!(sample(wrong).is_err(), "{wrong}");
        }
    }
}
