//! The formats of metrics: OpenMetrics 1.0, and the text format of Prometheus.

use std::fmt::Write as _;

use super::scrape::Scrape;
use super::table::{FAMILIES, Family, Read, Samples};

/// A format of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// OpenMetrics 1.0.
    OpenMetrics,
    /// The text format of Prometheus, 0.0.4.
    Prometheus,
}

impl Format {
    /// Returns the format that a client with this `accept` field gets: OpenMetrics if the field
    /// names it.
    pub fn accepted(accept: &[u8]) -> Self {
        let name = b"application/openmetrics-text";
        if accept
            .windows(name.len())
            .any(|part| part.eq_ignore_ascii_case(name))
        {
            Self::OpenMetrics
        } else {
            Self::Prometheus
        }
    }

    /// Returns the value of the `content-type` field.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

/// Writes all metrics.
pub fn write(format: Format, all: &Scrape<'_>) -> String {
    let mut text = String::with_capacity(32 << 10);
    for family in FAMILIES {
        head(&mut text, format, family);
        match &family.read {
            Read::One(value) => sample(&mut text, family, &[], value(all)),
            Read::Each(values) => {
                let mut samples = Samples::default();
                values(all, &mut samples);
                for (labels, value) in &samples.0 {
                    sample(&mut text, family, labels, *value);
                }
            }
            Read::Times(bounds, counts) => {
                let (buckets, count, micros) = counts(all);
                let mut sum = 0;
                for (bound, bucket) in bounds.iter().zip(buckets) {
                    sum += bucket;
                    let bound = seconds(*bound);
                    put(
                        &mut text,
                        format_args!("{}_bucket{{le=\"{bound}\"}} {sum}", family.name),
                    );
                }
                put(
                    &mut text,
                    format_args!("{}_bucket{{le=\"+Inf\"}} {count}", family.name),
                );
                let sum = number(micros as f64 / 1e6);
                put(&mut text, format_args!("{}_sum {sum}", family.name));
                put(&mut text, format_args!("{}_count {count}", family.name));
            }
        }
    }
    if format == Format::OpenMetrics {
        text.push_str("# EOF\n");
    }
    text
}

fn put(text: &mut String, line: std::fmt::Arguments<'_>) {
    // Writing to a string doesn't fail.
    let _ = writeln!(text, "{line}");
}

fn head(text: &mut String, format: Format, family: &Family) {
    let kind = family.kind.name();
    let name = match format {
        Format::OpenMetrics => family.name.to_owned(),
        Format::Prometheus => format!("{}{}", family.name, family.kind.suffix()),
    };
    put(text, format_args!("# TYPE {name} {kind}"));
    if format == Format::OpenMetrics && !family.unit.is_empty() {
        put(text, format_args!("# UNIT {name} {}", family.unit));
    }
    put(text, format_args!("# HELP {name} {}", family.help));
}

fn sample(text: &mut String, family: &Family, labels: &[String], value: f64) {
    text.push_str(family.name);
    text.push_str(family.kind.suffix());
    for (place, (name, label)) in family.labels.iter().zip(labels).enumerate() {
        text.push(if place == 0 { '{' } else { ',' });
        text.push_str(name);
        text.push_str("=\"");
        escape(text, label);
        text.push('"');
    }
    if !labels.is_empty() {
        text.push('}');
    }
    put(text, format_args!(" {}", number(value)));
}

/// Adds the value of a label with `\`, `"` and line ends escaped.
fn escape(text: &mut String, label: &str) {
    for letter in label.chars() {
        match letter {
            '\\' => text.push_str("\\\\"),
            '"' => text.push_str("\\\""),
            '\n' => text.push_str("\\n"),
            letter => text.push(letter),
        }
    }
}

fn number(value: f64) -> String {
    value.to_string()
}

/// Formats microseconds as seconds. OpenMetrics wants a point in the bounds of buckets.
fn seconds(micros: u64) -> String {
    let text = number(micros as f64 / 1e6);
    if text.contains('.') {
        text
    } else {
        format!("{text}.0")
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use tidegate_ledger::{Ledger, Limits, Resource, Rule};

    use super::*;
    use crate::metrics::counts::TIME_BOUNDS;
    use crate::metrics::facts::Facts;
    use crate::stats::Snapshot;

    fn text(format: Format) -> String {
        let mut snapshot = Snapshot::default();
        snapshot.totals.engines.requests = 4711;
        for status in [200, 200, 404] {
            snapshot.counts.answered(status);
        }
        let times = &mut snapshot.counts.times.durations;
        times.record(&TIME_BOUNDS, Duration::from_millis(20));
        snapshot.sites = vec![("a\"b\\c".into(), 3)];
        let ledger = Ledger::new(Limits::none().with(Resource::Connections, Rule::new(9)));
        let all = Scrape {
            snapshot: &snapshot,
            facts: &Facts::new(SystemTime::UNIX_EPOCH + Duration::from_secs(5)),
            ledger: &ledger,
            workers: 2,
            lost_lines: 0,
        };
        write(format, &all)
    }

    #[test]
    fn openmetrics_has_units_and_an_end() {
        let text = text(Format::OpenMetrics);
        for lines in [
            "# TYPE tidegate_requests counter\n# HELP tidegate_requests Requests received.\n\
             tidegate_requests_total 4711\n",
            "# TYPE tidegate_request_duration_seconds histogram\n\
             # UNIT tidegate_request_duration_seconds seconds\n",
            "tidegate_request_duration_seconds_bucket{le=\"0.001\"} 2\n\
             tidegate_request_duration_seconds_bucket{le=\"0.01\"} 2\n\
             tidegate_request_duration_seconds_bucket{le=\"0.05\"} 3\n",
            "tidegate_request_duration_seconds_bucket{le=\"10.0\"} 3\n\
             tidegate_request_duration_seconds_bucket{le=\"+Inf\"} 3\n\
             tidegate_request_duration_seconds_sum 0.02\n\
             tidegate_request_duration_seconds_count 3\n",
            "tidegate_responses_total{status=\"2xx\"} 2\n",
            "tidegate_site_requests_total{site=\"a\\\"b\\\\c\"} 3\n",
            "tidegate_start_timestamp_seconds 5\n",
            "tidegate_shared_limit{resource=\"connections\"} 9\n",
        ] {
            assert!(text.contains(lines), "{lines}{text}");
        }
        assert!(text.ends_with("\n# EOF\n"));
    }

    #[test]
    fn prometheus_has_the_suffix_in_the_type() {
        let text = text(Format::Prometheus);
        assert!(
            text.contains("# TYPE tidegate_requests_total counter\n"),
            "{text}"
        );
        assert!(
            text.contains("# TYPE tidegate_build_info gauge\n"),
            "{text}"
        );
        assert!(
            !text.contains("# UNIT") && !text.contains("# EOF"),
            "{text}"
        );
    }

    #[test]
    fn a_server_without_limits_and_troubles_leaves_room_for_theirs_among_100_series() {
        let text = text(Format::OpenMetrics);
        let series = text.lines().filter(|line| !line.starts_with('#')).count();
        assert!(series <= 80, "{series}");
        let accept = b"application/openmetrics-text;version=1.0.0,text/plain;q=0.5";
        assert_eq!(Format::accepted(accept), Format::OpenMetrics);
        assert_eq!(Format::accepted(b"*/*"), Format::Prometheus);
    }
}
