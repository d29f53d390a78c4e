//! What is known of a tree: kept in a file, so that a run that was cut off goes on where it was.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

/// What became of a weakened place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Caught,
    /// A model went on for ever.
    Hung,
    /// All models that reach it pass in every interleaving.
    Survived,
    /// As [`Self::Survived`], but for models that came to no end: weaker orderings have more
    /// interleavings.
    OutOfTime,
}

const WORDS: &[(Outcome, &str)] = &[
    (Outcome::Caught, "caught"),
    (Outcome::Hung, "hung"),
    (Outcome::Survived, "survived"),
    (Outcome::OutOfTime, "out-of-time"),
];

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
    pub(crate) outcomes: BTreeMap<usize, Outcome>,
}

impl Results {
    /// What `path` tells of the tree with that fingerprint.
    pub(crate) fn of(path: &Path, fingerprint: u64) -> io::Result<Self> {
        let title = format!("tree {fingerprint:016x}");
        let mut text = fs::read_to_string(path).unwrap_or_default();
        if text.lines().next() != Some(&title) {
            text = format!("{title}\n");
        }
        // A last line that was cut off says nothing.
        text.truncate(text.rfind('\n').map_or(0, |end| end + 1));
        fs::write(path, &text)?;
        let file = File::options().append(true).open(path)?;
        let mut results = Self { file, models: BTreeMap::new(), outcomes: BTreeMap::new() };
        for line in text.lines().skip(1) {
            results.read(line);
        }
        Ok(results)
    }

    pub(crate) fn add_model(&mut self, name: &str, model: Model) -> io::Result<()> {
        let reaches: Vec<_> = model.reaches.iter().map(ToString::to_string).collect();
        writeln!(self.file, "model {name} {} {}", model.takes.as_millis(), reaches.join(","))?;
        self.models.insert(name.to_owned(), model);
        Ok(())
    }

    pub(crate) fn add_outcome(&mut self, place: usize, outcome: Outcome) -> io::Result<()> {
        writeln!(self.file, "place {place} {}", outcome.word())?;
        self.outcomes.insert(place, outcome);
        Ok(())
    }

    fn read(&mut self, line: &str) -> Option<()> {
        let mut words = line.split(' ');
        match words.next()? {
            "model" => {
                let name = words.next()?.to_owned();
                let takes = Duration::from_millis(words.next()?.parse().ok()?);
                let reaches = words.next()?.split(',').filter_map(|word| word.parse().ok()).collect();
                self.models.insert(name, Model { takes, reaches });
            }
            "place" => {
                let place = words.next()?.parse().ok()?;
                let word = words.next()?;
                self.outcomes.insert(place, WORDS.iter().find(|(_, known)| *known == word)?.0);
            }
            _ => {}
        }
        Some(())
    }
}

impl Outcome {
    pub(crate) fn word(self) -> &'static str {
        WORDS.iter().find(|(outcome, _)| *outcome == self).expect("each has a word").1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_known_is_known_again_but_of_another_tree() {
        let path = std::env::temp_dir().join(format!("allmende-results-{}", std::process::id()));
        let model = Model { takes: Duration::from_millis(1200), reaches: [3, 5].into() };
        let none = Model { takes: Duration::ZERO, reaches: BTreeSet::new() };
        let mut results = Results::of(&path, 1).unwrap();
        results.add_model("loom_a", model.clone()).unwrap();
        results.add_model("loom_b", none.clone()).unwrap();
        results.add_outcome(3, Outcome::Caught).unwrap();
        results.add_outcome(5, Outcome::OutOfTime).unwrap();
        write!(results.file, "model loom_c 7 1").unwrap();

        let again = Results::of(&path, 1).unwrap();
        assert_eq!(again.models, [("loom_a".to_owned(), model), ("loom_b".to_owned(), none)].into());
        assert_eq!(again.outcomes, [(3, Outcome::Caught), (5, Outcome::OutOfTime)].into());
        assert!(Results::of(&path, 2).unwrap().outcomes.is_empty());
        assert!(Results::of(&path, 1).unwrap().models.is_empty());
        fs::remove_file(path).unwrap();
    }
}
