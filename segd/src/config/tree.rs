//! A YAML text as a tree in which every node knows its place. The tree is plain: anchors, aliases, tags and further
//! documents are refused here, so nothing behind this file can be made to expand. It must never guess a type: a scalar
//! is its text, and whoever reads it knows what it should be.

use std::collections::HashMap;

use granit_parser::{Event, Parser, ScalarStyle, ScanError, Span};

use super::findings::{Findings, Spot, quoted};

/// Deeper nesting than any zone file has.
const DEPTH: usize = 24;
/// Nodes of one file; 10,000 rules have about 300,000.
const NODES: usize = 2_000_000;

/// One value and where it stands.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) spot: Spot,
    pub(super) value: Value,
}

/// What a node holds.
#[derive(Debug)]
pub(super) enum Value {
    /// Nothing, `~` or `null`.
    Null,
    /// A scalar; `plain` if it was written without quotes.
    Scalar { text: String, plain: bool },
    /// `- a` or `[a]`.
    List(Vec<Node>),
    /// `a: b` or `{a: b}`; keys are unique.
    Map(Vec<(Key, Node)>),
}

/// The key of an entry.
#[derive(Clone, Debug)]
pub(super) struct Key {
    pub(super) spot: Spot,
    pub(super) text: String,
}

impl Node {
    /// Whether nothing stands here.
    pub(super) fn is_null(&self) -> bool {
        matches!(self.value, Value::Null)
    }

    /// The value of a key, if this is a mapping that has it.
    pub(super) fn get(&self, key: &str) -> Option<&Self> {
        let Value::Map(entries) = &self.value else { return None };
        entries.iter().find(|(other, _)| other.text == key).map(|(_, node)| node)
    }

    /// What the node says, without its places: two texts with the same model mean the same.
    pub(super) fn model(&self) -> serde_json::Value {
        match &self.value {
            Value::Null => serde_json::Value::Null,
            Value::Scalar { text, .. } => text.clone().into(),
            Value::List(items) => items.iter().map(Self::model).collect(),
            Value::Map(entries) => entries.iter().map(|(key, node)| (key.text.clone(), node.model())).collect(),
        }
    }

    /// Behind the last byte of the last value in it. Closing brackets are not counted.
    pub(super) fn end(&self) -> usize {
        let inner = match &self.value {
            Value::Null | Value::Scalar { .. } => None,
            Value::List(items) => items.last().map(Self::end),
            Value::Map(entries) => entries.last().map(|(key, node)| key.spot.end.max(node.end())),
        };
        inner.unwrap_or_default().max(self.spot.end)
    }
}

/// Every comment of a text and where it starts, or nothing if the text can't be read.
pub(super) fn comments(text: &str) -> Option<Vec<(usize, String)>> {
    let options = granit_parser::options! {
        emit_unresolved_aliases: true,
        flow_nesting_limit: DEPTH,
        block_nesting_limit: DEPTH,
        max_buffered_comment_events: usize::MAX,
    };
    let mut found = Vec::new();
    for event in Parser::new_from_str_with_options(text, options) {
        let (event, span) = event.ok()?;
        if let Event::Comment(words, _) = event {
            found.push((span.start.byte_offset()?, words.into_owned()));
        }
    }
    Some(found)
}

/// What became of a text.
pub(super) struct Parsed {
    /// The one document, if there is any.
    pub(super) root: Option<Node>,
    /// Whether the text was understood to its end; if not, a fault says why.
    pub(super) whole: bool,
}

/// Turns the text of source number `file` into a tree.
pub(super) fn parse(file: usize, text: &str, findings: &mut Findings<'_>) -> Parsed {
    let options = granit_parser::options! {
        emit_comments: false,
        emit_unresolved_aliases: true,
        disallow_directives: true,
        flow_nesting_limit: DEPTH,
        block_nesting_limit: DEPTH,
    };
    let mut builder = Builder { file, nodes: 0, stack: Vec::new(), root: None, refused: false, findings };
    for event in Parser::new_from_str_with_options(text, options) {
        let carry_on = match event {
            Ok((event, span)) => builder.take(event, span),
            Err(error) => builder.syntax(text, &error),
        };
        if !carry_on {
            return Parsed { root: None, whole: false };
        }
    }
    let whole = !builder.refused;
    Parsed { root: builder.root.filter(|_| whole), whole }
}

/// A collection that is still open.
enum Open {
    List { spot: Spot, items: Vec<Node> },
    Map { spot: Spot, entries: Vec<(Key, Node)>, seen: HashMap<String, Spot>, key: Option<Key> },
}

struct Builder<'f, 's> {
    file: usize,
    nodes: usize,
    stack: Vec<Open>,
    root: Option<Node>,
    /// Something stands here that a zone file can't have; the tree would be missing it.
    refused: bool,
    findings: &'f mut Findings<'s>,
}

