//! What the user asked for.
#![forbid(unsafe_code)]

use std::path::PathBuf;

use crate::error::{LabError, Result};
use crate::names::{CodecKind, Mode, PayloadKind, TransportKind, Wait};

/// Options of a run. An empty list means: the usual choice.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Options {
    /// Fewer contenders and sizes, half a minute.
    pub quick: bool,
    /// Message sizes in bytes.
    pub sizes: Vec<usize>,
    /// Which transports.
    pub transports: Vec<TransportKind>,
    /// Which codecs.
    pub codecs: Vec<CodecKind>,
    /// Which payloads.
    pub payloads: Vec<PayloadKind>,
    /// Which wait strategies.
    pub waits: Vec<Wait>,
    /// Which modes.
    pub modes: Vec<Mode>,
    /// How many messages a second are sent in [`Mode::Paced`].
    pub rate: Option<u64>,
    /// How many messages may lie in one direction at most, where that can be chosen; 8 in closed loops and 64 in streams,
    /// if not told, and never more than fit into 4 MiB.
    pub depth: Option<usize>,
    /// What the channels are held to.
    pub channels: Channels,
    /// Leave out what happens when a process is killed.
    pub skip_crashes: bool,
    /// How long to measure.
    pub seconds: Option<f64>,
    /// The user's file, to be cut into messages.
    pub input: Option<PathBuf>,
}

/// Whether it is measured what the channels are held to, which is a section of its own.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Channels {
    /// Beside the usual rows; not if any are chosen.
    #[default]
    Usual,
    /// Nothing else: those figures whose name contains this.
    Only(String),
    /// Not.
    Without,
}

/// Messages a second in [`Mode::Paced`], if not told.
const USUAL_RATE: u64 = 10_000;
/// Greatest rate: beyond it the clock itself cannot keep the pace.
pub const GREATEST_RATE: u64 = 10_000_000;

/// Greatest message size.
const LARGEST: usize = 1 << 30;

/// Reads a size in bytes: `64`, `4K`, `1MiB`, `1G`; units count in powers of 1024.
///
/// # Errors
/// Where the text is no size between 8 bytes and 1 GiB.
pub fn parse_size(text: &str) -> Result<usize> {
    let lower = text.trim().to_ascii_lowercase();
    let digits = lower.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match lower[digits.len()..].trim_end_matches('b').trim_end_matches('i') {
        "" => 1,
        "k" => 1 << 10,
        "m" => 1 << 20,
        "g" => 1 << 30,
        _ => return Err(LabError::Option(format!("{text}: no size; write 64, 4K or 1M"))),
    };
    digits
        .trim()
        .parse::<usize>()
        .ok()
        .and_then(|number| number.checked_mul(unit))
        .filter(|size| (8..=LARGEST).contains(size))
        .ok_or_else(|| LabError::Option(format!("{text}: sizes go from 8 bytes to 1G; write 64, 4K or 1M")))
}

/// Writes a size as people read it: `64 B`, `4 KiB`, `1 MiB`; a little less than a round one as `≈4 KiB`.
pub fn format_size(bytes: usize) -> String {
    // Records fill a message as far as whole ones go.
    let round = bytes.next_power_of_two();
    match bytes {
        _ if bytes > 1 << 10 && bytes != round && bytes >= round - round / 200 => {
            format!("≈{}", format_size(round))
        }
        _ if bytes >= 1 << 20 && bytes.is_multiple_of(1 << 20) => format!("{} MiB", bytes >> 20),
        _ if bytes >= 1 << 10 && bytes.is_multiple_of(1 << 10) => format!("{} KiB", bytes >> 10),
        _ => format!("{bytes} B"),
    }
}

impl Options {
    /// Messages a second in [`Mode::Paced`].
    pub fn rate(&self) -> u64 {
        self.rate.unwrap_or(USUAL_RATE).clamp(1, GREATEST_RATE)
    }

    /// The modes to run: all closed loops and streams, if not told; a rate alone means [`Mode::Paced`].
    pub fn modes(&self) -> Vec<Mode> {
        match (self.modes.is_empty(), self.rate, self.quick) {
            (false, ..) => self.modes.clone(),
            (true, Some(_), _) => vec![Mode::Paced],
            (true, None, true) => vec![Mode::Rtt, Mode::Stream],
            (true, None, false) => vec![Mode::Rtt, Mode::Oneway, Mode::Stream],
        }
    }

