//! `cargo xtask mutate-orderings`: do the models notice a memory ordering that is too weak?
//!
//! Works on a copy of the tree in which every place that orders memory stands behind a switch: an
//! `Ordering` that becomes `Relaxed`, a fence or barrier that goes away. The copy is built once; each
//! model runs once as it is, which tells what places it reaches; then, for one place after the other,
//! the models that reach it run with that place weak, the quickest first, until one fails (or hangs).
//! What survives must be explained in `docs/orderings-survivors.md`.
//!
//! What is known of a tree is kept: a run that was cut off goes on where it was.

mod explained;
mod models;
mod places;
mod report;
mod results;
// Compiled into the copy; here for its tests only.
#[cfg(test)]
mod switch;
mod tree;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use explained::Explained;
use models::{Models, source_of};
use places::Place;
use report::Report;
use results::{End, Model, Results};
use tree::Tree;

const EXPLAINED: &str = "docs/orderings-survivors.md";

/// Which files are weakened, what must notice, and how.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Wanted<'a> {
    /// What the file's path must contain.
    path: &'a str,
    /// What the models' names must contain.
    models: &'a str,
    /// How many run at a time; by default as many as there are cores.
    jobs: Option<u32>,
    /// How long new ones begin.
    within: Option<Duration>,
}

impl<'a> Wanted<'a> {
    /// Reads the command's arguments.
    pub(crate) fn read(mut arguments: &[&'a str]) -> Result<Self, String> {
        let number =
            |word: &str| word.parse().map_err(|_| format!("mutate-orderings: `{word}` is no number"));
        let mut wanted = Self::default();
        loop {
            arguments = match arguments {
                [] => return Ok(wanted),
                ["--jobs", jobs, rest @ ..] => {
                    wanted.jobs = Some(number(jobs)?);
                    rest
                }
                ["--within", seconds, rest @ ..] => {
                    wanted.within = Some(Duration::from_secs(u64::from(number(seconds)?)));
                    rest
                }
                ["--only", path, models, rest @ ..] if !models.starts_with("--") => {
                    (wanted.path, wanted.models) = (path, models);
                    rest
                }
                ["--only", path, rest @ ..] => {
                    wanted.path = path;
                    rest
                }
                [other, ..] => return Err(format!("mutate-orderings: what is `{other}`?")),
            }
        }
    }
}

/// Runs the models over all that is wanted; whether enough was caught.
pub(crate) fn run(wanted: &Wanted<'_>) -> Result<bool, String> {
    let page = crate::root().join(EXPLAINED);
    let page = fs::read_to_string(page).map_err(|error| format!("{EXPLAINED}: {error}"))?;
    let explained = Explained::read(&page);
    let folder = crate::target().join("mutants");
    let tree = Tree::copy(&crate::root(), folder.join("tree"), &crate::target())?;
    println!("building the models, each place behind a switch");
    let models = Models::build(&tree, &folder.join("target"))?;
    let mut names = models.names()?;
    let sources = names.iter().map(|name| source_of(name)).collect();
    let own = |name: &str| tree.fingerprint_of(&source_of(name));
    let results = Results::of(&folder.join("results"), tree.fingerprint_without(&sources), own);
    let results = results.map_err(|error| format!("{}: {error}", folder.display()))?;
    names.retain(|name| name.contains(wanted.models));
    let end = wanted.within.map(|within| Instant::now() + within);
    let run = Run { wanted, tree, models, results: Mutex::new(results), end };

    if run.look_at_models(&names, &folder)? {
        run.weaken()?;
        let all = wanted.path.is_empty() && wanted.models.is_empty();
        Ok(run.report(&explained).conclude(&explained, all))
    } else {
        println!("not all models were looked at: the same command goes on with them");
        Ok(false)
    }
}

struct Run<'a> {
    wanted: &'a Wanted<'a>,
    tree: Tree,
    models: Models,
    results: Mutex<Results>,
    end: Option<Instant>,
}

