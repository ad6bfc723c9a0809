//! testkit

pub mod fuzz;
