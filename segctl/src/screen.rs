//! Where answers are printed: as text for people, as JSON or YAML for programs, always the same data.
//! Colours are taken away here unless standard output is a terminal and `NO_COLOR` is not set; a closed pipe ends
//! the run quietly, never with a panic.

use std::io::{self, IsTerminal as _, Write as _};

use anyhow::Context as _;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::failure::is_closed_pipe;
use crate::plain::cleaned;
use crate::words::Page;

/// How answers are shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// For people.
    #[default]
    Table,
    /// For programs: the API's own objects.
    Json,
    /// The same objects as YAML.
    Yaml,
}

/// Standard output and the form in which answers go there.
#[derive(Clone, Debug)]
pub(crate) struct Screen {
    /// The form.
    pub(crate) format: Format,
}

impl Screen {
    /// Shows one answer: the object itself, or what `people` makes of it. Whoever closes the pipe has read enough, and the
    /// exit status is what it would have been.
    pub(crate) fn show<T: Serialize + DeserializeOwned>(
        &self,
        answer: &T,
        people: impl FnOnce(&T, &Page) -> String,
    ) -> anyhow::Result<()> {
        match self.put(answer, people) {
            Err(error) if is_closed_pipe(&error) => Ok(()),
            done => done,
        }
    }

    fn put<T: Serialize + DeserializeOwned>(
        &self,
        answer: &T,
        people: impl FnOnce(&T, &Page) -> String,
    ) -> anyhow::Result<()> {
        match self.format {
            Format::Table => print(&people(&cleaned(answer)?, &page())),
            Format::Json => print(&serde_json::to_string_pretty(answer).context("writing the answer as JSON")?),
            Format::Yaml => print(serde_yaml::to_string(answer).context("writing the answer as YAML")?.trim_end()),
        }
    }

    /// Shows one of a stream of answers: a line of text, a line of JSON, or a YAML document. A closed pipe is an error that
    /// ends the stream.
    pub(crate) fn show_line<T: Serialize + DeserializeOwned>(
        &self,
        answer: &T,
        people: impl FnOnce(&T, &Page) -> String,
    ) -> anyhow::Result<()> {
        match self.format {
            Format::Json => print(&serde_json::to_string(answer).context("writing the answer as JSON")?),
            Format::Yaml => {
                print("---")?;
                self.put(answer, people)
            }
            Format::Table => self.put(answer, people),
        }
    }
}

/// Today's page: the terminal's width, or none in a pipe, and the machine's clock.
pub(crate) fn page() -> Page {
    Page { width: terminal_width(), now: Timestamp::now(), clock: TimeZone::system() }
}

fn terminal_width() -> Option<u16> {
    io::stdout().is_terminal().then(|| comfy_table::Table::new().width().unwrap_or(80))
}

/// Prints text and a line feed on standard output.
pub(crate) fn print(text: &str) -> anyhow::Result<()> {
    let mut out = anstream::stdout().lock();
    writeln!(out, "{text}")
        .and_then(|()| out.flush())
        .context("the answer can't be written; a change that was asked for is made all the same: segctl history")
}

/// Says something in a conversation, on standard error: it never mixes with the answer.
pub(crate) fn say(text: &str) -> anyhow::Result<()> {
    let mut out = anstream::stderr().lock();
    writeln!(out, "{text}").context("printing on standard error")
}
