//! Where each row of A to D is on the ground of the loaded programs. What can't be there says why, and is counted.

/// Where a row is.
enum On {
    /// Here: the test whose name begins with its id.
    Here,
    /// Not by single test runs, and why.
    Not(&'static str),
}

use On::{Here, Not};

const ROWS: [(&str, On); 64] = [
    ("a1", Here),
    ("a2", Here),
    ("a3", Here),
    ("a4", Here),
    ("a5", Not("a test run has no receive offload; namespaces: the lab's veth strip tags")),
    ("a6", Here),
    ("a7", Here),
    ("a8", Here),
    ("a9", Here),
    ("a10", Here),
    ("a11", Here),
    ("a12", Here),
    ("a13", Here),
    ("a14", Not("needs an interface with a large MTU")),
    ("a15", Here),
    ("b1", Here),
    ("b2", Here),
    ("b3", Here),
    ("b4", Here),
    ("b5", Here),
    ("b6", Here),
    ("b7", Here),
    ("b8", Not("a flood of a million ids, with a receiver that shows what is delivered")),
    ("b9", Here),
    ("b10", Here),
    ("b11", Here),
    ("b12", Here),
    ("b13", Here),
    ("b14", Here),
    ("b15", Here),
    ("b16", Here),
    ("c1", Here),
    ("c2", Here),
    ("c3", Here),
    ("c4", Here),
    ("c5", Here),
    ("c6", Here),
    ("c7", Here),
    ("c8", Here),
    ("c9", Here),
    ("c10", Here),
    ("c11", Here),
    ("c12", Here),
    ("c13", Here),
    ("c14", Here),
    ("c15", Here),
    ("c16", Here),
    ("c17", Here),
    ("d1", Here),
    ("d2", Here),
    ("d3", Here),
    ("d4", Here),
    ("d5", Here),
    ("d6", Here),
    ("d7", Here),
    ("d8", Here),
    ("d9", Here),
    ("d10", Here),
    ("d11", Not("a flood of ten million, beside connections that have to survive it")),
    ("d12", Not("time: idle connections under a full table")),
    ("d13", Here),
    ("d14", Here),
    ("d15", Here),
    ("d16", Here),
];

const SOURCES: [&str; 4] =
    [include_str!("link.rs"), include_str!("ipv4.rs"), include_str!("ipv6.rs"), include_str!("transport.rs")];

#[test]
fn every_row_is_here_once_or_says_why_not_and_those_do_not_grow() {
    let mut left_out = Vec::new();
    for (id, on) in &ROWS {
        let start = format!("\n#[test]\nfn {id}_");
        let tests: usize = SOURCES.iter().map(|source| source.matches(&start).count()).sum();
        match on {
            Here => assert_eq!(tests, 1, "row {id} has one test"),
            Not(why) => {
                assert_eq!(tests, 0, "row {id} has a test, and says that it can't: {why}");
                left_out.push((id, why));
            }
        }
    }
    let per_section = [('a', 15), ('b', 16), ('c', 17), ('d', 16)];
    for (section, rows) in per_section {
        let listed: Vec<String> =
            ROWS.iter().map(|(id, _)| (*id).to_owned()).filter(|id| id.starts_with(section)).collect();
        let all: Vec<String> = (1..=rows).map(|number| format!("{section}{number}")).collect();
        assert_eq!(listed, all);
    }
    assert!(left_out.len() <= 5, "rows that can't run here must not grow in number: {left_out:?}");
}
