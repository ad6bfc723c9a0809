//! Which stream sends next. Sees slots and priorities, never octets.

mod early;
mod priority;
mod urgency;

pub(crate) use early::EarlyPriorities;
pub use priority::Priority;
pub(crate) use priority::field_value;
pub(crate) use urgency::Urgency as Scheduler;
