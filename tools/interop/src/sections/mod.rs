//! The sections: groups of checks that are run by name.

mod cancelled;
mod ending;
mod failures;
mod fields;
mod files;
mod goaway;
mod in_parallel;
mod messages;
mod proxy_protocol;
mod several_addresses;
mod smuggling;
mod upgrade;
mod websockets;

use crate::bench::Bench;
use crate::process::Result;

/// A section: its checks fail one by one, and an error means that it can't be run.
type Section = fn(&Bench) -> Result;

/// All sections, in the order in which they run.
pub(crate) const SECTIONS: [(&str, Section); 18] = [
    ("files", files::files),
    ("in_parallel", in_parallel::in_parallel),
    ("browser_files", files::browser_files),
    ("messages", messages::messages),
    ("line_by_line", messages::line_by_line),
    ("fields", fields::fields),
    ("forwarded", fields::forwarded),
    ("upgrade_to_h2c", upgrade::upgrade_to_h2c),
    ("smuggling", smuggling::smuggling),
    ("failures", failures::failures),
    ("broken_upstreams", failures::broken_upstreams),
    ("sent_again", failures::sent_again),
    ("cancelled", cancelled::cancelled),
    ("ending", ending::ending),
    ("several_addresses", several_addresses::several_addresses),
    ("goaway", goaway::goaway),
    ("proxy_protocol", proxy_protocol::proxy_protocol),
    ("websockets", websockets::websockets),
];
