//! Starting a program in a new process, without copying this one.
//!
//! ```text
//!   parent                              child (borrows the parent's memory until exec)
//!   block all signals
//!   clone(VM|VFORK|PIDFD) ────────────► handlers to default       none may run in borrowed memory
//!   sleeps                              PDEATHSIG, parent still there?
//!     ·                                 processors
//!     ·                                 standard streams, socket to 3, else close-on-exec
//!     ·                                 unblock all signals
//!   goes on ◄────────────────────────── execve, or errno into the plan and _exit
//!   restore the mask
//! ```
//!
//! As `posix_spawn` does it; that one cannot ask for a parent-death signal, and a plain `fork` copies
//! the page tables of what may be gigabytes. The child makes nothing but system calls.

use std::ffi::{CString, c_char, c_int, c_void};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;
use std::sync::{Mutex, PoisonError};

use super::affinity::Processors;
use super::pidfd;
use crate::atomic::{AtomicU32, Ordering};

/// Where the child finds the socket that it inherits.
pub const SOCKET: RawFd = 3;

/// Enough for a few frames of system calls and whatever a debug build makes of them.
const STACK: usize = 256 * 1024;

/// Everything about a process that is to be started.
#[derive(Debug)]
pub struct Plan {
    /// Path of the program.
    pub program: CString,
    /// Its arguments, the name first.
    pub arguments: Vec<CString>,
    /// Its environment, each `NAME=value`.
    pub environment: Vec<CString>,
    /// Become standard input, output and error, where given; else the child has this process's.
    pub streams: [Option<OwnedFd>; 3],
    /// Becomes descriptor [`SOCKET`]; all others above the standard three are closed at `exec`.
    pub socket: OwnedFd,
    /// Kill it when the *thread* that starts it ends.
    pub die_with_thread: bool,
    /// What it may run on.
    pub processors: Option<Processors>,
    /// Whether it must not start if it cannot run there.
    pub processors_required: bool,
}

/// A process that was started.
#[derive(Debug)]
pub struct Child {
    /// Its id.
    pub pid: u32,
    /// Its descriptor, obtained together with it.
    pub pidfd: OwnedFd,
}

/// At which step a start failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// No process, memory or descriptor to be had.
    Clone,
    /// The parent-death signal was refused.
    ParentDeath,
    /// It may not run on that processor.
    Processors,
    /// A descriptor did not get its place.
    Descriptors,
    /// The program was not found or cannot be run.
    Exec,
}

/// By their discriminants.
const STEPS: [Step; 5] = [Step::Clone, Step::ParentDeath, Step::Processors, Step::Descriptors, Step::Exec];

/// What the child finds in the memory that it borrows.
struct Context {
    program: *const c_char,
    arguments: *const *const c_char,
    environment: *const *const c_char,
    /// What becomes descriptor 0 to [`SOCKET`]: numbers above that, or -1 for "as it is".
    descriptors: [RawFd; SOCKET as usize + 1],
    /// The parent's id, or 0 if the child is to outlive it.
    parent: libc::pid_t,
    processors: Option<Processors>,
    processors_required: bool,
    /// 0, or a failure: `[index into STEPS:16][errno:16]`; written by the child, read when it is gone.
    failure: AtomicU32,
}

