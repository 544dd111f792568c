//! `segctl interfaces`: what guards each interface, and why so; those that are not enforced first.

use std::process::ExitCode;

use segd::api::types::InterfaceStatus;
use segd::datapath::Attachment;
use segd::policy::Forward;

use crate::cli::Session;
use crate::table::{Grid, cell, toned, wrap};
use crate::words::{Page, Tone};

/// Guarded interfaces: by which hook, why that one, and whether the kernel enforces it
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  segctl interfaces\n  segctl interfaces -o json | jq '.[] | select(.enforced | not)'"
)]
pub(crate) struct Args {}

/// Asks and shows.
pub(crate) async fn run(session: &Session) -> anyhow::Result<ExitCode> {
    let interfaces: Vec<InterfaceStatus> = session.client.get("/v1/interfaces").await?;
    session.screen.show(&interfaces, |interfaces, page| text(interfaces, page))?;
    Ok(ExitCode::SUCCESS)
}

/// The table, as `status` shows it too.
pub(super) fn text(interfaces: &[InterfaceStatus], page: &Page) -> String {
    if interfaces.is_empty() {
        return "no interface is guarded; look at interfaces: in the zone file, then segctl reload".into();
    }
    let mut grid = Grid::new(&["INTERFACE", "HOOK", "ENFORCED", "WHY"], page);
    let (good, bad): (Vec<_>, Vec<_>) = interfaces.iter().partition(|interface| interface.enforced);
    for interface in bad.into_iter().chain(good) {
        let (word, tone) = if interface.enforced { ("yes", Tone::Good) } else { ("NO", Tone::Bad) };
        let mut reason = interface.detail.as_ref().or(interface.why.as_ref()).cloned().unwrap_or_default();
        if interface.attachment == Attachment::Filter {
            reason.push_str("; held by filters, for this kernel has no TCX links");
        }
        match (&interface.forward_why, interface.forward) {
            (Some(why), _) => reason.extend(["; the kernel forwards: ", why]),
            (None, Forward::Shortcut) => reason.push_str("; XDP forwards what is established"),
            (None, Forward::Kernel) => {}
        }
        grid.row(vec![
            cell(&interface.name),
            cell(&interface.hook),
            toned(word, tone),
            cell(wrap(&reason, page.room(44))),
        ]);
    }
    grid.text()
}
