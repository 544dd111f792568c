//! `segctl explain`: would this connection pass, why, and what would change it. The verdict is the daemon's; only the
//! sentence around it is made here.

use std::net::IpAddr;
use std::process::ExitCode;

use segd::api::types::{Explanation, Verdict};

use crate::cli::Session;
use crate::client::Call;
use crate::complete;
use crate::failure::{Failure, NO};
use crate::words::{Page, Tone};

const EXAMPLES: &str = "\
Exit status 0: it passes; 1: it is denied.

Examples:
  segctl explain 10.30.0.5 10.20.0.10 tcp/5432
  segctl explain dev accounting tcp/22
  segctl explain fd00:30::5 fd00:20::10 icmpv6/echo-request -o json";

/// Would a connection pass, why, and which rule would change it
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Initiator: an address, or a zone
    #[arg(value_name = "SRC", add = complete::zone())]
    src: String,
    /// Responder: an address, or a zone
    #[arg(value_name = "DST", add = complete::zone())]
    dst: String,
    /// One service: tcp/443, udp/53, icmp/echo-request, …
    #[arg(value_name = "SERVICE", add = complete::service())]
    service: String,
}

/// The question, as asked and as shown again in the answer.
#[derive(Clone, Debug)]
struct Question {
    src: String,
    dst: String,
    service: String,
    /// Addresses, as opposed to zones.
    hosts: bool,
}

impl Args {
    fn checked(self) -> Result<Question, Failure> {
        let hosts = self.src.parse::<IpAddr>().is_ok();
        if hosts != self.dst.parse::<IpAddr>().is_ok() {
            return Err(Failure::usage(
                format!("'{}' and '{}' are not both addresses", self.src, self.dst),
                "give two addresses, or the names of two zones",
            ));
        }
        if !hosts {
            super::zone(&self.src).and_then(|_| super::zone(&self.dst)).map_err(|mend| {
                Failure::usage(format!("'{}' and '{}' are neither addresses nor zones", self.src, self.dst), mend)
            })?;
        }
        Ok(Question { src: self.src, dst: self.dst, service: self.service, hosts })
    }
}

/// Asks, answers in a sentence, and exits with the answer.
pub(crate) async fn run(args: Args, session: &Session) -> anyhow::Result<ExitCode> {
    let question = args.checked()?;
    let pairs = [("src", question.src.as_str()), ("dst", &question.dst), ("service", &question.service)];
    let answer: Explanation = session.client.send(Call::get("/v1/explain").query(&pairs)).await?.body;
    session.screen.show(&answer, |answer, page| text(&question, answer, page))?;
    Ok(match answer.verdict {
        Verdict::Allow => ExitCode::SUCCESS,
        Verdict::Deny => ExitCode::from(NO),
    })
}

fn text(question: &Question, answer: &Explanation, page: &Page) -> String {
    let word = match (answer.verdict, answer.reason.as_str()) {
        (Verdict::Allow, "audit") => Tone::Warn.paint("AUDIT"),
        (Verdict::Allow, _) => Tone::Good.paint("ALLOW"),
        (Verdict::Deny, _) => Tone::Bad.paint("DENY"),
    };
    let Question { src, dst, service, hosts } = question;
    let ends = if *hosts {
        format!("{src} ({}) → {dst} ({})", answer.from_zone, answer.to_zone)
    } else {
        format!("{src} → {dst}")
    };
    let (verdict, because) = (format!("{word}  {ends} {service}: {}", answer.reason), because(answer, service));
    let length = anstream::adapter::strip_str(&verdict).to_string().chars().count() + because.chars().count() + 3;
    let fits = page.width.is_none_or(|width| length <= usize::from(width));
    let mut lines = vec![if fits { format!("{verdict} — {because}") } else { format!("{verdict}\n  {because}") }];
    lines.extend(answer.hints.iter().map(|hint| format!("  {hint}")));
    lines.join("\n")
}

