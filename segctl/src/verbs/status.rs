//! `segctl status`: is every guarded interface enforced, by what, since when. Anything amiss comes first.

use std::fmt::Write as _;
use std::process::ExitCode;

use segd::api::types::{Coverage, InterfaceStatus, PendingView, State, Status, TableFill};
use segd::datapath::Attachment;
use segd::engine::FirstBoot;

use super::interfaces;
use crate::cli::Session;
use crate::words::{Page, Tone, ago, moment, number_of, span};

/// Is every guarded interface enforced, and by what; anything amiss first
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  segctl status\n  segctl status -o json | jq -r .state")]
pub(crate) struct Args {}

/// Asks and shows.
pub(crate) async fn run(session: &Session) -> anyhow::Result<ExitCode> {
    let status: Status = session.client.get("/v1/status").await?;
    session.screen.show(&status, text)?;
    Ok(ExitCode::SUCCESS)
}

fn text(status: &Status, page: &Page) -> String {
    let mut text = headline(status, page);
    for amiss in &status.amiss {
        let _ = write!(text, "\n  {} {}\n    mend: {}", Tone::Bad.paint("!"), amiss.what, amiss.mend);
    }
    if let Some(pending) = &status.pending {
        let _ = write!(text, "\n  {}", trial(pending, page));
    }
    if !status.quarantined.is_empty() {
        let who: Vec<&str> = status.quarantined.iter().map(|entry| entry.target.as_str()).collect();
        let _ = write!(text, "\n  {} cut off: {}\n    why: segctl quarantine", Tone::Warn.paint("?"), who.join(", "));
    }
    let _ = write!(text, "\n\n{}\n\n{}", interfaces::text(&status.interfaces, page), facts(status, page));
    text
}

/// A policy that waits for its confirmation, and what to type.
fn trial(pending: &PendingView, page: &Page) -> String {
    let PendingView { generation, confirm_by, falls_back_to } = pending;
    let left = span(confirm_by.duration_since(page.now));
    format!(
        "{} generation {generation} is on trial until {} ({left} left); then the old policy is back as generation {falls_back_to}\n    \
         to keep it: segctl confirm; to take it back: segctl rollback",
        Tone::Warn.paint("?"),
        moment(*confirm_by, page)
    )
}

fn headline(status: &Status, page: &Page) -> String {
    let (word, tone, meaning) = match status.state {
        State::Enforcing => ("ENFORCING", Tone::Good, "every guarded interface is enforced"),
        State::Degraded => ("DEGRADED", Tone::Bad, "not everything is as it should be"),
        State::Open => ("OPEN", Tone::Bad, "no interface is enforced: nothing is blocked"),
    };
    let since = status.since.map_or_else(
        || "nothing was published yet".to_owned(),
        |since| format!("generation {} since {} ({})", status.generation, moment(since, page), ago(Some(since), page)),
    );
    format!("{}  {meaning}\n  {since}", tone.paint(word))
}

fn facts(status: &Status, page: &Page) -> String {
    let policy = format!(
        "{}: mode {}, {}, {}",
        status.config,
        status.mode,
        number_of(status.zones, "zone"),
        number_of(status.rules, "rule")
    );
    let tables: Vec<String> = status.tables.iter().map(fill).collect();
    let lost = if status.events_lost == 0 { "none lost".to_owned() } else { format!("{} lost", status.events_lost) };
    let up = span(page.now.duration_since(status.started));
    let Coverage { enforced, audited, open } = status.coverage;
    let pairs = number_of(enforced + audited + open, "pair");
    let coverage = format!("{enforced} of {pairs} of zones enforced, {audited} audited, {open} open");
    let tables = tables.join("; ");
    let filters = filters(status).unwrap_or_default();
    format!(
        "policy       {policy}\ncoverage     {coverage}\nconnections  {tables}\nevents       {lost}{filters}\n\
         boot         with the last policy in force; without one: {}\ndaemon       up {up}",
        first_boot(status.first_boot)
    )
}

const fn first_boot(choice: FirstBoot) -> &'static str {
    match choice {
        FirstBoot::Open => "open, nothing is enforced",
        FirstBoot::Failsafe => "closed but for the failsafe",
    }
}

/// Where TC programs are not held by links, that is said: it is weaker.
fn filters(status: &Status) -> Option<String> {
    let by_filter = |interface: &&InterfaceStatus| interface.attachment == Attachment::Filter;
    let count = status.interfaces.iter().filter(by_filter).count();
    (count > 0).then(|| {
        format!(
            "\nattachment   {} by filters: no TCX in this kernel; segd puts back what is taken off",
            number_of(count, "interface")
        )
    })
}

