//! Text that fits the terminal: tables of figures cut into pieces side by side, sentences wrapped between words.
#![forbid(unsafe_code)]

use comfy_table::{Cell, CellAlignment, ContentArrangement, Table, presets};

/// A table of figures: a name and its figures in each line, with a header over them.
#[derive(Debug, Default)]
pub(super) struct Figures {
    pub(super) header: Vec<String>,
    pub(super) lines: Vec<(String, Vec<String>)>,
}

impl Figures {
    /// The table, in as few pieces below one another as fit into `width`; each repeats the names.
    pub(super) fn fitting(&self, width: Option<usize>) -> String {
        let columns = self.header.len();
        let pieces = |count: usize| -> Vec<String> {
            (0..count).map(|i| self.piece(i * columns / count, (i + 1) * columns / count)).collect()
        };
        let fits = |pieces: &[String]| {
            let lines = || pieces.iter().flat_map(|piece| piece.lines());
            width.is_none_or(|width| lines().all(|line| line.chars().count() <= width))
        };
        let most = columns.max(1);
        (1..most).map(pieces).find(|made| fits(made)).unwrap_or_else(|| pieces(most)).join("\n")
    }

    /// The columns from `first` up to `end`; lines without any figure in them are left out.
    fn piece(&self, first: usize, end: usize) -> String {
        let right = |text: &String| Cell::new(text).set_alignment(CellAlignment::Right);
        let mut table = Table::new();
        table.load_style(presets::UTF8_BORDERS_ONLY).set_content_arrangement(ContentArrangement::Disabled);
        table.set_header(std::iter::once(Cell::new("")).chain(self.header[first..end].iter().map(right)));
        for (name, figures) in &self.lines {
            let figures = &figures[first..end];
            if figures.iter().any(|figure| !figure.is_empty()) {
                table.add_row(std::iter::once(Cell::new(name)).chain(figures.iter().map(right)));
            }
        }
        table.to_string()
    }
}

/// A sentence in lines of at most `width` characters; longer words stay whole.
pub(super) fn wrapped(sentence: &str, width: Option<usize>) -> String {
    let Some(width) = width else { return sentence.to_owned() };
    let mut text = String::new();
    let mut used = 0;
    for word in sentence.split(' ') {
        let length = word.chars().count();
        if used > 0 && used + 1 + length > width {
            text.push('\n');
            used = 0;
        } else if used > 0 {
            text.push(' ');
            used += 1;
        }
        text.push_str(word);
        used += length;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures() -> Figures {
        let header = (0..8).map(|i| format!("{i} KiB")).collect();
        let line = |name: &str| (name.to_owned(), (0..8).map(|i| format!("{i}.00 GB/s")).collect());
        Figures { header, lines: vec![line("allmende-loan (spin)"), line("pipe + pickle")] }
    }

    #[test]
    fn a_table_is_cut_to_the_width_and_loses_nothing() {
        let whole = figures().fitting(None);
        for width in [40, 80, 100] {
            let text = figures().fitting(Some(width));
            assert!(text.lines().all(|line| line.chars().count() <= width), "{width}:\n{text}");
            for i in 0..8 {
                assert_eq!(text.matches(&format!(" {i}.00 GB/s")).count(), 2, "{text}");
            }
        }
        assert_eq!(figures().fitting(Some(1000)), whole);
        assert!(figures().fitting(Some(5)).contains("7.00 GB/s"), "what cannot fit is shown all the same");
        assert!(!Figures::default().fitting(Some(80)).is_empty());
    }

    #[test]
    fn lines_without_a_figure_are_left_out_of_a_piece() {
        let mut figures = figures();
        figures.lines.push(("slots".into(), vec![String::new(); 8]));
        assert!(!figures.fitting(None).contains("slots"));
    }

    #[test]
    fn sentences_break_between_words() {
        assert_eq!(wrapped("one two three", Some(7)), "one two\nthree");
        assert_eq!(wrapped("one two three", None), "one two three");
        assert_eq!(wrapped("incomprehensible it is", Some(4)), "incomprehensible\nit\nis");
    }
}
