//! Everything that can be wrong with what one opens: each has an error of its own, and none of it
//! ends in a signal, a panic or a wait.

// Tests may be blunt.
#![allow(clippy::pedantic)]

mod common;

use std::fs;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use allmende::inspect;
use allmende::layout::header::{self, Header, flags};
use allmende::layout::{directory, owner, participant};
use allmende::os::memfd;
use allmende::region::{AccessError, AttachError, CreateError, HugePages, NameError, ObjectError};
use allmende::ring::error::{RoleError, TryPopError, TryPushError};
use allmende::sync::mutex::LockError;
use allmende::{Event, Mutex, Region, bytes, spsc};
use common::{Random, Temporary, count, error, in_a_fork, refused, say, skip, unique};
use zerocopy::{FromBytes, IntoBytes};

fn main() -> ExitCode {
    common::main(
        &[
            ("headers", headers),
            ("files_of_the_wrong_size_or_kind", files_of_the_wrong_size_or_kind),
            ("memfds_that_are_not_sealed", memfds_that_are_not_sealed),
            ("names", names),
            ("the_slow_keep_nobody_waiting", the_slow_keep_nobody_waiting),
            ("links_in_the_way", links_in_the_way),
            ("unsafe_directories", unsafe_directories),
            ("owners_and_permissions", owners_and_permissions),
            ("another_user", another_user),
            ("too_many", too_many),
            ("wrong_objects", wrong_objects),
            ("read_only", read_only),
            ("impossible_sizes", impossible_sizes),
            ("objects_that_claim_what_they_have_not", objects_that_claim_what_they_have_not),
            ("random_headers", random_headers),
            ("random_tables_and_objects", random_tables_and_objects),
        ],
        &[],
    )
}

/// A region with one object of each kind, of which this process is the only participant.
fn sample() -> Region {
    let region = Region::create().size(1 << 14).participants(8).objects(8).memfd("bad").unwrap();
    Mutex::<u64>::create(&region, "mutex", &1).unwrap();
    Event::open_or_create(&region, "event").unwrap();
    spsc::Ring::<u64>::create(&region, "ring", 8).unwrap();
    bytes::Ring::create(&region, "bytes", 512).unwrap();
    region
}

fn bytes_of(region: &Region) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(region.size()).unwrap()];
    assert_eq!(nix::sys::uio::pread(region.descriptor(), &mut bytes, 0).unwrap(), bytes.len());
    bytes
}

/// The bytes of a region that nobody is attached to any more.
fn sample_bytes() -> Vec<u8> {
    let region = sample();
    let mut ring = spsc::Ring::<u64>::open(&region, "ring").unwrap().producer().unwrap();
    ring.push_slice(&[1, 2, 3]).unwrap();
    bytes_of(&region)
}

/// A memfd that holds `bytes`.
fn memfd_of(bytes: &[u8], sealed: bool) -> OwnedFd {
    let fd = memfd::create("bad", false).unwrap();
    let written = nix::unistd::write(&fd, bytes).unwrap();
    assert_eq!(written, bytes.len());
    if sealed {
        memfd::seal(&fd).unwrap();
    }
    fd
}

fn header_of(bytes: &[u8]) -> Header {
    Header::read_from_bytes(&bytes[..size_of::<Header>()]).unwrap()
}

/// `bytes` with another header; its checksum is set right.
fn with_header(bytes: &[u8], change: impl FnOnce(&mut Header)) -> Vec<u8> {
    let mut header = header_of(bytes);
    change(&mut header);
    header.checksum = header.expected_checksum();
    let mut changed = bytes.to_vec();
    changed[..size_of::<Header>()].copy_from_slice(header.as_bytes());
    changed
}

fn attach(bytes: &[u8]) -> Result<Region, AttachError> {
    Region::attach(memfd_of(bytes, true))
}

type Change = fn(&mut Header);

