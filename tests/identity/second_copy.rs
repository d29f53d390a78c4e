//! A second copy of the library in the same process.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, AsRawFd};
use std::path::PathBuf;
use std::process::Command;

use allmende::region::Liveness;
use allmende::{Mutex, Region};

use crate::common::{self, Journal, Process, count, say, skip};
use crate::victim::{SLOT, all_alive};

/// The shared object, built if it is not there; `None` where there is nothing to build it with.
fn shared_object() -> Option<PathBuf> {
    // TARGET/PROFILE/deps/identity-…
    let test = std::env::current_exe().unwrap();
    let profile = test.parent().and_then(|deps| deps.parent()).unwrap();
    let path = profile.join("examples/libsecond_copy.so");
    // Whoever runs all the tests has built it.
    let built = std::env::var_os("ALLMENDE_BUILT").is_some();
    if let Some(cargo) = std::env::var_os("CARGO").filter(|_| !built) {
        let mut build = Command::new(cargo);
        build.args(["build", "--quiet", "--offline", "--example", "second_copy", "--target-dir"]);
        build.arg(profile.parent().unwrap()).current_dir(env!("CARGO_MANIFEST_DIR"));
        if profile.ends_with("release") {
            build.arg("--release");
        }
        assert!(build.status().unwrap().success(), "the shared object cannot be built");
    }
    path.exists().then_some(path)
}

/// The functions of the second copy.
struct SecondCopy {
    attach: unsafe extern "C" fn(i32) -> i32,
    dead: extern "C" fn() -> i32,
    detach: extern "C" fn(),
}

impl SecondCopy {
    fn load(path: &str) -> Self {
        let path = CString::new(path).unwrap();
        // SAFETY: a path that ends in zero; what the object does when it is loaded is Rust's own.
        let handle = unsafe { libc::dlopen(path.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) };
        assert!(!handle.is_null(), "the shared object cannot be loaded");
        let symbol = |name: &CStr| {
            // SAFETY: an open handle, and a name that ends in zero.
            let symbol = unsafe { libc::dlsym(handle, name.as_ptr()) };
            assert!(!symbol.is_null(), "{name:?} is not there");
            symbol
        };
        // SAFETY: these are the types that `examples/second_copy.rs` gives them; the object stays
        // loaded to the end.
        unsafe {
            Self {
                attach: std::mem::transmute::<*mut libc::c_void, unsafe extern "C" fn(i32) -> i32>(symbol(
                    c"second_copy_attach",
                )),
                dead: std::mem::transmute::<*mut libc::c_void, extern "C" fn() -> i32>(symbol(
                    c"second_copy_dead",
                )),
                detach: std::mem::transmute::<*mut libc::c_void, extern "C" fn()>(symbol(
                    c"second_copy_detach",
                )),
            }
        }
    }

    fn attach(&self, region: &Region) -> u32 {
        // SAFETY: the region's descriptor is open.
        let slot = unsafe { (self.attach)(region.descriptor().as_raw_fd()) };
        u32::try_from(slot).expect("the second copy attaches")
    }
}

/// Two copies of the library in this process; another process looks on.
pub fn second_copy() {
    let region = Region::attach(common::descriptor(0)).unwrap();
    let journal = Journal::inherited(1);
    let copy = SecondCopy::load(&common::argument(0));
    let rounds: u64 = common::argument(1).parse().unwrap();
    let lock = Mutex::<u64>::open_or_create(&region, "of both copies", &0).unwrap();
    let slot = region.slot().unwrap();
    for round in 1..=rounds {
        {
            // While this copy holds something, the other one comes, looks about, and goes.
            let second = copy.attach(&region);
            assert_ne!(second, slot, "two copies are two participants");
            all_alive(&region, 3);
            assert_eq!((copy.dead)(), 0, "the second copy takes a living one for dead");
            assert_eq!(region.sweep().unwrap(), 0);
            let guard = lock.lock().unwrap();
            assert_eq!(*guard, round);
            (copy.detach)();
            all_alive(&region, 2);
            assert_eq!(region.sweep().unwrap(), 0);
        }
        // And the other way about: this copy attaches once more, and goes before the second.
        if round % 10 == 0 {
            let again = Region::attach(region.descriptor()).unwrap();
            copy.attach(&again);
            *lock.lock().unwrap() -= 1;
            drop(again);
            assert_eq!((copy.dead)(), 0);
            all_alive(&region, 3);
            (copy.detach)();
        }
        journal.set(SLOT, round);
    }
}

pub fn a_second_copy_comes_and_goes() {
    let Some(path) = shared_object() else {
        skip("a second copy of the library", "it was not built, and cargo is not there to build it");
        return;
    };
    let rounds = count(100, 1000);
    let region = Region::create().size(1 << 16).participants(8).memfd("identity").unwrap();
    let journal = Journal::new();
    let (path, number) = (path.display().to_string(), rounds.to_string());
    let mut child = Process::start("second_copy", &[&path, &number], &[region.descriptor(), journal.as_fd()]);
    // This process looks on from outside, and must never see anybody dead.
    let mut looks = 0_u64;
    while child.ended().is_none() {
        for participant in region.participants() {
            assert_eq!(participant.liveness, Liveness::Alive, "taken for dead: {participant:?}");
        }
        looks += 1;
    }
    child.finish();
    assert_eq!(journal.get(SLOT), rounds);
    assert_eq!(region.sweeps(), 0, "somebody was swept, and nobody has died");
    all_alive(&region, 1);
    say(&format!("  {rounds} rounds, {looks} looks from outside"));
}
