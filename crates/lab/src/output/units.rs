//! Figures as people read them: three digits and a unit.
#![forbid(unsafe_code)]

/// Three digits that count.
fn digits(value: f64) -> String {
    match value {
        _ if value >= 99.95 => format!("{value:.0}"),
        _ if value >= 9.995 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// A time in nanoseconds.
pub(crate) fn time(ns: f64) -> String {
    match ns {
        _ if ns < 999.5 => format!("{ns:.0} ns"),
        _ if ns < 999.5e3 => format!("{} µs", digits(ns / 1e3)),
        _ if ns < 999.5e6 => format!("{} ms", digits(ns / 1e6)),
        _ => format!("{} s", digits(ns / 1e9)),
    }
}

/// A throughput in bytes a second.
pub(crate) fn rate(bytes: f64) -> String {
    match bytes {
        _ if bytes < 999.5e3 => format!("{} kB/s", digits(bytes / 1e3)),
        _ if bytes < 999.5e6 => format!("{} MB/s", digits(bytes / 1e6)),
        _ if bytes < 999.5e9 => format!("{} GB/s", digits(bytes / 1e9)),
        _ => format!("{} TB/s", digits(bytes / 1e12)),
    }
}

/// An amount of memory in bytes.
pub(crate) fn memory(bytes: u64) -> String {
    format!("{} MB", digits(bytes as f64 / 1e6))
}

/// A factor.
pub(crate) fn factor(value: f64) -> String {
    digits(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_digits() {
        assert_eq!(time(71.4), "71 ns");
        assert_eq!(time(999.6), "1.00 µs");
        assert_eq!(time(48_321.0), "48.3 µs");
        assert_eq!(time(2.5e9), "2.50 s");
        assert_eq!(rate(1.234e10), "12.3 GB/s");
        assert_eq!(factor(226.4), "226");
    }
}
