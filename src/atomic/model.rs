//! Loom's atomics, with death: a thread of a model can be killed before any of its atomic steps.
//!
//! What a real process writes between two atomic steps is seen by others only through the later one
//! of them, so a kill between any two steps is a kill at any instruction, except for a half-written
//! payload: a model writes its payload in two halves with a [`step`] between them.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use loom::thread::{self, ThreadId};

pub use loom::sync::atomic::{Ordering, fence};

std::thread_local! {
    /// Who is to be killed, and after how many more steps. Loom runs all threads of a model on one
    /// thread of the system, so this is one for the whole model.
    static DOOMED: Cell<Option<(ThreadId, u32)>> = const { Cell::new(None) };
}

/// Nothing: a model's threads take their steps, and are killed, in the order of the program.
pub fn compiler_fence(_: Ordering) {}

/// What unwinds a killed thread.
struct Killed;

/// A point at which a doomed thread may be killed.
pub fn step() {
    // Most models have nobody to kill.
    let Some((doomed, left)) = DOOMED.get() else { return };
    if thread::current().id() == doomed {
        if left == 0 {
            die_here();
        }
        DOOMED.set(Some((doomed, left - 1)));
    }
}

/// Kills the calling thread, which must have been started by [`killed_after`].
pub fn die_here() -> ! {
    resume_unwind(Box::new(Killed))
}

/// Runs `life`, killed after so many steps. `None`: it was; otherwise it came to its end before.
pub fn killed_after<T>(steps: u32, life: impl FnOnce() -> T) -> Option<T> {
    DOOMED.set(Some((thread::current().id(), steps)));
    let end = catch_unwind(AssertUnwindSafe(life));
    DOOMED.set(None);
    match end {
        Ok(value) => Some(value),
        Err(killed) if killed.is::<Killed>() => None,
        // Something that the model is to find.
        Err(panic) => resume_unwind(panic),
    }
}

macro_rules! atomic {
    ($($name:ident($value:ty))*) => {$(
        /// Loom's atomic of that name, each operation a [`step`].
        #[derive(Debug)]
        pub struct $name(loom::sync::atomic::$name);

        impl $name {
            /// As in the standard library.
            #[track_caller]
            pub fn new(value: $value) -> Self {
                Self(loom::sync::atomic::$name::new(value))
            }

            /// Looks without taking a step: for the kernel of a model, which nobody kills.
            #[track_caller]
            pub fn peek(&self) -> $value {
                self.0.load(Ordering::Relaxed)
            }

            /// As in the standard library.
            #[track_caller]
            pub fn load(&self, order: Ordering) -> $value {
                step();
                self.0.load(order)
            }

            /// As in the standard library.
            #[track_caller]
            pub fn store(&self, value: $value, order: Ordering) {
                step();
                self.0.store(value, order);
            }

            /// As in the standard library.
            #[track_caller]
            pub fn swap(&self, value: $value, order: Ordering) -> $value {
                step();
                self.0.swap(value, order)
            }

            /// As in the standard library.
            #[track_caller]
            pub fn fetch_add(&self, value: $value, order: Ordering) -> $value {
                step();
                self.0.fetch_add(value, order)
            }

            /// As in the standard library.
            #[track_caller]
            pub fn fetch_and(&self, value: $value, order: Ordering) -> $value {
                step();
                self.0.fetch_and(value, order)
            }

            /// As in the standard library.
            #[track_caller]
            pub fn fetch_or(&self, value: $value, order: Ordering) -> $value {
                step();
                self.0.fetch_or(value, order)
            }

            /// As in the standard library.
            #[allow(clippy::missing_errors_doc)]
            #[track_caller]
            pub fn compare_exchange(
                &self,
                current: $value,
                new: $value,
                success: Ordering,
                failure: Ordering,
            ) -> Result<$value, $value> {
                step();
                self.0.compare_exchange(current, new, success, failure)
            }
        }
    )*};
}

atomic! { AtomicU8(u8) AtomicU32(u32) AtomicU64(u64) }