/// Starts a process as planned.
///
/// # Errors
/// The step that failed and what the system said; no process is left then.
pub fn spawn(plan: &Plan) -> Result<Child, (Step, io::Error)> {
    let arguments = pointers(&plan.arguments);
    let environment = pointers(&plan.environment);
    let [input, output, error] = &plan.streams;
    let mut descriptors = [-1; SOCKET as usize + 1];
    let mut raised = Vec::new();
    for (place, fd) in
        descriptors.iter_mut().zip([input.as_ref(), output.as_ref(), error.as_ref(), Some(&plan.socket)])
    {
        let Some(fd) = fd else { continue };
        *place = fd.as_raw_fd();
        if *place <= SOCKET {
            // Its number is a place that another one may be put in.
            let copy = raise(fd).map_err(|error| (Step::Descriptors, error))?;
            *place = copy.as_raw_fd();
            raised.push(copy);
        }
    }
    let context = Context {
        program: plan.program.as_ptr(),
        arguments: arguments.as_ptr(),
        environment: environment.as_ptr(),
        descriptors,
        parent: if plan.die_with_thread { std::process::id().cast_signed() } else { 0 },
        processors: plan.processors,
        processors_required: plan.processors_required,
        failure: AtomicU32::new(0),
    };
    let child = with_signals_blocked(|| clone(&context)).map_err(|error| (Step::Clone, error))?;
    // Relaxed: the parent slept until the child was through, and the kernel ordered both.
    let failure = context.failure.load(Ordering::Relaxed);
    if failure == 0 {
        return Ok(child);
    }
    // It is past its last system call: this wait is short.
    let _ = super::poll::readable([child.pidfd.as_fd()], None);
    let _ = pidfd::reap(&child.pidfd);
    let step = STEPS.get((failure >> 16) as usize).copied().unwrap_or(Step::Clone);
    Err((step, io::Error::from_raw_os_error((failure & 0xffff).cast_signed())))
}

/// A copy of `fd` whose number is above all that the child places something at.
fn raise(fd: &OwnedFd) -> io::Result<OwnedFd> {
    let copy = nix::fcntl::fcntl(fd, nix::fcntl::FcntlArg::F_DUPFD_CLOEXEC(SOCKET + 1))?;
    // SAFETY: the kernel has just made this descriptor, and nobody else knows its number.
    Ok(unsafe { OwnedFd::from_raw_fd(copy) })
}

fn pointers(strings: &[CString]) -> Vec<*const c_char> {
    strings.iter().map(|string| string.as_ptr()).chain([ptr::null()]).collect()
}

fn clone(context: &Context) -> io::Result<Child> {
    // 16-byte pieces, so that both ends are aligned as the calling conventions want it.
    let mut stack = vec![0_u128; STACK / size_of::<u128>()];
    let top = stack.as_mut_ptr_range().end;
    let mut pidfd: c_int = -1;
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_PIDFD | libc::SIGCHLD;
    let context = ptr::from_ref(context).cast_mut().cast::<c_void>();
    // SAFETY: `child` runs on `stack`, which is ours alone, and reads the context. CLONE_VFORK keeps
    // this thread, and with it both and all that the context points to, in place until the child has
    // called exec or _exit. All signals are blocked, so no handler runs in the borrowed memory. The
    // kernel writes the pidfd into the local given for it.
    let pid = unsafe { libc::clone(child, top.cast(), flags, context, &raw mut pidfd) };
    let pid = u32::try_from(pid).map_err(|_| io::Error::last_os_error())?;
    // SAFETY: the kernel has just made this descriptor, and nobody else knows its number.
    Ok(Child { pid, pidfd: unsafe { OwnedFd::from_raw_fd(pidfd) } })
}

fn with_signals_blocked<T>(body: impl FnOnce() -> T) -> T {
    use nix::sys::signal::{SigSet, SigmaskHow, pthread_sigmask};
    let mut before = SigSet::empty();
    // Neither call can fail with arguments that are valid.
    let blocked = pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::all()), Some(&mut before));
    let answer = body();
    if blocked.is_ok() {
        let _ = pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&before), None);
    }
    answer
}

/// The child. It shares its parent's memory, so it allocates nothing, takes no lock, does not panic,
/// and leaves by exec or `_exit` only.
extern "C" fn child(context: *mut c_void) -> c_int {
    // SAFETY: `clone` passes a context that stays where it is while this runs.
    let context = unsafe { &*context.cast::<Context>() };
    let (step, errno) = prepare_and_exec(context);
    let failure = (step as u32) << 16 | errno.cast_unsigned() & 0xffff;
    // Relaxed: see `spawn`.
    context.failure.store(failure, Ordering::Relaxed);
    // SAFETY: ends this process at once, running nothing of the memory's owner.
    unsafe { libc::_exit(127) }
}

