//! What is known of a tree: kept in a file, so that a run that was cut off goes on where it was.
//!
//! A line says how one model ended with one place weakened, or what places it reaches. It holds until the
//! model's own source changes, or anything that is not a source of models.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

/// How a model ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Passed,
    Failed,
    /// It went on within one interleaving, without a step that can be seen.
    Hung,
    /// It had not tried all interleavings.
    OutOfTime,
}

const WORDS: &[(End, &str)] =
    &[(End::Passed, "passed"), (End::Failed, "failed"), (End::Hung, "hung"), (End::OutOfTime, "out-of-time")];

/// A model as it is: how long it takes, and which places it reaches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Model {
    pub(crate) takes: Duration,
    pub(crate) reaches: BTreeSet<usize>,
}

#[derive(Debug)]
pub(crate) struct Results {
    file: File,
    pub(crate) models: BTreeMap<String, Model>,
    /// By place and model.
    ends: BTreeMap<(usize, String), End>,
}

impl Results {
    /// What `path` tells of the tree with the fingerprint `common`, and of models that each have one of their own.
    pub(crate) fn of(path: &Path, common: u64, own: impl Fn(&str) -> u64) -> io::Result<Self> {
        let title = format!("tree {common:016x}");
        let mut text = fs::read_to_string(path).unwrap_or_default();
        if text.lines().next() != Some(&title) {
            text = format!("{title}\n");
        }
        // A last line that was cut off says nothing.
        text.truncate(text.rfind('\n').map_or(0, |end| end + 1));
        fs::write(path, &text)?;
        let file = File::options().append(true).open(path)?;
        let mut results = Self { file, models: BTreeMap::new(), ends: BTreeMap::new() };
        for line in text.lines().skip(1) {
            results.read(line, &own);
        }
        Ok(results)
    }

    /// How `model` ended with `place` weakened, if that is known.
    pub(crate) fn end(&self, place: usize, model: &str) -> Option<End> {
        self.ends.get(&(place, model.to_owned())).copied()
    }

    pub(crate) fn add_model(&mut self, name: &str, own: u64, model: Model) -> io::Result<()> {
        let reaches: Vec<_> = model.reaches.iter().map(ToString::to_string).collect();
        writeln!(self.file, "{name} {own:016x} {} {}", model.takes.as_millis(), reaches.join(","))?;
        self.models.insert(name.to_owned(), model);
        Ok(())
    }

    pub(crate) fn add_end(&mut self, name: &str, own: u64, place: usize, end: End) -> io::Result<()> {
        writeln!(self.file, "{name} {own:016x} {place} {}", end.word())?;
        self.ends.insert((place, name.to_owned()), end);
        Ok(())
    }

    fn read(&mut self, line: &str, own: &impl Fn(&str) -> u64) -> Option<()> {
        let [name, fingerprint, number, rest] = line.split(' ').collect::<Vec<_>>().try_into().ok()?;
        if u64::from_str_radix(fingerprint, 16).ok()? != own(name) {
            return None;
        }
        if let Some((end, _)) = WORDS.iter().find(|(_, word)| *word == rest) {
            self.ends.insert((number.parse().ok()?, name.to_owned()), *end);
        } else {
            let takes = Duration::from_millis(number.parse().ok()?);
            let reaches = rest.split(',').filter_map(|word| word.parse().ok()).collect();
            self.models.insert(name.to_owned(), Model { takes, reaches });
        }
        Some(())
    }
}

impl End {
    pub(crate) fn word(self) -> &'static str {
        WORDS.iter().find(|(end, _)| *end == self).expect("each has a word").1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_known_is_known_again_until_something_changes() {
        let path = std::env::temp_dir().join(format!("allmende-results-{}", std::process::id()));
        let model = Model { takes: Duration::from_millis(1200), reaches: [3, 5].into() };
        let none = Model { takes: Duration::ZERO, reaches: BTreeSet::new() };
        let mut results = Results::of(&path, 1, |_| 8).unwrap();
        results.add_model("loom_a", 8, model.clone()).unwrap();
        results.add_model("loom_b", 8, none.clone()).unwrap();
        results.add_end("loom_a", 8, 3, End::Failed).unwrap();
        results.add_end("loom_b", 8, 5, End::OutOfTime).unwrap();
        write!(results.file, "loom_b 0000000000000008 7 1").unwrap();

        // The model b was changed.
        let again = Results::of(&path, 1, |name| if name == "loom_b" { 9 } else { 8 }).unwrap();
        assert_eq!(again.models, [("loom_a".to_owned(), model)].into());
        assert_eq!((again.end(3, "loom_a"), again.end(5, "loom_b")), (Some(End::Failed), None));
        let again = Results::of(&path, 1, |_| 8).unwrap();
        assert_eq!(again.models["loom_b"], none);
        assert_eq!(again.end(5, "loom_b"), Some(End::OutOfTime));
        // Something else.
        assert!(Results::of(&path, 2, |_| 8).unwrap().models.is_empty());
        assert!(Results::of(&path, 1, |_| 8).unwrap().models.is_empty());
        fs::remove_file(path).unwrap();
    }
}
