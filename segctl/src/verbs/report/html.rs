//! The report as one HTML file: no script, no picture, no font from elsewhere, readable on paper. Everything that people
//! wrote is escaped on its one way into the page.

use std::fmt::{Display, Write as _};

use segd::api::types::{Amiss, MatrixCell, Report, RuleView, Shadowed};
use segd::policy::Mode;

use super::text::coverage;
use crate::verbs::flows;
use crate::words::{Page, bytes, count, left, moment};

const STYLE: &str = "\
:root{--ink:#1a1f24;--quiet:#5b6570;--line:#d5dbe1;--paper:#fff;--band:#f4f6f8;--good:#156f3b;--warn:#8a5300;--bad:#a8201a}
@media(prefers-color-scheme:dark){:root{--ink:#e4e8ec;--quiet:#9aa5b1;--line:#3a434d;--paper:#14181c;--band:#1d2329;--good:#5fcf8b;--warn:#e3b158;--bad:#ff8a80}}
body{font:15px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--paper);max-width:76rem;margin:2rem auto;padding:0 1.5rem}
h1{font-size:1.6rem;margin:0 0 .25rem}h2{font-size:1.15rem;margin:2.25rem 0 .6rem;padding-bottom:.25rem;border-bottom:1px solid var(--line)}
.quiet{color:var(--quiet)}.good{color:var(--good)}.warn{color:var(--warn)}.bad{color:var(--bad)}
.wide{overflow-x:auto}table{border-collapse:collapse;width:100%;font-size:.92rem}
th,td{text-align:left;vertical-align:top;padding:.4rem .7rem;border-bottom:1px solid var(--line)}
thead th{background:var(--band);font-weight:600}td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}
code{font:.9em ui-monospace,monospace;overflow-wrap:anywhere}td:first-child code,.whole{white-space:nowrap}
.square td,.square th{text-align:center;padding:.3rem .5rem}.square th:first-child{text-align:left}
.square td.audit{background:#c98a1a33}.square td.open{background:#c0302833}.square td.some{background:#1f8f4f26}.cards{display:flex;flex-wrap:wrap;gap:1rem;margin:1rem 0}
.card{flex:1 1 9rem;background:var(--band);border-radius:.5rem;padding:.8rem 1rem}.card b{display:block;font-size:1.5rem}
ul{margin:.3rem 0;padding-left:1.2rem}
@media print{body{margin:0;max-width:none;font-size:11px}h2{break-after:avoid}tr{break-inside:avoid}.wide{overflow:visible}}";

/// Zones of a matrix that fits on paper.
const WIDEST: usize = 24;

/// Text with everything that HTML would obey taken out.
struct Safe<T>(T);

impl<T: Display> Display for Safe<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for c in self.0.to_string().chars() {
            match c {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                plain => f.write_char(plain)?,
            }
        }
        Ok(())
    }
}

/// The file.
pub(super) fn written(report: &Report, page: &Page) -> String {
    let mut body = head(report, page);
    body.push_str(&amiss("Amiss", &report.amiss, "Nothing is amiss."));
    body.push_str(&amiss("Drift", &report.drift, "None: the files on the disk are what the kernel enforces."));
    body.push_str(&matrix(report, page));
    body.push_str(&rules(report, page));
    body.push_str(&to_look_after(report, page));
    body.push_str(&blocked(report, page));
    body.push_str(&interfaces(report));
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
         <title>segd report, {}</title>\n<style>\n{STYLE}\n</style>\n</head>\n<body>\n{body}</body>\n</html>\n",
        Safe(moment(report.time, page))
    )
}

