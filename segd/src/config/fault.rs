//! One thing that is wrong in a zone file, and how it is shown. Must never know how faults are found.

use std::fmt::{self, Write as _};

use serde::{Deserialize, Serialize};

/// Something wrong (or worth a warning) in a zone file: where, what, and the mend.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// File as the user named it.
    pub file: String,
    /// From 1; 0 when the fault is about the file as a whole.
    pub line: u32,
    /// From 1, in characters; 0 when the fault is about the file as a whole.
    pub column: u32,
    /// What is wrong.
    pub message: String,
    /// What to write or do instead.
    pub mend: String,
    /// The line, or the part around the fault if the line is very long. Empty for a fault of the whole file.
    pub line_text: String,
    /// Where in `line_text` the fault starts, from 1 in characters.
    #[serde(default)]
    pub caret: u32,
    /// How many characters of `line_text` are meant, at least 1.
    #[serde(default)]
    pub caret_width: u32,
}

/// Everything that is wrong, over all files, in the order of files and lines. Never empty.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub struct Faults {
    /// In the order of files and lines.
    pub faults: Vec<Fault>,
    /// How many more there were than are worth keeping; 0 unless a file is wrong from end to end.
    pub left_out: usize,
}

const RED: &str = "\x1b[1;31m";
const BLUE: &str = "\x1b[34m";
const GREEN: &str = "\x1b[32m";

impl Fault {
    /// A fault of a whole file, such as one that can't be read.
    pub(super) fn of_file(file: impl Into<String>, message: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { file: file.into(), message: message.into(), mend: mend.into(), ..Self::default() }
    }

    /// `zones.yaml:12:9: what is wrong`, the line with a caret under it, and the mend. No newline at the end.
    #[must_use]
    pub fn render(&self, color: bool) -> String {
        let paint = |code: &'static str| if color { code } else { "" };
        let (red, blue, green, off) = (paint(RED), paint(BLUE), paint(GREEN), paint("\x1b[0m"));
        let mut out = String::new();
        let place =
            if self.line == 0 { self.file.clone() } else { format!("{}:{}:{}", self.file, self.line, self.column) };
        let _ = write!(out, "{place}: {red}{}{off}", self.message);
        if self.line != 0 {
            let gutter = self.line.to_string();
            let blank = " ".repeat(gutter.len());
            let lead = " ".repeat(self.caret.saturating_sub(1) as usize);
            let caret = "^".repeat(self.caret_width.max(1) as usize);
            let _ = write!(out, "\n  {blue}{gutter} |{off} {}", self.line_text);
            let _ = write!(out, "\n  {blue}{blank} |{off} {lead}{red}{caret}{off}");
        }
        if !self.mend.is_empty() {
            let _ = write!(out, "\n  {green}mend:{off} {}", self.mend);
        }
        out
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl Faults {
    /// All of them as text, a blank line between two.
    #[must_use]
    pub fn render(&self, color: bool) -> String {
        let mut parts: Vec<String> = self.faults.iter().map(|fault| fault.render(color)).collect();
        if self.left_out > 0 {
            parts.push(format!("and {} more", self.left_out));
        }
        parts.join("\n\n")
    }
}

impl From<Fault> for Faults {
    fn from(fault: Fault) -> Self {
        Self { faults: vec![fault], left_out: 0 }
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}