/// The reason as a sentence.
fn because(answer: &Explanation, service: &str) -> String {
    let Explanation { from_zone: from, to_zone: to, .. } = answer;
    let rule = answer.rule.as_deref().unwrap_or("a rule");
    match answer.reason.as_str() {
        "rule" => format!("rule {rule} lets {from} reach {to} on {service}"),
        "intra-zone" => format!("{from} lets its members talk to each other"),
        "failsafe" => "the failsafe list lets it pass, whatever the policy says".into(),
        "essential" => "a network needs it to work at all".into(),
        "audit" if answer.rule.is_some() => format!("rule {rule} is only watched: it passes and is reported"),
        "audit" => format!("no rule lets {from} reach {to} on {service}, but the pair is only watched: it passes"),
        "no-rule" => format!("no rule lets {from} reach {to} on {service}"),
        "expired" => format!("rule {rule} let {from} reach {to} on {service}, and has run out"),
        "spoofed-source" => format!("such a source, taken for {from}, does not belong there"),
        _ => format!("asked for {from} to {to} on {service}"),
    }
}

#[cfg(test)]
mod tests {
    use segd::policy::Mode;

    use super::*;

    fn question() -> Question {
        Question { src: "10.30.0.5".into(), dst: "10.20.0.10".into(), service: "tcp/22".into(), hosts: true }
    }

    fn denied() -> Explanation {
        Explanation {
            verdict: Verdict::Deny,
            reason: "no-rule".into(),
            rule: None,
            from_zone: "dev".into(),
            to_zone: "accounting".into(),
            mode: Mode::Enforce,
            generation: 7,
            hints: vec!["to allow it: segctl allow dev accounting tcp/22 --reason … --approved-by …".into()],
        }
    }

    fn plain(question: &Question, answer: &Explanation) -> String {
        anstream::adapter::strip_str(&text(question, answer, &Page { width: None, ..Page::sample() })).to_string()
    }

    #[test]
    fn a_denial_says_who_what_why_and_the_next_step() {
        assert_eq!(
            plain(&question(), &denied()),
            "DENY  10.30.0.5 (dev) → 10.20.0.10 (accounting) tcp/22: no-rule — no rule lets dev reach accounting on tcp/22\n  \
             to allow it: segctl allow dev accounting tcp/22 --reason … --approved-by …"
        );
    }

    #[test]
    fn a_narrow_page_gives_the_reason_a_line_of_its_own() {
        let shown = anstream::adapter::strip_str(&text(&question(), &denied(), &Page::sample())).to_string();
        assert!(shown.starts_with(
            "DENY  10.30.0.5 (dev) → 10.20.0.10 (accounting) tcp/22: no-rule\n  no rule lets dev reach accounting on tcp/22\n"
        ));
    }

    #[test]
    fn an_allowed_pair_of_zones_names_its_rule() {
        let zones = Question { src: "dev".into(), dst: "accounting".into(), hosts: false, ..question() };
        let allowed = Explanation {
            verdict: Verdict::Allow,
            reason: "rule".into(),
            rule: Some("disk-swap".into()),
            hints: Vec::new(),
            ..denied()
        };
        assert_eq!(
            plain(&zones, &allowed),
            "ALLOW  dev → accounting tcp/22: rule — rule disk-swap lets dev reach accounting on tcp/22"
        );
    }

    #[test]
    fn audit_is_told_apart_from_allowed() {
        let audited = Explanation { verdict: Verdict::Allow, reason: "audit".into(), ..denied() };
        assert!(plain(&question(), &audited).starts_with("AUDIT  10.30.0.5 (dev)"));
    }

    #[test]
    fn json_has_the_shape_of_the_contract() {
        let value = serde_json::to_value(Explanation { hints: Vec::new(), ..denied() }).unwrap();
        assert_eq!(
            value,
            serde_json::json!({
                "verdict": "deny", "reason": "no-rule", "rule": null, "from_zone": "dev", "to_zone": "accounting",
                "mode": "enforce", "generation": 7, "hints": []
            })
        );
    }

    #[test]
    fn an_address_and_a_zone_are_no_question() {
        let mixed = Args { src: "10.0.0.1".into(), dst: "dev".into(), service: "tcp/1".into() };
        assert_eq!(mixed.checked().unwrap_err().status(), 2);
        let odd = Args { src: "10.0.0.0/8".into(), dst: "dev".into(), service: "tcp/1".into() };
        assert!(odd.checked().unwrap_err().to_string().contains("neither addresses nor zones"));
    }
}
