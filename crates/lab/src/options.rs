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
    /// Leave out what happens when a process is killed.
    pub skip_crashes: bool,
    /// How long to measure.
    pub seconds: Option<f64>,
    /// The user's file, to be cut into messages.
    pub input: Option<PathBuf>,
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
        self.seconds.unwrap_or(if self.quick { 21.0 } else { 150.0 })
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
