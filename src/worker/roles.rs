//! One program, several roles.

use std::error::Error;

use super::current::{Current, current};

/// How a role, or a whole program, ends.
pub type Outcome = Result<(), Box<dyn Error>>;

/// What a worker does in its role.
pub type Role = fn(&Current) -> Outcome;

/// In a process that was started as a worker: plays the role it was started for, and exits. In every
/// other process: does nothing.
///
/// Call it first thing in `main`: what stands before it runs in every worker, too.
///
/// ```no_run
/// use allmende::worker::{self, Current, Outcome, Worker};
///
/// fn main() -> Outcome {
///     worker::roles(&[("sleeper", sleeper)]);
///     let worker = Worker::same_binary("sleeper").start()?;
///     Ok(worker.join()?)
/// }
///
/// fn sleeper(worker: &Current) -> Outcome {
///     worker.ready()?;
///     std::thread::sleep(std::time::Duration::from_secs(1));
///     Ok(())
/// }
/// ```
///
/// The worker exits with code 0, or with 1 when its role ends with an error. An error before
/// [`Current::ready`] is told to the parent, whose `start` returns it; one after it is printed on
/// standard error. A role that ends well without having said that it is ready counts as ready.
pub fn roles(roles: &[(&str, Role)]) {
    let worker = match current() {
        Ok(None) => return,
        Ok(Some(worker)) => worker,
        // The parent has been told.
        Err(_) => std::process::exit(1),
    };
    let outcome = match roles.iter().find(|(name, _)| *name == worker.role()) {
        Some((_, role)) => role(&worker),
        None => Err(unknown(worker.role(), roles).into()),
    };
    let told = match &outcome {
        Ok(()) => worker.ready().is_ok(),
        Err(error) => worker.refuse(&with_causes(error.as_ref())),
    };
    if let (Err(error), false) = (&outcome, told) {
        eprintln!(
            "worker {} (process {}): {}",
            worker.role(),
            std::process::id(),
            with_causes(error.as_ref())
        );
    }
    // Leaves its regions before the parent can see that it is gone.
    drop(worker);
    std::process::exit(i32::from(outcome.is_err()));
}

fn unknown(role: &str, roles: &[(&str, Role)]) -> String {
    let known: Vec<&str> = roles.iter().map(|(name, _)| *name).collect();
    format!("this program has no role {role:?}; it has {known:?}")
}

/// The error and what caused it, where the error does not say so itself.
fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        next = cause.source();
    }
    text
}
