//! Suggestions as a drop-in file for people: each rule under its evidence, reasons and approvers left empty.

use std::fmt::Write as _;

use jiff::Timestamp;

use crate::api::types::{LeftOut, Names, SuggestedRule};
use crate::policy::{Policy, Service};

/// Addresses and services that a comment names; of more, how many.
const NAMED: usize = 8;

const MENDS: &str = "\
# Each rule needs a person: write why it is needed (reason) and who answers for it (approved_by), and take out
# what should stay blocked. The file is refused until then. Then, beside the zone file:
#   zones.d/60-suggested.yaml      save it as this
#   segctl check                   is it in order?
#   segctl reload                  put it in force
";

/// The file.
pub(super) fn written(
    rules: &[SuggestedRule],
    left_out: &[LeftOut],
    since: Timestamp,
    until: Timestamp,
    policy: &Policy,
) -> String {
    let mut text = format!(
        "# Rules that would allow what was seen from {} to {}, as few and as narrow as that supports.\n",
        moment(since),
        moment(until)
    );
    if rules.is_empty() {
        text.push_str("# Nothing was seen that a new rule would have to allow.\nrules: []\n");
    } else {
        text.push_str(MENDS);
        text.push_str("rules:\n");
        for rule in rules {
            write_rule(&mut text, rule, policy);
        }
    }
    if !left_out.is_empty() {
        text.push_str("\n# Left out:\n");
        for LeftOut { who, why, connections } in left_out {
            let _ = writeln!(text, "#   {who}: {why} ({})", counted(*connections, "connection"));
        }
    }
    text
}

fn write_rule(text: &mut String, rule: &SuggestedRule, policy: &Policy) {
    let SuggestedRule { id, from, to, services, connections, sources, destinations, seen, first, last, expired } = rule;
    let _ =
        writeln!(text, "  # {} from {} to {},", counted(*connections, "connection"), some(sources), some(destinations));
    let _ = writeln!(text, "  # first {}, last {}", moment(*first), moment(*last));
    let told: Vec<String> = seen.iter().map(|seen| format!("{} {}×", seen.service, seen.connections)).collect();
    for line in told.chunks(NAMED) {
        let _ = writeln!(text, "  #   {}", line.join(", "));
    }
    for hint in hints(services, policy) {
        let _ = writeln!(text, "  # {hint}");
    }
    for rule in expired {
        let _ = writeln!(text, "  # rule {rule} would allow some of it, but has run out: give it a new end instead?");
    }
    let _ = writeln!(text, "  - id: {id}\n    from: {}\n    to: {}", names(from), names(to));
    let _ =
        writeln!(text, "    services: [{}]", services.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(", "));
    let _ = writeln!(text, "    reason: \"\"         # why is it needed?");
    let _ = writeln!(text, "    approved_by: \"\"    # who answers for it?");
}

/// Services that are a part of a named one.
fn hints(services: &[String], policy: &Policy) -> Vec<String> {
    let part_of = |word: &String| {
        let service: Service = word.parse().ok()?;
        let of = policy.services.iter().find(|(_, members)| members.iter().any(|member| member.covers(service)))?;
        Some(format!("{word} is a part of the service {}, of which not all was seen", of.0))
    };
    services.iter().filter_map(part_of).collect()
}

/// `10.30.0.5`, or `3 hosts (10.30.0.5, …)`.
fn some(addresses: &[String]) -> String {
    match addresses {
        [one] => one.clone(),
        all if all.len() <= NAMED => format!("{} hosts ({})", all.len(), all.join(", ")),
        all => format!("{} hosts ({}, …)", all.len(), all[..NAMED].join(", ")),
    }
}

fn names(names: &Names) -> String {
    match names.as_slice() {
        [one] => quoted(one),
        many => format!("[{}]", many.iter().map(|name| quoted(name)).collect::<Vec<_>>().join(", ")),
    }
}

/// Words that YAML takes for something else are quoted.
fn quoted(word: &str) -> String {
    let special = ["null", "true", "false", "yes", "no", "on", "off", "y", "n"].contains(&word);
    if special || !word.starts_with(|c: char| c.is_ascii_alphabetic()) {
        format!("\"{word}\"")
    } else {
        word.to_owned()
    }
}

fn moment(time: Timestamp) -> String {
    time.strftime("%Y-%m-%d %H:%M UTC").to_string()
}

fn counted(number: u64, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}
