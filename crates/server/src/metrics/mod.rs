//! Metrics: what workers count, and the table and formats in which operators get it.
//!
//! - `tally`    counts by a label
//! - `counts`   counts of one worker's service
//! - `facts`    facts about the process
//! - `scrape`   everything that the table reads
//! - `table`    the table of all metrics
//! - `text`     the formats
//!
//! To add a metric: a row in `table.rs`, and a count where the thing happens.

pub mod counts;
pub mod facts;
pub mod scrape;
pub mod table;
pub mod tally;
pub mod text;
