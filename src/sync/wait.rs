//! Wait strategies: what to do while there is nothing to do.

/// How an endpoint waits for its peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub enum Wait {
    /// Looks again and again: the lowest latency, and a whole core. Right where each side has a core
    /// of its own.
    Spin,
    /// As spinning, but lets other processes run between two looks.
    Yield,
    /// Looks a few times, then sleeps until it is woken: no core, and tens of microseconds to wake up.
    Park,
    /// As [`Self::Park`], but looks longer before it sleeps where it has learnt that this helps: that what it
    /// waits for comes within some hundred microseconds as a rule, and that the other side has a core to run on
    /// meanwhile. Then it is about as fast as [`Self::Spin`]; where messages are rare, it costs no more than
    /// [`Self::Park`]. Each thread learns for each place where it waits (`sync/patience.rs`).
    #[default]
    Adaptive,
}
