//! Texts that want to hurt: they end in a fault, soon, and never in a panic. And files that are merely large.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use segd::config::dropin::{DropinError, NewRule, add_rule, remove_rule, set_pair};
use segd::config::{Faults, Loaded, Source, load_sources};
use segd::policy::Mode;

const EXAMPLE: &str = include_str!("../../zones.example.yaml");

fn load(text: &str) -> Result<Loaded, Faults> {
    load_sources(vec![Source { name: "zones.yaml".into(), text: text.into() }])
}

/// The faults of a hostile text. They have to be there soon, and to be of a size that can be shown.
fn refused(text: &str) -> Faults {
    let start = Instant::now();
    let faults = load(text).expect_err("this must not load");
    assert!(start.elapsed() < Duration::from_secs(20), "took {:?}", start.elapsed());
    assert!(faults.render(false).len() < 1 << 20);
    assert!(!faults.faults.is_empty());
    faults
}

fn new_rule(id: &str, reason: &str) -> NewRule {
    let words = |word: &str| vec![word.to_owned()];
    NewRule {
        id: id.into(),
        from: words("dev"),
        to: words("dev"),
        services: words("any"),
        reason: Some(reason.into()),
        ..NewRule::default()
    }
}

#[test]
fn an_alias_bomb_is_not_expanded() {
    let mut text = String::from("version: 1\na0: &a0 [x, x, x, x, x, x, x, x, x]\n");
    for level in 1..20 {
        let _ = writeln!(
            text,
            "a{level}: &a{level} [*a{0}, *a{0}, *a{0}, *a{0}, *a{0}, *a{0}, *a{0}, *a{0}, *a{0}]",
            level - 1
        );
    }
    assert_eq!(refused(&text).faults[0].message, "an anchor stands here");
}

#[test]
fn deep_nesting_is_refused_in_every_form() {
    for text in ["[".repeat(100_000), "{a: ".repeat(100_000), "- ".repeat(100_000), "? ".repeat(100_000)] {
        assert!(refused(&text).faults[0].message.starts_with("not readable as YAML"), "{}", &text[..8]);
    }
    let stairs: String = (0..400).fold(String::new(), |text, depth| text + &" ".repeat(depth) + "a:\n");
    refused(&stairs);
}

#[test]
fn a_megabyte_of_garbage_is_refused() {
    for piece in [
        "\u{1}\u{7f}é\n",
        "a: b: c\n",
        "- [}\n",
        "'",
        "\"\\x",
        "%YAML 9\n",
        "\t",
        "x",
        "x\n",
        "key: ",
        "#",
        "&a *a ",
        "!!! ",
        "\u{feff}",
    ] {
        let text = piece.repeat((1 << 20) / piece.len());
        if let Err(faults) = load(&text) {
            assert!(faults.render(false).len() < 1 << 20, "{piece:?}");
        }
    }
    let keys = (0..100_000).fold(String::from("version: 1\n"), |mut text, n| {
        let _ = writeln!(text, "k{n}: 1");
        text
    });
    let faults = refused(&keys);
    assert_eq!((faults.faults.len(), faults.left_out), (500, 99_500));
    assert!(faults.to_string().ends_with("and 99500 more"));
}

#[test]
fn a_long_line_is_shown_around_the_fault() {
    let text = format!(
        "version: 1\nzones: {{ {} b: {{ networks: [x] }}, {} }}\n",
        "a: { networks: [10.0.0.0/8] }, ".repeat(30),
        "c: {}, ".repeat(100)
    );
    let faults = refused(&text);
    let fault = faults.faults.iter().find(|fault| fault.message.contains("'x'")).unwrap();
    let shown: Vec<char> = fault.line_text.chars().collect();
    assert!(shown.len() <= 160 && shown[fault.caret as usize - 1] == 'x' && fault.caret_width == 1, "{fault:?}");
}

#[test]
fn a_fault_plays_no_tricks_on_a_terminal() {
    let text = "version: 1\nzones:\n  \"a\\e[31m\": { networks: [\"\\u0007\"] } # \u{202e}\nservices: { b: [\"tcp/\\e[31m\", \"\\u0007/x\", \"\\u202e\"] }\n";
    let shown = refused(text).to_string();
    assert!(shown.chars().all(|c| c == '\n' || (c >= ' ' && c != '\u{202e}')), "{shown:?}");
    assert!(shown.contains("'\\u{1b}[31m' is not a port"), "{shown}");
}

