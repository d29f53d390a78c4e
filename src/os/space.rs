//! How much room there is, asked before it is taken.
//!
//! A memfd knows no limit of its own: `fallocate` on one goes on until the out-of-memory killer
//! ends somebody. So what is available is read first: free memory, and every limit of every control
//! group that this process is in.

use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use nix::fcntl::{FallocateFlags, fallocate};

/// What limits memory, and how much it leaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Available {
    /// Bytes that can still be taken.
    pub bytes: u64,
    /// Who says so: `MemAvailable`, or the path of a control group's limit.
    pub limit: String,
}

/// The memory that this process may still take: the smallest of what the machine and every control
/// group above this process leave. `None` where nothing can be read.
pub fn available_memory() -> Option<Available> {
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    free_memory()
        .into_iter()
        .chain(control_group_limits(&groups, Path::new("/sys/fs/cgroup")))
        .min_by_key(|a| a.bytes)
}

fn free_memory() -> Option<Available> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kilobytes: u64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
    Some(Available { bytes: kilobytes * 1024, limit: "MemAvailable".to_owned() })
}

/// The files of one version of control groups, and what can be given back according to its `memory.stat`.
struct Version {
    limit: &'static str,
    usage: &'static str,
    reclaimable: &'static [&'static str],
}

const VERSION_1: Version = Version {
    limit: "memory.limit_in_bytes",
    usage: "memory.usage_in_bytes",
    reclaimable: &["total_inactive_file", "total_active_file"],
};
const VERSION_2: Version = Version {
    limit: "memory.max",
    usage: "memory.current",
    reclaimable: &["inactive_file", "active_file", "slab_reclaimable"],
};

/// Both versions of control groups: `0::/path` (version 2) and `N:…memory…:/path` (version 1).
fn control_group_limits(groups: &str, root: &Path) -> Vec<Available> {
    let mut limits = Vec::new();
    for line in groups.lines() {
        let mut fields = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(path)) = (fields.next(), fields.next(), fields.next()) else {
            continue;
        };
        if controllers.is_empty() {
            for base in [root.to_path_buf(), root.join("unified")] {
                walk_up(&base, path, &VERSION_2, &mut limits);
            }
        } else if controllers.split(',').any(|name| name == "memory") {
            walk_up(&root.join("memory"), path, &VERSION_1, &mut limits);
        }
    }
    limits
}

/// Every group from the process's own up to the root limits it.
fn walk_up(base: &Path, path: &str, version: &Version, limits: &mut Vec<Available>) {
    let mut group = base.join(path.trim_start_matches('/'));
    while group.starts_with(base) {
        let read = |file: &str| fs::read_to_string(group.join(file)).unwrap_or_default();
        let stat = read("memory.stat");
        if let Some(bytes) = left_in_group(&read(version.limit), &read(version.usage), &stat, version) {
            limits.push(Available { bytes, limit: group.join(version.limit).display().to_string() });
        }
        if !group.pop() {
            break;
        }
    }
}

/// What a group with these files leaves; `None` where it has no limit.
///
/// The page cache is charged to the group, too, but the kernel drops it for whoever needs memory.
fn left_in_group(limit: &str, usage: &str, stat: &str, version: &Version) -> Option<u64> {
    let number = |text: &str| text.trim().parse::<u64>().ok();
    // "max" and the huge number that version 1 uses for "none" are no limit.
    let limit = number(limit).filter(|&limit| limit < 1 << 60)?;
    let reclaimable: u64 = stat
        .lines()
        .filter_map(|line| line.split_once(' '))
        .filter(|(name, _)| version.reclaimable.contains(name))
        .filter_map(|(_, bytes)| number(bytes))
        .fold(0, u64::saturating_add);
    Some(limit.saturating_sub(number(usage)?.saturating_sub(reclaimable)))
}

/// Bytes free to this user on the file system that holds `fd`.
///
/// # Errors
/// What `fstatvfs` says.
pub fn free_on_file_system(fd: impl AsFd) -> io::Result<u64> {
    let stat = nix::sys::statvfs::fstatvfs(fd)?;
    Ok(stat.blocks_available().saturating_mul(stat.fragment_size()))
}