/// Returns only with the step that failed and its errno.
fn prepare_and_exec(context: &Context) -> (Step, i32) {
    reset_handlers();
    if context.parent != 0 {
        // SAFETY: takes no pointers.
        if unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0) } != 0 {
            return (Step::ParentDeath, errno());
        }
        // The parent may have died before the prctl. Child and parent are in one PID namespace (a
        // thread cannot be made where its children would go into another), so the ids compare.
        // SAFETY: takes nothing.
        if unsafe { libc::getppid() } != context.parent {
            return (Step::ParentDeath, libc::ESRCH);
        }
    }
    if let Some(Err(errno)) = context.processors.as_ref().map(Processors::apply)
        && context.processors_required
    {
        return (Step::Processors, errno);
    }
    // Kernels before 5.11 do not know it: there, what others opened without close-on-exec leaks.
    // SAFETY: takes no pointers, and changes this process's own table of descriptors.
    unsafe { libc::syscall(libc::SYS_close_range, SOCKET, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    for (place, &fd) in (0..).zip(&context.descriptors) {
        // SAFETY: takes no pointers. No source is a place, so none is overwritten before its turn.
        if fd >= 0 && unsafe { libc::dup2(fd, place) } < 0 {
            return (Step::Descriptors, errno());
        }
    }
    // SAFETY: zeros are the empty set; the set is a local. No handler is left to be run.
    unsafe {
        let none: libc::sigset_t = std::mem::zeroed();
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, ptr::null_mut());
    }
    // SAFETY: path and vectors are zero-terminated and live in the memory of the sleeping parent.
    unsafe { libc::execve(context.program, context.arguments, context.environment) };
    (Step::Exec, errno())
}

/// Every handler to the default, since it must not run here; what is ignored stays so (`nohup`),
/// but for `SIGPIPE` (ignored by Rust's runtime) and `SIGCHLD` (whoever ignores it cannot wait).
fn reset_handlers() {
    for signal in 1..=64 {
        // SAFETY: plain data; zeros are SIG_DFL with an empty mask and no flags.
        let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
        // SAFETY: the pointer is to a local; those two that the C library keeps for itself are refused.
        if unsafe { libc::sigaction(signal, ptr::null(), &raw mut action) } != 0 {
            continue;
        }
        let ignored = action.sa_sigaction == libc::SIG_IGN;
        let keep = ignored && signal != libc::SIGPIPE && signal != libc::SIGCHLD;
        if keep || action.sa_sigaction == libc::SIG_DFL {
            continue;
        }
        // SAFETY: as above.
        let default: libc::sigaction = unsafe { std::mem::zeroed() };
        // SAFETY: changes this process's table alone (it was cloned without CLONE_SIGHAND).
        unsafe { libc::sigaction(signal, &raw const default, ptr::null_mut()) };
    }
}

fn errno() -> i32 {
    nix::errno::Errno::last_raw()
}

/// Whether [`take_inherited`] has taken something.
static TAKEN: Mutex<bool> = Mutex::new(false);

/// Takes over a descriptor that was inherited under a known number, if it still is the file with
/// that `inode`; it will not be inherited further. Once: a second call says `None`.
pub fn take_inherited(descriptor: RawFd, inode: u64) -> Option<OwnedFd> {
    let mut taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
    if *taken || !is_file(descriptor, inode) {
        return None;
    }
    *taken = true;
    // SAFETY: takes a number and cannot break memory.
    unsafe { libc::fcntl(descriptor, libc::F_SETFD, libc::FD_CLOEXEC) };
    // SAFETY: the file is the one that was left open for this process, whose number nothing in it
    // owns; `TAKEN` keeps it from being owned twice.
    Some(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

/// Whether [`take_inherited`] would take something.
pub fn is_inherited(descriptor: RawFd, inode: u64) -> bool {
    !*TAKEN.lock().unwrap_or_else(PoisonError::into_inner) && is_file(descriptor, inode)
}

/// Whether `descriptor` is open and the file with that `inode`.
fn is_file(descriptor: RawFd, inode: u64) -> bool {
    // SAFETY: fcntl takes a number and cannot break memory; a wrong number is an error.
    if unsafe { libc::fcntl(descriptor, libc::F_GETFD) } < 0 {
        return false;
    }
    // SAFETY: open, as just seen; borrowed for the length of this look only.
    let borrowed = unsafe { BorrowedFd::borrow_raw(descriptor) };
    super::FileId::of(borrowed).is_ok_and(|id| id.inode == inode)
}
