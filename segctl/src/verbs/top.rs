//! `segctl top`: the busiest pairs of zones.

use std::process::ExitCode;

use comfy_table::Cell;
use jiff::Timestamp;
use segd::api::types::PairTraffic;

use crate::cli::Session;
use crate::past;
use crate::table::{Grid, cell, toned};
use crate::words::{Page, Tone, bytes, count};

/// The busiest pairs of zones
#[derive(Debug, clap::Args)]
#[command(after_help = "Counts are packets, CONNS new allowed connections, BLOCKED distinct blocked ones.\n\n\
                        Examples:\n  segctl top\n  segctl top --last 1h --lines 5")]
pub(crate) struct Args {
    /// How many pairs at most
    #[arg(short = 'n', long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..))]
    lines: u16,
    /// Only what was seen in the last: 1h, 7d, or since a date; else since the counters began
    #[arg(long, value_name = "WHEN", value_parser = past::past)]
    last: Option<Timestamp>,
}

/// Asks and shows.
pub(crate) async fn run(args: &Args, session: &Session) -> anyhow::Result<ExitCode> {
    let mut pairs: Vec<PairTraffic> = session.client.send(super::since("/v1/top", args.last)).await?.body;
    pairs.truncate(usize::from(args.lines));
    session.screen.show(&pairs, |pairs, page| text(pairs, page))?;
    Ok(ExitCode::SUCCESS)
}

fn text(pairs: &[PairTraffic], page: &Page) -> String {
    if pairs.is_empty() {
        return "no traffic was seen yet; is an interface guarded? segctl status".into();
    }
    let headings = ["FROM", "TO", ">BYTES", ">PACKETS", ">ALLOWED", ">AUDITED", ">DENIED", ">CONNS", ">BLOCKED"];
    let mut grid = Grid::new(&headings, page);
    for pair in pairs {
        grid.row(vec![
            cell(&pair.from_zone),
            cell(&pair.to_zone),
            cell(bytes(pair.bytes)),
            cell(count(pair.packets)),
            number(pair.allowed, Tone::Good),
            number(pair.audited, Tone::Warn),
            number(pair.denied, Tone::Bad),
            cell(count(pair.connections)),
            number(pair.blocked_flows, Tone::Bad),
        ]);
    }
    grid.text()
}

/// A count in its tone; nothing to see in a zero.
fn number(number: u64, tone: Tone) -> Cell {
    if number == 0 { cell("-") } else { toned(count(number), tone) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_busy_gateway_fits_eighty_columns() {
        let pair = PairTraffic {
            from_zone: "dev".into(),
            to_zone: "accounting".into(),
            packets: 1_234_567,
            bytes: 3 << 30,
            connections: 120,
            allowed: 1_234_533,
            audited: 0,
            denied: 34,
            blocked_flows: 2,
        };
        let shown = anstream::adapter::strip_str(&text(&[pair], &Page::sample())).to_string();
        assert_eq!(
            shown,
            "\
FROM  TO          BYTES  PACKETS  ALLOWED  AUDITED  DENIED  CONNS  BLOCKED
dev   accounting   3.0G     1.2M     1.2M        -      34    120        2"
        );
        assert!(shown.lines().all(|line| line.chars().count() <= 80));
    }

    #[test]
    fn silence_asks_whether_anything_is_guarded() {
        assert!(text(&[], &Page::sample()).ends_with("segctl status"));
    }
}
