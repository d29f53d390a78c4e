//! Too little of something is an error before anything is taken, never a signal later.

// Tests may be blunt.
#![allow(clippy::pedantic)]

mod common;

use std::fs;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use allmende::os::space;
use allmende::region::{CreateError, HugePages};
use allmende::{Region, bytes};
use common::{Temporary, error, in_a_fork, refused, skip, unique};

fn main() -> ExitCode {
    common::main(
        &[
            ("huge_pages_that_are_there_or_not", huge_pages_that_are_there_or_not),
            ("more_than_a_file_system_has", more_than_a_file_system_has),
            ("more_than_the_memory", more_than_the_memory),
            ("more_than_a_control_group_allows", more_than_a_control_group_allows),
            ("signals_amid_a_reservation", signals_amid_a_reservation),
            ("no_descriptors_left", no_descriptors_left),
            ("too_many_descriptors_at_once", too_many_descriptors_at_once),
        ],
        &[],
    )
}

/// A gigabyte on a file system of 64 MiB.
fn more_than_a_file_system_has() {
    use nix::mount::{MsFlags, mount};
    use nix::sched::{CloneFlags, unshare};
    const LIMIT: u64 = 64 << 20;
    if !nix::unistd::geteuid().is_root() {
        skip("a small file system", "only root can mount one");
        return;
    }
    let place = Temporary::new();
    in_a_fork(|| {
        let none: Option<&str> = None;
        // Private to this child: nobody else sees the mount, and it is gone with the child.
        let mounted = unshare(CloneFlags::CLONE_NEWNS)
            .and_then(|()| mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none))
            .and_then(|()| {
                let options = Some("size=64m,mode=0700");
                mount(Some("tmpfs"), &place.0, Some("tmpfs"), MsFlags::empty(), options)
            });
        if let Err(error) = mounted {
            skip("a small file system", &format!("it cannot be mounted: {error}"));
            return;
        }
        let names = place.0.join("names");
        // SAFETY: a forked child has one thread.
        unsafe { std::env::set_var("ALLMENDE_DIR", &names) };
        let used = || {
            let stat = nix::sys::statvfs::statvfs(&place.0).unwrap();
            (stat.blocks() - stat.blocks_free()) * stat.fragment_size()
        };
        let before = used();
        let check = |error: CreateError, asked: u64| match error {
            CreateError::NoSpace { needed, free, .. } => {
                assert!(needed >= asked && free <= LIMIT, "{needed} {free}");
                assert!(error.to_string().contains(&free.to_string()), "{error}");
                free
            }
            other => panic!("{other:?}"),
        };
        for size in [1 << 30, LIMIT] {
            // Nothing lies there yet: nearly all is free.
            assert!(check(error(Region::create().size(size).named("large")), size) > 60 << 20);
            assert!(check(error(Region::create().size(size).file(place.0.join("large"))), size) > 60 << 20);
        }
        assert_eq!(used(), before, "what was refused was allocated");
        assert!(!names.exists());
        // Two of 40 MiB: the second is refused, the first can be written to its last byte.
        let first = Region::create().size(40 << 20).prefault(false).named("first").unwrap();
        check(error(Region::create().size(40 << 20).named("second")), 40 << 20);
        // Somebody else takes all that is left.
        let mut rest = fs::File::create(place.0.join("rest")).unwrap();
        while std::io::Write::write(&mut rest, &[1; 4096]).is_ok_and(|written| written > 0) {}
        let ring = bytes::Ring::create(&first, "ring", 32 << 20).unwrap();
        let (mut producer, mut consumer) = (ring.producer().unwrap(), ring.consumer().unwrap());
        let text = vec![7; 1 << 20];
        for _ in 0..40 {
            producer.push(&text).unwrap();
            assert!(consumer.receive().unwrap()[..] == text[..]);
        }
        // With nothing left, not even the smallest one.
        check(error(Region::create().size(1).named("small")), 1);
        drop((producer, consumer, ring, first));
        drop(Region::create().size(40 << 20).named("second").expect("the space came back"));
    });
}

fn more_than_the_memory() {
    let before = space::available_memory().unwrap().bytes;
    refused!(Region::create().size(before * 2).memfd("bad"), CreateError::NoSpace { .. });
    let after = space::available_memory().unwrap().bytes;
    assert!(after > before / 2, "it was taken: {before} bytes were free, now {after} are");
    let text = fs::read_to_string("/proc/meminfo").unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:")).unwrap();
    let kilobytes: u64 = line.trim().trim_end_matches("kB").trim().parse().unwrap();
    let asked = kilobytes * 1024;
    for made in
        [Region::create().size(asked).memfd("bad"), Region::create().size(asked).prefault(false).memfd("bad")]
    {
        match error(made) {
            CreateError::NoSpace { needed, free, limit } => {
                assert!(needed > asked && free < needed, "{needed} {free}");
                assert!(limit == "MemAvailable" || limit.contains("memory"), "{limit}");
            }
            other => panic!("{other:?}"),
        }
    }
}

