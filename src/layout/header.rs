//! The header: the first 4096 bytes of every region.
//!
//! | offset | size | field | writer |
//! | --- | --- | --- | --- |
//! | 0 | 8 | `magic`: `"allmende"` | creator, before publication |
//! | 8 | 2 | `major` version of the layout: another one is refused | creator |
//! | 10 | 2 | `minor` version: a newer one uses bytes that are reserved here | creator |
//! | 12 | 4 | `flags`: see [`flags`] | creator |
//! | 16 | 8 | `format`: fingerprint of the layout itself, byte order included | creator |
//! | 24 | 8 | `total`: bytes of the whole region | creator |
//! | 32 | 8 | `participants_offset` | creator |
//! | 40 | 4 | `participants`: slots in the table | creator |
//! | 44 | 4 | `objects`: entries in the directory | creator |
//! | 48 | 8 | `directory_offset` | creator |
//! | 56 | 8 | `data_offset`: where the first object may start | creator |
//! | 64 | 16 | `region_id`: random | creator |
//! | 80 | 16 | `boot_id` of the boot that created it | creator |
//! | 96 | 8 | `created`: nanoseconds since 1970 | creator |
//! | 104 | 4 | `creator_uid` | creator |
//! | 108 | 4 | `creator_pid`, for people to read | creator |
//! | 112 | 4 | `kind`: see [`kind`] | creator |
//! | 116 | 4 | `delete_by`: see [`delete_by`] | creator |
//! | 120 | 64 | `label`: UTF-8, padded with zeros | creator |
//! | 184 | 64 | reserved, zero | creator |
//! | 248 | 8 | `checksum`: FNV-1a 64 of bytes 0..248 | creator |
//! | 256 | 8 | `sweeps`: participants swept so far | sweeper, Relaxed |
//! | 264 | 8 | `late_wakes`: waits whose slice expired though the condition was true | sleeper, Relaxed |
//! | 272 | 3824 | reserved, zero | – |

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The first eight bytes of every region.
pub const MAGIC: [u8; 8] = *b"allmende";
/// Regions of another major version are refused.
pub const MAJOR: u16 = 1;
/// What this library knows beyond the first layout of its major version.
pub const MINOR: u16 = 0;
/// Bytes of the header.
pub const SIZE: u64 = 4096;
/// Offset of the counters that live in the header.
pub const SWEEPS_OFFSET: u64 = 256;
/// Offset of the counter of waits whose slice expired though the condition was true.
pub const LATE_WAKES_OFFSET: u64 = 264;

/// Bits of `flags`.
pub mod flags {
    /// Senders fence before they look for sleepers, since not every participant has `membarrier`.
    pub const FENCED: u32 = 1;
    /// The region lies in huge pages of the machine's default huge size.
    pub const HUGE: u32 = 2;
    /// Every bit that this version knows.
    pub const KNOWN: u32 = FENCED | HUGE;
}

/// Values of `kind`.
pub mod kind {
    /// A memfd: sealed, passed by descriptor.
    pub const MEMFD: u32 = 1;
    /// A name in the user's directory.
    pub const NAMED: u32 = 2;
    /// A file at a path of the user's choosing.
    pub const FILE: u32 = 3;
}

/// Values of `delete_by`.
pub mod delete_by {
    /// The last participant to detach removes the name.
    pub const LAST_DETACH: u32 = 1;
    /// The creator removes the name when it detaches.
    pub const CREATOR: u32 = 2;
    /// The name stays until somebody removes it.
    pub const NOBODY: u32 = 3;
}

/// The part of the header that never changes after publication.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Header {
    /// See the table above, as for every field.
    pub magic: [u8; 8],
    /// Layout version, major.
    pub major: u16,
    /// Layout version, minor.
    pub minor: u16,
    /// Bits of [`flags`].
    pub flags: u32,
    /// [`format_fingerprint`] of the creator.
    pub format: u64,
    /// Bytes of the region.
    pub total: u64,
    /// Where the participant table starts.
    pub participants_offset: u64,
    /// Slots in the participant table.
    pub participants: u32,
    /// Entries in the object directory.
    pub objects: u32,
    /// Where the object directory starts.
    pub directory_offset: u64,
    /// Where objects start.
    pub data_offset: u64,
    /// Random identity.
    pub region_id: [u8; 16],
    /// The boot that created it.
    pub boot_id: [u8; 16],
    /// Nanoseconds since 1970.
    pub created: u64,
    /// Who created it.
    pub creator_uid: u32,
    /// The process that created it, for people to read.
    pub creator_pid: u32,
    /// One of [`kind`].
    pub kind: u32,
    /// One of [`delete_by`].
    pub delete_by: u32,
    /// For people to read.
    pub label: [u8; 64],
    /// Zero; a newer minor version may say otherwise.
    pub reserved: [u8; 64],
    /// Of all bytes before it.
    pub checksum: u64,
}

const _: () = assert!(size_of::<Header>() == 256);

impl Header {
    /// The checksum that these fields ought to have.
    pub fn expected_checksum(&self) -> u64 {
        let bytes = self.as_bytes();
        fnv1a(&bytes[..bytes.len() - size_of::<u64>()])
    }
}

/// FNV-1a, 64 bits: enough against accidents, no defence against malice (nothing depends on it).
pub const fn fnv1a(bytes: &[u8]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let mut index = 0;
    while index < bytes.len() {
        hash = (hash ^ bytes[index] as u64).wrapping_mul(0x0000_0100_0000_01b3);
        index += 1;
    }
    hash
}

/// What the layout depends on beyond its version; builds that differ refuse each other.
pub const fn format_fingerprint() -> u64 {
    if cfg!(target_endian = "little") {
        fnv1a(b"allmende layout 1: header 4096, participant 128, directory 128, little endian")
    } else {
        fnv1a(b"allmende layout 1: header 4096, participant 128, directory 128, big endian")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::mem::offset_of;

    #[test]
    fn fields_stand_where_the_table_says() {
        assert_eq!(offset_of!(Header, format), 16);
        assert_eq!(offset_of!(Header, participants), 40);
        assert_eq!(offset_of!(Header, data_offset), 56);
        assert_eq!(offset_of!(Header, region_id), 64);
        assert_eq!(offset_of!(Header, created), 96);
        assert_eq!(offset_of!(Header, kind), 112);
        assert_eq!(offset_of!(Header, label), 120);
        assert_eq!(offset_of!(Header, checksum), 248);
    }

    #[test]
    fn the_hash_is_the_published_one() {
        assert_eq!(fnv1a(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv1a(b"a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(fnv1a(b"foobar"), 0x8594_4171_f739_67e8);
    }
}
