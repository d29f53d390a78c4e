//! A cell: one value, of which the latest counts; one writer, up to 126 readers.
//!
//! | offset | size | field | writer | ordering |
//! | --- | --- | --- | --- | --- |
//! | 0 | 4 | writer's role: see `spsc` | compare-and-swap | `AcqRel` |
//! | 4 | 4 | eventcount on which readers sleep | readers, writer | see `sync::eventcount` |
//! | 8 | 4 | `bound`: no claim at or beyond this was ever used | readers, by compare-and-swap | Relaxed, before a fence |
//! | 12 | 4 | eventcount of the writer, who never sleeps: counts readers that left | readers | Release |
//! | 16 | 112 | reserved, zero | – | – |
//! | 128 | 8 | `latest`: see below | writer | Release, read by Acquire |
//! | 136 | 120 | reserved, zero | – | – |
//! | 256 | 128 | counters: see `counters` | slow ways | Relaxed |
//! | 384 | 504 | the readers' role words, four bytes each | compare-and-swap | `AcqRel` |
//! | 888 | 8 | reserved, zero | – | – |
//! | 896 | 128 n | claims, a pair of lines each, of which the first eight bytes are used | reader, writer | see `ring::cell` |
//! | 896 + 128 n | | n + 2 buffers, each at a multiple of 128 | the writer, each while nobody claims it | ordered by `latest` |
//!
//! ```text
//!   latest:  63          8   7    6         0
//!           ┌─────────────┬───┬────────────┐
//!           │ writes      │ 0 │ buffer     │   0 writes: nothing has been written yet
//!           └─────────────┴───┴────────────┘
//!   claim:   the same with bit 7 (HELD) set: this reader may be reading that buffer
//!            0: nothing is claimed
//!            1: ASKING, for the latest, whatever it is
//! ```
//!
//! Each reader may hold one buffer, one is the latest, one is being written: so n + 2 of them always
//! suffice, and nobody waits for anybody. The directory's `item_size` is the value's, `item_count` is n.

use super::{OBJECT_ALIGN, counters, round_up};

/// Offset of the writer's role.
pub const WRITER: u64 = 0;
/// Offset of the eventcount on which readers sleep.
pub const READERS_EVENT: u64 = 4;
/// Offset of `bound`.
pub const BOUND: u64 = 8;
/// Offset of the writer's eventcount.
pub const WRITER_EVENT: u64 = 12;
/// Offset of `latest`.
pub const LATEST: u64 = 128;
/// Offset of the counters.
pub const COUNTERS: u64 = 256;
/// Offset of the readers' role words.
pub const ROLES: u64 = COUNTERS + counters::SIZE;
/// Offset of the claims.
pub const CLAIMS: u64 = 896;
/// Bytes from one claim to the next.
pub const CLAIM_STRIDE: u64 = 128;

/// The most readers that a cell can have.
pub const MAX_READERS: u64 = 126;
/// The strictest alignment that a value may have.
pub const MAX_ALIGN: usize = 128;

/// A claim: somebody asks for the latest.
pub const ASKING: u64 = 1;
/// A claim: this buffer is held.
pub const HELD: u64 = 1 << 7;
/// The bits that name the buffer.
pub const BUFFER: u64 = HELD - 1;
/// Where the number of writes starts.
pub const WRITES_SHIFT: u32 = 8;

const _: () = assert!(ROLES + 4 * MAX_READERS <= CLAIMS && CLAIMS.is_multiple_of(OBJECT_ALIGN));
const _: () = assert!(MAX_READERS + 2 <= BUFFER + 1);

/// Bytes from one buffer to the next.
pub const fn buffer_stride(item_size: u64) -> Option<u64> {
    round_up(item_size, OBJECT_ALIGN)
}

/// Offset of the first buffer.
pub const fn buffers(readers: u64) -> u64 {
    CLAIMS + readers * CLAIM_STRIDE
}

/// Bytes of a cell for `readers` readers of values of `item_size` bytes.
pub const fn length(item_size: u64, readers: u64) -> Option<u64> {
    if readers == 0 || readers > MAX_READERS {
        return None;
    }
    match buffer_stride(item_size) {
        Some(stride) => match stride.checked_mul(readers + 2) {
            Some(bytes) => bytes.checked_add(buffers(readers)),
            None => None,
        },
        None => None,
    }
}
