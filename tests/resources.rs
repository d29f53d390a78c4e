//! Too little of something is an error before anything is taken, never a signal later.

use std::io::Write;

use allmende::region::CreateError;
use allmende::region::{HugePages, user_directory};
use allmende::{Region, os::space};

/// Gives the calling thread mounts of its own, with a small file system where names stand.
fn small_file_system(megabytes: u32) -> nix::Result<()> {
    use nix::mount::{MsFlags, mount};
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS)?;
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)?;
    let directory = user_directory();
    let place = if directory.starts_with("/dev/shm") { "/dev/shm".into() } else { directory };
    let options = format!("size={megabytes}m,mode=0700");
    mount(Some("tmpfs"), &place, Some("tmpfs"), MsFlags::empty(), Some(options.as_str()))
}

#[test]
fn a_gibibyte_on_a_small_file_system_is_an_error_that_names_the_free_space() {
    if let Err(error) = small_file_system(64) {
        let _ = writeln!(std::io::stderr(), "skipped: private mounts: {error}");
        return;
    }
    let error = Region::create().size(1 << 30).named("too-big").unwrap_err();
    let CreateError::NoSpace { needed, free, .. } = error else { panic!("{error}") };
    assert!(needed > 1 << 30 && free > 60 << 20 && free <= 64 << 20, "{needed} {free}");
    assert!(error.to_string().contains(&free.to_string()), "{error}");

    // What fits, fits; and what then remains is not enough for the same once more. Touching all of
    // it raises no signal: it was reserved.
    let region = Region::create().size(40 << 20).named("fits").unwrap();
    let ring = allmende::spsc::Ring::<[u64; 1 << 20]>::create(&region, "all of it", 4).unwrap();
    let mut producer = ring.producer().unwrap();
    for _ in 0..4 {
        producer.try_claim().unwrap().fill(u64::MAX);
    }
    assert!(matches!(Region::create().size(40 << 20).named("more"), Err(CreateError::NoSpace { .. })));
    drop((region, ring, producer));
    assert!(Region::create().size(40 << 20).named("more").is_ok(), "the space came back");
}

#[test]
fn more_than_there_is_memory_is_refused_before_it_is_taken() {
    let available = space::available_memory().unwrap();
    let error = Region::create().size(available.bytes * 2).memfd("too big").unwrap_err();
    let CreateError::NoSpace { free, limit, .. } = error else { panic!("{error}") };
    assert!(free <= available.bytes * 2 && !limit.is_empty());
    let after = space::available_memory().unwrap();
    assert!(after.bytes > available.bytes / 2, "nothing was taken");
}

/// A control group of version 1 or 2 with a memory limit, with the calling process in it.
struct Group(std::path::PathBuf, std::path::PathBuf);

impl Group {
    fn new(limit: u64) -> std::io::Result<Self> {
        let pid = std::process::id();
        for (root, file) in
            [("/sys/fs/cgroup", "memory.max"), ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")]
        {
            let group = std::path::Path::new(root).join(format!("allmende-test-{pid}"));
            if std::path::Path::new(root).join("cgroup.procs").exists() && std::fs::create_dir(&group).is_ok()
            {
                let made = Self(group, root.into());
                std::fs::write(made.0.join(file), limit.to_string())?;
                std::fs::write(made.0.join("cgroup.procs"), pid.to_string())?;
                return Ok(made);
            }
        }
        Err(std::io::Error::from(std::io::ErrorKind::Unsupported))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = std::fs::write(self.1.join("cgroup.procs"), std::process::id().to_string());
        for _ in 0..100 {
            if std::fs::remove_dir(&self.0).is_ok() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    }
}

#[test]
fn more_than_a_control_group_allows_is_refused_before_it_is_taken() {
    const LIMIT: u64 = 1 << 30;
    let _group = match Group::new(LIMIT) {
        Ok(group) => group,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "skipped: control groups: {error}");
            return;
        }
    };
    let error = Region::create().size(2 * LIMIT).memfd("too big").unwrap_err();
    let CreateError::NoSpace { free, limit, .. } = error else { panic!("{error}") };
    assert!(free <= LIMIT && limit.contains("allmende-test"), "{free} {limit}");
}

#[test]
fn huge_pages_are_had_or_refused_or_replaced() {
    let size = 4 << 20;
    let preferred = Region::create().size(size).huge_pages(HugePages::Prefer).memfd("huge").unwrap();
    match Region::create().size(size).huge_pages(HugePages::Require).memfd("huge") {
        Ok(region) => assert!(region.huge_pages()),
        Err(CreateError::NoHugePages { needed, free }) => {
            assert!(free < needed);
            assert!(!preferred.huge_pages(), "what is preferred may be replaced");
        }
        Err(error) => panic!("{error}"),
    }
}
