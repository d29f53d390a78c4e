//! Worker processes: this binary is parent and worker at once.

// Tests may be blunt.
#![allow(clippy::pedantic)]

mod death;
mod harness;
mod leaks;
mod roles;
mod start;

use allmende::worker::{self, StartError, Worker};

fn main() {
    if std::env::var_os("SKIP_ROLES").is_some() {
        // A worker whose main forgot to ask what it is to be.
        let again = Worker::same_binary("exits").start();
        std::process::exit(if matches!(again, Err(StartError::NotAsked)) { 42 } else { 1 });
    }
    worker::roles(roles::ALL);
    if std::env::args().nth(1).as_deref() == Some("--is-no-worker") {
        std::process::exit(i32::from(!matches!(worker::current(), Ok(None))));
    }
    harness::run(&[start::TESTS, death::TESTS, leaks::TESTS]);
}
