//! Docs that can rot are run: the commands of the README, as far as they need neither root nor a daemon.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use segd_tests::lab::binary;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."))
}

/// The words of every line in the README that calls this program; quotes hold words together, `#` ends a line.
fn commands(program: &str) -> Result<Vec<Vec<String>>> {
    let readme = std::fs::read_to_string(root().join("README.md")).context("could not read the README")?;
    let calls = readme.lines().filter_map(|line| line.strip_prefix(program)?.strip_prefix(' '));
    Ok(calls.map(|call| words(call.split(" #").next().unwrap_or(call))).collect())
}

fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    for (index, part) in line.split('"').enumerate() {
        if index % 2 == 1 {
            words.push(part.to_owned());
        } else {
            words.extend(part.split_whitespace().map(str::to_owned));
        }
    }
    words
}

#[test]
fn every_segctl_command_of_the_readme_is_understood() -> Result<()> {
    let commands = commands("segctl")?;
    assert!(commands.len() >= 3, "{commands:?}");
    for words in commands {
        let out = Command::new(binary("segctl")?).args(["--socket", "/nonexistent/segd.sock"]).args(&words).output()?;
        // 3: understood, but no daemon answers. 2 would be a wrong word.
        assert_eq!(out.status.code(), Some(3), "segctl {words:?}: {}", String::from_utf8_lossy(&out.stderr));
    }
    Ok(())
}

#[test]
fn the_example_passes_the_check_that_the_readme_shows() -> Result<()> {
    let check: Vec<_> = commands("segd")?.into_iter().filter(|words| words[0] == "check").collect();
    assert_eq!(check.len(), 1);
    let out = Command::new(binary("segd")?).args(&check[0]).current_dir(root()).output()?;
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    Ok(())
}