/// Bytes in a huge page of the default size; `None` where the kernel has none.
pub fn huge_page_size() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("Hugepagesize:"))?;
    line.trim().trim_end_matches("kB").trim().parse::<u64>().ok().map(|kilobytes| kilobytes * 1024)
}

/// Bytes in huge pages of `page` bytes that nobody has, and that are promised to nobody.
pub fn huge_pages_left(page: u64) -> u64 {
    let directory = format!("/sys/kernel/mm/hugepages/hugepages-{}kB", page / 1024);
    let pages = |file| {
        let text = fs::read_to_string(Path::new(&directory).join(file)).unwrap_or_default();
        text.trim().parse::<u64>().unwrap_or(0)
    };
    // Reserved pages belong to mappings that have not touched them yet, and count as free until then.
    pages("free_hugepages").saturating_sub(pages("resv_hugepages")).saturating_mul(page)
}

/// Makes the file `length` bytes long with every block in hand, so that no later touch can fail.
///
/// In steps, so that a signal or a lack of space is met soon.
///
/// # Errors
/// `ENOSPC` where the space ends, `EOPNOTSUPP` where the file system cannot reserve.
pub fn reserve(fd: impl AsFd, length: u64) -> io::Result<()> {
    const SMALLEST_STEP: u64 = 1 << 20;
    let mut step = 256 << 20;
    let mut offset = 0;
    while offset < length {
        let now = u64::min(step, length - offset);
        let (from, count) = (offset.cast_signed(), now.cast_signed());
        match fallocate(&fd, FallocateFlags::empty(), from, count) {
            Ok(()) => offset += now,
            // A signal undoes the whole step: where many come, only a shorter one comes to its end.
            Err(nix::Error::EINTR) => step = u64::max(step / 2, SMALLEST_STEP),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tightest_group_on_the_way_up_counts() {
        let root = std::env::temp_dir().join(format!("allmende-cgroup-{}", std::process::id()));
        let inner = root.join("a/b");
        fs::create_dir_all(&inner).unwrap();
        for (group, max, current) in [("a", "1000", "400"), ("a/b", "max", "10")] {
            fs::write(root.join(group).join("memory.max"), max).unwrap();
            fs::write(root.join(group).join("memory.current"), current).unwrap();
        }
        let limits = control_group_limits("0::/a/b\n", &root);
        fs::remove_dir_all(&root).unwrap();
        assert_eq!(limits.len(), 1, "an unlimited group is no limit: {limits:?}");
        assert_eq!(limits[0].bytes, 600);
        assert!(limits[0].limit.ends_with("a/memory.max"));
    }

    #[test]
    fn what_the_kernel_can_drop_is_not_used_up() {
        let stat = "anon 300\nfile 500\nshmem 100\ninactive_file 250\nactive_file 150\nslab_reclaimable 40\n\
                    slab_unreclaimable 5\n";
        assert_eq!(left_in_group("1000\n", "900\n", stat, &VERSION_2), Some(540));
        // Without its statistics, all that is used is used up.
        assert_eq!(left_in_group("1000", "900", "", &VERSION_2), Some(100));
        assert_eq!(left_in_group("1000", "900", "inactive_file\nactive_file x\n", &VERSION_2), Some(100));
        // They are not read at the same moment.
        assert_eq!(left_in_group("1000", "100", stat, &VERSION_2), Some(1000));
        assert_eq!(left_in_group("1000", "1100", "", &VERSION_2), Some(0));
        assert_eq!(left_in_group("max", "900", stat, &VERSION_2), None);
        assert_eq!(left_in_group("1000", "", stat, &VERSION_2), None);
        // Version 1 says both: this group alone, and with all below it, which is what is limited.
        let stat = "inactive_file 1\nactive_file 2\ntotal_inactive_file 30\ntotal_active_file 40\n";
        assert_eq!(left_in_group("1000", "900", stat, &VERSION_1), Some(170));
        assert_eq!(left_in_group("9223372036854771712", "900", stat, &VERSION_1), None);
    }

    #[test]
    fn this_machine_has_some_memory() {
        assert!(available_memory().is_some_and(|available| available.bytes > 0));
    }
}
