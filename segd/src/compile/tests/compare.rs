//! What newly passes and newly fails.

use super::{compiled, hours, pair, rule, zone};
use crate::compile::compare;
use crate::policy::{IntraZone, Mode, Policy, Rule};

fn office() -> Policy {
    let zones = vec![zone("a", &["10.1.0.0/16"]), zone("b", &["10.2.0.0/16"]), zone("net", &["0.0.0.0/0"])];
    Policy {
        zones,
        rules: vec![rule("web", "a", "b", &["tcp/80", "tcp/443"]), rule("out", "a b", "net", &["udp/53"])],
        ..Policy::default()
    }
}

fn differ(before: &Policy, after: &Policy) -> Vec<String> {
    let change = |change: &crate::compile::Change| {
        let sign = if change.passes { '+' } else { '-' };
        format!("{sign} {} {} {} {}", change.from, change.to, change.service, change.rule.as_deref().unwrap_or("none"))
    };
    compare(&compiled(before), &compiled(after)).iter().map(change).collect()
}

#[test]
fn lines_that_moved_are_no_change() {
    let mut turned = office();
    turned.zones.reverse();
    turned.rules.reverse();
    turned.rules[0].services.reverse();
    turned.rules.push(rule("again", "a", "b", &["tcp/80"]));
    assert_eq!(differ(&office(), &turned), Vec::<String>::new());
}

#[test]
fn neighbouring_ports_are_one_range_and_each_way_has_its_rule() {
    let mut after = office();
    after.rules[0].services = vec!["tcp/81-90".parse().unwrap(), "tcp/91".parse().unwrap(), "tcp/443".parse().unwrap()];
    after.rules.push(rule("ping", "host", "any", &["icmp", "icmpv6/128"]));
    let to_all = ["a", "b", "host", "net", "unzoned"]
        .into_iter()
        .flat_map(|to| [format!("+ host {to} icmp ping"), format!("+ host {to} icmpv6/128 ping")]);
    let of_ports = ["- a b tcp/80 web", "+ a b tcp/81-91 web"].map(str::to_owned);
    let mut expected: Vec<String> = of_ports.into_iter().chain(to_all).collect();
    let mut found = differ(&office(), &after);
    expected.sort();
    found.sort();
    assert_eq!(found, expected);
}

#[test]
fn a_network_that_moves_changes_what_its_members_may_do() {
    let mut after = office();
    after.zones.push(zone("c", &["10.1.5.0/24"]));
    assert_eq!(differ(&office(), &after), ["- c b tcp/443 web", "- c b tcp/80 web", "- c net udp/53 out"]);
    after.rules[0].from.push(super::reference("c"));
    after.rules[1].from.push(super::reference("c"));
    assert_eq!(differ(&office(), &after), Vec::<String>::new());
}

#[test]
fn what_has_run_out_does_not_pass_and_audit_does() {
    let expired = Policy {
        rules: vec![Rule { expires: Some(hours(-1)), ..office().rules[0].clone() }, office().rules[1].clone()],
        ..office()
    };
    assert_eq!(differ(&office(), &expired), ["- a b tcp/443 web", "- a b tcp/80 web"]);
    let watched = Policy { pairs: vec![pair("b", "a", Mode::Audit)], ..office() };
    assert_eq!(differ(&office(), &watched), ["+ b a any none"]);
    let mut open = office();
    open.zones[0].intra_zone = IntraZone::Allow;
    assert_eq!(differ(&office(), &open), ["+ a a any none"]);
    let any = Policy { rules: [office().rules, vec![rule("all", "b", "a", &["any"])]].concat(), ..office() };
    assert_eq!(differ(&any, &office()), ["- b a any all"]);
}

#[test]
fn a_failsafe_that_changes_is_told() {
    let mut after = office();
    after.failsafe.from = vec!["10.1.0.9/32".parse().unwrap()];
    after.failsafe.services = vec!["tcp/22".parse().unwrap()];
    assert_eq!(differ(&office(), &after), ["+ failsafe any tcp/22 none"]);
}
