//! What is wrong with a name, with what stands there, or with whose it is.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::Path;

use allmende::region::{AttachError, CreateError, NameError};
use allmende::{Mutex, Region};

use crate::common::{self, Temporary, error, in_a_fork, refused, skip, unique};
use crate::sample::sample;

/// Runs `body` in a child whose names stand in `directory`.
fn with_names_in(directory: &Path, body: impl FnOnce()) {
    in_a_fork(|| {
        // SAFETY: a forked child has one thread.
        unsafe { std::env::set_var("ALLMENDE_DIR", directory) };
        body();
    });
}

pub fn names() {
    let long = "a".repeat(65);
    for name in ["", ".", "..", ".hidden", "a/b", "/a", "a b", "ü", "a\0b", "a.sock", "../a", &long] {
        refused!(Region::create().named(name), CreateError::Name(NameError::Invalid { .. }));
        refused!(Region::open().named(name), AttachError::Name(NameError::Invalid { .. }));
        refused!(Region::open().rendezvous(name), AttachError::Name(NameError::Invalid { .. }));
    }
    let name = unique("bad");
    refused!(Region::open().named(&name), AttachError::Name(NameError::NotFound { .. }));
    refused!(Region::open().rendezvous(&name), AttachError::Name(NameError::NotFound { .. }));
    let region = Region::create().size(1 << 12).named(&name).unwrap();
    refused!(Region::create().named(&name), CreateError::Name(NameError::Taken { .. }));
    assert_eq!(Region::create().open_or_create(&name).unwrap().id(), region.id());
    let meeting = region.publish(&name).unwrap();
    refused!(region.publish(&name), NameError::Taken { .. });
    drop(meeting);
    refused!(Region::open().rendezvous(&name), AttachError::Name(NameError::NotFound { .. }));
    drop(region);
    refused!(Region::open().named(&name), AttachError::Name(NameError::NotFound { .. }));

    let place = Temporary::new();
    refused!(Region::open().file(place.0.join("none")), AttachError::Name(NameError::NotFound { .. }));
    refused!(Region::open().file(place.0.join("none/none")), AttachError::Name(NameError::NotFound { .. }));
    refused!(Region::create().file(place.0.join("none/none")), CreateError::Name(NameError::NotFound { .. }));
    refused!(Region::open().file("/"), AttachError::Name(NameError::Invalid { .. }));
    fs::write(place.0.join("text"), "no region").unwrap();
    fs::set_permissions(place.0.join("text"), fs::Permissions::from_mode(0o600)).unwrap();
    refused!(Region::open().file(place.0.join("text")), AttachError::Truncated { bytes: 9 });
    refused!(Region::create().file(place.0.join("text")), CreateError::Name(NameError::Taken { .. }));
    nix::unistd::mkfifo(&place.0.join("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    refused!(Region::open().file(place.0.join("fifo")), AttachError::NotAFile);
    assert_eq!(fs::read(place.0.join("text")).unwrap(), b"no region");
}

/// Whoever reserves or maps much memory does not lock the names meanwhile.
pub fn the_slow_keep_nobody_waiting() {
    const LARGE: u64 = 256 << 20;
    let name = unique("bad");
    stopped_amid(&|| drop(Region::create().size(LARGE).named(&name).unwrap()));
    let large = Region::create().size(LARGE).prefault(false).named(&name).unwrap();
    stopped_amid(&|| drop(Region::open().named(&name).unwrap()));
    drop(large);
}

/// Stops a child while its memory is being mapped; others come and go by name.
fn stopped_amid(slow: &dyn Fn()) {
    use nix::sys::signal::{Signal, kill};
    use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
    for _ in 0..10 {
        let child = common::fork(|| {
            slow();
            0
        });
        common::until("the child maps its memory", || {
            // All, resident, and shared pages; one that has ended has none.
            let text = fs::read_to_string(format!("/proc/{child}/statm")).unwrap();
            let pages: Vec<u64> = text.split_whitespace().map(|pages| pages.parse().unwrap()).collect();
            pages[0] == 0 || pages[2] > 8192
        });
        kill(child, Signal::SIGSTOP).unwrap();
        let status = waitpid(child, Some(WaitPidFlag::WUNTRACED)).unwrap();
        if status == WaitStatus::Exited(child, 0) {
            continue; // Too late.
        }
        assert!(matches!(status, WaitStatus::Stopped(..)), "{status:?}");
        let name = unique("bad");
        let region = Region::create().size(1 << 12).named(&name).unwrap();
        drop(Region::open().named(&name).unwrap());
        drop(region);
        refused!(Region::open().named(&name), AttachError::Name(NameError::NotFound { .. }));
        kill(child, Signal::SIGCONT).unwrap();
        assert_eq!(waitpid(child, None).unwrap(), WaitStatus::Exited(child, 0));
        return;
    }
    panic!("every child was too fast to be stopped");
}

pub fn links_in_the_way() {
    let place = Temporary::new();
    with_names_in(&place.0, || {
        let region = Region::create().size(1 << 12).named("real").unwrap();
        symlink("real", place.0.join("link")).unwrap();
        symlink("/dev/null", place.0.join("null")).unwrap();
        symlink("nowhere", place.0.join("broken")).unwrap();
        for name in ["link", "null", "broken"] {
            refused!(Region::open().named(name), AttachError::Name(NameError::Os { .. }));
            refused!(Region::open().file(place.0.join(name)), AttachError::Name(NameError::Os { .. }));
            refused!(Region::create().named(name), CreateError::Name(NameError::Taken { .. }));
            assert!(fs::symlink_metadata(place.0.join(name)).unwrap().is_symlink(), "the link is gone");
            fs::remove_file(place.0.join(name)).unwrap();
        }
        drop(region);
    });
}

pub fn unsafe_directories() {
    let place = Temporary::new();
    let refuse = |directory: &Path| {
        with_names_in(directory, || {
            refused!(Region::create().named("a"), CreateError::Name(NameError::UnsafeDirectory { .. }));
            refused!(Region::open().named("a"), AttachError::Name(NameError::UnsafeDirectory { .. }));
            refused!(Region::open().rendezvous("a"), AttachError::Name(NameError::UnsafeDirectory { .. }));
        });
    };
    let open = place.0.join("open");
    fs::create_dir(&open).unwrap();
    for mode in [0o755, 0o710, 0o701, 0o777] {
        fs::set_permissions(&open, fs::Permissions::from_mode(mode)).unwrap();
        refuse(&open);
    }
    fs::set_permissions(&open, fs::Permissions::from_mode(0o700)).unwrap();
    symlink(&open, place.0.join("link")).unwrap();
    refuse(&place.0.join("link"));
    fs::write(place.0.join("file"), "").unwrap();
    refuse(&place.0.join("file"));
    if nix::unistd::geteuid().is_root() {
        chown(&open, Some(65534), None).unwrap();
        refuse(&open);
        chown(&open, Some(0), None).unwrap();
    }
    with_names_in(&place.0.join("none/none"), || {
        drop(error(Region::create().named("a")));
        refused!(Region::open().named("a"), AttachError::Name(NameError::NotFound { .. }));
    });
    // What was refused so often is good now, and gone with its last name.
    with_names_in(&open, || drop(Region::create().named("a").unwrap()));
    assert!(!open.exists());
}

pub fn owners_and_permissions() {
    let place = Temporary::new();
    let path = place.0.join("region");
    let region = Region::create().size(1 << 12).file(&path).unwrap();
    for mode in [0o640, 0o604, 0o660, 0o666, 0o610] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        refused!(Region::open().file(&path), AttachError::LoosePermissions { mode: found } if found == mode);
        drop(Region::open().mode(mode).file(&path).unwrap());
    }
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    if nix::unistd::geteuid().is_root() {
        chown(&path, Some(65534), None).unwrap();
        refused!(Region::open().file(&path), AttachError::ForeignOwner { uid: 65534 });
        refused!(Region::open().owner(1).file(&path), AttachError::ForeignOwner { uid: 65534 });
        drop(Region::open().owner(65534).file(&path).unwrap());
        chown(&path, Some(0), None).unwrap();
    } else {
        skip("a region of another user", "only root can give files away");
    }
    drop(region);
    // A memfd is checked in the same way.
    let loose = Region::create().mode(0o666).memfd("bad").unwrap();
    refused!(Region::attach(loose.descriptor()), AttachError::LoosePermissions { mode: 0o666 });
    drop(Region::open().mode(0o666).descriptor(loose.descriptor()).unwrap());
}

/// A second user opens, squats and removes; what was meant for him works.
pub fn another_user() {
    if !nix::unistd::geteuid().is_root() {
        skip("another user", "only root can become one");
        return;
    }
    let become_another = || {
        nix::unistd::setgid(nix::unistd::Gid::from_raw(65534)).unwrap();
        nix::unistd::setuid(nix::unistd::Uid::from_raw(65534)).unwrap();
        // SAFETY: takes numbers only. Gives the child its /proc back, as an exec would.
        unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 1) };
    };
    let (own, shared) = (sample(), Region::create().mode(0o666).memfd("bad").unwrap());
    Mutex::<u64>::create(&shared, "mutex", &0).unwrap();
    let name = unique("bad");
    let named = Region::create().size(1 << 12).named(&name).unwrap();
    let meeting = named.publish(&name).unwrap();
    let names = allmende::region::user_directory();
    with_names_in(&names, || {
        become_another();
        refused!(Region::attach(own.descriptor()), AttachError::ForeignOwner { uid: 0 });
        // Saying so is not enough: the file's permissions are the kernel's.
        refused!(Region::open().owner(0).descriptor(own.descriptor()), AttachError::Os { .. });
        // Inside the directory of another user there is nothing to be done.
        drop(error(Region::open().named(&name)));
        drop(error(Region::create().named("squat")));
        drop(error(Region::open().rendezvous(&name)));
        assert!(fs::remove_file(names.join(&name)).is_err());
        // The region that was made for everybody.
        let region = Region::open().owner(0).mode(0o666).descriptor(shared.descriptor()).unwrap();
        *Mutex::<u64>::open(&region, "mutex").unwrap().lock().unwrap() += 1;
        assert_eq!(region.participants().len(), 2);
        std::mem::forget(region);
    });
    assert_eq!(shared.sweep().unwrap(), 1, "a dead one of another user is swept like any other");
    assert_eq!(*Mutex::<u64>::open(&shared, "mutex").unwrap().lock().unwrap(), 1);
    assert!(Region::open().named(&name).is_ok());
    drop(meeting);
}
