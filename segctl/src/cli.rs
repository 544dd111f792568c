//! The command line: what every verb shares, and which verb runs what. What a verb takes stands in the verb's file.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};

use crate::client::Client;
use crate::screen::{Format, Screen};
use crate::verbs::{
    allow, apply, check, completions, confirm, diff, doctor, explain, extend, flows, history, interfaces, man, matrix,
    pairs, quarantine, reload, report, revoke, rules, selftest, services, status, suggest, top, zones,
};

const EXIT_STATUS: &str = "\
Exit status:
  0  yes, or done
  1  the answer is no (explain: denied, diff: differs, selftest: a frame went wrong, history verify:
     tampered with)
  2  usage
  3  daemon not reached; enforcement goes on in the kernel
  4  not permitted
  5  policy invalid, or its tests fail
  6  somebody else changed the policy meanwhile";

const EXAMPLES: &str = "\
Examples:
  segctl status
  segctl explain 10.30.0.5 10.20.0.10 tcp/22
  segctl allow dev accounting tcp/22 --reason 'Disk swap' --approved-by cto@example.com
  segctl flows -f --blocked";

/// Rules with reasons, verdicts with explanations: speaks with segd.
#[derive(Debug, Parser)]
#[command(name = "segctl", version, after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{EXIT_STATUS}"))]
pub(crate) struct Cli {
    /// Where the daemon listens
    #[arg(long, global = true, env = "SEGD_SOCKET", hide_env_values = true, value_name = "PATH")]
    #[arg(help_heading = "Everywhere", default_value = segd::api::DEFAULT_SOCKET)]
    socket: PathBuf,
    /// table for people, json or yaml for programs: the same data
    #[arg(short, long, global = true, value_enum, value_name = "FORMAT", hide_possible_values = true)]
    #[arg(help_heading = "Everywhere", default_value_t)]
    output: Format,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Status(status::Args),
    Zones(zones::Args),
    Rules(rules::Args),
    Services(services::Args),
    Interfaces(interfaces::Args),
    Allow(allow::Args),
    Revoke(revoke::Args),
    Extend(extend::Args),
    Explain(explain::Args),
    Check(check::Args),
    Diff(diff::Args),
    Apply(apply::Args),
    Confirm(confirm::ConfirmArgs),
    Rollback(confirm::RollbackArgs),
    Audit(pairs::AuditArgs),
    Enforce(pairs::EnforceArgs),
    Quarantine(quarantine::QuarantineArgs),
    Release(quarantine::ReleaseArgs),
    Flows(flows::Args),
    Matrix(matrix::Args),
    Top(top::Args),
    Selftest(selftest::Args),
    Doctor(doctor::Args),
    Suggest(suggest::Args),
    Report(report::Args),
    Reload(reload::Args),
    History(history::Args),
    Completions(completions::Args),
    Man(man::Args),
}

/// What each verb is given besides its own arguments.
#[derive(Clone, Debug)]
pub(crate) struct Session {
    /// The daemon.
    pub(crate) client: Client,
    /// The output.
    pub(crate) screen: Screen,
}

impl Cli {
    /// Does what was typed.
    pub(crate) async fn run(self) -> anyhow::Result<ExitCode> {
        let session = Session { client: Client::new(&self.socket), screen: Screen { format: self.output } };
        match self.verb {
            Verb::Status(_) => status::run(&session).await,
            Verb::Zones(_) => zones::run(&session).await,
            Verb::Rules(args) => rules::run(&args, &session).await,
            Verb::Services(_) => services::run(&session).await,
            Verb::Interfaces(_) => interfaces::run(&session).await,
            Verb::Allow(args) => allow::run(args, &session).await,
            Verb::Revoke(args) => revoke::run(args, &session).await,
            Verb::Extend(args) => extend::run(args, &session).await,
            Verb::Explain(args) => explain::run(args, &session).await,
            Verb::Check(args) => check::run(&args, &session),
            Verb::Diff(args) => diff::run(&args, &session).await,
            Verb::Apply(args) => apply::run(&args, &session).await,
            Verb::Confirm(args) => confirm::confirm(args, &session).await,
            Verb::Rollback(args) => confirm::rollback(args, &session).await,
            Verb::Audit(args) => pairs::audit(args, &session).await,
            Verb::Enforce(args) => pairs::enforce(args, &session).await,
            Verb::Quarantine(args) => quarantine::quarantine(args, &session).await,
            Verb::Release(args) => quarantine::release(args, &session).await,
            Verb::Flows(args) => flows::run(args, &session).await,
            Verb::Matrix(args) => matrix::run(&args, &session).await,
            Verb::Top(args) => top::run(&args, &session).await,
            Verb::Selftest(args) => selftest::run(&args, &session).await,
            Verb::Doctor(args) => doctor::run(&args, &session).await,
            Verb::Suggest(args) => suggest::run(&args, &session).await,
            Verb::Report(args) => report::run(&args, &session).await,
            Verb::Reload(args) => reload::run(&args, &session).await,
            Verb::History(args) => history::run(args, &session).await,
            Verb::Completions(args) => completions::run(&args),
            Verb::Man(args) => man::run(&args),
        }
    }
}

/// The whole command line as clap sees it: for completions and manual pages.
#[must_use]
pub fn command() -> clap::Command {
    Cli::command()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_holds_together() {
        command().debug_assert();
    }

    #[test]
    fn every_verb_has_a_line_of_help_an_example_and_room_on_a_terminal() {
        helps(&mut command().term_width(80), "segctl");
    }

    fn helps(verb: &mut clap::Command, name: &str) {
        assert!(verb.get_about().is_some(), "{name} has no help");
        let page = verb.render_help().to_string();
        let wide: Vec<&str> = page.lines().filter(|line| line.chars().count() > 80).collect();
        assert!(wide.is_empty(), "{name} --help is wider than a terminal: {wide:#?}");
        let examples = verb.get_after_help().map(ToString::to_string).unwrap_or_default();
        assert!(examples.contains(name), "{name} has no example");
        for argument in verb.get_arguments().filter(|argument| !argument.is_hide_set()) {
            assert!(argument.get_help().is_some(), "{name}: {} is not explained", argument.get_id());
        }
        for inner in verb.get_subcommands_mut().filter(|inner| inner.get_name() != "help") {
            let name = format!("{name} {}", inner.get_name());
            helps(inner, &name);
        }
    }
}
