//! `docs/orderings-survivors.md`: why a place may be weakened without a model that notices.

use std::collections::BTreeSet;

/// The page, as the tool reads it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Explained {
    /// File and function, and the line, of the rows `| file:function | line | reason |` that give a reason.
    lines: BTreeSet<(String, String)>,
    /// Of the rows `| file | reason |`: whole files that no model runs.
    files: BTreeSet<String>,
}

impl Explained {
    pub(crate) fn read(text: &str) -> Self {
        let mut explained = Self::default();
        for row in text.lines() {
            let Some(row) = row.trim().strip_prefix('|').and_then(|row| row.strip_suffix('|')) else {
                continue;
            };
            let row = row.replace("\\|", "\0");
            let cells = row.split('|').map(|cell| cell.trim().trim_matches('`').replace('\0', "|"));
            let mut cells: Vec<_> = cells.collect();
            let reason = cells.pop().unwrap_or_default();
            if reason.is_empty() || reason == "…" || reason.starts_with("---") || reason == "reason" {
                continue;
            }
            match <[String; 2]>::try_from(cells) {
                Ok([place, line]) => drop(explained.lines.insert((place, line))),
                Err(cells) => explained.files.extend(<[String; 1]>::try_from(cells).into_iter().flatten()),
            }
        }
        explained
    }

    pub(crate) fn has_line(&self, place: &str, line: &str) -> bool {
        self.lines.contains(&(place.to_owned(), line.to_owned()))
    }

    pub(crate) fn has_file(&self, file: &str) -> bool {
        self.files.contains(file)
    }

    /// The rows that none of `lines` and `files` needs.
    pub(crate) fn needless(
        &self,
        lines: &BTreeSet<(String, String)>,
        files: &BTreeSet<String>,
    ) -> Vec<String> {
        let lines = self.lines.difference(lines).map(|(place, line)| format!("{place}: {line}"));
        lines.chain(self.files.difference(files).cloned()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_need_a_reason() {
        let text = "| file:function | line | reason |\n| --- | --- | --- |\n\
                    | a.rs:f | `x.or(A) \\| B;` | it is so |\n| b.rs:g | `y` | … |\n\
                    | file | reason |\n| --- | --- |\n| c.rs | no model runs it |\n| d.rs | |\n";
        let explained = Explained::read(text);
        let line = ("a.rs:f".to_owned(), "x.or(A) | B;".to_owned());
        assert!(explained.has_line(&line.0, &line.1) && explained.has_file("c.rs"));
        let needless = explained.needless(&[line].into(), &BTreeSet::new());
        assert_eq!(needless, ["c.rs"]);
    }
}
