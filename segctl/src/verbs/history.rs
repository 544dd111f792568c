//! `segctl history`: who changed what, when and why; and whether that is still what was written.

use std::process::ExitCode;

use segd::api::types::{HistoryEntry, HistoryReport};

use crate::cli::Session;
use crate::client::Call;
use crate::failure::NO;
use crate::table::{Grid, cell};
use crate::words::{Page, Tone, moment, number_of};

const EXAMPLES: &str = "\
Each entry carries the hash of the one before it: an edit, a deletion or another order is found by verify. Whoever can
write the file can also cut its end off, or write all of it anew: that is found with a hash that you noted elsewhere.

Examples:
  segctl history
  segctl history --last 20 -o json
  segctl history verify
  segctl history verify --head 3f6c…";

/// Who changed what, when and why
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, args_conflicts_with_subcommands = true, disable_help_subcommand = true)]
pub(crate) struct Args {
    /// Only so many entries, the latest
    #[arg(long, value_name = "N")]
    last: Option<usize>,
    #[command(subcommand)]
    what: Option<What>,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Is the history what was written? Exit status 1 if not
    #[command(after_help = "Examples:\n  segctl history verify\n  segctl history verify --head HASH")]
    Verify {
        /// The hash of an entry, noted elsewhere, that has to be in it
        #[arg(long, value_name = "HASH")]
        head: Option<String>,
    },
}

/// Lists, or verifies.
pub(crate) async fn run(args: Args, session: &Session) -> anyhow::Result<ExitCode> {
    if let Some(What::Verify { head }) = args.what {
        return verify(head, session).await;
    }
    let last = args.last.map(|last| last.to_string());
    let pairs: Vec<(&str, &str)> = last.iter().map(|last| ("last", last.as_str())).collect();
    let entries: Vec<HistoryEntry> = session.client.send(Call::get("/v1/history").query(&pairs)).await?.body;
    session.screen.show(&entries, |entries, page| text(entries, page))?;
    Ok(ExitCode::SUCCESS)
}

async fn verify(head: Option<String>, session: &Session) -> anyhow::Result<ExitCode> {
    let pairs: Vec<(&str, &str)> = head.iter().map(|head| ("head", head.as_str())).collect();
    let report: HistoryReport = session.client.send(Call::get("/v1/history/verify").query(&pairs)).await?.body;
    session.screen.show(&report, |report, _| verdict(report))?;
    Ok(if report.intact { ExitCode::SUCCESS } else { ExitCode::from(NO) })
}

fn text(entries: &[HistoryEntry], page: &Page) -> String {
    if entries.is_empty() {
        return "nothing was changed yet".into();
    }
    let mut grid = Grid::new(&[">NO", "WHEN", "WHO", "WHAT", ">GENERATION"], page);
    for entry in entries {
        let what =
            entry.object.as_ref().map_or_else(|| entry.verb.clone(), |object| format!("{} {object}", entry.verb));
        grid.row(vec![
            cell(entry.number),
            cell(moment(entry.time, page)),
            cell(who(entry)),
            cell(what),
            cell(entry.generation),
        ]);
        grid.note(entry.reason.as_deref().unwrap_or_default());
    }
    format!("{}\n\n  to see that nobody tampered with it: segctl history verify", grid.text())
}

/// The login, and by which user it acted if that is another one.
fn who(entry: &HistoryEntry) -> String {
    match entry.loginuid {
        Some(login) if login != entry.uid && entry.uid == 0 => format!("{} (as root)", entry.user),
        Some(login) if login != entry.uid => format!("{} (as {})", entry.user, entry.uid),
        _ => entry.user.clone(),
    }
}

fn verdict(report: &HistoryReport) -> String {
    let HistoryReport { entries, head, file, .. } = report;
    let count = number_of(usize::try_from(*entries).unwrap_or(usize::MAX), "change");
    match &report.fault {
        None => format!(
            "{}  {count} in {file}\n  head {head}\n  note it elsewhere; later: segctl history verify --head {head}",
            Tone::Good.paint("INTACT")
        ),
        Some(fault) => format!(
            "{}  {file}: {fault}\n  the {count} before it are as they were written; compare with a backup, and with the daemon's log",
            Tone::Bad.paint("TAMPERED")
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry() -> HistoryEntry {
        HistoryEntry {
            number: 12,
            time: "2026-11-23T19:00:00Z".parse().unwrap(),
            uid: 0,
            loginuid: Some(1000),
            user: "alice".into(),
            verb: "revoke".into(),
            object: Some("dev-reads-ledger".into()),
            reason: Some("Project has ended".into()),
            before: None,
            after: None,
            generation: 9,
            previous: "00".into(),
            hash: "11".into(),
        }
    }

    #[test]
    fn an_entry_says_who_did_what_and_why() {
        let by_itself =
            HistoryEntry { number: 13, user: "segd".into(), loginuid: None, reason: None, object: None, ..entry() };
        let shown = anstream::adapter::strip_str(&text(&[entry(), by_itself], &Page::sample())).to_string();
        assert_eq!(
            shown,
            "\
NO  WHEN                 WHO              WHAT                     GENERATION
12  2026-11-23 19:00:00  alice (as root)  revoke dev-reads-ledger           9
    Project has ended
13  2026-11-23 19:00:00  segd             revoke                            9

  to see that nobody tampered with it: segctl history verify"
        );
        assert_eq!(text(&[], &Page::sample()), "nothing was changed yet");
    }

    #[test]
    fn a_fault_is_told_with_what_is_still_to_be_trusted() {
        let whole = HistoryReport { intact: true, entries: 2, head: "ab".into(), fault: None, file: "h".into() };
        let shown = |report: &HistoryReport| anstream::adapter::strip_str(&verdict(report)).to_string();
        assert!(shown(&whole).starts_with("INTACT  2 changes in h\n  head ab\n"), "{}", shown(&whole));
        let broken = HistoryReport { intact: false, fault: Some("line 3: it is no entry".into()), ..whole };
        assert!(shown(&broken).starts_with("TAMPERED  h: line 3: it is no entry\n  the 2 changes before it"));
    }
}
