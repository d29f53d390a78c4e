//! Worker processes: started with regions in hand, and known to be ready or dead.
//!
//! ```no_run
//! use allmende::{Region, Worker, spsc::Ring, worker};
//!
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     if let Some(worker) = worker::current()? {
//!         // The worker: attached already to what it was given.
//!         let mut numbers = Ring::<u64>::open_or_create(worker.region("numbers")?, "r", 64)?.consumer()?;
//!         while let Ok(number) = numbers.pop() {
//!             println!("{number}");
//!         }
//!         return Ok(());
//!     }
//!     let region = Region::create().memfd("numbers")?;
//!     let mut worker = Worker::same_binary("printer").region("numbers", &region).start()?;
//!     Ring::<u64>::open_or_create(&region, "r", 64)?.producer()?.push(7)?;
//!     worker.wait()?;
//!     Ok(())
//! }
//! ```
//!
//! ```text
//!   parent                                        worker
//!   start ── exec, a socket inherited ──────────► main
//!         ── role, names, descriptors (SCM_RIGHTS) ──► current(): attaches to every region
//!         ◄────────────── ready, or what is wrong ──
//!   a handle, or an error and nothing left behind
//! ```
//!
//! A worker is killed by the kernel when its parent dies, unless it was asked to
//! [outlive](Options::outlive_parent) it. The kernel's signal follows the *thread* that spawned, so
//! all workers are spawned by one thread that lasts as long as the process.

#![forbid(unsafe_code)]

mod current;
mod error;
mod handle;
mod handshake;
mod options;
mod spawner;

pub use current::{Current, current};
pub use error::{CurrentError, StartError};
pub use handle::Worker;
pub use options::Options;
