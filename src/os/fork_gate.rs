//! Stretches of code in which this process is not forked.
//!
//! A lock that belongs to an open file description outlives its holder in every child that was
//! forked meanwhile: the child has the description, too. So whoever takes such a lock shuts the gate
//! first, and `fork` waits until no thread is behind it.
//!
//! ```text
//!   thread           shut ── open, lock, …, unlock or MADV_DONTFORK ── open again
//!   another thread          fork() ─────── waits ──────────────────────────► child
//! ```
//!
//! It takes `fork` of the C library: who makes a child by a bare system call (`clone` without
//! `CLONE_VM`, `_Fork`) goes past the gate.

use std::cell::{Cell, RefCell};
use std::marker::PhantomData;
use std::sync::{Once, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// Held shared by those behind the gate, and exclusively while the process is being forked.
static GATE: RwLock<()> = RwLock::new(());

std::thread_local! {
    /// How often the thread has shut the gate: the lock above does not like to be taken twice.
    static DEPTH: Cell<u32> = const { Cell::new(0) };
    /// From before a fork until after it, in parent and child.
    static FORKING: RefCell<Option<RwLockWriteGuard<'static, ()>>> = const { RefCell::new(None) };
}

/// While it lives, the process is not forked, unless by the very thread that has it.
#[derive(Debug)]
pub struct Shut {
    _held: Option<RwLockReadGuard<'static, ()>>,
    /// Counted by thread, so it must stay on its own.
    _thread: PhantomData<*const ()>,
}

/// Shuts the gate; waits for a fork that is under way.
pub fn shut() -> Shut {
    static REGISTERED: Once = Once::new();
    // Without memory for the handlers there is no gate, and all else works.
    REGISTERED.call_once(|| {
        // SAFETY: the handlers stay as long as this code does (the C library forgets them when a
        // shared object with this copy of it is unloaded), and they unwind nowhere.
        unsafe { libc::pthread_atfork(Some(before_fork), Some(after_fork), Some(after_fork)) };
    });
    let outermost = DEPTH.replace(DEPTH.get() + 1) == 0;
    let held = outermost.then(|| GATE.read().unwrap_or_else(PoisonError::into_inner));
    Shut { _held: held, _thread: PhantomData }
}

impl Drop for Shut {
    fn drop(&mut self) {
        DEPTH.set(DEPTH.get() - 1);
    }
}

extern "C" fn before_fork() {
    // A thread behind the gate can only fork in a signal handler; it must not wait for itself.
    if DEPTH.get() == 0 {
        let forking = GATE.write().unwrap_or_else(PoisonError::into_inner);
        // A thread that is ending may have no room for it any more: its fork goes past the gate.
        let _ = FORKING.try_with(|place| place.replace(Some(forking)));
    }
}

extern "C" fn after_fork() {
    let _ = FORKING.try_with(|place| drop(place.take()));
}
