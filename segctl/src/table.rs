//! Tables without borders: a bold heading, columns two blanks apart, and under a row, where it has more to say, a line
//! that goes over all columns. Cells never wrap by themselves, so that a row stays a row; lists wrap at their commas.

use comfy_table::{Attribute, Cell, CellAlignment, Color, ContentArrangement, Table, presets};

use crate::words::{Page, Tone};

/// Where lines under a row begin.
const INDENT: &str = "    ";
/// Lines under a row end here even on a wider terminal: nobody reads further without losing the line.
const WIDEST: usize = 120;

/// A table that is being filled.
pub(crate) struct Grid {
    table: Table,
    rows: Vec<Row>,
    note_width: usize,
}

/// What has to be known of a row to find its lines again.
struct Row {
    above: Option<String>,
    height: usize,
    notes: Vec<String>,
}

impl Grid {
    /// An empty table. A heading that begins with `>` is a column of numbers, set to the right.
    pub(crate) fn new(headings: &[&str], page: &Page) -> Self {
        let mut table = Table::new();
        table.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled).enforce_styling();
        table.style_text_only();
        table.set_header(
            headings.iter().map(|heading| Cell::new(heading.trim_start_matches('>')).add_attribute(Attribute::Bold)),
        );
        for (column, heading) in table.column_iter_mut().zip(headings) {
            column.set_padding((0, 2));
            if heading.starts_with('>') {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        let width = page.width.map_or(usize::MAX, |columns| usize::from(columns).min(WIDEST));
        let note_width = width.saturating_sub(INDENT.len());
        Self { table, rows: Vec::new(), note_width }
    }

    /// Adds a row.
    pub(crate) fn row(&mut self, cells: Vec<Cell>) {
        let height = cells.iter().map(|cell| cell.content().lines().count()).max().unwrap_or(1).max(1);
        self.table.add_row(cells);
        self.rows.push(Row { above: None, height, notes: Vec::new() });
    }

    /// Puts a line above the last row: a name that would make its column too wide for the page.
    pub(crate) fn above(&mut self, text: &str) {
        if let Some(row) = self.rows.last_mut() {
            row.above = Some(Tone::Head.paint(text));
        }
    }

    /// Adds a line under the last row; empty text adds none. Line feeds in it are blanks: what it says must not look like
    /// another row.
    pub(crate) fn note(&mut self, text: &str) {
        let Some(row) = self.rows.last_mut() else { return };
        if !text.is_empty() {
            let lines = wrap(&text.replace('\n', " "), self.note_width);
            row.notes.extend(lines.lines().map(|line| format!("{INDENT}{}", Tone::Quiet.paint(line))));
        }
    }

    /// The table as text, without trailing blanks or a last line feed.
    pub(crate) fn text(&self) -> String {
        let mut lines = self.table.lines().map(|line| line.trim_end().to_owned());
        let mut text: Vec<String> = lines.by_ref().take(1).collect();
        for row in &self.rows {
            text.extend(row.above.clone());
            text.extend(lines.by_ref().take(row.height));
            text.extend(row.notes.iter().cloned());
        }
        text.join("\n")
    }
}

/// Whether the widest line of a table has room on the page.
pub(crate) fn fits(table: &str, page: &Page) -> bool {
    let plain = anstream::adapter::strip_str(table).to_string();
    let widest = plain.lines().map(|line| line.chars().count()).max().unwrap_or(0);
    page.width.is_none_or(|width| widest <= usize::from(width))
}

/// A plain cell.
pub(crate) fn cell(text: impl ToString) -> Cell {
    Cell::new(text)
}

/// A cell in a tone.
pub(crate) fn toned(text: impl ToString, tone: Tone) -> Cell {
    let cell = Cell::new(text);
    match tone {
        Tone::Good => cell.fg(Color::Green),
        Tone::Warn => cell.fg(Color::Yellow),
        Tone::Bad => cell.fg(Color::Red).add_attribute(Attribute::Bold),
        Tone::Quiet => cell.add_attribute(Attribute::Dim),
        Tone::Head => cell.add_attribute(Attribute::Bold),
    }
}

/// A list, broken after commas where it is wider than `width`; `none` stands for an empty one.
pub(crate) fn list(items: &[String], width: usize, none: &str) -> String {
    if items.is_empty() { none.to_owned() } else { wrap(&items.join(", "), width) }
}

/// Breaks text at its blanks so that lines have at most `width` characters, but for words that are longer themselves.
pub(crate) fn wrap(text: &str, width: usize) -> String {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_stand_under_their_own_row_even_when_the_row_has_two_lines() {
        let mut grid = Grid::new(&["NAME", ">HITS"], &Page::sample());
        grid.row(vec![cell(list(&["first".into(), "second".into()], 8, "-")), cell(1)]);
        grid.note("said of the first");
        grid.row(vec![cell("third"), cell(20)]);
        grid.note("");
        let text = anstream::adapter::strip_str(&grid.text()).to_string();
        assert_eq!(text, "NAME    HITS\nfirst,     1\nsecond\n    said of the first\nthird     20");
    }

    #[test]
    fn long_notes_wrap_at_the_page_and_not_at_all_in_a_pipe() {
        let long = "word ".repeat(30);
        for (width, lines) in [(Some(80), 2), (None, 1)] {
            let mut grid = Grid::new(&["NAME"], &Page { width, ..Page::sample() });
            grid.row(vec![cell("x")]);
            grid.note(long.trim());
            assert_eq!(grid.text().lines().count(), 2 + lines);
        }
    }
}