fn head(report: &Report, page: &Page) -> String {
    let tone = if report.state == segd::api::types::State::Enforcing { "good" } else { "bad" };
    let card = |number: usize, what: &str| format!("<div class=\"card\"><b>{number}</b>{what}</div>");
    let segd::api::types::Coverage { enforced, audited, open } = report.coverage;
    format!(
        "<h1>Segmentation report</h1>\n<p class=\"quiet\">{} · traffic since {} · <code>{}</code></p>\n\
         <p>The gateway is <b class=\"{tone}\">{}</b>, generation {}, mode {}, put in force {}.<br>\n\
         Files in force: <code>sha256 {}</code></p>\n<div class=\"cards\">{}{}{}{}</div>\n<p>{}.</p>\n",
        Safe(moment(report.time, page)),
        Safe(moment(report.since, page)),
        Safe(&report.config),
        report.state,
        report.generation,
        report.mode,
        Safe(moment(report.applied, page)),
        Safe(&report.etag),
        card(enforced, "pairs of zones enforced"),
        card(audited, "pairs only audited"),
        card(open, "pairs open to every service"),
        card(report.rules.len(), "rules"),
        Safe(coverage(report))
    )
}

fn amiss(title: &str, found: &[Amiss], none: &str) -> String {
    if found.is_empty() {
        return format!("<h2>{title}</h2>\n<p class=\"good\">{none}</p>\n");
    }
    let item = |Amiss { what, mend }: &Amiss| {
        format!(
            "<li><span class=\"bad\">{}</span><br><span class=\"quiet\">Mend: {}</span></li>",
            Safe(what),
            Safe(mend)
        )
    };
    format!("<h2>{title}</h2>\n<ul>{}</ul>\n", found.iter().map(item).collect::<String>())
}

fn table(headings: &[&str], rows: &[Vec<String>]) -> String {
    let class = |heading: &str| if heading.starts_with('#') { " class=\"n\"" } else { "" };
    let mut text = String::from("<div class=\"wide\"><table>\n<thead><tr>");
    for heading in headings {
        let _ = write!(text, "<th{}>{}</th>", class(heading), heading.trim_start_matches('#'));
    }
    text.push_str("</tr></thead>\n<tbody>\n");
    for row in rows {
        text.push_str("<tr>");
        for (heading, cell) in headings.iter().zip(row) {
            let _ = write!(text, "<td{}>{cell}</td>", class(heading));
        }
        text.push_str("</tr>\n");
    }
    text.push_str("</tbody></table></div>\n");
    text
}

fn matrix(report: &Report, page: &Page) -> String {
    let row = |cell: &MatrixCell| {
        let mode = match cell.mode {
            Mode::Enforce => "<span class=\"good\">enforce</span>",
            Mode::Audit => "<span class=\"warn\">audit</span>",
        };
        let services = if cell.services.is_empty() { "nothing".to_owned() } else { cell.services.join(", ") };
        let denied = if cell.denied == 0 {
            "0".to_owned()
        } else {
            format!("<span class=\"bad\">{}</span>", count(cell.denied))
        };
        vec![
            Safe(&cell.from_zone).to_string(),
            Safe(&cell.to_zone).to_string(),
            mode.to_owned(),
            format!("<code>{}</code>", Safe(services)),
            count(cell.allowed),
            count(cell.audited),
            denied,
        ]
    };
    let rows: Vec<Vec<String>> = report.matrix.iter().filter(|cell| !is_silent(cell)).map(row).collect();
    format!(
        "<h2>Zones</h2>\n{}<p class=\"quiet\">Pairs that may talk, tried to, or are only audited. Packets since {}.</p>\n{}",
        square(report),
        Safe(moment(report.since, page)),
        table(&["From", "To", "Mode", "Allowed", "#Passed", "#Audited", "#Dropped"], &rows)
    )
}

