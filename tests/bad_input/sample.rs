//! A good region, its bytes, and what makes a region of other bytes.

use std::os::fd::OwnedFd;

use allmende::layout::header::Header;
use allmende::os::memfd;
use allmende::region::AttachError;
use allmende::{Event, Mutex, Region, bytes, spsc};
use zerocopy::{FromBytes, IntoBytes};

/// A region with one object of each kind, of which this process is the only participant.
pub fn sample() -> Region {
    let region = Region::create().size(1 << 14).participants(8).objects(8).memfd("bad").unwrap();
    Mutex::<u64>::create(&region, "mutex", &1).unwrap();
    Event::open_or_create(&region, "event").unwrap();
    spsc::Ring::<u64>::create(&region, "ring", 8).unwrap();
    bytes::Ring::create(&region, "bytes", 512).unwrap();
    region
}

pub fn bytes_of(region: &Region) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(region.size()).unwrap()];
    assert_eq!(nix::sys::uio::pread(region.descriptor(), &mut bytes, 0).unwrap(), bytes.len());
    bytes
}

/// The bytes of a region that nobody is attached to any more.
pub fn sample_bytes() -> Vec<u8> {
    let region = sample();
    let mut ring = spsc::Ring::<u64>::open(&region, "ring").unwrap().producer().unwrap();
    ring.push_slice(&[1, 2, 3]).unwrap();
    bytes_of(&region)
}

/// A memfd that holds `bytes`.
pub fn memfd_of(bytes: &[u8], sealed: bool) -> OwnedFd {
    let fd = memfd::create("bad", false).unwrap();
    let written = nix::unistd::write(&fd, bytes).unwrap();
    assert_eq!(written, bytes.len());
    if sealed {
        memfd::seal(&fd).unwrap();
    }
    fd
}

pub fn header_of(bytes: &[u8]) -> Header {
    Header::read_from_bytes(&bytes[..size_of::<Header>()]).unwrap()
}

/// `bytes` with another header; its checksum is set right.
pub fn with_header(bytes: &[u8], change: impl FnOnce(&mut Header)) -> Vec<u8> {
    let mut header = header_of(bytes);
    change(&mut header);
    header.checksum = header.expected_checksum();
    let mut changed = bytes.to_vec();
    changed[..size_of::<Header>()].copy_from_slice(header.as_bytes());
    changed
}

pub fn attach(bytes: &[u8]) -> Result<Region, AttachError> {
    Region::attach(memfd_of(bytes, true))
}