/// A control group of this test, of whichever version the machine has; gone when dropped.
struct Group {
    path: PathBuf,
    limit: &'static str,
}

impl Group {
    fn new() -> Result<Self, String> {
        let groups = fs::read_to_string("/proc/self/cgroup").map_err(|error| error.to_string())?;
        let mut why = "this process is in no memory group".to_owned();
        for line in groups.lines() {
            let mut fields = line.splitn(3, ':').skip(1);
            let (Some(controllers), Some(own)) = (fields.next(), fields.next()) else { continue };
            let (base, limit) = if controllers.is_empty() {
                ("/sys/fs/cgroup", "memory.max")
            } else if controllers.split(',').any(|name| name == "memory") {
                ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")
            } else {
                continue;
            };
            let parent = Path::new(base).join(own.trim_start_matches('/'));
            let group = Self { path: parent.join(unique("allmende-test")), limit };
            let made = fs::create_dir(&group.path)
                .and_then(|()| fs::write(group.path.join(limit), (64 << 20).to_string()));
            match made {
                Ok(()) => return Ok(group),
                Err(error) => why = format!("{}: {error}", group.path.display()),
            }
        }
        Err(why)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.path);
    }
}

fn more_than_a_control_group_allows() {
    let group = match Group::new() {
        Ok(group) => group,
        Err(why) => {
            skip("a control group's limit", &why);
            return;
        }
    };
    in_a_fork(|| {
        fs::write(group.path.join("cgroup.procs"), std::process::id().to_string()).unwrap();
        match error(Region::create().size(1 << 30).memfd("bad")) {
            CreateError::NoSpace { free, limit, .. } => {
                assert!(free <= 64 << 20, "{free}");
                assert_eq!(Path::new(&limit), group.path.join(group.limit));
            }
            other => panic!("{other:?}"),
        }
        // The same for a named one, which lies in memory, too.
        refused!(Region::create().size(1 << 30).named(&unique("bad")), CreateError::NoSpace { .. });
        drop(Region::create().size(1 << 20).memfd("bad").unwrap());
        // What is only cached is not used up.
        let file = std::env::temp_dir().join(unique("allmende-bad"));
        let mut bytes = std::io::Read::take(std::io::repeat(7), 48 << 20);
        std::io::copy(&mut bytes, &mut fs::File::create(&file).unwrap()).unwrap();
        let made = Region::create().size(40 << 20).memfd("bad").map(drop);
        fs::remove_file(&file).unwrap();
        made.unwrap();
    });
    // The last of its processes must be gone for good before a group can be.
    common::until("the group is empty", || {
        fs::read_to_string(group.path.join("cgroup.procs")).unwrap().is_empty()
    });
}

/// A signal undoes the reservation that it interrupts, and the next one is there before it is done.
fn signals_amid_a_reservation() {
    in_a_fork(|| {
        common::be_interrupted_often();
        drop(Region::create().size(512 << 20).prefault(false).memfd("bad").unwrap());
    });
}

/// Every count of descriptors that is too small is an error, and leaves none behind.
fn no_descriptors_left() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let region = Region::create().size(1 << 14).participants(8).memfd("bad").unwrap();
    let name = unique("bad");
    in_a_fork(|| {
        let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        // The first free number; the limit is on numbers, and some high ones may be taken.
        let free = u64::try_from(fs::File::open("/dev/null").unwrap().as_raw_fd()).unwrap();
        let mut refusals = 0;
        for more in 0..12 {
            let before = common::entries("/proc/self/fd").len();
            setrlimit(Resource::RLIMIT_NOFILE, free + more, most).unwrap();
            let results = [
                Region::attach(region.descriptor()).map_err(|e| e.to_string()).is_err(),
                Region::create().size(1 << 12).memfd("bad").map_err(|e| e.to_string()).is_err(),
                Region::create().size(1 << 12).named(&name).map_err(|e| e.to_string()).is_err(),
                region.publish(&name).map_err(|e| e.to_string()).is_err(),
            ];
            refusals += results.iter().filter(|&&refused| refused).count();
            setrlimit(Resource::RLIMIT_NOFILE, most, most).unwrap();
            assert_eq!(common::entries("/proc/self/fd").len(), before, "descriptors were left");
        }
        assert!(refusals > 4, "the limit has limited nothing");
        drop(Region::attach(region.descriptor()).unwrap());
    });
    assert_eq!(region.participants().len(), 1, "slots were left");
}

