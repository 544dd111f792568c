//! What became of each bug, as a table for people and as JSON for programs: the same data.

use std::time::Duration;

use serde_json::{Value, json};

use super::hunt::Fate;
use super::patch::Mutant;

/// One bug and what became of it.
pub(super) struct Row {
    pub(super) mutant: Mutant,
    pub(super) fate: Fate,
    pub(super) took: Duration,
}

impl Row {
    /// Whether nothing is to be done about it.
    pub(super) fn is_good(&self) -> bool {
        match self.fate {
            Fate::Caught(_) => true,
            Fate::Survived => self.mutant.equivalent.is_some(),
            Fate::DoesNotApply(_) | Fate::DoesNotBuild(_) => false,
        }
    }

    /// The word for it, and what goes with it.
    fn outcome(&self) -> (&'static str, &str) {
        match (&self.fate, &self.mutant.equivalent) {
            (Fate::Caught(by), _) => ("caught", by),
            (Fate::Survived, Some(why)) => ("equivalent", why),
            (Fate::Survived, None) => ("survived", ""),
            (Fate::DoesNotApply(why), _) => ("does-not-apply", why),
            (Fate::DoesNotBuild(why), _) => ("does-not-build", why),
        }
    }

    /// One line of the table: what stands in its last two columns may be long.
    pub(super) fn line(&self) -> [String; 4] {
        let (word, more) = self.outcome();
        let more = more.lines().find(|line| line.contains("error")).or(more.lines().next()).unwrap_or_default();
        let fate = match self.fate {
            Fate::Caught(_) => more.to_owned(),
            _ if more.is_empty() => word.to_uppercase(),
            _ => format!("{}: {more}", word.to_uppercase()),
        };
        [self.mutant.name.clone(), self.mutant.room.clone(), self.took.as_secs().to_string(), fate]
    }
}

/// The score in one line.
pub(super) fn score(rows: &[Row]) -> String {
    let caught = rows.iter().filter(|row| matches!(row.fate, Fate::Caught(_))).count();
    let explained = rows.iter().filter(|row| row.fate == Fate::Survived && row.is_good()).count();
    let open = rows.iter().filter(|row| !row.is_good()).count();
    let explained =
        if explained == 0 { String::new() } else { format!(", {explained} change nothing that can be seen") };
    format!("{caught} of {} seeded bugs caught{explained}, {open} to look at", rows.len())
}

/// Columns two blanks apart, numbers to the right.
pub(super) fn table(headings: &[&str], rows: &[Vec<String>]) -> String {
    let cells = |column: usize| rows.iter().map(move |row| row[column].as_str()).chain([headings[column]]);
    let widths: Vec<usize> =
        (0..headings.len()).map(|column| cells(column).map(|cell| cell.chars().count()).max().unwrap_or(0)).collect();
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let padded = cells.zip(&widths).map(|(cell, width)| {
            if cell.starts_with(|first: char| first.is_ascii_digit()) && cell.parse::<u64>().is_ok() {
                format!("{cell:>width$}")
            } else {
                format!("{cell:<width$}")
            }
        });
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    let head = line(&mut headings.iter().copied());
    let body = rows.iter().map(|row| line(&mut row.iter().map(String::as_str)));
    [head].into_iter().chain(body).collect::<Vec<_>>().join("\n")
}

/// Everything, for programs.
pub(super) fn json(rows: &[Row]) -> Value {
    let caught = rows.iter().filter(|row| matches!(row.fate, Fate::Caught(_))).count();
    let row = |row: &Row| {
        let (outcome, more) = row.outcome();
        let Mutant { name, room, story, .. } = &row.mutant;
        let by = matches!(row.fate, Fate::Caught(_)).then_some(more);
        let why = (by.is_none() && !more.is_empty()).then_some(more);
        json!({
            "name": name, "room": room, "story": story, "outcome": outcome, "caught_by": by, "why": why,
            "seconds": row.took.as_secs(),
        })
    };
    json!({ "caught": caught, "of": rows.len(), "mutants": rows.iter().map(row).collect::<Vec<_>>() })
}
