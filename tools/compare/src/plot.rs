//! Plots as SVG, for pages that are light or dark: each server's cost as a multiple of the best
//! peer's, and panels of how a cost grows.

use std::fmt::Write;

use crate::peers::Peer;
use crate::rows::Row;

/// Where the axis begins and ends: a tenth, and a hundred times, of the best peer's cost.
const LEAST: f64 = 0.1;
const MOST: f64 = 100.0;

const LEFT: f64 = 210.0;
const WIDTH: f64 = 560.0;
const LINE: f64 = 22.0;
const TOP: f64 = 70.0;

/// Width and height of a panel, and the room that its labels have at the left and below.
const PANEL: (f64, f64) = (400.0, 240.0);
const LABELS: (f64, f64) = (60.0, 36.0);

/// The colours of lines.
const LINES: [&str; 2] = ["#d6336c", "#228be6"];

/// A line of a panel.
pub(crate) struct Series {
    pub(crate) name: &'static str,
    /// Quantity and cost.
    pub(crate) points: Vec<(f64, f64)>,
}

/// A plot of costs over a quantity. Both axes are logarithmic.
pub(crate) struct Panel {
    pub(crate) title: &'static str,
    pub(crate) series: Vec<Series>,
}

/// A peer's colour, which stands out from white and from black.
fn colour(peer: Peer) -> &'static str {
    match peer {
        Peer::Tidegate => "#e64980",
        Peer::H2o => "#228be6",
        Peer::Nginx => "#2f9e44",
        Peer::Nghttpd => "#f59f00",
        Peer::Nghttpx => "#e8590c",
        Peer::Haproxy => "#0ca678",
        Peer::Apache => "#be4bdb",
        Peer::Caddy => "#82c91e",
        Peer::Go => "#22b8cf",
        Peer::Hyper => "#7950f2",
        Peer::Floor => "#868e96",
    }
}