fn fill(table: &TableFill) -> String {
    let percent = (table.entries * 100).checked_div(table.capacity).unwrap_or(0);
    let text = format!("{} {} of {} ({percent}%)", table.table.replace('_', "-"), table.entries, table.capacity);
    if percent >= 80 { Tone::Warn.paint(&text) } else { text }
}

#[cfg(test)]
mod tests {
    use segd::api::types::Amiss;
    use segd::policy::{Forward, Mode};

    use super::*;

    fn interface(name: &str, hook: &str, enforced: bool, why: &str) -> InterfaceStatus {
        let (why, detail) = if enforced { (Some(why.into()), None) } else { (None, Some(why.into())) };
        InterfaceStatus {
            name: name.into(),
            ifindex: 2,
            hook: hook.into(),
            attachment: Attachment::Link,
            enforced,
            why,
            detail,
            forward: Forward::Kernel,
            forward_why: None,
        }
    }

    fn status() -> Status {
        Status {
            state: State::Enforcing,
            amiss: Vec::new(),
            generation: 12,
            since: "2026-11-23T18:50:00Z".parse().ok(),
            started: "2026-11-20T20:00:00Z".parse().unwrap(),
            mode: Mode::Enforce,
            interfaces: vec![interface("lan20", "xdp", true, "physical NIC")],
            zones: 4,
            rules: 1,
            tables: vec![
                TableFill { table: "established".into(), entries: 12, capacity: 262_144 },
                TableFill { table: "half_open".into(), entries: 60_000, capacity: 65_536 },
            ],
            coverage: Coverage { enforced: 12, audited: 3, open: 1 },
            events_lost: 0,
            pending: None,
            quarantined: Vec::new(),
            config: "/etc/segd/zones.yaml".into(),
            first_boot: FirstBoot::Open,
        }
    }

    fn plain(status: &Status) -> String {
        anstream::adapter::strip_str(&text(status, &Page::sample())).to_string()
    }

    #[test]
    fn all_well_is_said_in_the_first_line() {
        assert_eq!(
            plain(&status()),
            "\
ENFORCING  every guarded interface is enforced
  generation 12 since 2026-11-23 18:50:00 (1h 10m ago)

INTERFACE  HOOK  ENFORCED  WHY
lan20      xdp   yes       physical NIC

policy       /etc/segd/zones.yaml: mode enforce, 4 zones, 1 rule
coverage     12 of 16 pairs of zones enforced, 3 audited, 1 open
connections  established 12 of 262144 (0%); half-open 60000 of 65536 (91%)
events       none lost
boot         with the last policy in force; without one: open, nothing is enforced
daemon       up 3d"
        );
    }

    #[test]
    fn what_is_amiss_comes_first_with_its_mend() {
        let mut degraded = status();
        degraded.state = State::Degraded;
        degraded.amiss = vec![Amiss { what: "lan30 is not enforced".into(), mend: "set hook: tc for lan30".into() }];
        degraded.interfaces.push(interface("lan30", "xdp", false, "EOPNOTSUPP"));
        let shown = plain(&degraded);
        assert!(shown.starts_with(
            "\
DEGRADED  not everything is as it should be
  generation 12 since 2026-11-23 18:50:00 (1h 10m ago)
  ! lan30 is not enforced
    mend: set hook: tc for lan30

INTERFACE  HOOK  ENFORCED  WHY
lan30      xdp   NO        EOPNOTSUPP
lan20      xdp   yes       physical NIC
"
        ));
    }

    #[test]
    fn a_policy_on_trial_is_told_with_its_end() {
        let confirm_by = "2026-11-23T20:00:45Z".parse().unwrap();
        let pending = Some(PendingView { generation: 12, confirm_by, falls_back_to: 13 });
        assert!(plain(&Status { pending, ..status() }).contains(
            "\n  ? generation 12 is on trial until 2026-11-23 20:00:45 (45s left); then the old policy is back as generation 13\n    \
             to keep it: segctl confirm; to take it back: segctl rollback\n"
        ));
    }

    #[test]
    fn filters_in_the_place_of_links_are_told() {
        let mut old = status();
        old.interfaces[0].attachment = Attachment::Filter;
        let expected = "\nevents       none lost\nattachment   1 interface by filters: no TCX in this kernel; \
                        segd puts back what is taken off\nboot         with the last policy in force; \
                        without one: open, nothing is enforced\ndaemon       up 3d";
        assert!(plain(&old).ends_with(expected), "{}", plain(&old));
    }

    #[test]
    fn a_gateway_that_enforces_nothing_says_so() {
        let open = Status { state: State::Open, since: None, generation: 0, interfaces: Vec::new(), ..status() };
        let shown = plain(&open);
        assert!(shown.starts_with("OPEN  no interface is enforced: nothing is blocked\n  nothing was published yet\n"));
        assert!(shown.contains("\nno interface is guarded"));
    }
}
