//! `segctl services`: named services and what they stand for.

use std::process::ExitCode;

use segd::api::types::ServiceView;

use crate::cli::Session;
use crate::table::{Grid, cell, list};
use crate::words::Page;

/// Named services and what they stand for
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  segctl services")]
pub(crate) struct Args {}

/// Asks and shows.
pub(crate) async fn run(session: &Session) -> anyhow::Result<ExitCode> {
    let services: Vec<ServiceView> = session.client.get("/v1/services").await?;
    session.screen.show(&services, |services, page| text(services, page))?;
    Ok(ExitCode::SUCCESS)
}

fn text(services: &[ServiceView], page: &Page) -> String {
    if services.is_empty() {
        return "no named services; rules write theirs out: tcp/443, udp/5000-5010, icmp/echo-request, any".into();
    }
    let mut grid = Grid::new(&["SERVICE", "STANDS FOR"], page);
    for service in services {
        grid.row(vec![cell(&service.name), cell(list(&service.members, page.room(56), "-"))]);
    }
    grid.text()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_show_what_they_stand_for() {
        let web =
            ServiceView { name: "web".into(), members: vec!["tcp/80".into(), "tcp/443".into(), "udp/443".into()] };
        let shown = anstream::adapter::strip_str(&text(&[web], &Page::sample())).to_string();
        assert_eq!(shown, "SERVICE  STANDS FOR\nweb      tcp/80, tcp/443, udp/443");
        assert!(text(&[], &Page::sample()).starts_with("no named services"));
    }
}
