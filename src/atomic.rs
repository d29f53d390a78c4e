//! The façade over atomics: the real ones, or loom's when a model is checked.
//!
//! Everything in the library takes its atomics from here (`clippy.toml` refuses the rest), so that
//! the very code that ships is the code that is modelled. Build with `--cfg allmende_loom` to get
//! loom's, which can also be killed between any two steps: see `atomic/model.rs`.

#[cfg(allmende_loom)]
pub mod model;

#[cfg(not(allmende_loom))]
pub use core::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering, compiler_fence, fence};

#[cfg(allmende_loom)]
pub use model::{AtomicU8, AtomicU32, AtomicU64, Ordering, compiler_fence, fence};

/// The distance that keeps two fields from sharing a cache line, and from being fetched together
/// by a prefetcher that takes lines in pairs. One value for every target: it is part of the layout.
pub const LINE_PAIR: usize = 128;

/// Tells the core that this is a spin loop; under loom, lets another thread run.
#[inline]
pub fn spin_hint() {
    #[cfg(not(allmende_loom))]
    core::hint::spin_loop();
    #[cfg(allmende_loom)]
    loom::thread::yield_now();
}
