//! The progress bar on standard error; hidden where that is no terminal.
#![forbid(unsafe_code)]

use indicatif::{ProgressBar, ProgressStyle};

use crate::options::format_size;
use crate::setup::Setup;

/// Progress of a run. It is drawn between slices only, by the measuring thread itself: no other thread disturbs.
#[derive(Debug)]
pub(crate) struct Progress(ProgressBar);

impl Progress {
    pub(crate) fn new(steps: usize) -> Self {
        let bar = ProgressBar::new(steps as u64);
        if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len} {elapsed} {wide_msg}") {
            bar.set_style(style);
        }
        Self(bar)
    }

    /// The next contender.
    pub(crate) fn step(&self, setup: &Setup) {
        self.0.set_message(format!("{} of {}: {setup}", format_size(setup.size), setup.payload));
        self.0.inc(1);
    }

    /// What is going on beside the contenders.
    pub(crate) fn say(&self, what: &'static str) {
        self.0.set_message(what);
    }

    pub(crate) fn finish(&self) {
        self.0.finish_and_clear();
    }
}