/// Begins a picture, with colours for either kind of page.
fn begin(height: f64, title: &str) -> String {
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 800 {height}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n\
         <style>.page{{fill:#fff}}text{{fill:#24292f}}.line{{stroke:#d0d7de}}\
         .one{{stroke:#57606a}}@media(prefers-color-scheme:dark){{.page{{fill:#0d1117}}\
         text{{fill:#e6edf3}}.line{{stroke:#30363d}}.one{{stroke:#8b949e}}}}</style>\n\
         <rect class=\"page\" width=\"800\" height=\"{height}\"/>\n\
         <text x=\"10\" y=\"20\" font-size=\"14\">{title}</text>\n"
    )
}

/// Returns where a multiple of the best peer's cost is on the axis.
fn x(multiple: f64) -> f64 {
    let part = (multiple.clamp(LEAST, MOST) / LEAST).log10() / (MOST / LEAST).log10();
    LEFT + part * WIDTH
}

/// Returns the plot of a table.
pub(crate) fn costs(rows: &[Row], peers: &[Peer]) -> String {
    let rows: Vec<_> = rows.iter().filter(|row| row.best().is_some()).collect();
    let bottom = TOP + rows.len() as f64 * LINE;
    let mut svg = begin(
        bottom + 30.0,
        "Cost as a multiple of the best peer's (less is better)",
    );
    let mut at = 10.0;
    for peer in peers {
        let _ = writeln!(
            svg,
            "<circle cx=\"{:.0}\" cy=\"40\" r=\"5\" fill=\"{}\"/><text x=\"{:.0}\" \
             y=\"44\">{}</text>",
            at + 5.0,
            colour(*peer),
            at + 14.0,
            peer.name()
        );
        at += 26.0 + 7.0 * peer.name().len() as f64;
    }
    for multiple in [0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0] {
        let class = if multiple == 1.0 { "one" } else { "line" };
        let _ = writeln!(
            svg,
            "<line class=\"{class}\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{TOP}\" y2=\"{bottom}\"/>\
             <text x=\"{x:.1}\" y=\"{:.0}\" text-anchor=\"middle\">{multiple}</text>",
            bottom + 16.0,
            x = x(multiple)
        );
    }
    for (n, row) in rows.iter().enumerate() {
        let y = TOP + (n as f64 + 0.5) * LINE;
        let _ = writeln!(
            svg,
            "<text x=\"{:.0}\" y=\"{:.0}\" text-anchor=\"end\">{} ({})</text>",
            LEFT - 10.0,
            y + 4.0,
            row.name,
            row.over
        );
        let best = row.best().map_or(f64::NAN, |(_, best)| best);
        // tidegate is drawn last, so that nothing hides it.
        for peer in peers.iter().rev() {
            let Some(figure) = row.figure(*peer) else {
                continue;
            };
            let radius = if *peer == Peer::Tidegate { 6 } else { 4 };
            let _ = writeln!(
                svg,
                "<circle cx=\"{:.1}\" cy=\"{y:.0}\" r=\"{radius}\" fill=\"{}\"><title>{}: \
                 {}</title></circle>",
                x(figure / best),
                colour(*peer),
                peer.name(),
                row.unit.show(figure)
            );
        }
    }
    svg.push_str("</svg>\n");
    svg
}

/// Returns panels, two in a line.
pub(crate) fn panels(title: &str, panels: &[Panel]) -> String {
    let lines = panels.len().div_ceil(2);
    let mut svg = begin(34.0 + lines as f64 * PANEL.1, title);
    for (n, panel) in panels.iter().enumerate() {
        let left = (n % 2) as f64 * PANEL.0;
        let top = 34.0 + (n / 2) as f64 * PANEL.1;
        draw(panel, left, top, &mut svg);
    }
    svg.push_str("</svg>\n");
    svg
}

/// Returns the powers of ten between which the values are.
fn decades(values: impl Iterator<Item = f64>) -> (i32, i32) {
    let logs: Vec<_> = values.map(|value| value.max(1.0).log10()).collect();
    let least = logs.iter().copied().fold(f64::INFINITY, f64::min).floor();
    let most = logs.iter().copied().fold(0.0, f64::max).ceil();
    // A cost that stays the same has an axis, too.
    (least as i32, most.max(least + 1.0) as i32)
}

fn draw(panel: &Panel, left: f64, top: f64, svg: &mut String) {
    let all = || panel.series.iter().flat_map(|series| &series.points);
    let (from_x, to_x) = decades(all().map(|(x, _)| *x));
    let (from_y, to_y) = decades(all().map(|(_, y)| *y));
    let width = PANEL.0 - LABELS.0 - 20.0;
    let height = PANEL.1 - LABELS.1 - 24.0;
    let part = |value: f64, from: i32, to: i32| {
        (value.max(1.0).log10() - f64::from(from)) / f64::from(to - from)
    };
    let place_x = |value: f64| left + LABELS.0 + part(value, from_x, to_x) * width;
    let place_y = |value: f64| top + 24.0 + (1.0 - part(value, from_y, to_y)) * height;
    let (right, bottom) = (left + LABELS.0 + width, top + 24.0 + height);
    let _ = writeln!(
        svg,
        "<text x=\"{:.0}\" y=\"{:.0}\">{}</text>",
        left + LABELS.0,
        top + 14.0,
        panel.title
    );
    for decade in from_x..=to_x {
        let (x, shown) = (place_x(10f64.powi(decade)), short(decade));
        let _ = writeln!(
            svg,
            "<line class=\"line\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{:.1}\" y2=\"{bottom:.1}\"/>\
             <text x=\"{x:.1}\" y=\"{:.0}\" text-anchor=\"middle\">{shown}</text>",
            top + 24.0,
            bottom + 16.0
        );
    }
    for decade in from_y..=to_y {
        let (y, shown) = (place_y(10f64.powi(decade)), short(decade));
        let _ = writeln!(
            svg,
            "<line class=\"line\" x1=\"{:.1}\" x2=\"{right:.1}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
             <text x=\"{:.1}\" y=\"{:.0}\" text-anchor=\"end\">{shown}</text>",
            left + LABELS.0,
            left + LABELS.0 - 6.0,
            y + 4.0
        );
    }
    for (n, series) in panel.series.iter().enumerate() {
        let colour = LINES[n % LINES.len()];
        let mut points = String::new();
        for (x, y) in &series.points {
            let (px, py) = (place_x(*x), place_y(*y));
            let _ = write!(points, "{px:.1},{py:.1} ");
            let _ = writeln!(
                svg,
                "<circle cx=\"{px:.1}\" cy=\"{py:.1}\" r=\"4\" fill=\"{colour}\"><title>{x}: \
                 {y:.0}</title></circle>"
            );
        }
        let _ = writeln!(
            svg,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>",
            points.trim_end()
        );
        if panel.series.len() > 1
            && let Some((x, y)) = series.points.first()
        {
            let (x, y) = (place_x(*x) + 4.0, place_y(*y) - 8.0);
            let _ = writeln!(
                svg,
                "<text x=\"{x:.0}\" y=\"{y:.0}\">{}</text>",
                series.name
            );
        }
    }
}

/// Returns a power of ten in few letters.
fn short(decade: i32) -> String {
    let (unit, rest) = match decade {
        6.. => ("M", decade - 6),
        3..6 => ("k", decade - 3),
        _ => ("", decade),
    };
    format!("1{}{unit}", "0".repeat(rest.max(0) as usize))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_axis_is_logarithmic_and_has_ends() {
        assert_eq!(x(0.1), LEFT);
        assert_eq!(x(1_000.0), LEFT + WIDTH);
        assert!((x(1.0) - LEFT - WIDTH / 3.0).abs() < 1e-6);
    }

    #[test]
    fn a_panel_is_as_wide_as_its_values() {
        assert_eq!(decades([10.0, 10_000.0].into_iter()), (1, 4));
        assert_eq!(decades([15.0, 2_000.0].into_iter()), (1, 4));
        assert_eq!(decades([1_000.0].into_iter()), (3, 4));
        let shown: Vec<_> = (0..8).map(short).collect();
        assert_eq!(shown, ["1", "10", "100", "1k", "10k", "100k", "1M", "10M"]);
    }
}
