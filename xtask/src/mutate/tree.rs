//! The copy of the tree whose orderings can be weakened.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::{fs, io};

use super::places::{Place, places, with_switches};

/// Where the algorithms and what uses them stand; models are no part of what ships.
const FOLDERS: &[&str] = &["src/ring", "src/sync", "src/channel"];
const MODEL: &str = "model";
/// What the switches call, and the module that it is put into.
const SWITCH: &str = include_str!("switch.rs");
const SWITCH_FILE: &str = "src/atomic/switch.rs";
const ATOMIC: &str = "src/atomic.rs";
const USE_SWITCH: &str = "\nmod switch;\n#[doc(hidden)]\npub use switch::{mutated, removed};\n";

/// The copy, and what can be weakened in it.
pub(crate) struct Tree {
    pub(crate) root: PathBuf,
    /// By its number: the file and the place.
    pub(crate) places: Vec<(String, Place)>,
    /// A fingerprint of each source.
    files: BTreeMap<String, u64>,
}

impl Tree {
    /// Makes `root` equal to `from`, but for the switches.
    pub(crate) fn copy(from: &Path, root: PathBuf, target: &Path) -> Result<Self, String> {
        let mut tree = Self { root, places: Vec::new(), files: BTreeMap::new() };
        tree.folder(from, Path::new(""), target)?;
        let switch = tree.root.join(SWITCH_FILE);
        write(&switch, SWITCH.as_bytes()).map_err(|error| format!("{}: {error}", switch.display()))?;
        tree.files.insert(SWITCH_FILE.to_owned(), fingerprint(SWITCH.as_bytes()));
        Ok(tree)
    }

    /// A fingerprint of one source; 0 if there is none.
    pub(crate) fn fingerprint_of(&self, file: &str) -> u64 {
        self.files.get(file).copied().unwrap_or_default()
    }

    /// A fingerprint of all sources but these.
    pub(crate) fn fingerprint_without(&self, files: &BTreeSet<String>) -> u64 {
        let mut hasher = DefaultHasher::new();
        for file in self.files.iter().filter(|(file, _)| !files.contains(*file)) {
            file.hash(&mut hasher);
        }
        hasher.finish()
    }

    /// Copies what lies in `folder`, and writes only what differs, so that cargo builds only that anew.
    fn folder(&mut self, from: &Path, folder: &Path, target: &Path) -> Result<(), String> {
        let (source, copy) = (from.join(folder), self.root.join(folder));
        let shown = |error: io::Error| format!("{}: {error}", source.display());
        fs::create_dir_all(&copy).map_err(shown)?;
        let here = |path: &Path| -> io::Result<Vec<PathBuf>> {
            fs::read_dir(path)?.map(|entry| entry.map(|entry| entry.path())).collect()
        };
        let skipped = |path: &Path| path == target || path.ends_with("target") || path.ends_with(".git");
        let mut sources = here(&source).map_err(shown)?;
        sources.retain(|path| !skipped(path));
        // In this order the places are numbered.
        sources.sort();
        for old in here(&copy).map_err(shown)? {
            let is_switch = old.ends_with(SWITCH_FILE);
            if !is_switch && !sources.iter().any(|source| source.file_name() == old.file_name()) {
                if old.is_dir() { fs::remove_dir_all(old) } else { fs::remove_file(old) }.map_err(shown)?;
            }
        }
        for source in sources {
            let path = folder.join(source.file_name().expect("an entry has a name"));
            if source.is_dir() {
                self.folder(from, &path, target)?;
            } else if source.is_file() {
                let shown = |error: io::Error| format!("{}: {error}", source.display());
                let mut bytes = fs::read(&source).map_err(shown)?;
                if path.starts_with("src") {
                    bytes = self.switched(&path, bytes)?;
                    self.files.insert(path.display().to_string(), fingerprint(&bytes));
                }
                write(&self.root.join(&path), &bytes).map_err(shown)?;
            }
        }
        Ok(())
    }

    /// The file as it stands in the copy; its places are noted.
    fn switched(&mut self, path: &Path, bytes: Vec<u8>) -> Result<Vec<u8>, String> {
        let file = path.display().to_string();
        if file == ATOMIC {
            return Ok([bytes, USE_SWITCH.into()].concat());
        }
        if !is_weakened(path) {
            return Ok(bytes);
        }
        let source = String::from_utf8(bytes).map_err(|error| format!("{file}: {error}"))?;
        let found = places(&source)
            .map_err(|line| format!("{file}:{line}: a fence must be a statement on a line of its own"))?;
        let switched = with_switches(&source, &found, self.places.len());
        self.places.extend(found.into_iter().map(|place| (file.clone(), place)));
        Ok(switched.into_bytes())
    }
}

fn is_weakened(path: &Path) -> bool {
    FOLDERS.iter().any(|folder| path.starts_with(folder))
        && path.extension().is_some_and(|extension| extension == "rs")
        && !path.components().any(|part| Path::new(&part).file_stem().is_some_and(|stem| stem == MODEL))
}

fn fingerprint(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    hasher.finish()
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    if fs::read(path).ok().as_deref() == Some(bytes) { Ok(()) } else { fs::write(path, bytes) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ships_is_weakened() {
        let is = |path: &str| is_weakened(Path::new(path));
        assert!(is("src/ring/core.rs") && is("src/ring/topic/pool.rs") && is("src/channel/cell.rs"));
        assert!(!is("src/ring/model/slots.rs") && !is("src/sync/model.rs") && !is("src/atomic/model.rs"));
        assert!(!is("src/region/sweep.rs") && !is("benches/ring.rs") && !is("src/ring/notes.md"));
    }
}
