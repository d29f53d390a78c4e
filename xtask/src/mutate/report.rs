//! The closing table, and what of it is still to be caught or explained.

use std::collections::{BTreeMap, BTreeSet};

use super::EXPLAINED;
use super::explained::Explained;
use super::places::Place;
use super::results::End;

const WANTED_PERCENT: usize = 95;

/// What came of the places of one file.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Row {
    places: usize,
    caught: usize,
    hung: usize,
    explained: usize,
    survived: usize,
}

/// All that is known of the wanted files.
#[derive(Default)]
pub(crate) struct Report {
    /// Files that models run, and those places of them that are done.
    rows: BTreeMap<String, Row>,
    /// Files that no model runs, with the number of their places.
    beside: BTreeMap<String, usize>,
    /// To be caught or explained, ready to paste.
    wanting: Vec<String>,
    /// File and function, and the line, of what survived.
    lines: BTreeSet<(String, String)>,
    unfinished: usize,
}

impl Report {
    /// A place of a file that no model runs.
    pub(crate) fn add_beside(&mut self, file: &str, explained: &Explained) {
        let places = self.beside.entry(file.to_owned()).or_default();
        *places += 1;
        if *places == 1 && !explained.has_file(file) {
            self.wanting.push(format!("| {file} | … |"));
        }
    }

    /// A place of another file.
    pub(crate) fn add(&mut self, file: &str, place: &Place, end: End, explained: &Explained) {
        let row = self.rows.entry(file.to_owned()).or_default();
        row.places += 1;
        match end {
            End::Failed => row.caught += 1,
            End::Hung => row.hung += 1,
            End::Passed | End::OutOfTime => {
                let function = format!("{file}:{}", place.function);
                if explained.has_line(&function, &place.text) {
                    row.explained += 1;
                } else {
                    row.survived += 1;
                    self.wanting.push(format!("| {function} | `{}` | … |", place.text.replace('|', "\\|")));
                }
                self.lines.insert((function, place.text.clone()));
            }
        }
    }

    /// A place that is left for another run.
    pub(crate) fn add_unfinished(&mut self) {
        self.unfinished += 1;
    }

    /// Shows all; whether it is enough. `all`: nothing was left out, so that a row that explains nothing shows.
    pub(crate) fn conclude(&self, explained: &Explained, all: bool) -> bool {
        let width = self.rows.keys().map(String::len).max().unwrap_or_default();
        println!("\n{:width$}  places  caught  hung  explained  survived", "file");
        let mut sum = Row::default();
        for (file, row) in &self.rows {
            println!("{file:width$}  {}", row.numbers());
            sum.add(row);
        }
        println!("{:width$}  {}", "", sum.numbers());
        if !self.beside.is_empty() {
            let places: usize = self.beside.values().sum();
            println!("\nBeside them {places} places in {} files that no model runs.", self.beside.len());
        }
        if !self.wanting.is_empty() {
            println!("\nTo be caught by a model, or explained in {EXPLAINED}:");
            for row in &self.wanting {
                println!("{row}");
            }
        }
        if self.unfinished > 0 {
            println!("\n{} places are left: the same command goes on with them", self.unfinished);
            return false;
        }
        let needless = explained.needless(&self.lines, &self.beside.keys().cloned().collect());
        if all && !needless.is_empty() {
            println!("\nExplained in {EXPLAINED}, but caught or not there:");
            for row in needless {
                println!("{row}");
            }
        }
        let (caught, counted) = (sum.caught + sum.hung, sum.caught + sum.hung + sum.survived);
        let enough = caught * 100 >= counted * WANTED_PERCENT;
        let verdict = if enough { "enough" } else { "too few" };
        println!("\n{caught} of {counted} caught, {} explained beside them: {verdict}", sum.explained);
        enough
    }
}

impl Row {
    fn add(&mut self, other: &Self) {
        self.places += other.places;
        self.caught += other.caught;
        self.hung += other.hung;
        self.explained += other.explained;
        self.survived += other.survived;
    }

    fn numbers(&self) -> String {
        let Self { places, caught, hung, explained, survived } = self;
        format!("{places:6}  {caught:6}  {hung:4}  {explained:9}  {survived:8}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mutate::places::places;

    #[test]
    fn what_survives_counts_against_unless_it_is_explained() {
        let places = places("fn f() {\na(Ordering::Acquire);\nb(Ordering::Release);\n}\n").unwrap();
        let explained = Explained::read("| x.rs:f | `b(Ordering::Release);` | so | \n| y.rs | why |");
        let mut report = Report::default();
        report.add("x.rs", &places[0], End::Failed, &explained);
        report.add("x.rs", &places[1], End::OutOfTime, &explained);
        report.add_beside("y.rs", &explained);
        assert_eq!(report.rows["x.rs"], Row { places: 2, caught: 1, explained: 1, ..Row::default() });
        assert!(report.wanting.is_empty() && report.conclude(&explained, true));

        report.add("x.rs", &places[0], End::Passed, &explained);
        report.add_beside("z.rs", &explained);
        assert_eq!(report.wanting, ["| x.rs:f | `a(Ordering::Acquire);` | … |", "| z.rs | … |"]);
        assert!(!report.conclude(&explained, true));
    }
}
