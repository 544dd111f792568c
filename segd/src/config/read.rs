//! From the tree to what was written: which keys there are, and what shape each value has. Every file is read into the
//! same `Written`, so that merging is reading on.

use crate::policy::{Forward, HookChoice, IntraZone, Mode};

use super::fields::{At, Fields, choice, entries, flag, items, named, number, text, texts};
use super::findings::{Findings, Spot};
use super::tree::{Node, Value};
use super::written::{
    Written, WrittenFailsafe, WrittenInterface, WrittenLimits, WrittenPair, WrittenRule, WrittenService, WrittenTest,
    WrittenZone,
};

const MODES: &[(&str, Mode)] = &[("enforce", Mode::Enforce), ("audit", Mode::Audit)];
const HOOKS: &[(&str, HookChoice)] = &[
    ("auto", HookChoice::Auto),
    ("xdp", HookChoice::Xdp),
    ("xdp-generic", HookChoice::XdpGeneric),
    ("tc", HookChoice::Tc),
];
const FORWARDS: &[(&str, Forward)] = &[("kernel", Forward::Kernel), ("shortcut", Forward::Shortcut)];
const INTRA: &[(&str, IntraZone)] = &[("deny", IntraZone::Deny), ("allow", IntraZone::Allow)];
const EXPECT: &[(&str, bool)] = &[("allow", true), ("deny", false)];

/// Reads one file into what the files before it gave. Only the first file has to name its version.
pub(super) fn read(root: &Node, is_main: bool, written: &mut Written, findings: &mut Findings<'_>) {
    let Some(mut fields) = Fields::of(root, "a zone file", findings) else { return };
    version(&mut fields, is_main, findings);
    if let Some(node) = fields.take("mode") {
        let mode = choice(node, "mode", MODES, findings);
        once("mode", &mut written.mode, mode.map(|value| At { value, spot: node.spot }), findings);
    }
    if let Some(node) = fields.take_even_empty("interfaces") {
        interfaces(node, written, findings);
    }
    if let Some(node) = fields.take("zones") {
        let found = named(node, "write NAME: and below it networks: [10.20.0.0/24]", findings);
        written.zones.extend(
            found.iter().filter_map(|(key, node)| zone(At { value: key.text.clone(), spot: key.spot }, node, findings)),
        );
    }
    if let Some(node) = fields.take("services") {
        for (key, node) in named(node, "write NAME: [tcp/443]", findings) {
            let name = At { value: key.text.clone(), spot: key.spot };
            written.services.push(WrittenService { name, elements: texts(node, findings) });
        }
    }
    if let Some(node) = fields.take("rules") {
        written.rules.extend(entries(node, findings).iter().filter_map(|node| rule(node, findings)));
    }
    if let Some(node) = fields.take("pairs") {
        written.pairs.extend(entries(node, findings).iter().filter_map(|node| pair(node, findings)));
    }
    singles(&mut fields, written, findings);
    if let Some(node) = fields.take("tests") {
        written.tests.extend(entries(node, findings).iter().filter_map(|node| test(node, findings)));
    }
    fields.finish(findings);
}

/// The sections that may stand in one file only.
fn singles(fields: &mut Fields<'_>, written: &mut Written, findings: &mut Findings<'_>) {
    if let Some(node) = fields.take("failsafe") {
        let found = failsafe(node, findings);
        once("failsafe", &mut written.failsafe, found, findings);
    }
    if let Some(node) = fields.take_even_empty("essentials") {
        if matches!(node.value, Value::Null) {
            findings.fault(
                node.spot,
                "'essentials' is empty",
                "write [] for none, or leave it out for arp, ndp, dhcp-client and mld",
            );
        }
        let found = At { value: texts(node, findings), spot: node.spot };
        once("essentials", &mut written.essentials, Some(found), findings);
    }
    if let Some(node) = fields.take("limits") {
        let found = limits(node, findings);
        once("limits", &mut written.limits, found, findings);
    }
}