fn headers() {
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

fn files_of_the_wrong_size_or_kind() {
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
fn memfds_that_are_not_sealed() {
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

/// Runs `body` in a child whose names stand in `directory`.
fn with_names_in(directory: &Path, body: impl FnOnce()) {
    in_a_fork(|| {
        // SAFETY: a forked child has one thread.
        unsafe { std::env::set_var("ALLMENDE_DIR", directory) };
        body();
    });
}

fn names() {
    let long = "a".repeat(65);
    for name in ["", ".", "..", ".hidden", "a/b", "/a", "a b", "ü", "a\0b", "a.sock", "../a", &long] {
        refused!(Region::create().named(name), CreateError::Name(NameError::Invalid { .. }));
        refused!(Region::open().named(name), AttachError::Name(NameError::Invalid { .. }));
        refused!(Region::open().rendezvous(name), AttachError::Name(NameError::Invalid { .. }));
    }
    let name = unique("bad");
    refused!(Region::open().named(&name), AttachError::Name(NameError::NotFound { .. }));
    refused!(Region::open().rendezvous(&name), AttachError::Name(NameError::NotFound { .. }));
    let region = Region::create().size(1 << 12).named(&name).unwrap();
    refused!(Region::create().named(&name), CreateError::Name(NameError::Taken { .. }));
    assert_eq!(Region::create().open_or_create(&name).unwrap().id(), region.id());
    let meeting = region.publish(&name).unwrap();
    refused!(region.publish(&name), NameError::Taken { .. });
    drop(meeting);
    refused!(Region::open().rendezvous(&name), AttachError::Name(NameError::NotFound { .. }));
    drop(region);
    refused!(Region::open().named(&name), AttachError::Name(NameError::NotFound { .. }));

    let place = Temporary::new();
    refused!(Region::open().file(place.0.join("none")), AttachError::Name(NameError::NotFound { .. }));
    refused!(Region::open().file(place.0.join("none/none")), AttachError::Name(NameError::NotFound { .. }));
    refused!(Region::create().file(place.0.join("none/none")), CreateError::Name(NameError::NotFound { .. }));
    refused!(Region::open().file("/"), AttachError::Name(NameError::Invalid { .. }));
    fs::write(place.0.join("text"), "no region").unwrap();
    fs::set_permissions(place.0.join("text"), fs::Permissions::from_mode(0o600)).unwrap();
    refused!(Region::open().file(place.0.join("text")), AttachError::Truncated { bytes: 9 });
    refused!(Region::create().file(place.0.join("text")), CreateError::Name(NameError::Taken { .. }));
    nix::unistd::mkfifo(&place.0.join("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    refused!(Region::open().file(place.0.join("fifo")), AttachError::NotAFile);
    assert_eq!(fs::read(place.0.join("text")).unwrap(), b"no region");
}

/// Whoever reserves or maps much memory does not lock the names meanwhile.
fn the_slow_keep_nobody_waiting() {
    const LARGE: u64 = 256 << 20;
    let name = unique("bad");
    stopped_amid(&|| drop(Region::create().size(LARGE).named(&name).unwrap()));
    let large = Region::create().size(LARGE).prefault(false).named(&name).unwrap();
    stopped_amid(&|| drop(Region::open().named(&name).unwrap()));
    drop(large);
}

/// Stops a child while its memory is being mapped; others come and go by name.
fn stopped_amid(slow: &dyn Fn()) {
    use nix::sys::signal::{Signal, kill};
    use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
    for _ in 0..10 {
        let child = common::fork(|| {
            slow();
            0
        });
        common::until("the child maps its memory", || {
            // All, resident, and shared pages; one that has ended has none.
            let text = fs::read_to_string(format!("/proc/{child}/statm")).unwrap();
            let pages: Vec<u64> = text.split_whitespace().map(|pages| pages.parse().unwrap()).collect();
            pages[0] == 0 || pages[2] > 8192
        });
        kill(child, Signal::SIGSTOP).unwrap();
        let status = waitpid(child, Some(WaitPidFlag::WUNTRACED)).unwrap();
        if status == WaitStatus::Exited(child, 0) {
            continue; // Too late.
        }
        assert!(matches!(status, WaitStatus::Stopped(..)), "{status:?}");
        let name = unique("bad");
        let region = Region::create().size(1 << 12).named(&name).unwrap();
        drop(Region::open().named(&name).unwrap());
        drop(region);
        refused!(Region::open().named(&name), AttachError::Name(NameError::NotFound { .. }));
        kill(child, Signal::SIGCONT).unwrap();
        assert_eq!(waitpid(child, None).unwrap(), WaitStatus::Exited(child, 0));
        return;
    }
    panic!("every child was too fast to be stopped");
}

fn links_in_the_way() {
    let place = Temporary::new();
    with_names_in(&place.0, || {
        let region = Region::create().size(1 << 12).named("real").unwrap();
        symlink("real", place.0.join("link")).unwrap();
        symlink("/dev/null", place.0.join("null")).unwrap();
        symlink("nowhere", place.0.join("broken")).unwrap();
        for name in ["link", "null", "broken"] {
            refused!(Region::open().named(name), AttachError::Name(NameError::Os { .. }));
            refused!(Region::open().file(place.0.join(name)), AttachError::Name(NameError::Os { .. }));
            refused!(Region::create().named(name), CreateError::Name(NameError::Taken { .. }));
            assert!(fs::symlink_metadata(place.0.join(name)).unwrap().is_symlink(), "the link is gone");
            fs::remove_file(place.0.join(name)).unwrap();
        }
        drop(region);
    });
}

fn unsafe_directories() {
    let place = Temporary::new();
    let refuse = |directory: &Path| {
        with_names_in(directory, || {
            refused!(Region::create().named("a"), CreateError::Name(NameError::UnsafeDirectory { .. }));
            refused!(Region::open().named("a"), AttachError::Name(NameError::UnsafeDirectory { .. }));
            refused!(Region::open().rendezvous("a"), AttachError::Name(NameError::UnsafeDirectory { .. }));
        });
    };
    let open = place.0.join("open");
    fs::create_dir(&open).unwrap();
    for mode in [0o755, 0o710, 0o701, 0o777] {
        fs::set_permissions(&open, fs::Permissions::from_mode(mode)).unwrap();
        refuse(&open);
    }
    fs::set_permissions(&open, fs::Permissions::from_mode(0o700)).unwrap();
    symlink(&open, place.0.join("link")).unwrap();
    refuse(&place.0.join("link"));
    fs::write(place.0.join("file"), "").unwrap();
    refuse(&place.0.join("file"));
    if nix::unistd::geteuid().is_root() {
        chown(&open, Some(65534), None).unwrap();
        refuse(&open);
        chown(&open, Some(0), None).unwrap();
    }
    with_names_in(&place.0.join("none/none"), || {
        drop(error(Region::create().named("a")));
        refused!(Region::open().named("a"), AttachError::Name(NameError::NotFound { .. }));
    });
    // What was refused so often is good now, and gone with its last name.
    with_names_in(&open, || drop(Region::create().named("a").unwrap()));
    assert!(!open.exists());
}

fn owners_and_permissions() {
    let place = Temporary::new();
    let path = place.0.join("region");
    let region = Region::create().size(1 << 12).file(&path).unwrap();
    for mode in [0o640, 0o604, 0o660, 0o666, 0o610] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        refused!(Region::open().file(&path), AttachError::LoosePermissions { mode: found } if found == mode);
        drop(Region::open().mode(mode).file(&path).unwrap());
    }
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    if nix::unistd::geteuid().is_root() {
        chown(&path, Some(65534), None).unwrap();
        refused!(Region::open().file(&path), AttachError::ForeignOwner { uid: 65534 });
        refused!(Region::open().owner(1).file(&path), AttachError::ForeignOwner { uid: 65534 });
        drop(Region::open().owner(65534).file(&path).unwrap());
        chown(&path, Some(0), None).unwrap();
    } else {
        skip("a region of another user", "only root can give files away");
    }
    drop(region);
    // A memfd is checked in the same way.
    let loose = Region::create().mode(0o666).memfd("bad").unwrap();
    refused!(Region::attach(loose.descriptor()), AttachError::LoosePermissions { mode: 0o666 });
    drop(Region::open().mode(0o666).descriptor(loose.descriptor()).unwrap());
}

/// A second user opens, squats and removes; what was meant for him works.
fn another_user() {
    if !nix::unistd::geteuid().is_root() {
        skip("another user", "only root can become one");
        return;
    }
    let become_another = || {
        nix::unistd::setgid(nix::unistd::Gid::from_raw(65534)).unwrap();
        nix::unistd::setuid(nix::unistd::Uid::from_raw(65534)).unwrap();
        // SAFETY: takes numbers only. Gives the child its /proc back, as an exec would.
        unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 1) };
    };
    let (own, shared) = (sample(), Region::create().mode(0o666).memfd("bad").unwrap());
    Mutex::<u64>::create(&shared, "mutex", &0).unwrap();
    let name = unique("bad");
    let named = Region::create().size(1 << 12).named(&name).unwrap();
    let meeting = named.publish(&name).unwrap();
    let names = allmende::region::user_directory();
    with_names_in(&names, || {
        become_another();
        refused!(Region::attach(own.descriptor()), AttachError::ForeignOwner { uid: 0 });
        // Saying so is not enough: the file's permissions are the kernel's.
        refused!(Region::open().owner(0).descriptor(own.descriptor()), AttachError::Os { .. });
        // Inside the directory of another user there is nothing to be done.
        drop(error(Region::open().named(&name)));
        drop(error(Region::create().named("squat")));
        drop(error(Region::open().rendezvous(&name)));
        assert!(fs::remove_file(names.join(&name)).is_err());
        // The region that was made for everybody.
        let region = Region::open().owner(0).mode(0o666).descriptor(shared.descriptor()).unwrap();
        *Mutex::<u64>::open(&region, "mutex").unwrap().lock().unwrap() += 1;
        assert_eq!(region.participants().len(), 2);
        std::mem::forget(region);
    });
    assert_eq!(shared.sweep().unwrap(), 1, "a dead one of another user is swept like any other");
    assert_eq!(*Mutex::<u64>::open(&shared, "mutex").unwrap().lock().unwrap(), 1);
    assert!(Region::open().named(&name).is_ok());
    drop(meeting);
}

fn too_many() {
    let region = Region::create().participants(3).objects(2).memfd("bad").unwrap();
    let others = [(); 2].map(|()| Region::attach(region.descriptor()).unwrap());
    refused!(Region::attach(region.descriptor()), AttachError::TooManyParticipants { capacity: 3 });
    // One without the right to write needs no slot.
    drop(Region::open().read_only(true).descriptor(region.descriptor()).unwrap());
    drop(others);
    drop(Region::attach(region.descriptor()).unwrap());
    // The dead need none either.
    in_a_fork(|| {
        std::mem::forget([(); 2].map(|()| Region::attach(region.descriptor()).unwrap()));
    });
    drop([(); 2].map(|()| Region::attach(region.descriptor()).unwrap()));

    Event::open_or_create(&region, "one").unwrap();
    Event::open_or_create(&region, "two").unwrap();
    refused!(Event::open_or_create(&region, "three"), ObjectError::TooManyObjects { capacity: 2 });
    drop(Event::open_or_create(&region, "two").unwrap());

    for participants in [0, owner::MAX_SLOTS + 1] {
        refused!(Region::create().participants(participants).memfd("bad"), CreateError::InvalidCount { .. });
    }
    for objects in [0, u32::MAX] {
        refused!(Region::create().objects(objects).memfd("bad"), CreateError::InvalidCount { .. });
    }
}

/// A payload whose alignment is above what objects have.
#[allmende::payload]
#[repr(C, align(128))]
struct Strict {
    words: [u64; 16],
}

/// Of the same size as a `u64`, but something else.
#[allmende::payload]
struct Other {
    value: f64,
}

fn wrong_objects() {
    let region = sample();
    refused!(Mutex::<u64>::open(&region, "none"), ObjectError::NotFound { .. });
    refused!(Mutex::<u64>::open(&region, "event"), ObjectError::WrongKind { .. });
    refused!(Event::open(&region, "mutex"), ObjectError::WrongKind { .. });
    refused!(Event::open_or_create(&region, "mutex"), ObjectError::WrongKind { .. });
    refused!(spsc::Ring::<u64>::open(&region, "bytes"), ObjectError::WrongKind { .. });
    refused!(bytes::Ring::open(&region, "ring"), ObjectError::WrongKind { .. });
    refused!(Mutex::<Other>::open(&region, "mutex"), ObjectError::WrongType { .. });
    refused!(Mutex::<u32>::open(&region, "mutex"), ObjectError::WrongType { .. });
    refused!(Mutex::<i64>::open_or_create(&region, "mutex", &0), ObjectError::WrongType { .. });
    refused!(spsc::Ring::<Other>::open(&region, "ring"), ObjectError::WrongType { .. });
    refused!(
        spsc::Ring::<u64>::open_or_create(&region, "ring", 16),
        ObjectError::WrongCapacity { found: 8, expected: 16, .. }
    );
    refused!(
        bytes::Ring::open_or_create(&region, "bytes", 1024),
        ObjectError::WrongCapacity { found: 512, expected: 1024, .. }
    );
    refused!(Mutex::<u64>::create(&region, "mutex", &0), ObjectError::NameTaken { .. });
    refused!(spsc::Ring::<u64>::create(&region, "mutex", 1), ObjectError::NameTaken { .. });
    let long = "a".repeat(65);
    for name in ["", "a\0b", &long] {
        refused!(Mutex::<u64>::open(&region, name), ObjectError::InvalidName { .. });
        refused!(Event::open_or_create(&region, name), ObjectError::InvalidName { .. });
    }
    refused!(Mutex::<[u64; 2000]>::create(&region, "large", &[0; 2000]), ObjectError::NoSpace { .. });
    refused!(spsc::Ring::<u64>::create(&region, "large", 4096), ObjectError::NoSpace { .. });
    refused!(bytes::Ring::create(&region, "large", 1 << 30), ObjectError::NoSpace { .. });
    for capacity in [0, (1 << 40) + 1, usize::MAX] {
        refused!(spsc::Ring::<u64>::create(&region, "large", capacity), ObjectError::InvalidSize { .. });
        refused!(bytes::Ring::create(&region, "large", capacity), ObjectError::InvalidSize { .. });
    }
    refused!(
        spsc::Ring::<[u64; 1 << 30]>::create(&region, "large", 1 << 40),
        ObjectError::InvalidSize { .. }
    );
    refused!(
        Mutex::<Strict>::create(&region, "strict", &Strict { words: [0; 16] }),
        ObjectError::InvalidSize { .. }
    );
    refused!(spsc::Ring::<Strict>::create(&region, "strict", 4), ObjectError::InvalidSize { .. });
    // What is refused leaves nothing behind.
    assert_eq!(region.objects().len(), 4);

    let ring = spsc::Ring::<u64>::open(&region, "ring").unwrap();
    let _producer = ring.producer().unwrap();
    refused!(ring.producer(), RoleError::Taken { role: "producer", .. });
    let longest = bytes::Ring::open(&region, "bytes").unwrap();
    let text = vec![0; longest.max_message() + 1];
    assert!(matches!(longest.producer().unwrap().try_push(&text), Err(bytes::TrySendError::TooLarge(_))));
}

fn read_only() {
    let region = sample();
    let before = bytes_of(&region);
    let reader = Region::open().read_only(true).descriptor(region.descriptor()).unwrap();
    assert!(reader.read_only() && reader.slot().is_none());
    refused!(Mutex::<u64>::open(&reader, "mutex"), ObjectError::Access(AccessError::ReadOnly));
    refused!(Mutex::<u64>::create(&reader, "new", &0), ObjectError::Access(AccessError::ReadOnly));
    refused!(Event::open_or_create(&reader, "new"), ObjectError::Access(AccessError::ReadOnly));
    let event = Event::open(&reader, "event").unwrap();
    assert!(!event.is_set());
    assert_eq!(event.set(), Err(AccessError::ReadOnly));
    assert_eq!(event.reset(), Err(AccessError::ReadOnly));
    assert_eq!(event.wait_timeout(Duration::from_millis(1)), Err(AccessError::ReadOnly));
    let ring = spsc::Ring::<u64>::open(&reader, "ring").unwrap();
    refused!(ring.producer(), RoleError::Access(AccessError::ReadOnly));
    refused!(ring.consumer(), RoleError::Access(AccessError::ReadOnly));
    refused!(
        bytes::Ring::open(&reader, "bytes").unwrap().producer(),
        RoleError::Access(AccessError::ReadOnly)
    );
    assert_eq!(reader.sweep(), Err(AccessError::ReadOnly));
    assert_eq!(reader.objects().len(), 4);
    assert_eq!(reader.participants().len(), 1);
    for object in reader.objects() {
        assert_ne!(inspect::state(&reader, &object), inspect::ObjectState::Unknown);
    }
    drop((event, ring, reader));
    assert!(bytes_of(&region) == before, "a reader wrote");
}

fn impossible_sizes() {
    for size in [0, (1 << 46) + 1, u64::MAX] {
        refused!(Region::create().size(size).memfd("bad"), CreateError::InvalidSize { .. });
        refused!(Region::create().size(size).named(&unique("bad")), CreateError::InvalidSize { .. });
    }
    // As many huge pages as no machine has.
    let huge = Region::create().size(1 << 45).huge_pages(HugePages::Require).memfd("bad");
    match error(huge) {
        CreateError::NoHugePages { needed, free } => assert!(needed > free),
        other => panic!("{other:?}"),
    }
    let preferred = Region::create().size(1 << 45).huge_pages(HugePages::Prefer).memfd("bad");
    refused!(preferred, CreateError::NoSpace { .. });
}

/// Directory entries whose numbers do not fit together, at the very end of the region.
fn objects_that_claim_what_they_have_not() {
    use allmende::layout::directory::{Entry, ObjectKind, READY};
    let good = sample_bytes();
    let header = header_of(&good);
    let kinds = [ObjectKind::Mutex, ObjectKind::Event, ObjectKind::Spsc, ObjectKind::Bytes];
    for kind in kinds {
        for length in [0, 64, 128, 512, 640, 768, 896, u64::MAX - 127] {
            for (item_size, item_count) in
                [(8, 8), (8, 1), (0, 0), (1, 1 << 40), (u64::MAX, 1), (8, u64::MAX), (1 << 62, 4), (1, 512)]
            {
                let mut entry = Entry::read_from_bytes(
                    &good[usize::try_from(header.directory_offset).unwrap()..][..size_of::<Entry>()],
                )
                .unwrap();
                (entry.state, entry.kind, entry.length) = (READY, kind as u32, length);
                (entry.item_size, entry.item_count) = (item_size, item_count);
                for offset in [header.total.wrapping_sub(length) & !127, header.total, 0, u64::MAX - 127] {
                    entry.offset = offset;
                    for name in ["mutex", "event", "ring", "bytes"] {
                        entry.name = [0; 64];
                        entry.name[..name.len()].copy_from_slice(name.as_bytes());
                        let mut bytes = good.clone();
                        let at = usize::try_from(header.directory_offset).unwrap();
                        bytes[at..at + size_of::<Entry>()].copy_from_slice(entry.as_bytes());
                        if let Ok(region) = attach(&bytes) {
                            use_it(&region);
                        }
                    }
                }
            }
        }
    }
}

/// Everything that one can do with a region and must not panic, hang or fault, whatever is in it.
fn use_it(region: &Region) {
    let _ = (region.size(), region.free(), region.label(), region.slot(), region.huge_pages());
    let _ = region.participants();
    for object in region.objects() {
        let _ = inspect::state(region, &object);
    }
    let _ = region.sweep();
    if let Ok(mutex) = Mutex::<u64>::open_or_create(region, "mutex", &0) {
        match mutex.try_lock() {
            Ok(mut guard) => *guard = guard.wrapping_add(1),
            Err(LockError::OwnerDied(suspect) | LockError::Poisoned(suspect)) => {
                drop(suspect.mark_consistent());
            }
            Err(_) => {}
        }
        let _ = mutex.lock_timeout(Duration::from_micros(50)).map(drop);
    }
    if let Ok(event) = Event::open_or_create(region, "event") {
        let _ = (event.set(), event.reset(), event.wait_timeout(Duration::from_micros(50)));
    }
    if let Ok(ring) = spsc::Ring::<u64>::open_or_create(region, "ring", 8) {
        if let Ok(mut producer) = ring.producer() {
            let _ = producer.free();
            for value in 0..12 {
                if let Err(TryPushError::Access(..)) = producer.try_push(value) {
                    break;
                }
            }
            let _ = producer.push_slice(&[1; 12]);
            let _ = producer.push_timeout(7, Duration::from_micros(50));
        }
        if let Ok(mut consumer) = ring.consumer() {
            let _ = (consumer.len(), consumer.is_empty());
            let _ = consumer.pop_slice(&mut [MaybeUninit::uninit(); 3]);
            let _ = consumer.try_receive().map(|loan| loan.seen_before());
            for _ in 0..12 {
                if let Err(TryPopError::Access(_)) = consumer.try_pop() {
                    break;
                }
            }
            let _ = consumer.pop_timeout(Duration::from_micros(50));
        }
    }
    if let Ok(ring) = bytes::Ring::open_or_create(region, "bytes", 512) {
        if let Ok(mut producer) = ring.producer() {
            for length in 0..40 {
                let _ = producer.try_push(&[7; 64][..length]);
            }
        }
        if let Ok(mut consumer) = ring.consumer() {
            let mut into = Vec::new();
            for _ in 0..40 {
                let _ = consumer.try_pop(&mut into);
            }
            if !consumer.is_empty() {
                let _ = consumer.receive_batch(8).map(|batch| batch.iter().map(<[u8]>::len).sum::<usize>());
            }
            let _ = consumer.receive_timeout(Duration::from_micros(50)).map(|loan| loan.len());
        }
    }
    let _ = spsc::Ring::<[u64; 3]>::create(region, "another", 2);
}

/// Bytes of the header page, flipped at random; half of the time with a checksum that is right.
fn random_headers() {
    let good = sample_bytes();
    let mut random = Random::new();
    let (mut attached, rounds) = (0, count(4_000, 100_000));
    for round in 0..rounds {
        let mut bytes = good.clone();
        for _ in 0..=random.below(4) {
            let within = if random.below(4) == 0 { 4096 } else { 248 };
            let at = usize::try_from(random.below(within)).unwrap();
            bytes[at] = match random.below(4) {
                0 => 0,
                1 => 0xff,
                2 => bytes[at] ^ (1 << random.below(8)),
                _ => random.next() as u8,
            };
        }
        if round % 2 == 0 {
            let mut header = header_of(&bytes);
            // What the first checks ask for, so that the later ones have something to do.
            if random.below(8) != 0 {
                header.magic = header::MAGIC;
                (header.major, header.format) = (header::MAJOR, header::format_fingerprint());
                header.total = good.len() as u64;
            }
            header.checksum = header.expected_checksum();
            bytes[..size_of::<Header>()].copy_from_slice(header.as_bytes());
        }
        if let Ok(region) = attach(&bytes) {
            attached += 1;
            use_it(&region);
        }
    }
    say(&format!("  {rounds} headers, {attached} of them were good enough to attach"));
}

/// The same behind a good header: tables and objects full of nonsense.
fn random_tables_and_objects() {
    let good = sample_bytes();
    let header = header_of(&good);
    let used = usize::try_from(header.data_offset).unwrap() + 4096;
    let mut random = Random::new();
    let rounds = count(4_000, 100_000);
    for _ in 0..rounds {
        let mut bytes = good.clone();
        let areas = [header.participants_offset, header.directory_offset, header.data_offset];
        let area = usize::try_from(areas[usize::try_from(random.below(3)).unwrap()]).unwrap();
        for _ in 0..=random.below(24) {
            let reach = if random.below(2) == 0 { 640 } else { used - area };
            let at = (area + usize::try_from(random.below(reach as u64)).unwrap()).min(used - 1) & !7;
            let word = match random.below(6) {
                0 => 0,
                1 => u64::MAX,
                2 => 1 << random.below(64),
                3 => random.below(1 << 20),
                4 => u64::MAX - random.below(1 << 12),
                _ => random.next(),
            };
            bytes[at..at + 8].copy_from_slice(&word.to_ne_bytes());
        }
        let fd = memfd_of(&bytes, true);
        if let Ok(region) = Region::attach(&fd) {
            use_it(&region);
        }
        // A reader must survive it, too.
        if let Ok(region) = Region::open().read_only(true).descriptor(fd.as_fd()) {
            let _ = (region.participants(), region.free());
            for object in region.objects() {
                let _ = inspect::state(&region, &object);
            }
        }
    }
    say(&format!("  {rounds} regions"));
}
