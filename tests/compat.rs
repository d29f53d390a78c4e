//! One program, twice: with the locks of `raw_sync`, and, its `use` line changed and the mapping adopted, with
//! those of `allmende::compat`. Theirs hangs when somebody is killed; ours goes on.

// Tests may be blunt.
#![allow(clippy::pedantic)]

mod common;

use std::os::fd::AsFd;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use common::{FOREVER, Journal, Process, say, until};
use shared_memory::{Shmem, ShmemConf};

/// The program: what its processes do. Words of the journal say how far they are.
macro_rules! program {
    ($name:ident, $($theirs:ident)::+, $adopt:expr) => {
        // SAFETY, of all blocks below: the places lie in the mapping, apart from each other, and are used for one
        // thing each, by programs that all use the same locks; the data is touched under a lock only.
        #[allow(clippy::undocumented_unsafe_blocks, reason = "they are all alike: see above")]
        mod $name {
            use super::{ACTIVE, BUSY, DONE, DATA, EVENT, Journal, MUTEX, RWLOCK, open};
            use $($theirs)::+::{Timeout, events::*, locks::*};

            type Adopt = fn(&shared_memory::Shmem);
            const ADOPT: Adopt = $adopt;

            fn mapped() -> (shared_memory::Shmem, Journal) {
                let shmem = open();
                ADOPT(&shmem);
                (shmem, Journal::inherited(0))
            }

            fn rest(journal: &Journal) -> ! {
                journal.set(ACTIVE, 1);
                loop {
                    std::thread::sleep(super::FOREVER);
                }
            }

            /// Makes the locks.
            pub fn maker() {
                let (shmem, journal) = mapped();
                let at = |offset| shmem.as_ptr().wrapping_add(offset);
                unsafe {
                    let (_, used) = Mutex::new(at(MUTEX), at(DATA)).unwrap();
                    assert_eq!(used, Mutex::size_of(Some(at(MUTEX))));
                    let (_, used) = RwLock::new(at(RWLOCK), at(DATA)).unwrap();
                    assert_eq!(used, RwLock::size_of(Some(at(RWLOCK))));
                    let _ = Event::new(at(EVENT), true).unwrap();
                    let (_, used) = BusyEvent::new(at(BUSY), true).unwrap();
                    assert_eq!(used, BusyEvent::size_of(None));
                }
                rest(&journal);
            }

            fn lock(shmem: &shared_memory::Shmem, offset: usize) -> Box<dyn LockImpl> {
                let data = shmem.as_ptr().wrapping_add(DATA);
                let mem = shmem.as_ptr().wrapping_add(offset);
                let lock = unsafe {
                    if offset == MUTEX { Mutex::from_existing(mem, data) } else { RwLock::from_existing(mem, data) }
                };
                lock.unwrap().0
            }

            fn event(shmem: &shared_memory::Shmem) -> Box<dyn EventImpl> {
                let offset = super::common::argument(1).parse().unwrap();
                let mem = shmem.as_ptr().wrapping_add(offset);
                let event = unsafe {
                    if offset == EVENT { Event::from_existing(mem) } else { BusyEvent::from_existing(mem) }
                };
                event.unwrap().0
            }

            /// Takes the lock at the offset that it is told, and keeps it.
            pub fn holder() {
                let (shmem, journal) = mapped();
                let lock = lock(&shmem, super::common::argument(1).parse().unwrap());
                let mut guard = lock.lock().unwrap();
                unsafe { **guard += 1 };
                rest(&journal);
            }

            /// The same for reading.
            pub fn reader() {
                let (shmem, journal) = mapped();
                let lock = lock(&shmem, RWLOCK);
                let _guard = lock.rlock().unwrap();
                rest(&journal);
            }

            /// Takes the lock, adds one, releases it.
            pub fn next() {
                let (shmem, journal) = mapped();
                let lock = lock(&shmem, super::common::argument(1).parse().unwrap());
                journal.set(ACTIVE, 1);
                let mut guard = lock.lock().unwrap();
                unsafe { **guard += 1 };
                drop(guard);
                assert!(lock.try_lock(Timeout::Val(super::FOREVER)).is_ok());
                journal.set(DONE, 1);
            }

            /// Waits for the event.
            pub fn waiter() {
                let (shmem, journal) = mapped();
                let event = event(&shmem);
                journal.set(ACTIVE, 1);
                event.wait(Timeout::Infinite).unwrap();
                journal.set(DONE, 1);
            }

            /// Sets the event twice.
            pub fn setter() {
                let (shmem, journal) = mapped();
                let event = event(&shmem);
                journal.set(ACTIVE, 1);
                event.set(EventState::Signaled).unwrap();
                event.set(EventState::Signaled).unwrap();
                event.wait(Timeout::Val(super::FOREVER)).unwrap();
                assert!(event.wait(Timeout::Val(std::time::Duration::from_millis(5))).is_err());
                journal.set(DONE, 1);
            }
        }
    };
}

