//! Edits of `zones.d/50-segctl.yaml`: exactly the change, every comment kept, or nothing at all.

use segd::config::dropin::{DropinError, NewRule, add_rule, remove_rule, set_pair};
use segd::policy::Mode;

const TEXT: &str = "\
# Added by segctl; comments are yours.
version: 1

rules:
  # asked for by Ann
  - id: first      # don't touch
    from: dev
    to: accounting
    # inside the first
    services: [ledger]
    reason: because
    approved_by: ann@example.com

  # asked for by Bob
  - id: second
    from: dev
    to: internet
    services:
      - web   # and nothing else
    reason: \"a: b\"
    approved_by: bob@example.com
# behind the rules

pairs:
  # since May
  - { from: dev, to: internet, mode: audit }  # watched
# the end
";

fn rule(id: &str) -> NewRule {
    NewRule {
        id: id.into(),
        from: vec!["dev".into()],
        to: vec!["accounting".into(), "internet".into()],
        services: vec!["ledger".into(), "tcp/8000-8010".into()],
        reason: Some("it's \"needed\": see #5".into()),
        approved_by: Some("ann@example.com".into()),
        ticket: Some("142".into()),
        expires: Some("2099-06-30T00:00:00Z".parse().unwrap()),
        mode: Mode::Audit,
        log: true,
    }
}

const RULE: &str = "
  - id: third
    from: dev
    to: [accounting, internet]
    services: [ledger, tcp/8000-8010]
    reason: \"it's \\\"needed\\\": see #5\"
    approved_by: ann@example.com
    ticket: \"142\"
    expires: 2099-06-30T00:00:00Z
    mode: audit
    log: true
";

#[test]
fn a_rule_goes_behind_the_others_and_nothing_else_moves() {
    let expected = TEXT.replace("\n# behind the rules", &format!("{RULE}# behind the rules"));
    assert_eq!(add_rule(TEXT, &rule("third")).unwrap(), expected);
}

#[test]
fn a_rule_goes_into_a_file_that_has_none() {
    let body = format!("rules:{RULE}");
    for (before, after) in [
        ("", format!("version: 1\n\n{body}")),
        ("# mine\n", format!("# mine\n\nversion: 1\n\n{body}")),
        ("version: 1\n", format!("version: 1\n\n{body}")),
        ("mode: audit # x", format!("mode: audit # x\n\n{body}")),
        ("rules:\n# end\n", format!("{body}# end\n")),
        ("rules: [] # none\n# end\n", format!("rules: # none{RULE}# end\n")),
        ("rules:", body.clone()),
    ] {
        assert_eq!(add_rule(before, &rule("third")).unwrap(), after, "from {before:?}");
    }
}

#[test]
fn what_was_added_can_be_removed_again() {
    let added = add_rule(TEXT, &rule("third")).unwrap();
    assert_eq!(remove_rule(&added, "third").unwrap(), TEXT);
}

#[test]
fn a_removed_rule_takes_only_its_own_comments_with_it() {
    let without_first = remove_rule(TEXT, "first").unwrap();
    for comment in [
        "# Added by",
        "# asked for by Ann",
        "# asked for by Bob",
        "# and nothing else",
        "# behind",
        "# since May",
        "# watched",
        "# the end",
    ] {
        assert!(without_first.contains(comment), "{comment} is gone from\n{without_first}");
    }
    assert!(!without_first.contains("first\n") && !without_first.contains("inside the first"));
    let empty = remove_rule(&without_first, "second").unwrap();
    assert!(
        empty.contains("# asked for by Bob") && empty.contains("# behind the rules") && !empty.contains("id:"),
        "{empty}"
    );
    let again = add_rule(&empty, &rule("third")).unwrap();
    assert!(again.contains("    expires: 2099-06-30T00:00:00Z\n"), "{again}");
}

#[test]
fn ids_are_told_apart() {
    assert!(matches!(add_rule(TEXT, &rule("first")), Err(DropinError::SameId(id)) if id == "first"));
    let error = remove_rule(TEXT, "fourth").unwrap_err();
    assert_eq!(
        error.to_string(),
        "zones.d/50-segctl.yaml has no rule 'fourth'; if it stands in a file that was written by hand, remove it there"
    );
}

#[test]
fn a_pair_gets_its_mode_changes_it_and_loses_it() {
    let enforced = set_pair(TEXT, "dev", "internet", Some(Mode::Enforce)).unwrap();
    assert_eq!(enforced, TEXT.replace("mode: audit }", "mode: enforce }"));
    assert_eq!(set_pair(&enforced, "dev", "internet", Some(Mode::Audit)).unwrap(), TEXT);
    let two = set_pair(TEXT, "any", "dev", Some(Mode::Audit)).unwrap();
    assert!(two.contains("# watched\n  - { from: any, to: dev, mode: audit }\n# the end"), "{two}");
    assert_eq!(set_pair(&two, "any", "dev", None).unwrap(), TEXT);
    assert_eq!(set_pair(TEXT, "nobody", "dev", None).unwrap(), TEXT);
    assert_eq!(
        set_pair("", "a", "b", Some(Mode::Audit)).unwrap(),
        "version: 1\n\npairs:\n  - { from: a, to: b, mode: audit }\n"
    );
}

#[test]
fn a_file_that_is_not_in_order_is_not_edited() {
    let error = add_rule("rules: [", &rule("a")).unwrap_err();
    assert!(error.to_string().starts_with("zones.d/50-segctl.yaml was not changed, it is not in order itself:\nzones.d/50-segctl.yaml:1:8: not readable"), "{error}");
    for text in ["{ version: 1 }\n", "rules: word\n", "- a\n", "word\n"] {
        assert!(matches!(add_rule(text, &rule("a")), Err(DropinError::NotEditable { .. })), "{text:?}");
    }
}
