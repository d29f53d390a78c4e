//! What the tests with real processes share: a runner without threads (a process that forks must
//! have none), children that are this very binary, a journal in shared memory that outlives whoever
//! wrote it, and random numbers.
//!
//! A test binary of this kind ends in `fn main() { common::main(TESTS, CHILDREN) }`. Started as
//! `BINARY child NAME …` it runs one of its children instead of its tests.

// Tests may be blunt.
#![allow(clippy::pedantic)]
// Each test binary uses a part of this.
#![allow(dead_code)]

use std::fmt::Write as _;
use std::io::Write as _;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, ExitStatus};
use std::time::{Duration, Instant};

use allmende::atomic::{AtomicU64, Ordering};
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

/// Far longer than anything here takes, on however busy a machine.
pub const FOREVER: Duration = Duration::from_mins(1);
/// Descriptors are passed to children at these numbers, in order.
const FIRST_DESCRIPTOR: RawFd = 100;

/// A test or a child, and its name.
pub type Named = (&'static str, fn());

/// Whether the full counts were asked for.
pub fn full() -> bool {
    std::env::var("ALLMENDE_PROOF").is_ok_and(|counts| counts == "full")
}

/// How often to do something.
pub fn count(small: u64, in_full: u64) -> u64 {
    if full() { in_full } else { small }
}

/// A name that no other run uses.
pub fn unique(label: &str) -> String {
    format!("{label}-{}-{:x}", std::process::id(), entropy())
}

fn entropy() -> u64 {
    let random = allmende::os::process::random_bytes().unwrap();
    u64::from_ne_bytes(*random.first_chunk().unwrap())
}

/// Says something whatever the runner does with the output of tests.
pub fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// A line that the project's test runner counts.
pub fn skip(what: &str, why: &str) {
    say(&format!("skipped: {what}: {why}"));
}

/// A good mixing of the bits of `number` (splitmix64).
pub fn mix(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A numbered message of some length or other.
pub fn text(number: u64) -> Vec<u8> {
    let length = 8 + mix(number) % 90;
    let mut bytes = number.to_ne_bytes().to_vec();
    bytes.extend((8..length).map(|at| mix(number.wrapping_mul(128) + at) as u8));
    bytes
}

/// The number of such a message, which must be whole.
pub fn number_of(bytes: &[u8]) -> u64 {
    let number = u64::from_ne_bytes(*bytes.first_chunk().expect("a message has eight bytes or more"));
    assert_eq!(bytes, text(number), "torn");
    number
}

/// Random numbers whose seed is known, so that a failure can be repeated.
pub struct Random(pub u64);

impl Random {
    /// Seeded anew, or by `ALLMENDE_SEED`; says by which.
    pub fn new() -> Self {
        let seed = std::env::var("ALLMENDE_SEED").ok().and_then(|seed| seed.parse().ok());
        let seed = seed.unwrap_or_else(|| entropy() >> 1);
        say(&format!("  seed: ALLMENDE_SEED={seed}"));
        Self(seed)
    }

    /// Seeded anew, and says nothing: for children.
    pub fn new_quiet() -> Self {
        Self(entropy())
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(1);
        mix(self.0)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

/// Does nothing for about that long, without sleeping: a sleep would make moments less random.
pub fn linger(time: Duration) {
    let end = Instant::now() + time;
    while Instant::now() < end {
        std::hint::spin_loop();
    }
}

/// A moment in which much can happen to a victim: mostly short, now and then long.
pub fn wait_a_random_moment(random: &mut Random) {
    let magnitude = 10 + random.below(11);
    linger(Duration::from_nanos(random.below(1 << magnitude)));
}

/// Rests for up to 20 µs: before what was received is released, so that a kill in between leaves it to
/// be received again; or after that, so that a kill leaves nothing.
pub fn dwell(random: &mut Random) {
    linger(Duration::from_nanos(random.below(20_000)));
}

/// What a lock guards in these tests: all words equal, unless its holder was killed.
pub type Value = [u64; 16];

/// Whether nobody was killed half-way.
pub fn consistent(value: &Value) -> bool {
    value.iter().all(|word| *word == value[0])
}

/// Writes the next value word by word, slowly enough for a kill to come in between.
pub fn advance(value: &mut Value) {
    let next = value[0] + 1;
    for word in value {
        // SAFETY: a live `&mut u64`. Volatile: the optimiser shall not make one store of all, at the end.
        unsafe { std::ptr::from_mut(word).write_volatile(next) };
        for _ in 0..4 {
            std::hint::spin_loop();
        }
    }
}

/// Makes a half-written value whole.
pub fn repair(value: &mut Value) {
    *value = [*value.iter().max().unwrap(); 16];
}

/// Waits until `condition` holds; panics when it does not come true.
pub fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < FOREVER, "waited for ever: {what}");
        std::thread::sleep(Duration::from_micros(100));
    }
}

/// Words in shared memory, written by victims and read after their death.
pub struct Journal {
    words: memmap2::MmapRaw,
    descriptor: OwnedFd,
}

impl Journal {
    const WORDS: usize = 512;

    pub fn new() -> Self {
        let descriptor = allmende::os::memfd::create("journal", false).unwrap();
        nix::unistd::ftruncate(&descriptor, i64::try_from(8 * Self::WORDS).unwrap()).unwrap();
        Self::over(descriptor)
    }

    /// The journal that a child inherited as its descriptor `index`.
    pub fn inherited(index: usize) -> Self {
        Self::over(descriptor(index).try_clone_to_owned().unwrap())
    }

    fn over(descriptor: OwnedFd) -> Self {
        let words = memmap2::MmapOptions::new().len(8 * Self::WORDS).map_raw(&descriptor).unwrap();
        Self { words, descriptor }
    }

    /// A forked child's own handle of a journal, good even without descriptors.
    pub fn inherited_map(parents: &Self) -> Self {
        let words = memmap2::MmapOptions::new().len(8 * Self::WORDS).map_raw(&parents.descriptor).unwrap();
        // A descriptor that may be closed by whoever closes all of them.
        Self { words, descriptor: std::fs::File::open("/dev/null").unwrap().into() }
    }

    fn word(&self, index: usize) -> &AtomicU64 {
        assert!(index < Self::WORDS);
        // SAFETY: in bounds (above), aligned as the page is, mapped as long as `self`, and reached
        // as atomics of this width only.
        unsafe { &*self.words.as_mut_ptr().cast::<AtomicU64>().add(index) }
    }

    pub fn get(&self, index: usize) -> u64 {
        self.word(index).load(Ordering::Acquire)
    }

    pub fn set(&self, index: usize, value: u64) {
        self.word(index).store(value, Ordering::Release);
    }
}

impl AsFd for Journal {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

/// A child's inherited descriptor.
pub fn descriptor(index: usize) -> BorrowedFd<'static> {
    let number = FIRST_DESCRIPTOR + RawFd::try_from(index).unwrap();
    // SAFETY: `Process::start` put it there, and children leave these numbers open.
    unsafe { BorrowedFd::borrow_raw(number) }
}

/// A child's argument.
pub fn argument(index: usize) -> String {
    std::env::args().nth(3 + index).expect("whoever starts a child gives it its arguments")
}

/// A child process; killed and waited for when dropped.
pub struct Process(Child);

impl Process {
    /// Starts this binary anew as its child `name`.
    pub fn start(name: &str, arguments: &[&str], descriptors: &[BorrowedFd<'_>]) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.arg("child").arg(name).args(arguments);
        Self::spawn(command, descriptors)
    }

    /// Starts `command` with `descriptors` where a child looks for them.
    pub fn spawn(mut command: Command, descriptors: &[BorrowedFd<'_>]) -> Self {
        let passed: Vec<RawFd> = descriptors.iter().map(AsRawFd::as_raw_fd).collect();
        let prepare = move || {
            for (number, &descriptor) in (FIRST_DESCRIPTOR..).zip(&passed) {
                // SAFETY: dup2 takes numbers only, and is allowed between fork and exec.
                if unsafe { libc::dup2(descriptor, number) } < 0 {
                    return Err(std::io::Error::last_os_error());
                }
            }
            // SAFETY: takes numbers only. Whoever interrupts the test leaves no children behind.
            unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
            Ok(())
        };
        // SAFETY: `prepare` makes system calls only, as is allowed between fork and exec.
        unsafe { command.pre_exec(prepare) };
        Self(command.spawn().unwrap())
    }

    pub fn pid(&self) -> Pid {
        Pid::from_raw(self.0.id().cast_signed())
    }

    pub fn signal(&self, signal: Signal) {
        nix::sys::signal::kill(self.pid(), signal).unwrap();
    }

    /// Stops it, and waits until it stands.
    pub fn stop(&self) {
        self.signal(Signal::SIGSTOP);
        let status = waitpid(self.pid(), Some(WaitPidFlag::WUNTRACED)).unwrap();
        assert!(matches!(status, WaitStatus::Stopped(..)), "{status:?}");
    }

    pub fn go_on(&self) {
        self.signal(Signal::SIGCONT);
    }

    /// Sends SIGKILL. It must not have ended before.
    pub fn kill_without_waiting(&mut self) {
        assert_eq!(self.ended(), None, "the victim ended by itself");
        self.0.kill().unwrap();
    }

    /// Kills it with SIGKILL and waits for its end. It must not have ended before.
    pub fn kill(mut self) {
        self.kill_without_waiting();
        self.reap();
    }

    /// Waits for the end of a process that was sent SIGKILL.
    pub fn reap(mut self) {
        let status = self.0.wait().unwrap();
        assert_eq!(status.signal(), Some(libc::SIGKILL), "the victim ended by itself: {status}");
    }

    /// How it ended, if it did.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.0.try_wait().unwrap()
    }

    /// Waits until it ends by itself, which must be well.
    pub fn finish(mut self) {
        let started = Instant::now();
        loop {
            if let Some(status) = self.ended() {
                assert!(status.success(), "a child failed: {status}");
                return;
            }
            assert!(started.elapsed() < FOREVER, "a child hangs");
            std::thread::sleep(Duration::from_micros(200));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The error of something that must not work, and that says so in words.
#[track_caller]
pub fn error<T, E: std::fmt::Display>(result: Result<T, E>) -> E {
    match result {
        Ok(_) => panic!("it was accepted"),
        Err(error) => {
            assert!(error.to_string().len() > 10, "{error}");
            error
        }
    }
}

/// The same of an error that must be of a kind.
#[allow(unused_macros)]
macro_rules! refused {
    ($result:expr, $pattern:pat $(if $guard:expr)?) => {
        match crate::common::error($result) {
            $pattern $(if $guard)? => {}
            other => panic!("another error: {other:?}"),
        }
    };
}
#[allow(unused_imports)]
pub(crate) use refused;

/// A directory of its own under `parent`, gone when dropped.
pub struct Temporary(pub PathBuf);

impl Temporary {
    pub fn new() -> Self {
        let path = std::env::temp_dir().join(unique("allmende-test"));
        std::fs::create_dir(&path).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700)).unwrap();
        Self(path)
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Runs `body` in a forked child, and panics when it does. The caller must have no threads.
pub fn in_a_fork(body: impl FnOnce()) {
    let pid = fork(|| {
        body();
        0
    });
    let status = waitpid(pid, None).unwrap();
    assert_eq!(status, WaitStatus::Exited(pid, 0), "in the forked child");
}

/// Forks a child that runs `body` and exits with what it returns, or with 101 when it panics.
pub fn fork(body: impl FnOnce() -> i32) -> Pid {
    let _ = std::io::stdout().flush();
    // SAFETY: the process has no other threads, so the child may do whatever the parent might.
    match unsafe { nix::unistd::fork() }.unwrap() {
        nix::unistd::ForkResult::Parent { child } => child,
        nix::unistd::ForkResult::Child => {
            // SAFETY: takes numbers only.
            unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
            let code = std::panic::catch_unwind(AssertUnwindSafe(body)).unwrap_or(101);
            let _ = std::io::stdout().flush();
            // SAFETY: ends the process without running what the parent registered to run at its end.
            unsafe { libc::_exit(code) }
        }
    }
}

/// From now on a signal interrupts the calling process every 20 ms.
pub fn be_interrupted_often() {
    extern "C" fn nothing(_: i32) {}
    use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, sigaction};
    let action = SigAction::new(SigHandler::Handler(nothing), SaFlags::empty(), SigSet::empty());
    // SAFETY: the handler does nothing, which is allowed at any moment.
    unsafe { sigaction(Signal::SIGALRM, &action) }.unwrap();
    let every = libc::timeval { tv_sec: 0, tv_usec: 20_000 };
    let timer = libc::itimerval { it_interval: every, it_value: every };
    // SAFETY: the timer is a live local; nobody asks for the old one.
    assert_eq!(unsafe { libc::setitimer(libc::ITIMER_REAL, &raw const timer, std::ptr::null_mut()) }, 0);
}

/// Entries of a directory, sorted; none when it is not there.
pub fn entries(directory: &str) -> Vec<String> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let mut names: Vec<String> =
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// What there is now, and whether it is as `before`: a thread that has been joined may be seen for a
/// moment longer.
fn traces_like(before: &str) -> (String, bool) {
    let patience = Instant::now() + Duration::from_secs(5);
    loop {
        let after = traces();
        if after == before || Instant::now() >= patience {
            return (after.clone(), after == before);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Descriptors, children and names of this process: what a test must leave as it found it.
fn traces() -> String {
    let mut traces = String::new();
    for number in entries("/proc/self/fd") {
        // The descriptor that reads the directory is gone by now.
        if let Ok(target) = std::fs::read_link(format!("/proc/self/fd/{number}")) {
            writeln!(traces, "descriptor {number}: {}", target.display()).unwrap();
        }
    }
    let children = std::fs::read_to_string("/proc/thread-self/children").unwrap_or_default();
    let threads = entries("/proc/self/task").len();
    let names = allmende::region::list_names().unwrap_or_default();
    let own = format!("-{}-", std::process::id());
    let names: Vec<_> = names.iter().filter(|name| name.name.contains(&own)).collect();
    writeln!(traces, "children: {children}\nthreads: {threads}\nnames: {names:?}").unwrap();
    traces
}

/// Runs the tests, or the child that the command line names.
pub fn main(tests: &[Named], children: &[Named]) -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [first, name, ..] = arguments.as_slice()
        && first == "child"
    {
        let (_, child) = children.iter().find(|(known, _)| known == name).expect("a known child");
        child();
        return ExitCode::SUCCESS;
    }
    if arguments.iter().any(|argument| argument == "--list") {
        for (name, _) in tests {
            say(&format!("{name}: test"));
        }
        return ExitCode::SUCCESS;
    }
    if arguments.iter().any(|argument| argument == "--ignored") {
        say("test result: ok. 0 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out");
        return ExitCode::SUCCESS;
    }
    let exact = arguments.iter().any(|argument| argument == "--exact");
    let filters: Vec<&String> = arguments.iter().filter(|argument| !argument.starts_with("--")).collect();
    let wanted = |name: &str| {
        let fits = |filter: &&String| if exact { name == *filter } else { name.contains(*filter) };
        filters.is_empty() || filters.iter().any(fits)
    };
    let (mut passed, mut failed, mut filtered) = (0, 0, 0);
    say(&format!("\nrunning {} tests", tests.iter().filter(|(name, _)| wanted(name)).count()));
    for (name, test) in tests {
        if !wanted(name) {
            filtered += 1;
            continue;
        }
        // Whatever hangs is ended by SIGALRM, and its children with it.
        nix::unistd::alarm::set(if full() { 7200 } else { 300 });
        let started = Instant::now();
        let before = traces();
        let good = std::panic::catch_unwind(test).is_ok();
        let (after, clean) = traces_like(&before);
        if good && !clean {
            say(&format!("it left traces. Before:\n{before}\nAfter:\n{after}"));
        }
        if good && clean {
            passed += 1;
        } else {
            failed += 1;
        }
        let verdict = if good && clean { "ok" } else { "FAILED" };
        say(&format!("test {name} ... {verdict} ({:.1} s)", started.elapsed().as_secs_f64()));
    }
    let verdict = if failed == 0 { "ok" } else { "FAILED" };
    say(&format!(
        "\ntest result: {verdict}. {passed} passed; {failed} failed; 0 ignored; 0 measured; {filtered} filtered out"
    ));
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

pub fn map(region: &allmende::Region) -> memmap2::MmapRaw {
    let length = usize::try_from(region.size()).unwrap();
    memmap2::MmapOptions::new().len(length).map_raw(&region.descriptor()).unwrap()
}

/// A region without a name.
pub fn region() -> allmende::Region {
    allmende::Region::create().memfd("t").unwrap()
}

/// The event of that name in it.
pub fn event(region: &allmende::Region, name: &str) -> allmende::Event {
    allmende::Event::open_or_create(region, name).unwrap()
}

/// Sends so many messages, each at random through one of two rings, with pauses or without: counts through the slots
/// `r`, and through the bytes `b`. The producers have not left before they are dropped.
pub fn send_to_both(
    slots: &allmende::Region,
    records: &allmende::Region,
    messages: u64,
) -> (allmende::spsc::Producer<u64>, allmende::bytes::Producer) {
    let mut numbers = allmende::spsc::Ring::<u64>::open(slots, "r").unwrap().producer().unwrap();
    let mut texts = allmende::bytes::Ring::open(records, "b").unwrap().producer().unwrap();
    let mut random = Random(7);
    let (mut of_numbers, mut of_texts) = (0_u64, 0_u64);
    for _ in 0..messages {
        if random.below(2) == 0 {
            numbers.push(of_numbers).unwrap();
            of_numbers += 1;
        } else {
            texts.push(&of_texts.to_ne_bytes()).unwrap();
            of_texts += 1;
        }
        match random.below(4) {
            0 => std::thread::sleep(Duration::from_micros(random.below(200))),
            1 => linger(Duration::from_micros(random.below(50))),
            _ => {}
        }
    }
    (numbers, texts)
}

/// Reads a word of a region behind the library's back.
pub fn peek(region: &allmende::Region, offset: u64) -> u64 {
    assert!(offset + 8 <= region.size() && offset.is_multiple_of(8));
    let map = map(region);
    // SAFETY: in bounds and aligned (above), and reached as an atomic.
    unsafe { &*map.as_mut_ptr().add(usize::try_from(offset).unwrap()).cast::<AtomicU64>() }
        .load(Ordering::Acquire)
}

/// Writes a word of a region behind the library's back.
pub fn poke(region: &allmende::Region, offset: u64, value: u64) {
    assert!(offset + 8 <= region.size() && offset.is_multiple_of(8));
    let map = map(region);
    // SAFETY: in bounds and aligned (above), and reached as an atomic.
    unsafe { &*map.as_mut_ptr().add(usize::try_from(offset).unwrap()).cast::<AtomicU64>() }
        .store(value, Ordering::Release);
}
