//! A waterfall of a connection's streams as SVG: which stream waited for whom, and when.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use tidegate_frame::Flags;

use crate::file::Connection;
use crate::record::{Event, FrameRecord, Payload};

/// The most streams that are drawn.
const MOST_STREAMS: usize = 500;

/// Sizes in pixels: the place of names, the plot, a row, and the head with the legend.
const NAMES: f64 = 220.0;
const PLOT: f64 = 900.0;
const ROW: f64 = 18.0;
const HEAD: f64 = 64.0;

/// The phases of a stream, with their class and words.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Request,
    Handler,
    Sending,
    StreamWindow,
    ConnectionWindow,
}

const LEGEND: [(Phase, &str, &str); 5] = [
    (Phase::Request, "request", "request arrives"),
    (Phase::Handler, "handler", "waits for handler or upstream"),
    (Phase::Sending, "sending", "response goes out"),
    (
        Phase::StreamWindow,
        "stream",
        "waits for the stream's window",
    ),
    (
        Phase::ConnectionWindow,
        "connection",
        "waits for the connection window",
    ),
];

/// One row.
struct Row {
    label: String,
    /// The phases with their beginnings in seconds.
    phases: Vec<(f64, Phase)>,
    end: Option<f64>,
}

impl Row {
    fn enter(&mut self, at: f64, phase: Phase) {
        if self.end.is_none() && self.phases.last().is_none_or(|(_, last)| *last != phase) {
            self.phases.push((at, phase));
        }
    }

    fn is_waiting(&self) -> bool {
        let last = self.phases.last().map(|(_, last)| *last);
        matches!(last, Some(Phase::StreamWindow | Phase::ConnectionWindow))
    }
}

/// Returns a waterfall of the connection's streams, for light and dark pages.
pub fn waterfall(connection: &Connection) -> String {
    let mut rows = BTreeMap::new();
    let mut last = 0.0_f64;
    for record in &connection.records {
        let at = record.time.as_secs_f64();
        last = last.max(at);
        match &record.event {
            Event::Received(frame) => received(&mut rows, at, frame),
            Event::Sent(frame) => sent(&mut rows, at, frame),
            _ => {}
        }
    }
    draw(&connection.id, &rows, last)
}

fn value<'f>(frame: &'f FrameRecord, name: &str) -> Option<&'f str> {
    let (Payload::Headers { block, .. } | Payload::Continuation { block }) = &frame.payload else {
        return None;
    };
    let mut fields = block.as_ref()?.fields.iter();
    fields.find(|field| field.name == name)?.value.as_deref()
}

fn received(rows: &mut BTreeMap<u32, Row>, at: f64, frame: &FrameRecord) {
    let id = frame.stream_id;
    let is_full = rows.len() >= MOST_STREAMS;
    if let Payload::Headers { .. } = frame.payload
        && !is_full
    {
        rows.entry(id).or_insert_with(|| Row {
            label: format!("{id} {}", value(frame, ":method").unwrap_or("")),
            phases: vec![(at, Phase::Request)],
            end: None,
        });
    }
    if let Payload::WindowUpdate { .. } | Payload::Settings { settings: Some(_) } = frame.payload {
        let mine = |row: &u32| id == 0 || *row == id;
        for (_, row) in rows.iter_mut().filter(|(row, _)| mine(row)) {
            if row.is_waiting() {
                row.enter(at, Phase::Sending);
            }
        }
    }
    let Some(row) = rows.get_mut(&id) else { return };
    match frame.payload {
        Payload::RstStream { .. } => row.end = row.end.or(Some(at)),
        Payload::Headers { .. } | Payload::Data { .. }
            if Flags(frame.flags).has(Flags::END_STREAM) =>
        {
            if matches!(row.phases[..], [(_, Phase::Request)]) {
                row.enter(at, Phase::Handler);
            }
        }
        _ => {}
    }
}

