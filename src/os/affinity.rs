//! Which processor a thread runs on.

use std::io;

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

/// The processors that the calling thread may run on, ascending.
///
/// # Errors
/// What `sched_getaffinity` says.
pub fn allowed() -> io::Result<Vec<usize>> {
    let set = sched_getaffinity(Pid::from_raw(0))?;
    Ok((0..CpuSet::count()).filter(|&cpu| set.is_set(cpu).unwrap_or(false)).collect())
}

/// How many processors the machine has, whether this process may use them or not; 1 if it does not say.
pub fn online() -> usize {
    use nix::unistd::{SysconfVar, sysconf};
    let count = sysconf(SysconfVar::_NPROCESSORS_ONLN).ok().flatten();
    count.and_then(|count| usize::try_from(count).ok()).unwrap_or(1)
}

/// Pins the calling thread to one processor.
///
/// # Errors
/// `EINVAL` when that processor does not exist or is not allowed to this process.
pub fn pin_to(cpu: usize) -> io::Result<()> {
    let mut set = CpuSet::new();
    set.set(cpu)?;
    Ok(sched_setaffinity(Pid::from_raw(0), &set)?)
}

/// A set of processors, as the kernel takes it.
#[derive(Clone, Copy)]
pub struct Processors(libc::cpu_set_t);

impl Processors {
    /// Those that the calling thread may run on; `None` on machines with more of them than a set
    /// has room for (1,024).
    pub fn of_this_thread() -> Option<Self> {
        // SAFETY: a set of bits, for which zeros are a value.
        let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
        // SAFETY: `set` is a live local of the size given.
        let answer = unsafe { libc::sched_getaffinity(0, size_of_val(&set), &raw mut set) };
        (answer == 0).then_some(Self(set))
    }

    /// One alone; `None` if no set has room for it.
    pub fn only(cpu: usize) -> Option<Self> {
        // SAFETY: as above.
        let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
        if cpu >= 8 * size_of_val(&set) {
            return None;
        }
        // SAFETY: within the set, as was just checked.
        unsafe { libc::CPU_SET(cpu, &mut set) };
        Some(Self(set))
    }

    /// Makes the calling thread run on these alone; the errno of a failure. Allocates nothing and
    /// takes no lock, so that a child can call it before `exec`.
    pub(super) fn apply(&self) -> Result<(), i32> {
        // SAFETY: the set lives as long as `self` and is of the size given.
        let answer = unsafe { libc::sched_setaffinity(0, size_of_val(&self.0), &raw const self.0) };
        if answer == 0 { Ok(()) } else { Err(nix::errno::Errno::last_raw()) }
    }
}

impl std::fmt::Debug for Processors {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // SAFETY: the numbers run over the set.
        let has = |cpu: &usize| unsafe { libc::CPU_ISSET(*cpu, &self.0) };
        f.debug_set().entries((0..8 * size_of_val(&self.0)).filter(has)).finish()
    }
}