    /// How long to measure, in seconds: a little less than half a minute or three minutes, if not told.
    pub fn budget_s(&self) -> f64 {
        let usual = match self.channels {
            Channels::Only(_) => 20.0,
            _ if self.quick => 21.0,
            _ => 150.0,
        };
        self.seconds.unwrap_or(usual)
    }

    /// The same with what is needed to hold allmende against frameworks of others, where nothing else is chosen.
    #[cfg(feature = "peers")]
    #[must_use]
    pub fn against_peers(mut self) -> Self {
        fn choose<T>(chosen: &mut Vec<T>, usual: Vec<T>) {
            if chosen.is_empty() {
                *chosen = usual;
            }
        }
        let ran = |kind: &TransportKind| kind.is_peer() || crate::against::OURS.contains(kind);
        choose(&mut self.transports, TransportKind::ALL.iter().copied().filter(ran).collect());
        choose(&mut self.sizes, vec![64, 1 << 20]);
        choose(&mut self.waits, vec![Wait::Spin]);
        choose(&mut self.modes, vec![Mode::Rtt, Mode::Stream]);
        choose(&mut self.payloads, vec![PayloadKind::Field]);
        self.skip_crashes = true;
        self.seconds = self.seconds.or(Some(30.0));
        self
    }

    /// Which figures of the channels are measured, those whose name contains a text, and the share of the time for it
    /// in seconds.
    pub fn channels(&self) -> Option<(&str, f64)> {
        let budget = self.budget_s();
        match &self.channels {
            Channels::Only(filter) => Some((filter, budget)),
            Channels::Usual if self.usual() => Some(("", (budget / 8.0).max(5.0).min(budget / 4.0))),
            _ => None,
        }
    }

    /// Whether nothing is chosen but how long to measure.
    fn usual(&self) -> bool {
        let Self { sizes, transports, codecs, payloads, waits, modes, rate, input, depth, .. } = self;
        sizes.is_empty()
            && transports.is_empty()
            && codecs.is_empty()
            && payloads.is_empty()
            && waits.is_empty()
            && modes.is_empty()
            && rate.is_none()
            && input.is_none()
            && depth.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_means_the_paced_mode() {
        let options = Options { rate: Some(500), ..Options::default() };
        assert_eq!((options.modes(), options.rate()), (vec![Mode::Paced], 500));
        assert!(!Options::default().modes().contains(&Mode::Paced), "it is for those who ask");
        assert_eq!(Options { rate: Some(0), ..Options::default() }.rate(), 1);
    }

    #[test]
    fn the_channels_are_measured_unless_something_is_chosen() {
        let quick = Options { quick: true, ..Options::default() };
        assert_eq!(quick.channels(), Some(("", 5.0)));
        assert_eq!(Options { seconds: Some(2.0), ..Options::default() }.channels(), Some(("", 0.5)));
        assert_eq!(Options { sizes: vec![64], ..Options::default() }.channels(), None);
        assert_eq!(Options { channels: Channels::Without, ..Options::default() }.channels(), None);
        let only =
            Options { channels: Channels::Only("topic".into()), sizes: vec![64], ..Options::default() };
        assert_eq!(only.channels(), Some(("topic", 20.0)));
    }

    #[test]
    fn sizes() {
        for (text, size) in
            [("64", 64), ("4K", 4096), ("4k", 4096), ("64KiB", 65536), ("1M", 1 << 20), ("16MB", 16 << 20)]
        {
            assert_eq!(parse_size(text).unwrap(), size);
        }
        for text in ["", "7", "4X", "-1", "1T", "K", "99999999999999999999G"] {
            assert!(parse_size(text).is_err(), "{text}");
        }
        assert_eq!(format_size(64), "64 B");
        assert_eq!(format_size(65536), "64 KiB");
        assert_eq!(format_size(16 << 20), "16 MiB");
        assert_eq!(format_size(1500), "1500 B");
        assert_eq!(format_size(65_517), "≈64 KiB");
        assert_eq!(format_size(4000), "4000 B");
    }
}
