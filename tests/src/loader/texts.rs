//! Zone files to begin with, all of them valid: the example, what tests write, policies of chance, with drop-ins.

use std::fmt::Write as _;

use jiff::Timestamp;

use crate::lab::Zones;
use crate::oracle::{Random, policy};

const EXAMPLE: &str = include_str!("../../../zones.example.yaml");

/// One file, by its name beside or below `zones.yaml`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// `zones.yaml`, or `zones.d/…`.
    pub name: String,
    /// What stands in it; it may be no text.
    pub bytes: Vec<u8>,
}

/// A zone file and its drop-ins. The first is `zones.yaml`.
pub type Files = Vec<File>;

fn file(name: &str, text: impl Into<Vec<u8>>) -> File {
    File { name: name.to_owned(), bytes: text.into() }
}

/// Valid files, as chance has it.
pub(super) fn valid(random: &mut Random) -> Files {
    let main = match random.below(10) {
        0..=4 => EXAMPLE.to_owned(),
        5..=7 => policy(random).to_yaml(Timestamp::now()),
        8 => office().to_string(),
        _ => large(random),
    };
    let names = Names::of(&main);
    let mut files = vec![file("zones.yaml", main)];
    if random.percent(40) {
        files.push(file("zones.d/50-segctl.yaml", dropin(&names)));
    }
    if random.percent(15) {
        files.push(file("zones.d/60-more.yaml", "version: 1\nservices:\n  dropped-in: [tcp/9100-9200, sctp/38412]\n"));
    }
    files
}

fn office() -> Zones {
    let zones = Zones::new().hook("lan30", "tc").rule("web", "[dev, guest]", "internet", "tcp/443, udp/443");
    zones.rule("asks", "dev", "accounting", "udp/53, icmp/echo-request").watched("guest", "internet")
}

/// Some hundred zones and rules.
fn large(random: &mut Random) -> String {
    let mut text = "version: 1\nzones:\n".to_owned();
    let count = random.between(50, 300);
    for number in 0..count {
        let _ = writeln!(text, "  z{number}:\n    networks: [10.{}.{}.0/24]", number / 256, number % 256);
    }
    text.push_str("rules:\n");
    for number in 0..count {
        let (from, to) = (random.below(count), random.below(count));
        let _ = writeln!(text, "  - id: r{number}\n    from: z{from}\n    to: [z{to}]\n    services: [tcp/{number}]");
        text.push_str("    reason: Drawn by lot\n    approved_by: chance@example.com\n");
    }
    text
}

/// Two zones that a drop-in may name.
struct Names(&'static str, &'static str);

impl Names {
    fn of(text: &str) -> Self {
        let known = |name: &str| text.contains(&format!("\n  {name}:"));
        if known("dev") { Self("dev", "guest") } else { Self("host", "unzoned") }
    }
}

fn dropin(Names(from, to): &Names) -> String {
    format!(
        "# Written by segctl; comments stay.\nversion: 1\nrules:\n  - id: from-the-desk   # for a day\n    from: {from}\n    \
         to: {to}\n    services: [tcp/22, \"udp/60000-61000\"]\n    reason: \"Somebody asked: 'why not?'\"\n    \
         approved_by: me@example.com\n    expires: 2099-01-01T00:00:00Z\npairs:\n  - {{ from: {to}, to: {from}, mode: audit }}\n"
    )
}
