//! Forked children: what they inherit is not theirs, and what they make themselves is.

use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant};

use allmende::region::{AccessError, AttachError, NameError};
use allmende::ring::error::{PopError, RoleError, TryPopError, TryPushError};
use allmende::sync::mutex::LockError;
use allmende::{Event, Mutex, Region, bytes, spsc};
use nix::sys::signal::Signal;

use crate::common::{self, Journal, Process, count, in_a_fork, unique, until};
use crate::victim::{CHILD, GO, SLOT, all_alive, start};

/// All bytes of a region.
fn bytes_of(region: &Region) -> Vec<u64> {
    (0..region.size() / 8).map(|word| common::peek(region, word * 8)).collect()
}

fn unchanged(region: &Region, before: &[u64]) {
    let changed = bytes_of(region).iter().zip(before).position(|(now, before)| now != before);
    assert_eq!(changed.map(|word| word * 8), None, "a forked child wrote to the region");
}

/// A child that inherits every kind of handle gets `Forked` from each; dropping them changes nothing.
pub fn a_forked_child_touches_nothing() {
    let name = unique("forked");
    let region = Region::create().size(1 << 16).participants(4).named(&name).unwrap();
    let meeting = unique("meeting");
    let rendezvous = region.publish(&meeting).unwrap();
    let mutex = Mutex::<u64>::create(&region, "m", &0).unwrap();
    let held = Mutex::<u64>::create(&region, "h", &0).unwrap();
    let suspect = Mutex::<u64>::create(&region, "s", &0).unwrap();
    let event = Event::open_or_create(&region, "e").unwrap();
    let ring = spsc::Ring::<u64>::create(&region, "r", 8).unwrap();
    let byte_ring = bytes::Ring::create(&region, "b", 256).unwrap();
    let (mut producer, mut consumer) = (ring.producer().unwrap(), ring.consumer().unwrap());
    let (mut byte_producer, mut byte_consumer) =
        (byte_ring.producer().unwrap(), byte_ring.consumer().unwrap());
    for value in 0..4 {
        producer.push(value).unwrap();
        byte_producer.push(b"text").unwrap();
    }
    // What is left by one that died, for a guard of the other kind.
    let other = Region::open().named(&name).unwrap();
    std::mem::forget(Mutex::<u64>::open(&other, "s").unwrap().lock().unwrap());
    drop(other);
    let Err(LockError::OwnerDied(suspect_guard)) = suspect.lock() else { panic!("nobody was told") };

    let guard = held.lock().unwrap();
    let before = bytes_of(&region);
    let parent = std::process::id();
    // One fork for handles at rest, one for claims and loans, which borrow the ends.
    in_a_fork(|| {
        assert!(matches!(mutex.lock(), Err(LockError::Access(AccessError::Forked))));
        assert!(matches!(mutex.try_lock(), Err(LockError::Access(AccessError::Forked))));
        assert_eq!(event.set(), Err(AccessError::Forked));
        assert_eq!(event.reset(), Err(AccessError::Forked));
        assert_eq!(event.wait(), Err(AccessError::Forked));
        assert!(matches!(producer.try_push(9), Err(TryPushError::Access(AccessError::Forked, 9))));
        assert!(matches!(producer.push_slice(&[1, 2]), Err(TryPushError::Access(AccessError::Forked, ()))));
        assert_eq!(consumer.try_pop(), Err(TryPopError::Access(AccessError::Forked)));
        assert_eq!(consumer.pop(), Err(PopError::Access(AccessError::Forked)));
        assert!(byte_producer.push(b"more").is_err());
        assert!(byte_consumer.receive().is_err());
        assert!(matches!(ring.producer(), Err(RoleError::Access(AccessError::Forked))));
        assert!(matches!(byte_ring.consumer(), Err(RoleError::Access(AccessError::Forked))));
        assert_eq!(region.sweep(), Err(AccessError::Forked));
        assert!(Mutex::<u64>::create(&region, "new", &0).is_err());
        // SAFETY: the child's own copies of the handles are dropped here, once: it ends by `_exit`,
        // so nothing drops them again.
        unsafe {
            drop(std::ptr::read(&raw const rendezvous));
            drop(std::ptr::read(&raw const guard));
            drop(std::ptr::read(&raw const suspect_guard));
            drop(std::ptr::read(&raw const producer));
            drop(std::ptr::read(&raw const consumer));
            drop(std::ptr::read(&raw const byte_producer));
            drop(std::ptr::read(&raw const byte_consumer));
            drop(std::ptr::read(&raw const ring));
            drop(std::ptr::read(&raw const byte_ring));
            drop(std::ptr::read(&raw const mutex));
            drop(std::ptr::read(&raw const event));
            drop(std::ptr::read(&raw const region));
        }
        assert_ne!(std::process::id(), parent);
    });
    unchanged(&region, &before);
    {
        let mut claim = producer.try_claim().unwrap();
        *claim = 7;
        let loan = consumer.try_receive().unwrap();
        let byte_claim = byte_producer.try_claim(4).unwrap();
        let batch = byte_consumer.receive_batch(2).unwrap();
        let before = bytes_of(&region);
        in_a_fork(|| {
            // SAFETY: as above.
            unsafe {
                drop(std::ptr::read(&raw const loan));
                drop(std::ptr::read(&raw const batch));
                std::ptr::read(&raw const claim).commit();
                std::ptr::read(&raw const byte_claim).commit();
            }
        });
        unchanged(&region, &before);
    }
    all_alive(&region, 1);
    assert!(Region::open().named(&name).is_ok(), "the name is gone");
    assert!(Region::open().rendezvous(&meeting).is_ok(), "the rendezvous is gone");
    drop(guard);
    drop(suspect_guard.mark_consistent());
    assert!(mutex.lock().is_ok());
    // The first was lent out above, by the parent itself.
    for value in 1..4 {
        assert_eq!(consumer.pop(), Ok(value));
    }
}

