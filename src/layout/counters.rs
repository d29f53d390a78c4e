//! What a channel counts: sixteen words, on a pair of cache lines of their own.
//!
//! | offset | size | field | who adds |
//! | --- | --- | --- | --- |
//! | 0 | 8 | `full`: sends that found no room | a producer |
//! | 8 | 8 | `high_water`: the most messages (or bytes) that were seen queued | a producer |
//! | 16 | 8 | `lost`: messages that the channel's policy gave up | whoever gives up |
//! | 24 | 8 | `sends_waited`: sends that had to wait | a producer |
//! | 32 | 32 | for the channel's own use, or zero | – |
//! | 64 | 8 | `empty`: receives that found nothing | a consumer |
//! | 72 | 8 | `redelivered`: messages handed out again after a consumer's death | a consumer, or a sweep |
//! | 80 | 8 | `aborted`: claims that a producer gave up, or died with | a consumer, or a sweep |
//! | 88 | 8 | `receives_waited`: receives that had to wait | a consumer |
//! | 96 | 32 | for the channel's own use, or zero | – |
//!
//! All are written `Relaxed`, and on the slow ways only: how many messages were sent and received follows
//! from the positions that a channel has anyway. They are figures for people, and outlive whoever wrote them.

/// Bytes of the block.
pub const SIZE: u64 = 128;
/// How many words it has.
pub const WORDS: usize = 16;

/// A counter: its number is its word's. The producers' have a cache line of their own, as the consumers' have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counter {
    /// Sends that found no room.
    Full = 0,
    /// The most that was seen queued.
    HighWater = 1,
    /// Messages that the channel's policy gave up.
    Lost = 2,
    /// Sends that had to wait.
    SendsWaited = 3,
    /// Receives that found nothing.
    Empty = 8,
    /// Messages handed out again after a consumer's death.
    Redelivered = 9,
    /// Claims that a producer gave up, or died with.
    Aborted = 10,
    /// Receives that had to wait.
    ReceivesWaited = 11,
}
