//! `segctl zones`: the zones and their networks, the reserved ones first.

use std::process::ExitCode;

use segd::api::types::ZoneView;
use segd::policy::IntraZone;

use crate::cli::Session;
use crate::table::{Grid, cell, list, toned};
use crate::words::{Page, Tone};

/// Zones, their networks, and whether members may talk to each other
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  segctl zones\n  segctl zones -o json | jq -r '.[].name'")]
pub(crate) struct Args {}

/// Asks and shows.
pub(crate) async fn run(session: &Session) -> anyhow::Result<ExitCode> {
    let zones: Vec<ZoneView> = session.client.get("/v1/zones").await?;
    session.screen.show(&zones, |zones, page| text(zones, page))?;
    Ok(ExitCode::SUCCESS)
}

fn text(zones: &[ZoneView], page: &Page) -> String {
    let mut grid = Grid::new(&["ZONE", "NETWORKS", "INSIDE", "SEEN ON"], page);
    for zone in zones {
        let inside = match zone.intra_zone {
            IntraZone::Allow => toned("allow", Tone::Good),
            IntraZone::Deny => cell("deny"),
        };
        grid.row(vec![
            cell(&zone.name),
            cell(list(&zone.networks, page.room(36), "-")),
            inside,
            cell(list(&zone.interfaces, page.room(16), "anywhere")),
        ]);
        grid.note(zone.description.as_deref().unwrap_or_default());
    }
    grid.text()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zones_show_networks_members_and_where_they_may_be_seen() {
        let unzoned = ZoneView {
            name: "unzoned".into(),
            description: Some("Whatever is in no other zone".into()),
            networks: Vec::new(),
            interfaces: Vec::new(),
            intra_zone: IntraZone::Deny,
            place: None,
        };
        let accounting = ZoneView {
            name: "accounting".into(),
            description: Some("Finance servers".into()),
            networks: vec!["10.20.0.0/24".into(), "fd00:20::/64".into(), "192.168.100.0/22".into()],
            interfaces: vec!["lan20".into()],
            intra_zone: IntraZone::Allow,
            place: Some("/etc/segd/zones.yaml:5:3".into()),
        };
        let shown = anstream::adapter::strip_str(&text(&[unzoned, accounting], &Page::sample())).to_string();
        assert_eq!(
            shown,
            "\
ZONE        NETWORKS                     INSIDE  SEEN ON
unzoned     -                            deny    anywhere
    Whatever is in no other zone
accounting  10.20.0.0/24, fd00:20::/64,  allow   lan20
            192.168.100.0/22
    Finance servers"
        );
    }
}
