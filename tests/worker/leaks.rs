//! No descriptor too many, in the parent or in the worker.

use std::io::Read;
use std::os::fd::AsRawFd;
use std::time::Duration;

use allmende::worker::Worker;

use crate::harness::{Test, region, until};

pub const TESTS: &[Test] =
    &[("no_descriptor_stays_in_the_parent", in_parent), ("no_descriptor_leaks_into_the_worker", in_worker)];

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

fn in_parent() {
    let region = region();
    let before = descriptors();
    for _ in 0..3 {
        let worker = Worker::same_binary("sleeps").region("r", &region).start().unwrap();
        // What `AsFd` lends.
        assert_eq!(descriptors(), before + 1);
        drop(worker);
        let patience = Duration::from_millis(100);
        for options in [
            Worker::same_binary("mute").handshake_timeout(patience),
            Worker::same_binary("early").arg("1"),
            Worker::same_binary("fails"),
            Worker::same_binary("nothing"),
            Worker::same_binary("sleeps").cpu(1023),
            Worker::same_binary("sleeps").arg("\0"),
            Worker::binary("/there/is/none"),
        ] {
            options.region("r", &region).start().unwrap_err();
        }
    }
    // The thread that starts workers may have said what came of the last one, and not yet closed what it had of it.
    assert!(until(|| descriptors() == before), "{} descriptors, and {before} before", descriptors());
}

fn in_worker() {
    let region = region();
    // As C libraries open theirs: inherited by whatever is started.
    let careless = std::fs::File::open("/dev/zero").unwrap();
    // SAFETY: takes no pointers.
    assert_eq!(unsafe { libc::fcntl(careless.as_raw_fd(), libc::F_SETFD, 0) }, 0);
    let (mut reader, writer) = std::io::pipe().unwrap();
    let worker =
        Worker::same_binary("lists descriptors").region("r", &region).stdout(writer).start().unwrap();
    worker.join().unwrap();
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    let (before, after) = text.split_once("ready\n").unwrap();
    let (socket, regions): (Vec<&str>, Vec<&str>) =
        before.lines().partition(|line| line.starts_with("socket:"));
    assert_eq!(socket.len(), 1, "{text}");
    assert!(regions.len() == 1 && regions[0].starts_with("/memfd:allmende:test"), "{text}");
    assert_eq!(after.lines().collect::<Vec<_>>(), regions, "the socket is gone, the region is there");
}
