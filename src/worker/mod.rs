//! Worker processes: started with regions in hand, and known to be ready or dead.
//!
//! ```no_run
//! use allmende::worker::{self, Current, Outcome, Worker};
//! use allmende::{Region, spsc::Ring};
//!
//! fn main() -> Outcome {
//!     worker::roles(&[("printer", printer)]);
//!     let region = Region::create().memfd("numbers")?;
//!     let mut numbers = Ring::<u64>::create(&region, "numbers", 64)?.producer()?;
//!     let printer = Worker::same_binary("printer").region("common", &region).start()?;
//!     numbers.push(7)?;
//!     drop(numbers);
//!     Ok(printer.join()?)
//! }
//!
//! fn printer(worker: &Current) -> Outcome {
//!     let mut numbers = Ring::<u64>::open(worker.region("common")?, "numbers")?.consumer()?;
//!     worker.ready()?;
//!     while let Ok(number) = numbers.pop() {
//!         println!("{number}");
//!     }
//!     Ok(())
//! }
//! ```
//!
//! ```text
//!   parent                                            worker
//!   role, names, descriptors (SCM_RIGHTS) ──► socket
//!   start ── exec, with that socket as descriptor 3 ──► main
//!                                                       roles(), current(): attaches to every region
//!                                                       takes its ends of rings, opens its files, …
//!         ◄──────────────────── ready, or what is wrong ── ready()
//!   a handle, or an error and no process left behind
//! ```
//!
//! # What a worker has
//!
//! Arguments and environment as given, working directory and standard streams of its parent, the
//! regions, and no other descriptor (from Linux 5.11 on, however it was opened). No signal is blocked
//! or handled; it runs on the processors that the starting thread may use, or on the one it was
//! pinned to.
//!
//! # Death
//!
//! A worker is killed by the kernel when its parent dies, unless it was asked to
//! [outlive](Options::outlive_parent) it. The kernel's signal follows the *thread* that spawned, so
//! all workers are spawned by one thread that lasts as long as the process. (The kernel forgets it for
//! programs with set-user-id bits or file capabilities.)
//!
//! The parent's [handle](Worker) can be waited for and polled. When it notices a death, it sweeps the
//! regions that the worker had: who waits for the dead is woken then.

#![forbid(unsafe_code)]

mod current;
mod error;
mod handle;
mod handshake;
mod options;
mod roles;
mod spawner;

pub use current::{Current, current};
pub use error::{CurrentError, JoinError, StartError};
pub use handle::Worker;
pub use options::Options;
pub use roles::{Outcome, Role, roles};