impl Run<'_> {
    /// Runs each model as it is; whether there was time for all.
    fn look_at_models(&self, names: &[String], folder: &Path) -> Result<bool, String> {
        let known = |name: &&String| self.results().models.contains_key(*name);
        let todo: Vec<_> = names.iter().filter(|name| !known(name)).collect();
        self.side_by_side(&todo, |number, name| {
            let (takes, reaches) = self.models.reached(name, &folder.join(format!("reached.{number}")))?;
            let (seconds, places) = (takes.as_secs_f64(), reaches.len());
            println!("[{:3}/{}] {name} reaches {places} places ({seconds:.1} s)", number + 1, todo.len());
            let model = Model { takes, reaches };
            self.results().add_model(name, self.own(name), model).map_err(|error| error.to_string())
        })?;
        Ok(names.iter().all(|name| known(&name)))
    }

    /// Weakens each place that is wanted and of which not all is known.
    fn weaken(&self) -> Result<(), String> {
        let is_new = |&place: &usize| self.end_of(place).is_none();
        let todo: Vec<_> = self.places().filter(is_new).collect();
        self.side_by_side(&todo, |number, &place| {
            let started = Instant::now();
            let by = self.weaken_one(place)?;
            let word = self.end_of(place).map_or("unfinished", |end| match end {
                End::Failed => "caught",
                End::Hung => "hung",
                End::Passed => "SURVIVED",
                End::OutOfTime => "OUT OF TIME",
            });
            let (file, Place { line, function, change, .. }) = &self.tree.places[place];
            let number = format!("[{:3}/{}]", number + 1, todo.len());
            let seconds = started.elapsed().as_secs_f64();
            println!("{number} {word:11} {file}:{line}, {function}: {change} ({by}{seconds:.1} s)");
            Ok(())
        })
    }

    /// Runs the models that reach a place, until one notices, and says which.
    fn weaken_one(&self, place: usize) -> Result<String, String> {
        for (takes, name) in self.models_of(place) {
            if self.results().end(place, &name).is_some() {
                continue;
            }
            if self.is_over() {
                break;
            }
            // Weaker orderings mean more interleavings.
            let limit = Duration::from_secs(10) + takes * 4;
            let end = self.models.weakened(&name, place, limit)?;
            let own = self.own(&name);
            self.results().add_end(&name, own, place, end).map_err(|error| error.to_string())?;
            if matches!(end, End::Failed | End::Hung) {
                return Ok(format!("{}, ", name.rsplit(':').next().unwrap_or_default()));
            }
        }
        Ok(String::new())
    }

    /// What is known of a place: how the model that notices ended, or all of them; `None`: not all is known.
    /// A place that no model reaches, or could notice, passes.
    fn end_of(&self, place: usize) -> Option<End> {
        let models = self.models_of(place);
        let ends: Vec<_> = models.iter().map(|(_, name)| self.results().end(place, name)).collect();
        let has = |end: End| ends.contains(&Some(end)).then_some(end);
        let all = (!ends.contains(&None)).then_some(End::Passed);
        has(End::Failed).or(has(End::Hung)).or(all.map(|passed| has(End::OutOfTime).unwrap_or(passed)))
    }

    /// The wanted models that reach a place, the quickest first.
    fn models_of(&self, place: usize) -> Vec<(Duration, String)> {
        if !self.tree.places[place].1.can_be_noticed() {
            return Vec::new();
        }
        let results = self.results();
        let models = results.models.iter();
        let models = models
            .filter(|(name, model)| name.contains(self.wanted.models) && model.reaches.contains(&place));
        let mut models: Vec<_> = models.map(|(name, model)| (model.takes, name.clone())).collect();
        models.sort();
        models
    }

    fn report(&self, explained: &Explained) -> Report {
        let all = self.results().models.values().flat_map(|model| model.reaches.clone()).collect::<Vec<_>>();
        let files: BTreeSet<_> = all.iter().map(|&place| &self.tree.places[place].0).collect();
        let mut report = Report::default();
        for number in self.places() {
            let (file, place) = &self.tree.places[number];
            match self.end_of(number) {
                _ if !files.contains(file) => report.add_beside(file, explained),
                Some(end) => report.add(file, place, end, explained),
                None => report.add_unfinished(),
            }
        }
        report
    }

    /// The places in files that are wanted.
    fn places(&self) -> impl Iterator<Item = usize> {
        (0..self.tree.places.len()).filter(|&place| self.tree.places[place].0.contains(self.wanted.path))
    }

    fn own(&self, model: &str) -> u64 {
        self.tree.fingerprint_of(&source_of(model))
    }

    /// Whether nothing more is to begin.
    fn is_over(&self) -> bool {
        self.end.is_some_and(|end| Instant::now() > end)
    }

    fn results(&self) -> std::sync::MutexGuard<'_, Results> {
        self.results.lock().expect("nobody panics with them")
    }

    /// Does each of `todo`, told its number, several at a time; begins none after the end.
    fn side_by_side<T: Sync>(
        &self,
        todo: &[T],
        work: impl Fn(usize, &T) -> Result<(), String> + Sync,
    ) -> Result<(), String> {
        let cores = || std::thread::available_parallelism().map_or(1, usize::from);
        let jobs = self.wanted.jobs.map_or_else(cores, |jobs| jobs as usize).clamp(1, todo.len().max(1));
        let (next, failed) = (Mutex::new(todo.iter().enumerate()), Mutex::new(None));
        std::thread::scope(|scope| {
            for _ in 0..jobs {
                scope.spawn(|| {
                    let stop = || self.is_over() || failed.lock().expect("nobody panics with it").is_some();
                    while !stop() {
                        let following = next.lock().expect("nobody panics with it").next();
                        let Some((number, item)) = following else { break };
                        if let Err(error) = work(number, item) {
                            *failed.lock().expect("nobody panics with it") = Some(error);
                        }
                    }
                });
            }
        });
        failed.into_inner().expect("nobody panics with it").map_or(Ok(()), Err)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_come_in_any_order() {
        let read = Wanted::read(&["--within", "60", "--only", "core.rs", "loom_slots", "--jobs", "1"]);
        let within = Some(Duration::from_mins(1));
        assert_eq!(read, Ok(Wanted { path: "core.rs", models: "loom_slots", jobs: Some(1), within }));
        let read = Wanted::read(&["--only", "core.rs", "--jobs", "2"]);
        assert_eq!(read, Ok(Wanted { path: "core.rs", jobs: Some(2), ..Wanted::default() }));
        assert!(Wanted::read(&["--hot"]).is_err() && Wanted::read(&["--jobs", "x"]).is_err());
    }
}