program!(theirs, raw_sync, |_| ());
program!(ours, allmende::compat, |shmem| {
    allmende::compat::adopt(shmem).unwrap();
    allmende::compat::adopt(shmem).unwrap();
});

const MUTEX: usize = 0;
const RWLOCK: usize = 64;
const EVENT: usize = 192;
/// Aligned to nothing.
const BUSY: usize = 401;
const DATA: usize = 512;
const ACTIVE: usize = 0;
const DONE: usize = 1;

fn main() -> ExitCode {
    common::main(
        &[
            ("a_killed_holder", a_killed_holder),
            ("a_killed_reader", a_killed_reader),
            ("a_killed_waiter", a_killed_waiter),
            ("a_killed_busy_waiter", a_killed_busy_waiter),
            ("misuse_is_an_error", misuse_is_an_error),
            ("sizes_are_theirs", sizes_are_theirs),
        ],
        &[
            ("theirs_maker", theirs::maker),
            ("theirs_holder", theirs::holder),
            ("theirs_reader", theirs::reader),
            ("theirs_next", theirs::next),
            ("theirs_waiter", theirs::waiter),
            ("theirs_setter", theirs::setter),
            ("ours_maker", ours::maker),
            ("ours_holder", ours::holder),
            ("ours_reader", ours::reader),
            ("ours_next", ours::next),
            ("ours_waiter", ours::waiter),
            ("ours_setter", ours::setter),
            ("misuser", misuser),
        ],
    )
}

/// The mapping that the child is told of.
fn open() -> Shmem {
    ShmemConf::new().os_id(common::argument(0)).open().unwrap()
}

struct Ground {
    shmem: Shmem,
    journal: Journal,
    kind: &'static str,
    maker: Option<Process>,
}

impl Drop for Ground {
    fn drop(&mut self) {
        // All were killed, so nobody took the companion's name away: the last to leave does.
        self.maker = None;
        if self.kind == "ours" {
            allmende::compat::adopt(&self.shmem).unwrap();
            allmende::compat::disown(&self.shmem);
            let names = allmende::region::list_names().unwrap();
            let file = std::fs::metadata(format!("/dev/shm{}", self.shmem.get_os_id())).unwrap();
            let inode = format!("-{:x}-", std::os::unix::fs::MetadataExt::ino(&file));
            assert!(names.iter().all(|name| !name.name.contains(&inode)), "{names:?}");
        }
    }
}

impl Ground {
    fn new(kind: &'static str) -> Self {
        let shmem = ShmemConf::new().size(4096).create().unwrap();
        let mut ground = Self { shmem, journal: Journal::new(), kind, maker: None };
        ground.maker = Some(ground.start("maker", 0));
        ground
    }

