//! Wait strategies: what to do while there is nothing to do.

/// How an endpoint waits for its peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub enum Wait {
    /// Looks again and again: the lowest latency, and a whole core. Right where each side has a core
    /// of its own.
    Spin,
    /// As spinning, but lets other processes run between two looks.
    Yield,
    /// Sleeps until it is woken: no core, and tens of microseconds to wake up.
    #[default]
    Park,
}
