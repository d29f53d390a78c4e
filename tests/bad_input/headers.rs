//! What is wrong with a region's header, or with the file that it is in.

use std::fs;
use std::path::PathBuf;

use allmende::Region;
use allmende::layout::header::{self, Header, flags};
use allmende::layout::{directory, owner, participant};
use allmende::region::AttachError;

use crate::common::{Temporary, error, refused, unique};
use crate::sample::{attach, bytes_of, header_of, memfd_of, sample, sample_bytes, with_header};

type Change = fn(&mut Header);

pub fn headers() {
    let good = sample_bytes();
    drop(attach(&good).unwrap());

    refused!(attach(&with_header(&good, |h| h.magic = *b"allmenda")), AttachError::WrongMagic { found } if &found == b"allmenda");
    refused!(attach(&with_header(&good, |h| h.major = 2)), AttachError::OtherVersion { found: 2, ours: 1 });
    refused!(attach(&with_header(&good, |h| h.format ^= 1)), AttachError::OtherFormat { .. });
    refused!(attach(&with_header(&good, |h| h.total += 4096)), AttachError::WrongSize { .. });
    refused!(attach(&with_header(&good, |h| h.total = 0)), AttachError::WrongSize { header: 0, .. });
    refused!(attach(&with_header(&good, |h| h.total = u64::MAX)), AttachError::WrongSize { .. });
    // A newer minor version may have more, and is none the worse.
    drop(attach(&with_header(&good, |h| h.minor = 7)).unwrap());

    let damages: &[(&str, Change)] = &[
        ("flags", |h| h.flags |= flags::KNOWN + 1),
        ("participants: none", |h| h.participants = 0),
        ("participants: too many", |h| h.participants = owner::MAX_SLOTS + 1),
        ("participants: more than there is room for", |h| h.participants += 1),
        ("objects: none", |h| h.objects = 0),
        ("objects: more than there is room for", |h| h.objects = u32::MAX),
        ("participants over the header", |h| h.participants_offset = 0),
        ("participants in the header", |h| h.participants_offset = header::SIZE - participant::SIZE),
        ("participants not aligned", |h| h.participants_offset += 8),
        ("participants beyond all", |h| h.participants_offset = u64::MAX - 127),
        ("directory over the participants", |h| h.directory_offset -= directory::SIZE),
        ("directory not aligned", |h| h.directory_offset += 64),
        ("directory beyond all", |h| h.directory_offset = u64::MAX - 127),
        ("data over the directory", |h| h.data_offset = h.directory_offset),
        ("data not aligned", |h| h.data_offset += 1),
        ("data beyond the end", |h| h.data_offset = h.total + 128),
        ("kind: none", |h| h.kind = 0),
        ("kind: unknown", |h| h.kind = 4),
        ("delete_by: none", |h| h.delete_by = 0),
        ("delete_by: unknown", |h| h.delete_by = u32::MAX),
    ];
    for (what, change) in damages {
        match error(attach(&with_header(&good, change))) {
            AttachError::DamagedHeader { .. } => {}
            other => panic!("{what}: {other:?}"),
        }
    }
    // Every bit of the header counts: what no check of its own notices, the checksum does.
    for bit in 0..8 * size_of::<Header>() {
        let mut flipped = good.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        drop(error(attach(&flipped)));
    }
}

pub fn files_of_the_wrong_size_or_kind() {
    let good = sample_bytes();
    for length in [0, 1, 8, 100, 255] {
        refused!(attach(&good[..length]), AttachError::Truncated { bytes } if bytes == length as u64);
    }
    for length in [256, 1000, 4095] {
        refused!(attach(&good[..length]), AttachError::Truncated { bytes } if bytes == length as u64);
    }
    let (size, header) = (good.len() as u64, header_of(&good).total);
    refused!(attach(&good[..good.len() - 4096]), AttachError::WrongSize { file, .. } if file == size - 4096);
    refused!(attach(&[&good[..], &[0; 4096]].concat()), AttachError::WrongSize { header: h, .. } if h == header);
    refused!(Region::attach(memfd_of(&good, false)), AttachError::NotSealed);
    refused!(attach(&[0; 8192]), AttachError::WrongMagic { .. });

    let (reader, writer) = std::io::pipe().unwrap();
    refused!(Region::attach(&reader), AttachError::NotAFile);
    refused!(Region::attach(&writer), AttachError::NotAFile);
    refused!(Region::attach(fs::File::open("/").unwrap()), AttachError::NotAFile);
    refused!(Region::attach(fs::File::open("/dev/null").unwrap()), AttachError::NotAFile);
    let (socket, _other) = std::os::unix::net::UnixStream::pair().unwrap();
    refused!(Region::attach(&socket), AttachError::NotAFile);

    // A descriptor that may only read.
    let region = sample();
    let reading = allmende::os::reopen(&region.descriptor(), false).unwrap();
    refused!(Region::attach(&reading), AttachError::Os { .. });
    assert!(Region::open().read_only(true).descriptor(&reading).unwrap().read_only());
}

/// Whatever its header says, a memfd whose size can change is refused.
pub fn memfds_that_are_not_sealed() {
    use nix::fcntl::{FcntlArg, SealFlag, fcntl};
    use nix::sys::memfd::{MFdFlags, memfd_create};
    let good = sample_bytes();
    let all = SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SEAL;
    for kind in [header::kind::MEMFD, header::kind::NAMED, header::kind::FILE] {
        let bytes = with_header(&good, |header| header.kind = kind);
        for missing in [all, SealFlag::F_SEAL_SHRINK, SealFlag::F_SEAL_GROW, SealFlag::F_SEAL_SEAL] {
            let fd = memfd_of(&bytes, false);
            fcntl(&fd, FcntlArg::F_ADD_SEALS(all - missing)).unwrap();
            refused!(Region::attach(&fd), AttachError::NotSealed);
        }
        // One that forbids sealing looks much like a file on a tmpfs.
        let fd = memfd_create(c"allmende:bad", MFdFlags::MFD_CLOEXEC).unwrap();
        nix::sys::stat::fchmod(&fd, nix::sys::stat::Mode::S_IRUSR | nix::sys::stat::Mode::S_IWUSR).unwrap();
        nix::unistd::write(&fd, &bytes).unwrap();
        refused!(Region::attach(&fd), AttachError::NotSealed);
    }
    // Real files cannot be sealed, wherever they lie; they must not pretend to be memfds.
    let place = Temporary::new();
    for (path, name) in [(place.0.join("file"), None), (PathBuf::new(), Some(unique("bad")))] {
        let region = match &name {
            None => Region::create().size(1 << 12).file(&path).unwrap(),
            Some(name) => Region::create().size(1 << 12).named(name).unwrap(),
        };
        drop(Region::attach(region.descriptor()).unwrap());
        let bytes = with_header(&bytes_of(&region), |header| header.kind = header::kind::MEMFD);
        nix::sys::uio::pwrite(region.descriptor(), &bytes[..size_of::<Header>()], 0).unwrap();
        refused!(Region::attach(region.descriptor()), AttachError::NotSealed);
    }
}