fn once<T>(what: &str, slot: &mut Option<At<T>>, found: Option<At<T>>, findings: &mut Findings<'_>) {
    let Some(found) = found else { return };
    if let Some(first) = slot {
        let place = findings.place(first.spot);
        findings.fault(found.spot, format!("'{what}' is set twice; first in {place}"), "keep one of the two");
    } else {
        *slot = Some(found);
    }
}

fn version(fields: &mut Fields<'_>, is_main: bool, findings: &mut Findings<'_>) {
    let node = if is_main {
        fields.need("version", "write version: 1 as the first line", findings)
    } else {
        fields.take("version")
    };
    let Some(node) = node else { return };
    if let Some(version) = number(node, findings)
        && version != 1
    {
        findings.fault(
            node.spot,
            format!("version {version} is not known here"),
            "write version: 1, or install the release that the file was written for",
        );
    }
}

fn interfaces(node: &Node, written: &mut Written, findings: &mut Findings<'_>) {
    let found = entries(node, findings);
    if found.is_empty() && matches!(node.value, Value::Null | Value::List(_)) {
        findings.fault(
            node.spot,
            "'interfaces' is empty",
            "leave it out to guard every interface but loopback, or name some: - name: \"lan*\"",
        );
    }
    for node in found {
        let Some(mut fields) = Fields::of(node, "an interface", findings) else { continue };
        let name = fields.need("name", "write name: \"lan*\"", findings).and_then(|node| text(node, findings));
        let hook = fields.take("hook").and_then(|node| choice(node, "hook", HOOKS, findings)).unwrap_or_default();
        let forward = fields.take("forward").and_then(|node| forward(node, hook, findings)).unwrap_or_default();
        fields.finish(findings);
        written.interfaces.extend(name.map(|name| WrittenInterface { name, hook, forward }));
    }
}

fn forward(node: &Node, hook: HookChoice, findings: &mut Findings<'_>) -> Option<Forward> {
    let forward = choice(node, "way to forward", FORWARDS, findings)?;
    if forward == Forward::Shortcut && !matches!(hook, HookChoice::Auto | HookChoice::Xdp) {
        findings.fault(
            node.spot,
            "forward: shortcut redirects in XDP, and this hook is another one",
            "write hook: xdp, or leave the hook out; or write forward: kernel",
        );
    }
    Some(forward)
}

fn zone(name: At<String>, node: &Node, findings: &mut Findings<'_>) -> Option<WrittenZone> {
    if matches!(node.value, Value::Null) {
        return Some(WrittenZone {
            name,
            description: None,
            networks: Vec::new(),
            interfaces: Vec::new(),
            intra_zone: IntraZone::Deny,
        });
    }
    let mut fields = Fields::of(node, "a zone", findings)?;
    let description = fields.take("description").and_then(|node| text(node, findings)).map(|text| text.value);
    let networks = fields.take("networks").map(|node| texts(node, findings)).unwrap_or_default();
    let interfaces = match fields.take_even_empty("interfaces") {
        Some(node) if items(node).is_empty() => {
            findings.fault(
                node.spot,
                "'interfaces' is empty",
                "leave it out if the zone may be seen on any interface, or name some: [lan20]",
            );
            Vec::new()
        }
        Some(node) => texts(node, findings),
        None => Vec::new(),
    };
    let intra_zone = fields
        .take("intra_zone")
        .and_then(|node| choice(node, "answer to intra_zone", INTRA, findings))
        .unwrap_or_default();
    fields.finish(findings);
    Some(WrittenZone { name, description, networks, interfaces, intra_zone })
}

