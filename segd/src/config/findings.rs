//! Collects what is wrong while the files are read and checked, with the place of each. Must never stop at the first.

use crate::policy::Place;

use super::fault::{Fault, Faults};

/// One file: its name as the user gave it, and what stands in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// As it is to be shown.
    pub name: String,
    /// The whole text.
    pub text: String,
}

/// A stretch of one file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Spot {
    /// Index into the sources.
    pub(super) file: usize,
    /// From 1.
    pub(super) line: u32,
    /// From 1, in characters.
    pub(super) column: u32,
    /// First byte.
    pub(super) start: usize,
    /// Behind the last byte.
    pub(super) end: usize,
}

/// Past so many faults a file is wrong from end to end, and more of them help nobody.
const KEPT: usize = 500;
/// Longer lines are cut around the fault, so that a file of one line can't be shown a thousand times.
const SHOWN: usize = 160;
/// How much is shown before the fault when a line is cut.
const LEAD: usize = 60;

/// The faults and warnings so far.
pub(super) struct Findings<'s> {
    sources: &'s [Source],
    faults: Vec<(usize, Fault)>,
    warnings: Vec<(usize, Fault)>,
    left_out: usize,
}

impl<'s> Findings<'s> {
    pub(super) fn new(sources: &'s [Source]) -> Self {
        Self { sources, faults: Vec::new(), warnings: Vec::new(), left_out: 0 }
    }

    /// Whether further faults would only be counted; then nobody needs to look for a good mend.
    pub(super) fn is_full(&self) -> bool {
        self.faults.len() >= KEPT
    }

    /// Something that refuses the policy.
    pub(super) fn fault(&mut self, spot: Spot, message: impl Into<String>, mend: impl Into<String>) {
        if self.is_full() {
            self.left_out += 1;
            return;
        }
        let fault = self.picture(spot, &message.into(), &mend.into());
        self.faults.push((spot.file, fault));
    }

    /// A fault of a whole file; `file` is its place in the order.
    pub(super) fn fault_of_file(&mut self, file: usize, fault: Fault) {
        self.faults.push((file, fault));
    }

    /// Something that a person should know and that refuses nothing.
    pub(super) fn warn(&mut self, spot: Spot, message: impl Into<String>, mend: impl Into<String>) {
        if self.warnings.len() < KEPT {
            let fault = self.picture(spot, &message.into(), &mend.into());
            self.warnings.push((spot.file, fault));
        }
    }

    /// A warning about a file as a whole.
    pub(super) fn warn_of_file(&mut self, file: usize, fault: Fault) {
        self.warnings.push((file, fault));
    }

    /// Name of a source.
    pub(super) fn name(&self, file: usize) -> &str {
        self.sources.get(file).map_or("", |source| &source.name)
    }

    /// The place that goes into the policy.
    pub(super) fn place(&self, spot: Spot) -> Place {
        Place { file: self.name(spot.file).to_owned(), line: spot.line, column: spot.column }
    }

    /// The warnings if nothing is wrong, else all faults; both in the order of files and lines.
    pub(super) fn finish(mut self) -> Result<Vec<Fault>, Faults> {
        let order = |(file, fault): &(usize, Fault)| (*file, fault.line, fault.column);
        self.faults.sort_by_key(order);
        self.warnings.sort_by_key(order);
        let strip = |found: Vec<(usize, Fault)>| found.into_iter().map(|(_, fault)| fault).collect();
        if self.faults.is_empty() {
            Ok(strip(self.warnings))
        } else {
            Err(Faults { faults: strip(self.faults), left_out: self.left_out })
        }
    }

    fn picture(&self, spot: Spot, message: &str, mend: &str) -> Fault {
        let nowhere = Source { name: String::new(), text: String::new() };
        picture(self.sources.get(spot.file).unwrap_or(&nowhere), spot, message, mend)
    }
}

/// A fault with its place and the line that it is in.
pub(super) fn picture(source: &Source, spot: Spot, message: &str, mend: &str) -> Fault {
    let (line_text, caret, caret_width) = excerpt(&source.text, spot);
    let (file, message, mend) = (source.name.clone(), spelled(message), spelled(mend));
    Fault { file, line: spot.line, column: spot.column, message, mend, line_text, caret, caret_width }
}

/// The line around a spot, at most `SHOWN` characters of it, and where in it the spot lies. What could play tricks on
/// a terminal is shown as a blank.
fn excerpt(text: &str, spot: Spot) -> (String, u32, u32) {
    let start = floor(text, spot.start);
    let before: Vec<char> = text[..start].chars().rev().take_while(|c| !is_break(*c)).take(SHOWN).collect();
    let after: Vec<char> = text[start..].chars().take_while(|c| !is_break(*c)).take(SHOWN).collect();
    let meant = text[start..floor(text, spot.end.max(start))].chars().take_while(|c| !is_break(*c)).take(SHOWN).count();
    let lead = if before.len() + after.len() > SHOWN { before.len().min(LEAD) } else { before.len() };
    let shown: String =
        before[..lead].iter().rev().chain(after.iter().take(SHOWN - lead)).map(|c| visible(*c)).collect();
    let line = shown.trim_end().to_owned();
    let room = line.chars().count().saturating_sub(lead).max(1);
    (line, lead as u32 + 1, meant.clamp(1, room) as u32)
}

/// YAML ends a line at either.
pub(super) const fn is_break(c: char) -> bool {
    matches!(c, '\n' | '\r')
}

fn visible(c: char) -> char {
    if is_trick(c) { ' ' } else { c }
}

/// Control characters, and those that hide or turn around what stands beside them.
fn is_trick(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// A message with everything spelled out that could play tricks on a terminal.
fn spelled(text: &str) -> String {
    text.chars().flat_map(|c| if is_trick(c) { c.escape_default().collect() } else { vec![c] }).collect()
}

/// The nearest character boundary at or before `at`.
fn floor(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

/// A word from a file as messages show it: in quotes, and cut if long.
pub(super) fn quoted(text: &str) -> String {
    let shown: String = text.chars().take(60).collect();
    let more = if text.chars().nth(60).is_some() { "…" } else { "" };
    format!("'{}{more}'", spelled(&shown))
}

/// The word among `known` that was probably meant.
pub(crate) fn nearest<'k>(word: &str, known: impl Iterator<Item = &'k str>) -> Option<&'k str> {
    if word.len() > 64 {
        return None;
    }
    let far = ((word.len() + 1) / 3).clamp(1, 3);
    known
        .filter(|other| other.len().abs_diff(word.len()) <= far)
        .map(|other| (strsim::osa_distance(word, other), other))
        .filter(|(distance, _)| *distance <= far)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, other)| other)
}
