//! Which stream sends next. Sees slots and priorities, never octets.

mod priority;
mod urgency;

pub use priority::Priority;
pub(crate) use urgency::Urgency as Scheduler;
