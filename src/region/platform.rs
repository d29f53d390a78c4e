//! The region and the kernel, as the algorithms of `sync` and `ring` see them.

use std::time::{Duration, Instant};

use super::attach::Inner;
use crate::atomic::{AtomicU32, Ordering, fence};
use crate::layout::owner::Owner;
use crate::os::{futex, futex_waitv, membarrier};
use crate::sync::platform::{Liveness, Platform, Woken, light_barrier, thread_number};

impl Platform for Inner {
    #[inline]
    fn thread(&self) -> u32 {
        thread_number()
    }

    fn now(&self) -> Instant {
        Instant::now()
    }

    fn liveness(&self, owner: Owner) -> Liveness {
        Inner::liveness(self, owner)
    }

    fn wait(&self, word: &AtomicU32, expected: u32, time: Duration) -> Woken {
        futex::wait(word, expected, time).unwrap_or_else(|_| {
            // A sandbox that forbids futexes: short sleeps keep the wait bounded and correct. The
            // caller knows when its slice is over.
            let short = time.min(Duration::from_millis(1));
            std::thread::sleep(short);
            if short == time { Woken::TimedOut } else { Woken::LookAgain }
        })
    }

    fn wait_any(&self, words: &[(&AtomicU32, u32)], time: Duration) -> Woken {
        futex_waitv::wait_any(words, time).expect("the caller has counted the words")
    }

    fn wake(&self, word: &AtomicU32, count: u32) {
        futex::wake(word, count);
    }

    fn wake_one(&self, word: &AtomicU32) -> bool {
        futex::wake(word, 1) != 0
    }

    #[inline]
    fn light_barrier(&self) {
        light_barrier(self.fenced());
    }

    fn heavy_barrier(&self) {
        if self.fenced() || membarrier::heavy_barrier().is_err() {
            fence(Ordering::SeqCst);
        }
    }

    fn late_wake(&self) {
        // Relaxed: a count for people to read.
        self.memory.late_wakes().fetch_add(1, Ordering::Relaxed);
    }
}
