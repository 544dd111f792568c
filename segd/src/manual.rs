//! `segd man` and `segd completions`: pages and scripts made from the same command line that is parsed.

use std::fs;
use std::io::{self, Write as _};
use std::path::Path;

use anyhow::Context as _;
use clap::CommandFactory as _;
use clap_mangen::Man;

use crate::cli::{Cli, Completions, ManArgs};

/// Programs that an administrator runs.
const SECTION: &str = "8";

/// Prints segd(8), or writes it and a page for each command.
pub(crate) fn man(args: &ManArgs) -> anyhow::Result<()> {
    let Some(dir) = &args.dir else { return print(&page(Cli::command())?) };
    fs::create_dir_all(dir).with_context(|| format!("making the directory {}", dir.display()))?;
    let mut command = Cli::command();
    command.build();
    for verb in command.get_subcommands().filter(|verb| verb.get_name() != "help") {
        write(dir, verb.clone().display_name(format!("segd-{}", verb.get_name())))?;
    }
    write(dir, command)
}

fn write(dir: &Path, command: clap::Command) -> anyhow::Result<()> {
    let file = dir.join(Man::new(command.clone()).section(SECTION).get_filename());
    fs::write(&file, page(command)?).with_context(|| format!("writing {}", file.display()))
}

fn page(command: clap::Command) -> anyhow::Result<Vec<u8>> {
    let mut page = Vec::new();
    Man::new(command).section(SECTION).render(&mut page).context("making the manual page")?;
    Ok(page)
}

/// Prints what a shell needs to complete segd's command line.
pub(crate) fn completions(args: &Completions) -> anyhow::Result<()> {
    // To memory first: the generator panics on a closed pipe.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "segd", &mut script);
    print(&script)
}

/// A reader that has seen enough is no failure.
fn print(text: &[u8]) -> anyhow::Result<()> {
    match io::stdout().write_all(text) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error).context("writing to standard output"),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_a_page_in_section_8() {
        let dir = tempfile::tempdir().unwrap();
        man(&ManArgs { dir: Some(dir.path().to_owned()) }).unwrap();
        let mut pages: Vec<_> =
            fs::read_dir(dir.path()).unwrap().map(|page| page.unwrap().file_name().into_string().unwrap()).collect();
        pages.sort();
        let verbs = ["arm", "check", "completions", "man", "run", "unload"];
        let expected: Vec<_> =
            verbs.map(|verb| format!("segd-{verb}.8")).into_iter().chain(["segd.8".into()]).collect();
        assert_eq!(pages, expected);
        let arm = fs::read_to_string(dir.path().join("segd-arm.8")).unwrap();
        assert!(arm.contains(".TH segd-arm 8") && arm.contains("state\\-dir"), "{arm}");
    }
}
