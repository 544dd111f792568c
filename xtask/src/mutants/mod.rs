//! Are the tests any good? Bugs that a reviewer may miss are put into a copy of the tree, one at a time, and the tests have
//! to notice each. It must never touch the user's own tree.

mod hunt;
mod patch;
mod report;
mod stop;

use std::collections::BTreeSet;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};

use crate::copy::Copy;
use crate::setup;
use hunt::Fate;
use patch::Mutant;
use report::Row;

/// What a person asked for.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Only these bugs: a number, or a part of a name
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// Only run the tests that each bug names: minutes, and who survives may still be caught by a whole run
    #[arg(long)]
    quick: bool,
    /// Say which bugs there are, and run nothing
    #[arg(long)]
    list: bool,
    /// How to print
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Output {
    Table,
    Json,
}

/// Hunts what was asked for, shows what became of it, and fails if anything is left to look at.
pub(crate) fn run_mutants(options: &Options) -> Result<()> {
    let mutants = chosen(options)?;
    if options.list {
        list(&mutants, options.output);
        return Ok(());
    }
    // SAFETY: a plain system call.
    if unsafe { libc::geteuid() } != 0 {
        bail!(
            "without root half of the tests skip themselves and catch nothing: \
             `sudo -E env \"PATH=$PATH\" cargo xtask mutants`"
        );
    }
    // What it says is for people.
    if options.output == Output::Table {
        setup::install()?;
    }
    stop::listen();
    let progress = progress(mutants.len() as u64)?;
    let rows = hunt_all(mutants, options.quick, &progress)?;
    progress.finish_and_clear();
    match options.output {
        Output::Json => println!("{:#}", report::json(&rows)),
        Output::Table => {
            let lines: Vec<_> = rows.iter().map(|row| row.line().to_vec()).collect();
            println!("{}", report::table(&["BUG", "ROOM", "SECONDS", "CAUGHT BY"], &lines));
        }
    }
    let score = report::score(&rows);
    if options.output == Output::Table {
        println!("{score}");
    }
    ensure!(
        rows.iter().all(Row::is_good),
        "{score}. A bug that survives wants a new test, or a line 'Equivalent: …' that says why nobody can see it; a patch \
         that does not apply or build has to be made anew: tests/mutants/README.md says how"
    );
    Ok(())
}

fn chosen(options: &Options) -> Result<Vec<Mutant>> {
    let mut mutants = Mutant::all()?;
    for word in &options.only {
        ensure!(
            mutants.iter().any(|mutant| mutant.is_meant(word)),
            "no seeded bug is called '{word}'; `cargo xtask mutants --list` says which there are"
        );
    }
    mutants.retain(|mutant| options.only.is_empty() || options.only.iter().any(|word| mutant.is_meant(word)));
    Ok(mutants)
}

fn list(mutants: &[Mutant], output: Output) {
    if output == Output::Json {
        let one = |Mutant { name, room, story, hunts, equivalent, .. }: &Mutant| json!({ "name": name, "room": room, "story": story, "tests": hunts, "equivalent": equivalent });
        println!("{:#}", mutants.iter().map(one).collect::<Value>());
        return;
    }
    let line = |mutant: &Mutant| vec![mutant.name.clone(), mutant.room.clone(), mutant.story.clone()];
    println!("{}", report::table(&["BUG", "ROOM", "STORY"], &mutants.iter().map(line).collect::<Vec<_>>()));
}

fn hunt_all(mutants: Vec<Mutant>, quick: bool, progress: &ProgressBar) -> Result<Vec<Row>> {
    let copy = Copy::new("mutants")?;
    let show = |line: &str| progress.set_message(line.to_owned());
    tell(progress, "building the tree without a bug, and running the tests that are to catch one");
    for words in mutants.iter().flat_map(|mutant| &mutant.hunts).collect::<BTreeSet<_>>() {
        hunt::is_sound(&copy, words, show)?;
    }
    let mut rows = Vec::with_capacity(mutants.len());
    for mutant in mutants {
        progress.set_prefix(mutant.name.clone());
        let begin = Instant::now();
        let fate = if let Err(why) = mutant.apply(copy.folder())? {
            Fate::DoesNotApply(why)
        } else {
            let caught = hunt::hunt(&copy, &mutant.hunts, quick, show)?;
            mutant.take_out(copy.folder())?;
            hunt::is_its_own(&copy, &mutant.hunts, &caught, show)?;
            caught.fate
        };
        let row = Row { mutant, fate, took: begin.elapsed() };
        tell(progress, &row.line().join("  "));
        progress.inc(1);
        rows.push(row);
    }
    Ok(rows)
}

fn progress(count: u64) -> Result<ProgressBar> {
    let progress = ProgressBar::new(count);
    progress.set_style(ProgressStyle::with_template("{spinner} {pos} of {len} {prefix} ({elapsed}) {wide_msg:.dim}")?);
    progress.enable_steady_tick(Duration::from_millis(120));
    Ok(progress)
}

/// Says something above the line of progress, and in a pipe too.
fn tell(progress: &ProgressBar, text: &str) {
    if std::io::stderr().is_terminal() { progress.println(text) } else { eprintln!("{text}") }
}