    fn start(&self, role: &str, offset: usize) -> Process {
        self.journal.set(ACTIVE, 0);
        self.journal.set(DONE, 0);
        let name = format!("{}_{role}", self.kind);
        let arguments = [self.shmem.get_os_id(), &offset.to_string()];
        let child = Process::start(&name, &arguments, &[self.journal.as_fd()]);
        until("the child is so far", || self.journal.get(ACTIVE) == 1);
        child
    }

    /// Sets the busy event.
    fn set_busy(&self) {
        use allmende::compat::EventInit as _;
        use raw_sync::events::EventInit as _;
        let mem = self.shmem.as_ptr().wrapping_add(BUSY);
        // SAFETY: the event that the maker has made there.
        unsafe {
            if self.kind == "ours" {
                allmende::compat::adopt(&self.shmem).unwrap();
                let event = allmende::compat::BusyEvent::from_existing(mem).unwrap().0;
                event.set(allmende::compat::EventState::Signaled).unwrap();
            } else {
                let event = raw_sync::events::BusyEvent::from_existing(mem).unwrap().0;
                event.set(raw_sync::events::EventState::Signaled).unwrap();
            }
        }
    }

    /// Whether the child is done within half a second (theirs) or ever (ours).
    fn is_done(&self, child: Process) -> bool {
        if self.kind == "ours" {
            child.finish();
            return true;
        }
        let started = Instant::now();
        while self.journal.get(DONE) == 0 && started.elapsed() < Duration::from_millis(500) {
            std::thread::sleep(Duration::from_millis(1));
        }
        let done = self.journal.get(DONE) == 1;
        drop(child);
        done
    }
}

fn a_killed_holder() {
    for lock in [MUTEX, RWLOCK] {
        for kind in ["theirs", "ours"] {
            let ground = Ground::new(kind);
            assert!(ground.is_done(ground.start("next", lock)), "{kind}: as long as nobody is killed");
            ground.start("holder", lock).kill();
            let done = ground.is_done(ground.start("next", lock));
            assert_eq!(done, kind == "ours", "{kind}, lock at {lock}");
            if done {
                // SAFETY: nobody writes it any more.
                assert_eq!(unsafe { ground.shmem.as_ptr().add(DATA).read() }, 3);
            }
        }
    }
    say("  the next holder hangs with theirs, goes on with ours");
}

fn a_killed_reader() {
    for kind in ["theirs", "ours"] {
        let ground = Ground::new(kind);
        ground.start("reader", 0).kill();
        assert_eq!(ground.is_done(ground.start("next", RWLOCK)), kind == "ours", "{kind}");
    }
}

/// Two waiters asleep, one of them killed: setting hangs with theirs, sooner or later.
fn a_killed_waiter() {
    for kind in ["theirs", "ours"] {
        let ground = Ground::new(kind);
        let mut all = true;
        for _ in 0..5 {
            let victim = ground.start("waiter", EVENT);
            // Asleep.
            std::thread::sleep(Duration::from_millis(20));
            victim.kill();
            all = all && ground.is_done(ground.start("setter", EVENT));
            if !all {
                break;
            }
        }
        assert_eq!(all, kind == "ours", "{kind}");
    }
    say("  the second setter hangs with theirs, goes on with ours");
}

/// Nothing hangs with either, since there is no lock in it.
fn a_killed_busy_waiter() {
    for kind in ["theirs", "ours"] {
        let ground = Ground::new(kind);
        for _ in 0..3 {
            let victim = ground.start("waiter", BUSY);
            std::thread::sleep(Duration::from_millis(5));
            victim.kill();
            assert!(ground.is_done(ground.start("setter", BUSY)), "{kind}");
        }
        // One set lets one go on.
        let (one, other) = (ground.start("waiter", BUSY), ground.start("waiter", BUSY));
        ground.set_busy();
        until("one goes on", || ground.journal.get(DONE) == 1);
        ground.set_busy();
        assert!(ground.is_done(one) && ground.is_done(other), "{kind}");
    }
}