fn rule(node: &Node, findings: &mut Findings<'_>) -> Option<WrittenRule> {
    let mut fields = Fields::of(node, "a rule", findings)?;
    let word = |node: Option<&Node>, findings: &mut Findings<'_>| node.and_then(|node| text(node, findings));
    let list = |node: Option<&Node>, findings: &mut Findings<'_>| {
        node.map(|node| At { value: texts(node, findings), spot: node.spot })
    };
    let id = fields.need("id", "give it a name that stays, such as id: dev-reads-ledger", findings);
    let from = fields.need("from", "write from: ZONE, a list of zones, or any", findings);
    let to = fields.need("to", "write to: ZONE, a list of zones, or any", findings);
    let services = fields.need("services", "write services: [tcp/443]", findings);
    let written = WrittenRule {
        spot: node.spot,
        id: word(id, findings),
        from: list(from, findings),
        to: list(to, findings),
        services: list(services, findings),
        reason: word(fields.take("reason"), findings),
        approved_by: word(fields.take("approved_by"), findings),
        ticket: word(fields.take("ticket"), findings),
        expires: word(fields.take("expires"), findings),
        mode: fields.take("mode").and_then(|node| choice(node, "mode", MODES, findings)).unwrap_or_default(),
        log: fields.take("log").and_then(|node| flag(node, findings)).unwrap_or_default(),
    };
    fields.finish(findings);
    Some(written)
}

fn pair(node: &Node, findings: &mut Findings<'_>) -> Option<WrittenPair> {
    let mut fields = Fields::of(node, "a pair", findings)?;
    let from = fields.need("from", "write from: ZONE, or any", findings).and_then(|node| text(node, findings));
    let to = fields.need("to", "write to: ZONE, or any", findings).and_then(|node| text(node, findings));
    let mode = fields
        .need("mode", "write mode: audit or mode: enforce", findings)
        .and_then(|node| choice(node, "mode", MODES, findings));
    fields.finish(findings);
    Some(WrittenPair { spot: node.spot, from: from?, to: to?, mode: mode? })
}

fn failsafe(node: &Node, findings: &mut Findings<'_>) -> Option<At<WrittenFailsafe>> {
    let mut fields = Fields::of(node, "the failsafe", findings)?;
    let from = fields.take("from").map(|node| texts(node, findings)).unwrap_or_default();
    let services = fields.take("services").map(|node| texts(node, findings)).unwrap_or_default();
    fields.finish(findings);
    Some(At { value: WrittenFailsafe { from, services }, spot: node.spot })
}

fn limits(node: &Node, findings: &mut Findings<'_>) -> Option<At<WrittenLimits>> {
    let mut fields = Fields::of(node, "limits", findings)?;
    let amount = |node: Option<&Node>, findings: &mut Findings<'_>| {
        node.and_then(|node| number(node, findings).map(|value| At { value, spot: node.spot }))
    };
    let connections = amount(fields.take("connections"), findings);
    let half_open = amount(fields.take("half_open"), findings);
    fields.finish(findings);
    Some(At { value: WrittenLimits { connections, half_open }, spot: node.spot })
}

fn test(node: &Node, findings: &mut Findings<'_>) -> Option<At<WrittenTest>> {
    let mut fields = Fields::of(node, "a test", findings)?;
    let spot: Spot = node.spot;
    if let Some(zone) = fields.take("reach") {
        let zone = text(zone, findings);
        let only_from = fields.take_even_empty("only_from").map(|node| texts(node, findings));
        if only_from.is_none() {
            findings.fault(
                spot,
                "a test of reach needs 'only_from'",
                "write only_from: [ZONE], or [] if no zone may reach it",
            );
        }
        fields.finish(findings);
        return Some(At { value: WrittenTest::Reach { zone: zone?, only_from: only_from? }, spot });
    }
    let word = |node: Option<&Node>, findings: &mut Findings<'_>| node.and_then(|node| text(node, findings));
    let from =
        fields.need("from", "write from: ADDRESS, or a test of reach: { reach: ZONE, only_from: [ZONE] }", findings);
    let to = fields.need("to", "write to: ADDRESS", findings);
    let service = fields.need("service", "write service: tcp/443", findings);
    let expect = fields.need("expect", "write expect: allow or expect: deny", findings);
    let (from, to, service) = (word(from, findings), word(to, findings), word(service, findings));
    let expect_allow = expect.and_then(|node| choice(node, "expectation", EXPECT, findings));
    fields.finish(findings);
    Some(At {
        value: WrittenTest::Connection { from: from?, to: to?, service: service?, expect_allow: expect_allow? },
        spot,
    })
}
