//! The words by which the two sides of the bench agree on what to do next, and the floor.
//!
//! They lie in an object of the region (a ring that nobody uses as one), mapped once more here: the
//! bench wants bare atomics, which the library does not hand out.

use std::time::{Duration, Instant};

use allmende::Region;
use allmende::atomic::{AtomicU32, AtomicU64, Ordering, spin_hint};
use allmende::os::futex;
use memmap2::MmapRaw;

use crate::Result;

const NAME: &str = "control";
/// Bytes of one control block: sixteen pairs of cache lines.
const BLOCK: usize = 2048;
/// How many control blocks there are.
const BLOCKS: usize = 2;

/// The control blocks, mapped.
pub(crate) struct Shared {
    mapping: MmapRaw,
    offset: usize,
}

impl Shared {
    /// Makes the blocks.
    pub(crate) fn create(region: &Region) -> Result<Self> {
        allmende::bytes::Ring::create(region, NAME, BLOCK * BLOCKS)?;
        Self::open(region)
    }

    /// Finds them.
    pub(crate) fn open(region: &Region) -> Result<Self> {
        let object = region.objects().into_iter().find(|object| object.name == NAME).ok_or("no control")?;
        // The head of the object is the library's; what follows is ours.
        let offset = object.offset + allmende::layout::spsc::DATA;
        Ok(Self { mapping: MmapRaw::map_raw(&region.descriptor())?, offset: usize::try_from(offset)? })
    }

    /// The block by which a second process is told what to do.
    pub(crate) fn process(&self) -> Control<'_> {
        Control { shared: self, block: 0 }
    }

    /// The block by which a second thread is.
    pub(crate) fn thread(&self) -> Control<'_> {
        Control { shared: self, block: 1 }
    }
}

/// What became of a task.
pub(crate) struct Done {
    /// How long both sides took together.
    pub(crate) took: Duration,
    /// What the second side says.
    pub(crate) answer: u64,
    /// Whether another process had one of the cores in between.
    pub(crate) disturbed: bool,
}

/// One control block.
#[derive(Clone, Copy)]
pub(crate) struct Control<'a> {
    shared: &'a Shared,
    block: usize,
}