fn misuse_is_an_error() {
    let ground = Ground::new("ours");
    ground.journal.set(ACTIVE, 0);
    Process::start("misuser", &[ground.shmem.get_os_id()], &[ground.journal.as_fd()]).finish();
}

/// In a process of its own, which leaves nothing behind.
fn misuser() {
    use allmende::compat::{self, EventInit, LockInit, Mutex, RwLock, Timeout};
    let shmem = open();
    let at = |offset| shmem.as_ptr().wrapping_add(offset);
    let soon = Timeout::Val(Duration::from_millis(5));
    let text = |result: Result<_, Box<dyn std::error::Error>>| match result {
        Ok(_) => panic!("it was accepted"),
        Err(error) => error.to_string(),
    };
    // SAFETY: all of these places are locks and events only, or refused.
    unsafe {
        assert!(text(Mutex::new(at(MUTEX), at(DATA)).map(drop)).contains("adopt(&shmem)"));
        compat::adopt(&shmem).unwrap();
        assert!(text(Mutex::new(at(4096), at(DATA)).map(drop)).contains("adopt(&shmem)"));
        assert!(text(compat::Event::from_existing(at(1024)).map(drop)).contains("no event here"));
        assert!(text(compat::Event::new(at(EVENT), false).map(drop)).contains("auto-reset 1, not 0"));
        assert!(text(compat::BusyEvent::from_existing(at(1024)).map(drop)).contains("no event here"));
        assert!(text(compat::BusyEvent::new(at(BUSY), false).map(drop)).contains("auto-reset 1, not 0"));
        let busy = compat::BusyEvent::new(at(1025), false).unwrap().0;
        assert!(text(busy.wait(soon)).contains("in time"));
        busy.set(compat::EventState::Signaled).unwrap();
        let same = compat::BusyEvent::from_existing(at(1025)).unwrap().0;
        // It stays set.
        same.wait(soon).unwrap();
        busy.wait(soon).unwrap();
        same.set(compat::EventState::Clear).unwrap();
        assert!(text(busy.wait(soon)).contains("in time"));
        let mutex = Mutex::from_existing(at(MUTEX), at(DATA)).unwrap().0;
        let guard = mutex.lock().unwrap();
        assert!(!guard.owner_died());
        assert!(text(mutex.lock().map(drop)).contains("this thread holds"));
        assert!(text(mutex.try_lock(soon).map(drop)).contains("this thread holds"));
        drop(guard);
        assert!(text(mutex.release()).contains("does not hold"));
        let lock = RwLock::from_existing(at(RWLOCK), at(DATA)).unwrap().0;
        let (one, two) = (lock.rlock().unwrap(), lock.try_rlock(soon).unwrap());
        assert!(text(lock.lock().map(drop)).contains("this thread holds"));
        drop((one, two));
        assert!(text(lock.release()).contains("does not hold"));
        drop(lock.lock().unwrap());
    }
    compat::disown(&shmem);
}

fn sizes_are_theirs() {
    use allmende::compat::{EventInit as _, LockInit as _};
    use raw_sync::{events::EventInit as _, locks::LockInit as _};
    let base = Box::leak(Box::new([0_u64; 64])).as_mut_ptr().cast::<u8>();
    for offset in [None, Some(0), Some(1), Some(4), Some(9)] {
        let at = offset.map(|offset| base.wrapping_add(offset));
        assert_eq!(allmende::compat::Mutex::size_of(at), raw_sync::locks::Mutex::size_of(at));
        assert_eq!(allmende::compat::RwLock::size_of(at), raw_sync::locks::RwLock::size_of(at));
        assert_eq!(allmende::compat::Event::size_of(at), raw_sync::events::Event::size_of(at));
        assert_eq!(allmende::compat::BusyEvent::size_of(at), raw_sync::events::BusyEvent::size_of(at));
    }
}
