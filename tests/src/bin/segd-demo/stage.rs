//! How the demo looks: scenes, tried connections, typed commands, at 80 columns. It keeps the score.

use std::io::IsTerminal;
use std::time::Duration;

/// The terminal, and how many things did not hold.
#[derive(Debug)]
pub(crate) struct Stage {
    color: bool,
    scenes: u32,
    checked: u32,
    wrong: u32,
}

const BOLD: &str = "\x1b[1m";
const DIM: &str = "\x1b[2m";
const GREEN: &str = "\x1b[32m";
const RED: &str = "\x1b[1;31m";

impl Stage {
    /// Colours only where a person looks.
    pub(crate) fn new() -> Self {
        let color = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        Self { color, scenes: 0, checked: 0, wrong: 0 }
    }

    /// The network, before anything happens.
    pub(crate) fn opening(&self) {
        println!("{}", self.paint(BOLD, "segd: a gateway that enforces, on zones.example.yaml"));
        println!(
            "\n  accounting 10.20.0.10 ── lan20 ┐\n  dev        10.30.0.5  ── lan30 ┤ gateway ├ wan0 ── internet 198.51.100.10\
             \n  guest      10.40.0.7  ── lan40 ┘"
        );
        println!("\n{}", self.paint(DIM, "Every attempt below is made twice, over IPv4 and over IPv6."));
    }

    /// A new scene.
    pub(crate) fn scene(&mut self, title: &str, about: &str) {
        self.scenes += 1;
        println!("\n{}", self.paint(BOLD, &format!("{}. {title}", self.scenes)));
        println!("   {}\n", self.paint(DIM, about));
    }

    /// A connection that was tried in both families, and whether it went through.
    pub(crate) fn tried(&mut self, what: &str, expected: bool, outcome: [bool; 2]) {
        let words = outcome.map(|answered| if answered { "answered" } else { "silence " });
        let right = outcome == [expected; 2];
        let line = format!("{what:<42} v4 {}  v6 {}", words[0], words[1]);
        self.judged(&line, right);
    }

    /// Anything else that has to hold.
    pub(crate) fn held(&mut self, what: &str, right: bool) {
        self.judged(what, right);
    }

    /// A command as an admin types it, and what it said.
    pub(crate) fn typed(&self, words: &[&str], said: &str) {
        let quoted: Vec<_> = words.iter().map(|word| quote(word)).collect();
        for (number, line) in wrap(&format!("segctl {}", quoted.join(" ")), 72).iter().enumerate() {
            let prompt = if number == 0 { "   $ " } else { "       " };
            println!("{prompt}{}", self.paint(BOLD, line));
        }
        for line in said.lines().flat_map(|line| fold(line, 77)) {
            println!("   {line}");
        }
        println!();
    }

    /// Lines of the Prometheus page.
    pub(crate) fn page(&self, lines: &[&str]) {
        println!("   $ {}", self.paint(BOLD, "curl -s http://127.0.0.1:9798/metrics | grep blocked_flows"));
        for line in lines {
            // One series is wider than a terminal: its labels go to a line of their own.
            println!("   {}", line.replacen('{', "\n     {", 1));
        }
        println!();
    }

    /// The score; whether everything held.
    pub(crate) fn closing(&self, took: Duration) -> bool {
        let seconds = took.as_secs_f32();
        println!();
        if self.wrong == 0 {
            println!("{}", self.paint(GREEN, &format!("All {} checks held, in {seconds:.1} s.", self.checked)));
        } else {
            println!("{}", self.paint(RED, &format!("{} of {} checks did NOT hold.", self.wrong, self.checked)));
        }
        self.wrong == 0
    }

    fn judged(&mut self, line: &str, right: bool) {
        self.checked += 1;
        if right {
            println!("   {} {line}", self.paint(GREEN, "✔"));
        } else {
            self.wrong += 1;
            println!("   {} {line}  {}", self.paint(RED, "✘"), self.paint(RED, "WRONG"));
        }
    }

    fn paint(&self, style: &str, text: &str) -> String {
        if self.color { format!("{style}{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// As a shell wants it.
fn quote(word: &str) -> String {
    if word.contains(' ') { format!("\"{word}\"") } else { word.to_owned() }
}

/// Breaks a long line between words, as a narrow terminal does, and keeps its indentation.
fn fold(text: &str, width: usize) -> Vec<String> {
    let indent = text.len() - text.trim_start().len();
    if text.chars().count() <= width {
        return vec![text.to_owned()];
    }
    let mut lines = vec![" ".repeat(indent)];
    for word in text.split_whitespace() {
        let line = lines.last_mut().filter(|line| line.chars().count() + 1 + word.chars().count() <= width);
        match line {
            Some(line) if line.trim().is_empty() => line.push_str(word),
            Some(line) => *line = format!("{line} {word}"),
            None => lines.push(format!("{}{word}", " ".repeat(indent + 2))),
        }
    }
    lines
}

/// Breaks before options, so that no line is longer than `width`.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for part in text.split(" --") {
        let part = if lines.is_empty() { part.to_owned() } else { format!("--{part}") };
        match lines.last_mut() {
            Some(line) if line.len() + 1 + part.len() + 2 <= width => {
                line.push(' ');
                line.push_str(&part);
            }
            Some(line) => {
                line.push_str(" \\");
                lines.push(part);
            }
            None => lines.push(part),
        }
    }
    lines
}