/// Descriptors that are refused are closed (the runner looks), and signals disturb nobody.
fn too_many_descriptors_at_once() {
    use allmende::os::fd_passing::{MAX_DESCRIPTORS, receive, send};
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
    let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    let give = |count: usize| {
        let fds = vec![0; count];
        let parts = [std::io::IoSlice::new(b"x")];
        let rights = [ControlMessage::ScmRights(&fds)];
        sendmsg::<()>(theirs.as_raw_fd(), &parts, &rights, MsgFlags::empty(), None).unwrap();
    };
    let mut buffer = [0; 8];
    let open = || common::entries("/proc/self/fd").len();
    let before = open();
    for count in [1, MAX_DESCRIPTORS] {
        give(count);
        let (bytes, fds) = receive(&ours, &mut buffer).unwrap();
        assert_eq!((bytes, fds.len()), (1, count));
    }
    for count in [MAX_DESCRIPTORS + 1, 100, 253] {
        give(count);
        let refusal = error(receive(&ours, &mut buffer));
        assert_eq!(refusal.kind(), std::io::ErrorKind::InvalidData, "{refusal}");
        assert_eq!(open(), before, "{count} came, and some stayed open");
    }
    assert!(send(&theirs, b"x", &[0; MAX_DESCRIPTORS + 1]).is_err());
    // Some have a number to get, others have not.
    in_a_fork(|| {
        let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        let free = u64::try_from(fs::File::open("/dev/null").unwrap().as_raw_fd()).unwrap();
        for more in [0, 1, 5] {
            give(10);
            setrlimit(Resource::RLIMIT_NOFILE, free + more, most).unwrap();
            let refusal = error(receive(&ours, &mut [0; 8]));
            setrlimit(Resource::RLIMIT_NOFILE, most, most).unwrap();
            assert_eq!(refusal.kind(), std::io::ErrorKind::InvalidData, "{refusal}");
            assert_eq!(open(), before, "some stayed open");
        }
    });
    in_a_fork(|| {
        common::be_interrupted_often();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(Duration::from_millis(200));
                give(3);
            });
            assert_eq!(receive(&ours, &mut [0; 8]).unwrap().1.len(), 3);
        });
    });
}

/// The machine's number of huge pages, as it was when dropped.
struct HugePagesBefore(PathBuf, String);

impl HugePagesBefore {
    fn raise_by(pages: u64, size: u64) -> std::io::Result<Self> {
        let path = format!("/sys/kernel/mm/hugepages/hugepages-{}kB/nr_hugepages", size / 1024);
        let number = fs::read_to_string(&path)?;
        let before = Self(PathBuf::from(&path), number.trim().to_owned());
        let more = before.1.parse::<u64>().unwrap() + pages;
        fs::write(&path, more.to_string())?;
        let raised = fs::read_to_string(&path)?.trim() == more.to_string();
        if raised { Ok(before) } else { Err(std::io::ErrorKind::OutOfMemory.into()) }
    }
}

impl Drop for HugePagesBefore {
    fn drop(&mut self) {
        let _ = fs::write(&self.0, &self.1);
    }
}

/// Huge pages are had, or refused, or replaced by ordinary ones.
fn huge_pages_that_are_there_or_not() {
    use memmap2::MmapOptions;
    let create = |size| {
        let of = |kind| Region::create().size(size).huge_pages(kind).memfd("bad");
        // Required first: another process may want the last pages, too.
        (of(HugePages::Require), of(HugePages::Prefer).unwrap())
    };
    match create(1 << 20) {
        (Ok(region), _) => assert!(region.huge_pages()),
        (Err(CreateError::NoHugePages { needed, free }), preferred) => {
            assert!(free < needed);
            assert!(!preferred.huge_pages(), "what is preferred may be replaced");
        }
        (Err(error), _) => panic!("{error}"),
    }
    let Some(size) = space::huge_page_size() else {
        skip("huge pages that are promised already", "the kernel has none");
        return;
    };
    let _before = match HugePagesBefore::raise_by(8, size) {
        Ok(before) => before,
        Err(error) => {
            skip("huge pages that are promised already", &format!("their number cannot be raised: {error}"));
            return;
        }
    };
    let left = space::huge_pages_left(size);
    assert!(left >= 8 * size, "{left}");
    let (region, _) = create(size);
    assert!(region.unwrap().huge_pages());
    // Mapped but not touched: all are free, and none is to be had.
    let length = usize::try_from(left).unwrap();
    let promised = MmapOptions::new().len(length).huge(None).map_anon().unwrap();
    assert_eq!(space::huge_pages_left(size), 0);
    let (region, preferred) = create(size);
    refused!(region, CreateError::NoHugePages { free: 0, .. });
    assert!(!preferred.huge_pages());
    drop(promised);
}