/// Every pair at a glance. Too many zones make no glance; the list has them all.
fn square(report: &Report) -> String {
    let mut zones: Vec<&str> = Vec::new();
    for cell in &report.matrix {
        if !zones.contains(&cell.from_zone.as_str()) {
            zones.push(&cell.from_zone);
        }
    }
    if zones.len() > WIDEST {
        return String::new();
    }
    let mut text = String::from("<div class=\"wide\"><table class=\"square\">\n<thead><tr><th>From \\ to</th>");
    for zone in &zones {
        let _ = write!(text, "<th>{}</th>", Safe(zone));
    }
    text.push_str("</tr></thead>\n<tbody>\n");
    for from in &zones {
        let _ = write!(text, "<tr><th>{}</th>", Safe(from));
        for to in &zones {
            let cell = report.matrix.iter().find(|cell| cell.from_zone == *from && cell.to_zone == *to);
            text.push_str(&glance(cell));
        }
        text.push_str("</tr>\n");
    }
    text.push_str("</tbody></table></div>\n<p class=\"quiet\">open: every service; a number: so many services; audit: nothing is dropped; ·: nothing passes.</p>\n");
    text
}

fn glance(cell: Option<&MatrixCell>) -> String {
    let Some(cell) = cell else { return "<td></td>".to_owned() };
    match (cell.services.len(), cell.mode) {
        _ if cell.services.iter().any(|service| service == "any") => "<td class=\"open\">open</td>".to_owned(),
        (0, Mode::Enforce) => "<td class=\"quiet\">·</td>".to_owned(),
        (0, Mode::Audit) => "<td class=\"audit\">audit</td>".to_owned(),
        (some, Mode::Enforce) => format!("<td class=\"some\">{some}</td>"),
        (some, Mode::Audit) => format!("<td class=\"audit\">{some}, audit</td>"),
    }
}

fn is_silent(cell: &MatrixCell) -> bool {
    cell.services.is_empty() && cell.mode == Mode::Enforce && cell.allowed + cell.audited + cell.denied == 0
}

fn rules(report: &Report, page: &Page) -> String {
    let said = |text: &Option<String>| text.as_ref().map_or_else(|| "–".to_owned(), |text| Safe(text).to_string());
    let row = |rule: &RuleView| {
        let end = match rule.expires {
            None => "no end".to_owned(),
            Some(end) => format!("{} ({})", Safe(moment(end, page)), Safe(left(Some(end), page))),
        };
        let class = if rule.expired || report.expiring.contains(&rule.id) { "warn" } else { "" };
        vec![
            format!(
                "<code>{}</code>{}",
                Safe(&rule.id),
                if rule.mode == Mode::Audit { "<br><span class=\"warn\">audit</span>" } else { "" }
            ),
            format!("{} → {}", Safe(&rule.from), Safe(&rule.to)),
            format!("<code>{}</code>", Safe(rule.services.join(", "))),
            said(&rule.reason),
            said(&rule.approved_by),
            format!("<span class=\"whole\">{}</span>", said(&rule.ticket)),
            format!("<span class=\"{class}\">{end}</span>"),
            rule.last_hit.map_or_else(|| "never".to_owned(), |hit| Safe(moment(hit, page)).to_string()),
            count(rule.connections),
            bytes(rule.bytes),
        ]
    };
    let rows: Vec<Vec<String>> = report.rules.iter().map(row).collect();
    let headings = [
        "Rule",
        "From → to",
        "Services",
        "Reason",
        "Approved by",
        "Ticket",
        "End",
        "Last used",
        "#Connections",
        "#Bytes",
    ];
    format!("<h2>Rules</h2>\n{}", table(&headings, &rows))
}