fn sent(rows: &mut BTreeMap<u32, Row>, at: f64, frame: &FrameRecord) {
    let Some(row) = rows.get_mut(&frame.stream_id) else {
        return;
    };
    match frame.payload {
        Payload::RstStream { .. } => row.end = row.end.or(Some(at)),
        Payload::Headers { .. } | Payload::Data { .. } => {
            if let Some(status) = value(frame, ":status") {
                let _ = write!(row.label, " {status}");
            }
            row.enter(at, Phase::Sending);
            if Flags(frame.flags).has(Flags::END_STREAM) {
                row.end = row.end.or(Some(at));
            } else if let Some(windows) = &frame.windows {
                if windows.connection_send <= 0 {
                    row.enter(at, Phase::ConnectionWindow);
                } else if windows.stream_send.is_some_and(|window| window <= 0) {
                    row.enter(at, Phase::StreamWindow);
                }
            }
        }
        _ => {}
    }
}

fn draw(name: &str, rows: &BTreeMap<u32, Row>, last: f64) -> String {
    let whole = if last > 0.0 { last } else { 1e-3 };
    let x = |at: f64| NAMES + PLOT * at / whole;
    let (width, height) = (NAMES + PLOT + 30.0, HEAD + ROW * rows.len() as f64 + 30.0);
    let mut out = String::new();
    let _ = write!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" \
         width=\"{width}\" height=\"{height}\"><style>{STYLE}</style>\
         <rect class=\"page\" width=\"{width}\" height=\"{height}\"/>\
         <text class=\"title\" x=\"12\" y=\"22\">connection {}</text>",
        escaped(name)
    );
    for (place, (_, class, words)) in LEGEND.iter().enumerate() {
        let left = 12.0 + 226.0 * place as f64;
        let _ = write!(
            out,
            "<rect class=\"{class}\" x=\"{left}\" y=\"34\" width=\"12\" height=\"12\" rx=\"2\"/>\
             <text x=\"{}\" y=\"44\">{words}</text>",
            left + 18.0
        );
    }
    for tick in 0..=10 {
        let at = whole * f64::from(tick) / 10.0;
        let (left, bottom) = (x(at), height - 24.0);
        let _ = write!(
            out,
            "<line class=\"grid\" x1=\"{left:.1}\" y1=\"{HEAD}\" x2=\"{left:.1}\" y2=\"{bottom}\"/>\
             <text class=\"tick\" x=\"{left:.1}\" y=\"{}\">{:.1} ms</text>",
            height - 8.0,
            at * 1e3
        );
    }
    for (place, row) in rows.values().enumerate() {
        let top = HEAD + ROW * place as f64;
        let label = escaped(&row.label);
        let _ = write!(out, "<text x=\"12\" y=\"{}\">{label}</text>", top + 13.0);
        let end = row.end.unwrap_or(last);
        for (place, (from, phase)) in row.phases.iter().enumerate() {
            let to = row.phases.get(place + 1).map_or(end, |(to, _)| *to);
            let class = LEGEND.iter().find(|(other, ..)| other == phase);
            let (class, words) = class.map_or(("", ""), |(_, class, words)| (*class, *words));
            let (left, width) = (x(*from), (x(to) - x(*from)).max(1.5));
            let _ = write!(
                out,
                "<rect class=\"{class}\" x=\"{left:.1}\" y=\"{}\" width=\"{width:.1}\" \
                 height=\"12\" rx=\"2\"><title>{words}: {:.3} ms</title></rect>",
                top + 3.0,
                (to - from).max(0.0) * 1e3
            );
        }
    }
    out.push_str("</svg>\n");
    out
}

const STYLE: &str = "\
text{font:12px system-ui,sans-serif;fill:#333}.title{font-weight:600;font-size:15px}\
.tick{text-anchor:middle;fill:#777}.page{fill:#fff}.grid{stroke:#ddd}\
.request{fill:#8a97a8}.handler{fill:#e0a526}.sending{fill:#2f7fd0}.stream{fill:#c8432b}\
.connection{fill:#8b3fb0}\
@media(prefers-color-scheme:dark){text{fill:#ddd}.tick{fill:#999}.page{fill:#16181c}\
.grid{stroke:#333}.sending{fill:#5aa2ea}.stream{fill:#e8735d}.connection{fill:#b57ad6}}";

fn escaped(text: &str) -> String {
    let text = text.replace('&', "&amp;").replace('<', "&lt;");
    text.chars().filter(|c| !c.is_control()).collect()
}