#[test]
fn ten_thousand_rules_and_prefixes_load_at_once() {
    let mut text = String::from("version: 1\nfailsafe: { from: [10.0.0.0/24], services: [tcp/22] }\nzones:\n");
    for n in 0..10_000 {
        let _ = writeln!(text, "  z{n}: {{ networks: [10.{}.{}.0/24] }}", n / 250, n % 250);
    }
    text += "rules:\n";
    for n in 0..10_000 {
        let _ = writeln!(
            text,
            "  - id: r{n}\n    from: z{n}\n    to: [z{}, any]\n    services: [tcp/{n}]\n    reason: r\n    approved_by: a",
            9_999 - n
        );
    }
    let start = Instant::now();
    let loaded = load(&text).unwrap();
    // Without optimisation on a busy machine; what is quadratic takes minutes.
    assert!(start.elapsed() < Duration::from_secs(20), "took {:?}", start.elapsed());
    assert_eq!((loaded.policy.zones.len(), loaded.policy.rules.len()), (10_000, 10_000));
    let broken = text.replace("to: [z", "to: [y");
    assert_eq!(refused(&broken).left_out, 9_500);
}

/// The example with some bytes changed, taken out or doubled.
fn mutated() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just(String::new()),
        "[ -~\n]{1,3}",
        "\\PC",
        Just("\n".to_owned()),
        Just("  ".to_owned()),
        Just("]}".to_owned()),
        Just("- &a *a".to_owned())
    ];
    prop::collection::vec((0..EXAMPLE.len(), 0..12_usize, piece), 1..8).prop_map(|edits| {
        let mut text = EXAMPLE.to_owned();
        for (at, length, piece) in edits {
            let floor = |mut at: usize| {
                at = at.min(text.len());
                while !text.is_char_boundary(at) {
                    at -= 1;
                }
                at
            };
            let range = floor(at)..floor(at + length);
            text.replace_range(range, &piece);
        }
        text
    })
}

/// Edits may be refused, but what comes back says what it should: the caller can read it.
fn edit_all_ways(text: &str, reason: &str) {
    let readable = |edited: Result<String, DropinError>| {
        if let Ok(edited) = edited {
            assert!(!matches!(remove_rule(&edited, "no-such-rule"), Err(DropinError::NotInOrder(_))), "{edited}");
        }
    };
    readable(add_rule(text, &new_rule("added", reason)));
    readable(remove_rule(text, "office-browses-web"));
    readable(set_pair(text, "guest", "internet", Some(Mode::Enforce)));
    readable(set_pair(text, "guest", "internet", None));
    readable(set_pair(text, "dev", "internet", Some(Mode::Audit)));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let _ = load(&text).map_err(|faults| faults.render(true));
        edit_all_ways(&text, "r");
    }

    #[test]
    fn mutations_of_the_example_never_panic(text in mutated()) {
        if let Err(faults) = load(&text) {
            prop_assert!(!faults.faults.is_empty());
            prop_assert!(faults.faults.iter().all(|fault| !fault.mend.is_empty() && !fault.message.is_empty()));
            prop_assert!(faults.render(true).contains("mend:"));
        }
    }

    #[test]
    fn edits_of_mutated_files_are_right_or_refused(text in mutated()) {
        edit_all_ways(&text, "r");
    }

    #[test]
    fn any_reason_is_written_so_that_it_reads_back(reason in "\\PC{1,40}|[ -~\n\t]{1,40}") {
        prop_assume!(segd::config::says_something(&reason));
        let base = "version: 1\nzones: { dev: { networks: [10.0.0.0/8] } }\n";
        let Ok(text) = add_rule(base, &new_rule("a", &reason)) else { return Ok(()) };
        let loaded = load(&text).unwrap();
        prop_assert_eq!(loaded.policy.rules[0].reason.as_deref(), Some(reason.trim()));
        prop_assert!(remove_rule(&text, "a").unwrap().starts_with(base));
    }
}
