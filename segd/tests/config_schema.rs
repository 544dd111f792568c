//! The schema that editors complete and check zone files by says what the loader says: the same keys, the same words, and
//! no file that the loader takes is red in an editor.

use std::collections::BTreeSet;
use std::fs;

use jsonschema::Validator;
use segd::config::{Fault, Source, load_sources};
use serde_json::Value;

const EXAMPLE: &str = include_str!("../../zones.example.yaml");
const SCHEMA: &str = include_str!("../../zones.schema.json");

fn schema() -> Value {
    serde_json::from_str(SCHEMA).unwrap()
}

fn validator() -> Validator {
    jsonschema::validator_for(&schema()).unwrap()
}

fn yaml(text: &str) -> Value {
    serde_yaml::from_str(text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// What an editor would underline.
fn complaints(text: &str) -> Vec<String> {
    validator().iter_errors(&yaml(text)).map(|error| format!("{}: {error}", error.instance_path())).collect()
}

fn faults(text: &str) -> Vec<Fault> {
    let source = Source { name: "zones.yaml".into(), text: text.into() };
    load_sources(vec![source]).err().map_or_else(Vec::new, |faults| faults.faults)
}

/// A mapping of the zone file: where the schema has it, and a file with a key in it that nobody knows.
const MAPPINGS: [(&str, &str); 9] = [
    ("", "qqqqqqqq: 1\n"),
    ("/$defs/interface", "interfaces:\n  - { qqqqqqqq: 1 }\n"),
    ("/$defs/zone", "zones:\n  a: { qqqqqqqq: 1 }\n"),
    ("/$defs/rule", "rules:\n  - { qqqqqqqq: 1 }\n"),
    ("/$defs/pair", "pairs:\n  - { qqqqqqqq: 1 }\n"),
    ("/$defs/failsafe", "failsafe: { qqqqqqqq: 1 }\n"),
    ("/$defs/limits", "limits: { qqqqqqqq: 1 }\n"),
    ("/$defs/connection-test", "tests:\n  - { qqqqqqqq: 1 }\n"),
    ("/$defs/reach-test", "tests:\n  - { reach: a, qqqqqqqq: 1 }\n"),
];

/// Places that take one of a few words: in the schema, and a file with a wrong one.
const CHOICES: [(&str, &str); 8] = [
    ("/properties/mode", "mode: qqqqqqqq\n"),
    ("/$defs/interface/properties/hook", "interfaces:\n  - { name: a, hook: qqqqqqqq }\n"),
    ("/$defs/interface/properties/forward", "interfaces:\n  - { name: a, forward: qqqqqqqq }\n"),
    ("/$defs/zone/properties/intra_zone", "zones:\n  a: { networks: [10.0.0.0/8], intra_zone: qqqqqqqq }\n"),
    ("/$defs/rule/properties/mode", "rules:\n  - { id: a, mode: qqqqqqqq }\n"),
    ("/$defs/pair/properties/mode", "pairs:\n  - { from: a, to: a, mode: qqqqqqqq }\n"),
    ("/properties/essentials/items", "essentials: [qqqqqqqq]\n"),
    (
        "/$defs/connection-test/properties/expect",
        "tests:\n  - { from: 10.0.0.1, to: 10.0.0.2, service: tcp/1, expect: qqqqqqqq }\n",
    ),
];

#[test]
fn the_example_is_good_for_the_schema_and_tells_editors_of_it() {
    assert_eq!(complaints(EXAMPLE), Vec::<String>::new());
    let hint = EXAMPLE.lines().next().unwrap().strip_prefix("# yaml-language-server: $schema=").unwrap();
    let beside = concat!(env!("CARGO_MANIFEST_DIR"), "/../");
    assert!(fs::exists(format!("{beside}{hint}")).unwrap(), "{hint} is beside the example");
}

#[test]
fn the_schema_knows_the_keys_that_the_loader_knows_and_no_others() {
    for (place, text) in MAPPINGS {
        let faults = faults(&format!("version: 1\n{text}"));
        let fault = faults.iter().find(|fault| fault.message.contains("unknown key 'qqqqqqqq'"));
        let mend = &fault.unwrap_or_else(|| panic!("{text}: {faults:?}")).mend;
        let known = mend.split_once(" takes: ").unwrap_or_else(|| panic!("{mend}")).1;
        let mut loader: BTreeSet<&str> = known.split(", ").collect();
        if place.ends_with("connection-test") {
            loader.remove("reach");
        }
        let schema = schema();
        let there = schema.pointer(place).unwrap_or_else(|| panic!("{place}"));
        let keys: BTreeSet<&str> = there["properties"].as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(keys, loader, "{place}");
        assert_eq!(there["additionalProperties"], false, "{place}");
    }
}

#[test]
fn the_schema_has_the_words_that_the_loader_takes_and_no_others() {
    for (place, text) in CHOICES {
        let schema = schema();
        let words =
            schema.pointer(place).and_then(|there| there["enum"].as_array()).unwrap_or_else(|| panic!("{place}"));
        let words: Vec<&str> = words.iter().map(|word| word.as_str().unwrap()).collect();
        let faults = faults(&format!("version: 1\n{text}"));
        let fault = faults.iter().find(|fault| fault.message.contains("'qqqqqqqq'"));
        let mend = &fault.unwrap_or_else(|| panic!("{text}: {faults:?}")).mend;
        let known = mend.trim_start_matches("write ").trim_start_matches("there are ");
        let known: BTreeSet<&str> =
            known.split(" or ").flat_map(|part| part.split(" and ")).flat_map(|part| part.split(", ")).collect();
        assert_eq!(words.into_iter().collect::<BTreeSet<_>>(), known, "{place}");
    }
}

#[test]
fn what_the_loader_takes_is_never_red_and_what_it_refuses_for_its_form_is() {
    let zones =
        "version: 1\nzones:\n  a: { networks: 10.1.0.0/16 }\n  b: { networks: [\"fd00::/64\"], interfaces: lan0 }\n";
    for good in [
        "rules:\n  - { id: x-1, from: a, to: [b, host], services: any, reason: r, approved_by: me }\n",
        "rules:\n  - { id: x, from: a, to: a, services: [icmp/echo-request, proto/47, udp/1-9] }\n",
        "rules:\n  - { id: x, from: any, to: b, services: [w], reason: r, approved_by: me, expires: \"2027-06-30T00:00:00+02:00\" }\nservices:\n  w: tcp/80\n",
        "tests:\n  - { reach: a, only_from: [] }\n  - { reach: b, only_from: a }\n",
        "essentials: []\n",
    ] {
        let text = format!("{zones}{good}");
        assert_eq!(faults(&text), [], "{text}");
        assert_eq!(complaints(&text), Vec::<String>::new(), "{text}");
    }
    for bad in [
        "rules:\n  - { id: X, from: a, to: b, services: [tcp/1], reason: r, approved_by: me }\n",
        "rules:\n  - { id: x, from: a, to: b, services: [tcp], reason: \"\", approved_by: me }\n",
        "rules:\n  - { id: x, from: a, to: b, services: [], reason: r, approved_by: me }\n",
        "rules:\n  - { id: x, from: a, to: b, services: [tcp/1], reason: r, approved_by: me, expires: tomorrow }\n",
        "rules:\n  - { id: x, from: a, to: b, services: [tcp/1], reason: r, approved_by: me, log: yes please }\n",
        "limits: { connections: 0 }\n",
        "tests:\n  - { reach: a }\n",
        "interfaces: []\n",
    ] {
        let text = format!("{zones}{bad}");
        assert_ne!(faults(&text), [], "{text}");
        assert_ne!(complaints(&text), Vec::<String>::new(), "{text}");
    }
}