fn to_look_after(report: &Report, page: &Page) -> String {
    let codes =
        |ids: &[String]| ids.iter().map(|id| format!("<code>{}</code>", Safe(id))).collect::<Vec<_>>().join(", ");
    let mut items = Vec::new();
    let mut list = |title: String, ids: &[String]| {
        if !ids.is_empty() {
            items.push(format!("<li><b>{}</b>: {}</li>", Safe(title), codes(ids)));
        }
    };
    list("Expired".into(), &report.expired);
    list(format!("Ending before {}", moment(report.until, page)), &report.expiring);
    list(format!("Unused since {}", moment(report.since, page)), &report.unused);
    for Shadowed { id, by } in &report.shadowed {
        let by = if by.is_empty() { "<code>intra_zone: allow</code>".to_owned() } else { codes(by) };
        items.push(format!("<li><b>Shadowed</b>: <code>{}</code>, by {by}</li>", Safe(id)));
    }
    let text = if items.is_empty() {
        "<p class=\"good\">No rule.</p>".to_owned()
    } else {
        format!("<ul>{}</ul>", items.concat())
    };
    format!("<h2>Rules to look after</h2>\n{text}\n")
}

fn blocked(report: &Report, page: &Page) -> String {
    let title = "<h2>Blocked most</h2>\n";
    if report.blocked.is_empty() {
        let why = if report.seen_since.is_none() { "Nothing is known: the history is empty." } else { "Nothing." };
        return format!("{title}<p class=\"quiet\">{why}</p>\n");
    }
    let row = |flow: &segd::api::types::FlowLine| {
        vec![
            count(flow.connections.unwrap_or(1)),
            format!("<code>{}</code> {}", Safe(&flow.src), Safe(&flow.from_zone)),
            format!("<code>{}</code> {}", Safe(&flow.dst), Safe(&flow.to_zone)),
            format!("<code>{}</code>", Safe(flows::service(flow))),
            Safe(&flow.reason).to_string(),
            Safe(moment(flow.time, page)).to_string(),
        ]
    };
    let rows: Vec<Vec<String>> = report.blocked.iter().map(row).collect();
    format!("{title}{}", table(&["#Attempts", "Initiator", "Responder", "Service", "Reason", "Last"], &rows))
}

fn interfaces(report: &Report) -> String {
    let row = |interface: &segd::api::types::InterfaceStatus| {
        let state = if interface.enforced {
            "<span class=\"good\">enforced</span>".to_owned()
        } else {
            format!("<span class=\"bad\">{}</span>", Safe(interface.detail.as_deref().unwrap_or("not enforced")))
        };
        vec![format!("<code>{}</code>", Safe(&interface.name)), Safe(&interface.hook).to_string(), state]
    };
    let rows: Vec<Vec<String>> = report.interfaces.iter().map(row).collect();
    format!("<h2>Interfaces</h2>\n{}", table(&["Interface", "Hook", "State"], &rows))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verbs::report::sample::report;

    #[test]
    fn the_file_needs_nothing_from_elsewhere_and_runs_nothing() {
        let file = written(&report(), &Page::sample());
        for part in ["http://", "https://", "src=", "href=", "url(", "@import", "<script", "<link", "<img"] {
            assert!(!file.contains(part), "{part}");
        }
        for part in ["SEC-142", "finance-lead@example.com", "old-one", "pairs only audited", "512", "2026-12-01"] {
            assert!(file.contains(part), "{part}");
        }
    }

    #[test]
    fn what_people_wrote_is_shown_and_never_obeyed() {
        let file = written(&report(), &Page::sample());
        assert!(file.contains("Nightly reconciliation &lt;b&gt;reads&lt;/b&gt; the ledger"));
        assert!(!file.contains("<b>reads"));
        assert_eq!(Safe("\"'&<>").to_string(), "&quot;&#39;&amp;&lt;&gt;");
    }

    #[test]
    fn every_tag_that_opens_closes() {
        let file = written(&report(), &Page::sample());
        for tag in [
            "table", "thead", "tbody", "tr", "td", "th", "ul", "li", "div", "span", "code", "p", "b", "h2", "style",
            "body", "html",
        ] {
            let opened = file.matches(&format!("<{tag}>")).count() + file.matches(&format!("<{tag} ")).count();
            assert_eq!(opened, file.matches(&format!("</{tag}>")).count(), "{tag}");
        }
    }
}
