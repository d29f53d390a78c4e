//! Finding the regions of this user: for tools, and for people who ask what is there.

use std::collections::HashSet;
use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use super::attach::OpenOptions;
use super::error::AttachError;
use super::names::list_names;
use super::objects::ObjectInfo;
use super::{Region, user_directory};
use crate::os::process;

/// Where a region was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FoundAs {
    /// Under a name in the user's directory.
    Named(String),
    /// As a memfd that process `pid` has open.
    Memfd {
        /// The process.
        pid: u32,
    },
}

/// A region that was found, or a name behind which there is none that can be attached to.
#[derive(Debug)]
pub struct Found {
    /// Where.
    pub found_as: FoundAs,
    /// The path by which it was opened.
    pub path: PathBuf,
    /// The region, attached read-only.
    pub region: Result<Region, AttachError>,
}

/// All regions of this user, attached read-only: the named ones, and the memfds that some process of
/// this user has open. Each region is listed once.
///
/// # Errors
/// What reading the user's directory says.
pub fn discover() -> std::io::Result<Vec<Found>> {
    let mut found = Vec::new();
    for name in list_names()?.into_iter().filter(|name| !name.rendezvous) {
        let options = OpenOptions::default().read_only(true).prefault(false).mode(0o777);
        let region = options.named(&name.name);
        let path = user_directory().join(&name.name);
        found.push(Found { found_as: FoundAs::Named(name.name), path, region });
    }
    found.extend(memfds());
    Ok(found)
}

/// An object, and the region that it lies in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundObject {
    /// Where the region was found.
    pub found_as: FoundAs,
    /// Name or label of the region.
    pub region: String,
    /// The object.
    pub object: ObjectInfo,
}

/// All channels and locks in all regions of this user that can be attached to.
///
/// ```
/// use allmende::{Region, region::discover_objects, spsc::Ring};
/// let region = Region::create().memfd("example")?;
/// let ring = Ring::<u64>::create(&region, "numbers", 8)?;
/// assert!(discover_objects()?.iter().any(|found| found.region == "example" && found.object.name == "numbers"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// What reading the user's directory says.
pub fn discover_objects() -> std::io::Result<Vec<FoundObject>> {
    let mut objects = Vec::new();
    for found in discover()? {
        // What cannot be attached to shows nothing; `discover` says why.
        let Ok(region) = found.region else { continue };
        objects.extend(region.objects().into_iter().map(|object| FoundObject {
            found_as: found.found_as.clone(),
            region: region.label(),
            object,
        }));
    }
    Ok(objects)
}

fn memfds() -> Vec<Found> {
    let mut seen = HashSet::new();
    let mut found = Vec::new();
    let Ok(processes) = fs::read_dir("/proc") else { return found };
    for process in processes.flatten() {
        let Ok(pid) = process.file_name().to_string_lossy().parse::<u32>() else { continue };
        if !process.metadata().is_ok_and(|meta| meta.uid() == process::effective_uid()) {
            continue;
        }
        // Whoever may not be looked at, or is gone meanwhile, is passed over.
        let Ok(descriptors) = fs::read_dir(process.path().join("fd")) else { continue };
        for descriptor in descriptors.flatten() {
            let path = descriptor.path();
            let ours = fs::read_link(&path)
                .is_ok_and(|target| target.to_string_lossy().starts_with("/memfd:allmende:"));
            let Ok(meta) = (if ours { fs::metadata(&path) } else { continue }) else { continue };
            if !seen.insert((meta.dev(), meta.ino())) {
                continue;
            }
            let Ok(file) = fs::File::open(&path) else { continue };
            let options = OpenOptions::default().read_only(true).prefault(false).mode(0o777);
            let region = options.finish(OwnedFd::from(file), None);
            found.push(Found { found_as: FoundAs::Memfd { pid }, path, region });
        }
    }
    found
}
