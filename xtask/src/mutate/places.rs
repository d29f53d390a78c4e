//! Where a source orders memory, and the source with a switch at each such place.

use std::ops::Range;

const STRONG: &[&str] = &["Acquire", "Release", "AcqRel", "SeqCst"];
/// Calls that order without a value, as statements of their own.
const FENCES: &[&str] = &["fence", "compiler_fence", "light_barrier", "heavy_barrier", "fence_behind_rmw"];
const ORDERING: &str = "Ordering::";

/// One place that can be weakened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    /// Counted from 1.
    pub(crate) line: usize,
    /// The function that it stands in.
    pub(crate) function: String,
    /// The whole line, trimmed.
    pub(crate) text: String,
    /// What its weakening does.
    pub(crate) change: String,
    /// Its bytes in the source: an ordering with its path, or the statement that is a fence.
    at: Range<usize>,
    is_fence: bool,
}

impl Place {
    /// Whether a model could notice: its threads take their steps in the order of the program.
    pub(crate) fn can_be_noticed(&self) -> bool {
        !(self.is_fence && self.text.contains("compiler_fence"))
    }
}

/// Every place of `source`, outside tests and comments; or the line of a fence that is no statement.
pub(crate) fn places(source: &str) -> Result<Vec<Place>, usize> {
    let mut places = Vec::new();
    let (mut offset, mut function) = (0, "");
    let tested = test_lines(source);
    for (index, line) in source.split_inclusive('\n').enumerate() {
        let code = line.split("//").next().unwrap_or_default();
        if let Some((_, name)) = code.split_once("fn ") {
            function = name.split(is_punctuation).next().unwrap_or_default();
        }
        let mut add = |at: Range<usize>, is_fence: bool, change: String| {
            places.push(Place {
                line: index + 1,
                function: function.to_owned(),
                text: line.trim().to_owned(),
                change,
                at: offset + at.start..offset + at.end,
                is_fence,
            });
        };
        if tested[index] {
        } else if is_fence(code) {
            let statement = code.trim();
            let start = code.len() - code.trim_start().len();
            add(start..start + statement.len(), true, format!("`{statement}` removed"));
        } else {
            for (at, word) in orderings(code) {
                // It cannot be Relaxed.
                if code[..at.start].ends_with("fence(") {
                    return Err(index + 1);
                }
                add(at, false, format!("{word} → Relaxed"));
            }
        }
        offset += line.len();
    }
    Ok(places)
}

/// `source` with each of its places behind a switch; they are numbered from `first`.
pub(crate) fn with_switches(source: &str, places: &[Place], first: usize) -> String {
    let (mut switched, mut done) = (String::new(), 0);
    for (number, place) in (first..).zip(places) {
        let strong = &source[place.at.clone()];
        switched.push_str(&source[done..place.at.start]);
        let (before, after) = if place.is_fence {
            (format!("if !crate::atomic::removed({number}) {{ "), " }")
        } else {
            (format!("crate::atomic::mutated({number}, "), ")")
        };
        switched.extend([&before, strong, after]);
        done = place.at.end;
    }
    switched.push_str(&source[done..]);
    switched
}

/// The strong orderings of a line, each with the path that leads to it.
fn orderings(code: &str) -> impl Iterator<Item = (Range<usize>, &str)> {
    code.match_indices(ORDERING).filter_map(|(found, _)| {
        let name = found + ORDERING.len();
        let word = code[name..].split(is_punctuation).next().unwrap_or_default();
        let path = code[..found].trim_end_matches(|c| c == ':' || !is_punctuation(c)).len();
        STRONG.contains(&word).then_some((path..name + word.len(), word))
    })
}

/// Whether the line is one call of a fence, as a statement.
fn is_fence(code: &str) -> bool {
    let statement = code.trim();
    let Some((call, _)) = statement.split_once('(') else { return false };
    let name = call.rsplit(['.', ':']).next().unwrap_or_default();
    statement.ends_with(");") && FENCES.contains(&name)
}

fn is_punctuation(c: char) -> bool {
    !c.is_alphanumeric() && c != '_'
}

/// For each line, whether it belongs to an item under `#[cfg(test)]`, or some cfg with `test` in it.
fn test_lines(source: &str) -> Vec<bool> {
    let (mut within, mut depth, mut opened) = (false, 0_usize, false);
    source
        .lines()
        .map(|line| {
            let code = line.split("//").next().unwrap_or_default();
            let mut words = code.split(is_punctuation);
            if !within && code.trim().starts_with("#[cfg(") && words.any(|word| word == "test") {
                (within, depth, opened) = (true, 0, false);
            }
            let skip = within;
            if within {
                depth += code.matches('{').count();
                opened |= depth > 0;
                depth = depth.saturating_sub(code.matches('}').count());
                within = !(depth == 0 && (opened || code.trim_end().ends_with(';')));
            }
            skip
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: &str = "\
fn f(&self) {
    a.swap(0, Ordering::AcqRel); // Ordering::SeqCst
    b.cas(crate::Ordering::Release, Ordering::Acquire); c.load(Ordering::Relaxed);
    #[cfg(x)]
    crate::atomic::fence(Ordering::SeqCst); // why
}
#[cfg(all(test, allmende_loom))]
mod tests {
    c.load(Ordering::Acquire);
}
fn heavy_barrier(&self);
fn g() {
    p.heavy_barrier();
}
";

    #[test]
    fn a_fence_for_the_compiler_is_nothing_to_a_model() {
        let places = places("compiler_fence(Ordering::SeqCst);\nfence(Ordering::SeqCst);\n").unwrap();
        assert_eq!([&places[0], &places[1]].map(Place::can_be_noticed), [false, true]);
    }

    #[test]
    fn orderings_and_fences_are_found_and_tests_are_not() {
        let places = places(SOURCE).unwrap();
        let found: Vec<_> =
            places.iter().map(|place| (place.line, &*place.function, &*place.change)).collect();
        let expected = [
            (2, "f", "AcqRel → Relaxed"),
            (3, "f", "Release → Relaxed"),
            (3, "f", "Acquire → Relaxed"),
            (5, "f", "`crate::atomic::fence(Ordering::SeqCst);` removed"),
            (13, "g", "`p.heavy_barrier();` removed"),
        ];
        assert_eq!(found, expected);
        assert_eq!(places[0].text, "a.swap(0, Ordering::AcqRel); // Ordering::SeqCst");
    }

    #[test]
    fn each_gets_a_switch_and_the_rest_stays() {
        let switched = with_switches(SOURCE, &places(SOURCE).unwrap(), 7);
        let expected = "\
fn f(&self) {
    a.swap(0, crate::atomic::mutated(7, Ordering::AcqRel)); // Ordering::SeqCst
    b.cas(crate::atomic::mutated(8, crate::Ordering::Release), crate::atomic::mutated(9, Ordering::Acquire)); \
                        c.load(Ordering::Relaxed);
    #[cfg(x)]
    if !crate::atomic::removed(10) { crate::atomic::fence(Ordering::SeqCst); } // why
}
";
        assert!(switched.starts_with(expected), "{switched}");
        assert!(switched.ends_with("    if !crate::atomic::removed(11) { p.heavy_barrier(); }\n}\n"));
        // Nothing but switches was added.
        assert_eq!(switched.lines().count(), SOURCE.lines().count());
    }

    #[test]
    fn a_fence_within_an_expression_is_refused() {
        assert_eq!(places("\nlet x = fence(Ordering::Acquire);\n"), Err(2));
    }
}
