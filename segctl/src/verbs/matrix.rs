//! `segctl matrix`: the zone-by-zone table, initiators down, responders across.

use std::process::ExitCode;

use comfy_table::Cell;
use jiff::Timestamp;
use segd::api::types::MatrixCell;
use segd::policy::Mode;

use crate::cli::Session;
use crate::past;
use crate::table::{Grid, cell, fits, toned};
use crate::words::{Page, Tone, count, moment};

const LEGEND: &str = "\
✓ allowed by a rule   ~ let pass by audit mode only   ✗ dropped   · no rule, no traffic";

/// The zone-by-zone table of allowed and blocked
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  segctl matrix\n  segctl matrix --last 1h\n  \
                        segctl matrix -o json | jq '.[] | select(.denied > 0)'")]
pub(crate) struct Args {
    /// Only packets of the last: 1h, 7d, or since a date; else since the counters began
    #[arg(long, value_name = "WHEN", value_parser = past::past)]
    last: Option<Timestamp>,
}

/// Asks and shows.
pub(crate) async fn run(args: &Args, session: &Session) -> anyhow::Result<ExitCode> {
    let cells: Vec<MatrixCell> = session.client.send(super::since("/v1/matrix", args.last)).await?.body;
    session.screen.show(&cells, |cells, page| text(cells, args.last, page))?;
    Ok(ExitCode::SUCCESS)
}

/// As a square where it fits, else as a list of the pairs that have something to show.
fn text(cells: &[MatrixCell], last: Option<Timestamp>, page: &Page) -> String {
    let since = last.map_or_else(|| "the counters began".to_owned(), |since| moment(since, page));
    let legend = format!("rows: who asks; columns: who is asked; packets since {since}\n{LEGEND}");
    format!("{}\n\n{}", table(cells, page), Tone::Quiet.paint(&legend))
}

/// Without the legend.
pub(super) fn table(cells: &[MatrixCell], page: &Page) -> String {
    let square = square(cells, page);
    if fits(&square, page) { square } else { list(cells, page) }
}

fn square(cells: &[MatrixCell], page: &Page) -> String {
    let (rows, mut columns) = (names(cells, |cell| &cell.from_zone), names(cells, |cell| &cell.to_zone));
    columns.sort_by_key(|column| rows.iter().position(|row| row == column).unwrap_or(usize::MAX));
    let mut headings = vec!["FROM \\ TO"];
    headings.extend(&columns);
    let mut grid = Grid::new(&headings, page);
    for row in rows {
        let at = |column: &&str| cells.iter().find(|cell| cell.from_zone == row && cell.to_zone == **column);
        let mut line = vec![toned(row, Tone::Head)];
        line.extend(columns.iter().map(|column| at(column).map_or_else(|| cell("·"), shown)));
        grid.row(line);
    }
    grid.text()
}

fn list(cells: &[MatrixCell], page: &Page) -> String {
    let mut grid = Grid::new(&["FROM", "TO", "PACKETS"], page);
    for pair in cells.iter().filter(|pair| !is_silent(pair)) {
        grid.row(vec![cell(&pair.from_zone), cell(&pair.to_zone), shown(pair)]);
    }
    grid.text()
}

/// Zones in the order in which the daemon names them.
fn names<'a>(cells: &'a [MatrixCell], zone: impl Fn(&'a MatrixCell) -> &'a str) -> Vec<&'a str> {
    let mut names: Vec<&str> = Vec::new();
    for cell in cells {
        if !names.contains(&zone(cell)) {
            names.push(zone(cell));
        }
    }
    names
}

fn is_silent(pair: &MatrixCell) -> bool {
    pair.services.is_empty() && pair.mode == Mode::Enforce && pair.allowed + pair.audited + pair.denied == 0
}

/// What happened between one pair, and what may happen.
fn shown(pair: &MatrixCell) -> Cell {
    let mut parts = Vec::new();
    if pair.allowed > 0 || !pair.services.is_empty() {
        parts.push(format!("✓{}", count(pair.allowed)));
    }
    if pair.audited > 0 || pair.mode == Mode::Audit {
        parts.push(format!("~{}", count(pair.audited)));
    }
    if pair.denied > 0 {
        parts.push(format!("✗{}", count(pair.denied)));
    }
    match (pair.denied, pair.mode) {
        _ if parts.is_empty() => toned("·", Tone::Quiet),
        (1.., _) => toned(parts.join(" "), Tone::Bad),
        (0, Mode::Audit) => toned(parts.join(" "), Tone::Warn),
        (0, Mode::Enforce) => toned(parts.join(" "), Tone::Good),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(from: &str, to: &str, counts: [u64; 3]) -> MatrixCell {
        MatrixCell {
            from_zone: from.into(),
            to_zone: to.into(),
            mode: Mode::Enforce,
            services: Vec::new(),
            rules: Vec::new(),
            allowed: counts[0],
            audited: counts[1],
            denied: counts[2],
        }
    }

    fn office() -> Vec<MatrixCell> {
        let ledger = MatrixCell { services: vec!["tcp/5432".into()], ..pair("dev", "accounting", [48_211, 0, 34]) };
        let watched = MatrixCell { mode: Mode::Audit, ..pair("accounting", "dev", [0, 7, 0]) };
        vec![pair("dev", "dev", [0, 0, 0]), ledger, watched, pair("accounting", "accounting", [0, 0, 2])]
    }

    #[test]
    fn rows_ask_columns_are_asked_and_each_cell_tells_allowed_from_blocked() {
        let shown = anstream::adapter::strip_str(&text(&office(), None, &Page::sample())).to_string();
        assert_eq!(
            shown,
            "\
FROM \\ TO   dev  accounting
dev         ·    ✓48.2k ✗34
accounting  ~7   ✗2

rows: who asks; columns: who is asked; packets since the counters began
✓ allowed by a rule   ~ let pass by audit mode only   ✗ dropped   · no rule, no traffic"
        );
    }

    #[test]
    fn too_many_zones_for_the_page_become_a_list_of_pairs() {
        let narrow = Page { width: Some(20), ..Page::sample() };
        let shown = anstream::adapter::strip_str(&text(&office(), None, &narrow)).to_string();
        assert!(shown.starts_with(
            "\
FROM        TO          PACKETS
dev         accounting  ✓48.2k ✗34
accounting  dev         ~7
accounting  accounting  ✗2
"
        ));
    }
}