/// What a child makes itself is as good as anybody's.
pub fn a_forked_child_attaches_anew() {
    let region = Region::create().size(1 << 14).participants(4).memfd("identity").unwrap();
    let lock = Mutex::<u64>::create(&region, "lock", &0).unwrap();
    for _ in 0..count(20, 200) {
        in_a_fork(|| {
            let own = Region::attach(region.descriptor()).unwrap();
            all_alive(&own, 2);
            *Mutex::<u64>::open(&own, "lock").unwrap().lock().unwrap() += 1;
            in_a_fork(|| assert_eq!(own.sweep(), Err(AccessError::Forked)));
            assert_eq!(own.sweep(), Ok(0));
            drop(own);
            all_alive(&region, 1);
        });
        // A child that ends without detaching is a death like any other.
        in_a_fork(|| std::mem::forget(Region::attach(region.descriptor()).unwrap()));
        assert_eq!(region.sweep().unwrap(), 1);
    }
    assert_eq!(*lock.lock().unwrap(), count(20, 200));
    all_alive(&region, 1);
}

/// One thread takes every lock that there is on files, again and again, while another one forks.
pub fn forks_amid() {
    const FORKS: u64 = 1000;
    let region = Region::attach(common::descriptor(0)).unwrap();
    let journal = Journal::inherited(1);
    // Its children outlive it, and are found by this.
    nix::unistd::setpgid(nix::unistd::Pid::from_raw(0), nix::unistd::Pid::from_raw(0)).unwrap();
    let name = common::argument(0);
    std::thread::spawn(move || {
        loop {
            let other = Region::open().named(&name).unwrap();
            assert!(Mutex::<u64>::create(&region, "lock", &0).is_err());
            drop((other, Region::create().size(1 << 12).named(&format!("{name}-x")).unwrap()));
            region.sweep().unwrap();
            drop(Region::attach(region.descriptor()).unwrap());
        }
    });
    for forks in 1..=FORKS {
        // SAFETY: the child, which may have been forked amid anything, makes system calls only.
        if unsafe { libc::fork() } == 0 {
            loop {
                // SAFETY: takes nothing.
                unsafe { libc::pause() };
            }
        }
        journal.set(GO, forks);
    }
    journal.set(SLOT, 1);
    std::thread::sleep(common::FOREVER);
}

