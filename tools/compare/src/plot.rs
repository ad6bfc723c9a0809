//! The plot of a table: for each row, each server's cost as a multiple of the best peer's.

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

/// A peer's colour.
fn colour(peer: Peer) -> &'static str {
    match peer {
        Peer::Tidegate => "#d6336c",
        Peer::H2o => "#1971c2",
        Peer::Nginx => "#2f9e44",
        Peer::Nghttpd => "#f08c00",
        Peer::Nghttpx => "#e8590c",
        Peer::Haproxy => "#0c8599",
        Peer::Apache => "#862e9c",
        Peer::Caddy => "#66a80f",
        Peer::Go => "#3bc9db",
        Peer::Hyper => "#5f3dc4",
        Peer::Floor => "#868e96",
    }
}

/// Returns where a multiple of the best peer's cost is on the axis.
fn x(multiple: f64) -> f64 {
    let part = (multiple.clamp(LEAST, MOST) / LEAST).log10() / (MOST / LEAST).log10();
    LEFT + part * WIDTH
}

/// Returns the plot as SVG.
pub(crate) fn svg(rows: &[Row], peers: &[Peer]) -> String {
    let rows: Vec<_> = rows.iter().filter(|row| row.best().is_some()).collect();
    let bottom = TOP + rows.len() as f64 * LINE;
    let height = bottom + 30.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 800 {height}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"800\" height=\"{height}\" fill=\"#fff\"/>\n\
         <text x=\"10\" y=\"20\" font-size=\"14\">Cost as a multiple of the best peer's (less is \
         better)</text>\n"
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
        let stroke = if multiple == 1.0 {
            "#495057"
        } else {
            "#dee2e6"
        };
        let _ = writeln!(
            svg,
            "<line x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{TOP}\" y2=\"{bottom}\" \
             stroke=\"{stroke}\"/><text x=\"{x:.1}\" y=\"{:.0}\" \
             text-anchor=\"middle\">{multiple}</text>",
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_axis_is_logarithmic_and_has_ends() {
        assert_eq!(x(0.1), LEFT);
        assert_eq!(x(1_000.0), LEFT + WIDTH);
        assert!((x(1.0) - LEFT - WIDTH / 3.0).abs() < 1e-6);
    }
}
