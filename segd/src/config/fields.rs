//! Reads typed values out of the tree: texts, lists, numbers, choices, and mappings whose unknown keys are refused.
//! Each reader says what is wrong in its place and goes on, so that one fault never hides another.

use super::findings::{Findings, Spot, nearest, quoted};
use super::tree::{Key, Node, Value};

/// Something as it was written, and where.
#[derive(Clone, Debug)]
pub(super) struct At<T> {
    pub(super) value: T,
    pub(super) spot: Spot,
}

/// A mapping with a fixed set of keys. `finish` refuses those that nobody asked for.
pub(super) struct Fields<'n> {
    what: &'static str,
    pub(super) spot: Spot,
    entries: &'n [(Key, Node)],
    known: Vec<&'static str>,
}

impl<'n> Fields<'n> {
    /// `what` as messages call it, with its article: "a rule".
    pub(super) fn of(node: &'n Node, what: &'static str, findings: &mut Findings<'_>) -> Option<Self> {
        if let Value::Map(entries) = &node.value {
            return Some(Self { what, spot: node.spot, entries, known: Vec::new() });
        }
        findings.fault(
            node.spot,
            format!("{what} is a mapping, and this is {}", shape(node)),
            "write KEY: VALUE lines here",
        );
        None
    }

    /// The value of a key that may be left out. An empty value counts as left out.
    pub(super) fn take(&mut self, key: &'static str) -> Option<&'n Node> {
        self.take_even_empty(key).filter(|node| !matches!(node.value, Value::Null))
    }

    /// The value of a key, also where nothing is written behind it.
    pub(super) fn take_even_empty(&mut self, key: &'static str) -> Option<&'n Node> {
        self.known.push(key);
        self.entries.iter().find(|(other, _)| other.text == key).map(|(_, node)| node)
    }

    /// The value of a key that has to be there; `mend` says what to write.
    pub(super) fn need(&mut self, key: &'static str, mend: &str, findings: &mut Findings<'_>) -> Option<&'n Node> {
        let spot = self.entries.iter().find(|(other, _)| other.text == key).map_or(self.spot, |(key, _)| key.spot);
        let node = self.take(key);
        if node.is_none() {
            findings.fault(spot, format!("{} needs '{key}'", self.what), mend);
        }
        node
    }

    /// Refuses every key that was not asked for.
    pub(super) fn finish(self, findings: &mut Findings<'_>) {
        for (key, _) in self.entries.iter().filter(|(key, _)| !self.known.contains(&key.text.as_str())) {
            let mend = match nearest(&key.text, self.known.iter().copied()) {
                Some(known) => format!("write '{known}'"),
                None => format!("{} takes: {}", self.what, self.known.join(", ")),
            };
            findings.fault(key.spot, format!("unknown key {}", quoted(&key.text)), mend);
        }
    }
}

/// What a node looks like, for messages.
fn shape(node: &Node) -> &'static str {
    match node.value {
        Value::Null => "empty",
        Value::Scalar { .. } => "a single value",
        Value::List(_) => "a list",
        Value::Map(_) => "a mapping",
    }
}

/// One word or sentence.
pub(super) fn text(node: &Node, findings: &mut Findings<'_>) -> Option<At<String>> {
    if let Value::Scalar { text, .. } = &node.value {
        return Some(At { value: text.clone(), spot: node.spot });
    }
    findings.fault(
        node.spot,
        format!("a single value belongs here, and this is {}", shape(node)),
        "write one word, or a sentence in quotes",
    );
    None
}

/// The items of a list. One value alone counts as a list of one.
pub(super) fn items(node: &Node) -> &[Node] {
    match &node.value {
        Value::List(items) => items,
        Value::Null => &[],
        _ => std::slice::from_ref(node),
    }
}

/// A list whose items are mappings: a mapping alone is a forgotten dash.
pub(super) fn entries<'n>(node: &'n Node, findings: &mut Findings<'_>) -> &'n [Node] {
    match &node.value {
        Value::List(items) => items,
        Value::Null => &[],
        _ => {
            findings.fault(
                node.spot,
                format!("a list belongs here, and this is {}", shape(node)),
                "start each entry with '- '",
            );
            &[]
        }
    }
}

/// A list of words, or one word.
pub(super) fn texts(node: &Node, findings: &mut Findings<'_>) -> Vec<At<String>> {
    items(node).iter().filter_map(|item| text(item, findings)).collect()
}

/// The entries of a mapping from names to something.
pub(super) fn named<'n>(node: &'n Node, mend: &str, findings: &mut Findings<'_>) -> &'n [(Key, Node)] {
    match &node.value {
        Value::Map(entries) => entries,
        Value::Null => &[],
        _ => {
            findings.fault(
                node.spot,
                format!("names with their values belong here, and this is {}", shape(node)),
                mend,
            );
            &[]
        }
    }
}

/// One of a few words.
pub(super) fn choice<T: Copy>(node: &Node, what: &str, words: &[(&str, T)], findings: &mut Findings<'_>) -> Option<T> {
    let word = text(node, findings)?;
    if let Some((_, value)) = words.iter().find(|(name, _)| *name == word.value) {
        return Some(*value);
    }
    let known: Vec<&str> = words.iter().map(|(name, _)| *name).collect();
    findings.fault(word.spot, format!("{} is no {what}", quoted(&word.value)), format!("write {}", known.join(" or ")));
    None
}

/// `true` or `false`, nothing else: `yes` and `on` mean different things to different readers of YAML.
pub(super) fn flag(node: &Node, findings: &mut Findings<'_>) -> Option<bool> {
    match &node.value {
        Value::Scalar { text, plain: true } if text == "true" => return Some(true),
        Value::Scalar { text, plain: true } if text == "false" => return Some(false),
        Value::Scalar { text, .. } => findings.fault(
            node.spot,
            format!("{} is neither true nor false", quoted(text)),
            "write true or false, without quotes",
        ),
        _ => findings.fault(
            node.spot,
            format!("true or false belongs here, and this is {}", shape(node)),
            "write true or false",
        ),
    }
    None
}

/// A whole number without sign, in decimal digits.
pub(super) fn number(node: &Node, findings: &mut Findings<'_>) -> Option<u64> {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit() || b == b'_');
    match &node.value {
        Value::Scalar { text, plain: true } if digits(text) => {
            let value = text.replace('_', "").parse();
            if value.is_err() {
                findings.fault(node.spot, format!("{} is too large", quoted(text)), "write a smaller number");
            }
            value.ok()
        }
        Value::Scalar { text, .. } => {
            findings.fault(
                node.spot,
                format!("{} is not a whole number", quoted(text)),
                "write decimal digits, without sign and quotes",
            );
            None
        }
        _ => {
            findings.fault(
                node.spot,
                format!("a number belongs here, and this is {}", shape(node)),
                "write decimal digits",
            );
            None
        }
    }
}
