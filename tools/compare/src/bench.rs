//! The things that one run of this program has: the processors, the site, and how much is measured.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::process::{Cores, Result};
use crate::site::Site;

pub(crate) struct Bench {
    pub(crate) cores: Cores,
    pub(crate) site: Site,
    /// How many times each figure of CPU time is taken.
    pub(crate) rounds: usize,
    /// How long each load lasts, about.
    pub(crate) lasts: Duration,
    /// Requests at most in the shorter of two loads whose instructions are counted.
    pub(crate) counted: u64,
    pub(crate) progress: ProgressBar,
}

impl Bench {
    pub(crate) fn new(
        cores: Cores,
        site: Site,
        rounds: usize,
        lasts: Duration,
        counted: u64,
    ) -> Result<Self> {
        let style = ProgressStyle::with_template("{bar:30} {pos}/{len} {elapsed} {msg}")?;
        let progress = ProgressBar::new(0).with_style(style);
        Ok(Self {
            cores,
            site,
            rounds,
            lasts,
            counted,
            progress,
        })
    }
}
