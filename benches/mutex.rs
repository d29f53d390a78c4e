//! Lock and unlock without contention: allmende against what else there is.

mod ratio;

use std::hint::black_box;
use std::ptr::NonNull;
use std::time::{Duration, Instant};

use allmende::{Mutex, Region};
use criterion::Criterion;
use ratio::Contender;
use raw_sync::locks::{LockImpl, LockInit};

fn repeat(times: u64, mut work: impl FnMut()) -> Duration {
    let start = Instant::now();
    for _ in 0..times {
        work();
    }
    start.elapsed()
}

/// Zeroed memory that is shared with whoever forks or is passed it, never given back.
fn shared_page() -> NonNull<u8> {
    let (protection, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_ANONYMOUS);
    // SAFETY: an anonymous mapping at an address of the kernel's choosing touches nothing.
    let page = unsafe { libc::mmap(std::ptr::null_mut(), 4096, protection, flags, -1, 0) };
    assert_ne!(page, libc::MAP_FAILED, "a page of shared memory");
    NonNull::new(page.cast()).expect("a mapping is not at 0")
}

/// What POSIX has for the same purpose: robust and process-shared.
struct Pthread {
    mutex: NonNull<libc::pthread_mutex_t>,
    value: NonNull<u64>,
}

impl Pthread {
    fn new() -> Self {
        let page = shared_page();
        let mutex = page.cast::<libc::pthread_mutex_t>();
        // SAFETY: the value lies within the page, behind the mutex, aligned.
        let value = unsafe { page.add(1024) }.cast();
        // SAFETY: all zeros are a valid value to be initialised.
        let mut attributes: libc::pthread_mutexattr_t = unsafe { std::mem::zeroed() };
        // SAFETY: `attributes` and `mutex` are this function's own, and used in the order that POSIX wants.
        let good = unsafe {
            libc::pthread_mutexattr_init(&raw mut attributes) == 0
                && libc::pthread_mutexattr_setpshared(&raw mut attributes, libc::PTHREAD_PROCESS_SHARED) == 0
                && libc::pthread_mutexattr_setrobust(&raw mut attributes, libc::PTHREAD_MUTEX_ROBUST) == 0
                && libc::pthread_mutex_init(mutex.as_ptr(), &raw const attributes) == 0
        };
        assert!(good, "a robust process-shared mutex");
        Self { mutex, value }
    }

    #[inline]
    fn add_one(&self) {
        // SAFETY: the mutex was initialised in `new`, and its page is never unmapped.
        let answer = unsafe { libc::pthread_mutex_lock(self.mutex.as_ptr()) };
        assert_eq!(answer, 0, "locked");
        // SAFETY: the value is guarded by the mutex, which we hold.
        unsafe { *self.value.as_ptr() += 1 };
        // SAFETY: held by us, since just above.
        unsafe { libc::pthread_mutex_unlock(self.mutex.as_ptr()) };
    }
}

fn raw_sync_mutex() -> Box<dyn LockImpl> {
    let page = shared_page();
    // SAFETY: the value lies within the page, behind the mutex.
    let value = unsafe { page.add(1024) };
    // SAFETY: the page is zeroed, large enough for both, and never unmapped.
    unsafe { raw_sync::locks::Mutex::new(page.as_ptr(), value.as_ptr()) }.expect("a mutex of raw_sync").0
}

fn main() {
    let region = Region::create().memfd("bench").expect("a region");
    let ours = Mutex::<u64>::create(&region, "counter", &0).expect("a mutex");
    let std = std::sync::Mutex::new(0_u64);
    let pthread = Pthread::new();
    let raw_sync = raw_sync_mutex();
    let mut contenders = [
        Contender::new("allmende", |times| {
            repeat(times, || *black_box(&ours).lock().expect("nobody died") += 1)
        }),
        Contender::new("std", |times| repeat(times, || *black_box(&std).lock().expect("no panic") += 1)),
        Contender::new("pthread robust shared", |times| repeat(times, || black_box(&pthread).add_one())),
        Contender::new("raw_sync", |times| {
            repeat(times, || {
                let guard = black_box(&raw_sync).lock().expect("locked");
                // SAFETY: the value is aligned, eight bytes long, and guarded by the lock.
                unsafe { *guard.cast::<u64>() += 1 };
            })
        }),
    ];

    if ratio::wanted() {
        ratio::print("lock+unlock, no contention", &mut contenders);
    }
    let mut criterion = Criterion::default().configure_from_args();
    let mut group = criterion.benchmark_group("lock+unlock");
    for contender in &mut contenders {
        group.bench_function(contender.name, |bencher| bencher.iter_custom(&mut contender.run));
    }
    group.finish();
    criterion.final_summary();
}