impl<'a> Control<'a> {
    /// Word `line` of the block; each has a pair of cache lines of its own.
    fn word(self, line: usize) -> &'a AtomicU64 {
        let offset = self.shared.offset + self.block * BLOCK + line * 128;
        assert!(line < BLOCK / 128 && offset + 8 <= self.shared.mapping.len());
        // SAFETY: in bounds (above); the object starts at a multiple of 128, as does DATA; the
        // mapping lives as long as `shared`; both sides reach the words as these atomics only.
        unsafe { AtomicU64::from_ptr(self.shared.mapping.as_mut_ptr().add(offset).cast()) }
    }

    /// The half of a word on which one can sleep.
    fn futex(self, line: usize) -> &'a AtomicU32 {
        let word = self.word(line);
        // SAFETY: four aligned bytes of the word, which is used in this width alone.
        unsafe { AtomicU32::from_ptr(word.as_ptr().cast()) }
    }

    fn command(self) -> &'a AtomicU32 {
        self.futex(0)
    }
    fn task(self) -> &'a AtomicU64 {
        self.word(1)
    }
    fn count(self) -> &'a AtomicU64 {
        self.word(2)
    }
    fn begun(self) -> &'a AtomicU64 {
        self.word(3)
    }
    fn answer(self) -> &'a AtomicU64 {
        self.word(4)
    }
    fn finished(self) -> &'a AtomicU64 {
        self.word(5)
    }
    fn preempted(self) -> &'a AtomicU64 {
        self.word(10)
    }
    fn flags(self) -> (&'a AtomicU64, &'a AtomicU64) {
        (self.word(6), self.word(7))
    }

    /// First side: has the second do `count` times what `task` stands for and does `ours` meanwhile.
    pub(crate) fn time(self, task: u64, count: u64, ours: impl FnOnce() -> Result) -> Result<Done> {
        self.task().store(task, Ordering::Relaxed);
        self.count().store(count, Ordering::Relaxed);
        let number = u64::from(self.command().fetch_add(1, Ordering::Release).wrapping_add(1));
        futex::wake(self.command(), 1);
        wait_for(self.begun(), number)?;
        let before = preemptions();
        let start = Instant::now();
        ours()?;
        wait_for(self.finished(), number)?;
        let took = start.elapsed();
        let preempted = preemptions() - before + self.preempted().load(Ordering::Relaxed);
        Ok(Done { took, answer: self.answer().load(Ordering::Relaxed), disturbed: preempted > 0 })
    }

    /// Second side: does what it is told, asleep in between so that another may have the core, until
    /// `work` says `None`.
    pub(crate) fn serve(self, mut work: impl FnMut(u64, u64) -> Result<Option<u64>>) -> Result {
        let mut seen = 0;
        loop {
            let command = self.command().load(Ordering::Acquire);
            if command == seen {
                futex::wait(self.command(), seen, Duration::from_secs(1))?;
                continue;
            }
            seen = command;
            let (task, count) = (self.task().load(Ordering::Relaxed), self.count().load(Ordering::Relaxed));
            self.begun().store(u64::from(seen), Ordering::Release);
            let before = preemptions();
            let answer = work(task, count)?;
            self.preempted().store(preemptions() - before, Ordering::Relaxed);
            self.answer().store(answer.unwrap_or_default(), Ordering::Relaxed);
            self.finished().store(u64::from(seen), Ordering::Release);
            if answer.is_none() {
                return Ok(());
            }
        }
    }

    /// First side of the floor: sets one flag and waits for the other.
    pub(crate) fn ping(self, count: u64) {
        let (ours, theirs) = self.flags();
        let before = ours.load(Ordering::Relaxed);
        for value in before + 1..=before + count {
            ours.store(value, Ordering::Release);
            while theirs.load(Ordering::Acquire) != value {
                spin_hint();
            }
        }
    }

    /// Second side of the floor.
    pub(crate) fn pong(self, count: u64) {
        let (theirs, ours) = self.flags();
        let before = ours.load(Ordering::Relaxed);
        for value in before + 1..=before + count {
            while theirs.load(Ordering::Acquire) != value {
                spin_hint();
            }
            ours.store(value, Ordering::Release);
        }
    }

    /// First side of the bare futex ping-pong, with some `pause` before each hand-over.
    pub(crate) fn futex_ping(self, count: u64, pause: impl Fn()) {
        let (ours, theirs) = (self.futex(8), self.futex(9));
        for _ in 0..count {
            pause();
            let value = ours.fetch_add(1, Ordering::Release).wrapping_add(1);
            futex_wake(ours);
            futex_await(theirs, value);
        }
    }

    /// Second side of the bare futex ping-pong.
    pub(crate) fn futex_pong(self, count: u64, pause: impl Fn()) {
        let (theirs, ours) = (self.futex(8), self.futex(9));
        for _ in 0..count {
            let value = ours.load(Ordering::Relaxed).wrapping_add(1);
            futex_await(theirs, value);
            pause();
            ours.store(value, Ordering::Release);
            futex_wake(ours);
        }
    }
}

/// How often the calling thread had to leave its core although it wanted to go on.
fn preemptions() -> u64 {
    // SAFETY: an all-zero `rusage` is a valid one, and the kernel writes to nothing else.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_THREAD, &raw mut usage);
        usage
    };
    u64::try_from(usage.ru_nivcsw).unwrap_or_default()
}

/// Spins, but not for ever: a second side that failed has said why on stderr.
fn wait_for(word: &AtomicU64, value: u64) -> Result {
    let mut looks = 0_u64;
    let mut deadline = None;
    while word.load(Ordering::Acquire) != value {
        spin_hint();
        looks += 1;
        if looks.is_multiple_of(1 << 16) {
            let now = Instant::now();
            if now > *deadline.get_or_insert(now + Duration::from_mins(2)) {
                return Err("the other side does not answer".into());
            }
        }
    }
    Ok(())
}

/// Without a timeout, as a bare ping-pong has it (the library's waits are sliced).
fn futex_await(word: &AtomicU32, value: u32) {
    while word.load(Ordering::Acquire) != value {
        // SAFETY: the word is live and aligned; there is no timeout to read.
        unsafe {
            let none = std::ptr::null::<libc::timespec>();
            libc::syscall(
                libc::SYS_futex,
                word.as_ptr(),
                libc::FUTEX_WAIT,
                value.wrapping_sub(1),
                none,
                0,
                0,
            );
        }
    }
}

fn futex_wake(word: &AtomicU32) {
    futex::wake(word, 1);
}
