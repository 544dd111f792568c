//! The edits themselves, by yaml-edit where there is something to keep around them. None of them is trusted: whoever
//! calls them reads the outcome again. `None` where the text has not the shape that the edit needs.

use std::str::FromStr as _;

use yaml_edit::{Document, Sequence};

use crate::config::findings::Spot;

/// Appends an entry to the non-empty list under `key`.
pub(super) fn push(text: &str, key: &str, item: &str) -> Option<String> {
    let (document, list) = list(text, key)?;
    list.push(Document::from_str(item).ok()?.as_mapping()?);
    Some(document.to_string())
}

/// Removes an entry of the list under `key`.
pub(super) fn remove(text: &str, key: &str, index: usize) -> Option<String> {
    let (document, list) = list(text, key)?;
    list.remove(index)?;
    Some(document.to_string())
}

/// Sets one field of an entry of the list under `key`.
pub(super) fn set(text: &str, key: &str, index: usize, (field, value): (&str, &str)) -> Option<String> {
    let (document, list) = list(text, key)?;
    list.get(index)?.as_mapping()?.set(field, value);
    Some(document.to_string())
}

/// Appends a section with one entry to the end of the text.
pub(super) fn section(text: &str, head: &str, key: &str, item: &str) -> String {
    let mut out = with_newline(text);
    if !out.is_empty() {
        out.push('\n');
    }
    out + head + key + ":\n" + &entry(item)
}

/// Makes an entry the first of a section that has none: `rules:` with nothing behind it, or `rules: []`. A comment
/// behind it stays there.
pub(super) fn first_entry(text: &str, spot: Spot, item: &str) -> Option<String> {
    let mut out = with_newline(text);
    let mut from = spot.start;
    if out.get(from..)?.starts_with("[]") {
        let before = out[..from].trim_end_matches(' ').len();
        out.replace_range(before..from + 2, "");
        from = before;
    }
    let next_line = from + out.get(from..)?.find('\n')? + 1;
    out.insert_str(next_line, &entry(item));
    Some(out)
}

/// A mapping as an entry of a block list.
fn entry(item: &str) -> String {
    let mut out = String::new();
    for (number, line) in item.lines().enumerate() {
        out.extend([if number == 0 { "  - " } else { "    " }, line, "\n"]);
    }
    out
}

fn with_newline(text: &str) -> String {
    if text.is_empty() || text.ends_with('\n') { text.to_owned() } else { format!("{text}\n") }
}

fn list(text: &str, key: &str) -> Option<(Document, Sequence)> {
    let document = Document::from_str(text).ok()?;
    let list = document.as_mapping()?.get_sequence(key)?;
    Some((document, list))
}