/// A lock ends with who took it, though its children live on.
pub fn children_inherit_no_locks() {
    const SLOTS: u32 = 16;
    let name = unique("forks");
    let region = Region::create().size(1 << 14).participants(SLOTS).named(&name).unwrap();
    drop(Mutex::<u64>::create(&region, "lock", &0).unwrap());
    let journal = Journal::new();
    // Its children become this process's, to be waited for.
    // SAFETY: takes numbers only.
    unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) };
    let mut victim = Process::start("forks_amid", &[&name], &[region.descriptor(), journal.as_fd()]);
    until("the victim has its children", || {
        assert_eq!(victim.ended(), None, "the victim ended by itself");
        journal.get(SLOT) == 1
    });
    let group = victim.pid();
    victim.kill();
    let check = || -> Result<(), Box<dyn std::error::Error>> {
        region.sweep()?;
        all_alive(&region, 1);
        Event::open_or_create(&region, "new")?;
        drop((1..SLOTS).map(|_| Region::open().named(&name)).collect::<Result<Vec<_>, _>>()?);
        drop(Region::create().size(1 << 12).named(&format!("{name}-x"))?);
        Ok(())
    };
    let checked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(check));
    nix::sys::signal::killpg(group, Signal::SIGKILL).unwrap();
    while nix::sys::wait::waitpid(nix::unistd::Pid::from_raw(-group.as_raw()), None).is_ok() {}
    // SAFETY: takes numbers only.
    unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0) };
    checked.unwrap().unwrap();
}

/// The child has the listening socket: connections can be made until the queue is full, and block then.
pub fn a_child_of_a_dead_publisher_answers_nobody() {
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};
    let journal = Journal::new();
    let meetings = [false, true].map(|queue_is_full| {
        let name = unique("meeting");
        let region = Region::create().size(1 << 14).participants(4).memfd(&name).unwrap();
        let (victim, _) = start("publishes and has a child", &region, &journal);
        drop(Region::open().rendezvous(&name).unwrap());
        victim.kill();
        let child = nix::unistd::Pid::from_raw(i32::try_from(journal.get(CHILD)).unwrap());
        let path = allmende::region::user_directory().join(format!("{name}.sock"));
        let mut more = queue_is_full;
        while more {
            let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
            let one = socket(AddressFamily::Unix, SockType::Stream, flags, None).unwrap();
            more = match connect(one.as_raw_fd(), &UnixAddr::new(&path).unwrap()) {
                Ok(()) => true,
                Err(nix::Error::EAGAIN) => false,
                Err(error) => panic!("{error}"),
            };
        }
        (name, region, child)
    });
    let started = Instant::now();
    std::thread::scope(|scope| {
        for (name, region, _) in &meetings {
            let asking = scope.spawn(|| Region::open().rendezvous(name).map(drop));
            scope.spawn(move || {
                let answer = asking.join().unwrap();
                assert!(
                    matches!(answer, Err(AttachError::Name(NameError::NoAnswer { .. }))),
                    "{answer:?} after {:?}",
                    started.elapsed()
                );
                // The name is free for whoever wants it.
                let meeting = region.publish(name).unwrap();
                assert!(matches!(region.publish(name), Err(NameError::Taken { .. })));
                assert_eq!(Region::open().rendezvous(name).unwrap().id(), region.id());
                drop(meeting);
                let answer = Region::open().rendezvous(name).map(drop);
                assert!(matches!(answer, Err(AttachError::Name(NameError::NotFound { .. }))), "{answer:?}");
            });
        }
    });
    assert!(started.elapsed() < Duration::from_secs(40), "{:?}", started.elapsed());
    for (_, region, child) in meetings {
        nix::sys::signal::kill(child, Signal::SIGKILL).unwrap();
        region.sweep().unwrap();
        all_alive(&region, 1);
    }
}