impl Builder<'_, '_> {
    /// Takes one event; `false` ends the reading.
    fn take(&mut self, event: Event<'_>, span: Span) -> bool {
        let spot = self.spot(span);
        self.nodes += 1;
        if self.nodes > NODES {
            self.findings.fault(
                spot,
                format!("more than {NODES} values in one file"),
                "split it over several files in zones.d/",
            );
            return false;
        }
        self.refuse_extras(&event, spot);
        match event {
            Event::Scalar(text, style, ..) => self.put(scalar(&text, style, spot)),
            Event::Alias(_) | Event::UnresolvedAlias(_) => self.put(Node { spot, value: Value::Null }),
            Event::SequenceStart(..) => self.stack.push(Open::List { spot, items: Vec::new() }),
            Event::MappingStart(..) => {
                self.stack.push(Open::Map { spot, entries: Vec::new(), seen: HashMap::new(), key: None });
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(),
            Event::DocumentStart(..) if self.root.is_some() => {
                self.findings.fault(
                    spot,
                    "a second document starts here",
                    "a zone file is one document; move this into a file of its own in zones.d/",
                );
                self.refused = true;
                return false;
            }
            _ => {}
        }
        true
    }

    /// Anchors, aliases and tags: nothing that a zone file needs, and everything that makes YAML dangerous.
    fn refuse_extras(&mut self, event: &Event<'_>, spot: Spot) {
        let alias = matches!(event, Event::Alias(_) | Event::UnresolvedAlias(_));
        if alias || event.anchor_id().is_some() {
            let what = if alias { "an alias" } else { "an anchor" };
            self.findings.fault(
                spot,
                format!("{what} stands here"),
                "anchors and aliases are not taken in zone files; write the value out",
            );
            self.refused |= alias;
        }
        if let Some(tag) = event.tag() {
            let tag = quoted(&tag.original());
            self.findings.fault(
                spot,
                format!("the tag {tag} stands here"),
                "tags are not taken in zone files; remove it",
            );
        }
    }

    /// A finished node goes to the innermost open collection.
    fn put(&mut self, mut node: Node) {
        match self.stack.last_mut() {
            None => self.root = Some(node),
            Some(Open::List { items, .. }) => items.push(node),
            Some(Open::Map { entries, key: open, seen, .. }) => match open.take() {
                None => *open = Some(key_of(node, self.findings)),
                Some(key) => {
                    if node.is_null() {
                        node.spot = key.spot;
                    }
                    if let Some(first) = seen.get(&key.text) {
                        let place = self.findings.place(*first);
                        let message = format!("the key {} stands here twice; first in {place}", quoted(&key.text));
                        self.findings.fault(key.spot, message, "keep one of the two");
                    } else {
                        seen.insert(key.text.clone(), key.spot);
                        entries.push((key, node));
                    }
                }
            },
        }
    }

    fn close(&mut self) {
        let node = match self.stack.pop() {
            Some(Open::List { spot, items }) => Node { spot, value: Value::List(items) },
            Some(Open::Map { spot, entries, .. }) => Node { spot, value: Value::Map(entries) },
            None => return,
        };
        self.put(node);
    }

    fn spot(&self, span: Span) -> Spot {
        let start = span.start.byte_offset().unwrap_or_default();
        Spot {
            file: self.file,
            line: span.start.line() as u32,
            column: span.start.col() as u32 + 1,
            start,
            end: span.end.byte_offset().unwrap_or(start),
        }
    }

    /// What the parser could not read. Always ends the reading of this file.
    fn syntax(&mut self, text: &str, error: &ScanError) -> bool {
        let mark = error.marker();
        let start = mark.byte_offset().unwrap_or(text.len());
        let spot =
            Spot { file: self.file, line: mark.line().max(1) as u32, column: mark.col() as u32 + 1, start, end: start };
        self.findings.fault(spot, format!("not readable as YAML: {}", error.info()), mend_of(error));
        false
    }
}

fn mend_of(error: &ScanError) -> &'static str {
    use granit_parser::ErrorKind;
    match error.kind() {
        ErrorKind::TabNotAllowed | ErrorKind::TabInBlockIndentation | ErrorKind::TabInIndentation => {
            "indent with spaces; YAML takes no tabs"
        }
        ErrorKind::RecursionLimitExceeded => "no zone file needs such deep nesting; close the brackets",
        ErrorKind::UnclosedFlowCollection { .. }
        | ErrorKind::UnexpectedEofFlowSequence
        | ErrorKind::UnexpectedEofFlowMapping => "close the bracket that was opened",
        ErrorKind::UnclosedQuotedScalar => "close the quote that was opened",
        ErrorKind::DirectiveDisallowed => "remove the line; directives are not taken in zone files",
        _ => "look at the indentation, the quotes and the colons in this line and the one above it",
    }
}

fn scalar(text: &str, style: ScalarStyle, spot: Spot) -> Node {
    let plain = matches!(style, ScalarStyle::Plain);
    let value = match text {
        "" | "~" | "null" | "Null" | "NULL" if plain => Value::Null,
        _ => Value::Scalar { text: text.to_owned(), plain },
    };
    Node { spot, value }
}

/// Keys are words. Anything else is said once, and kept under a key that nobody asks for.
fn key_of(node: Node, findings: &mut Findings<'_>) -> Key {
    let spot = node.spot;
    if let Value::Scalar { text, .. } = node.value {
        return Key { spot, text };
    }
    findings.fault(spot, "this key is not a word", "write KEY: VALUE");
    Key { spot, text: String::new() }
}
