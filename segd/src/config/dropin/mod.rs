//! Edits of the one file that belongs to `segctl`, `zones.d/50-segctl.yaml`. Text in, text out: people write comments
//! into it, and those stay. Must never return a text that says anything but the old one with exactly the change.

mod edit;
mod item;

use jiff::Timestamp;
use serde_json::{Value as Model, json};

use super::fault::Faults;
use super::findings::{Findings, Source};
use super::tree::{self, Node};
use crate::policy::Mode;

pub use item::NewRule;

/// Where the file lies, from the folder of `zones.yaml`.
pub const FILE: &str = "zones.d/50-segctl.yaml";

/// Why an edit was not made. The file is as it was.
#[derive(Debug, thiserror::Error)]
pub enum DropinError {
    /// The file can't be read as it stands.
    #[error("{FILE} was not changed, it is not in order itself:\n{0}")]
    NotInOrder(Faults),
    /// The file has a rule of this id.
    #[error("{FILE} has a rule '{0}' already; give the new one another id")]
    SameId(String),
    /// The file has no rule of this id.
    #[error("{FILE} has no rule '{0}'; if it stands in a file that was written by hand, remove it there")]
    NoSuchRule(String),
    /// The edited text would not say exactly what it should.
    #[error(
        "{FILE} was not changed: {what} is not possible in the way it is laid out; make the change by hand and apply it"
    )]
    NotEditable {
        /// What was tried.
        what: String,
    },
}

/// A text and what it says.
struct Content<'t> {
    text: &'t str,
    root: Option<Node>,
}

impl<'t> Content<'t> {
    fn parse(text: &'t str) -> Result<Self, DropinError> {
        let sources = [Source { name: FILE.to_owned(), text: text.to_owned() }];
        let mut findings = Findings::new(&sources);
        let root = tree::parse(0, text, &mut findings).root.filter(|root| !root.is_null());
        findings.finish().map_err(DropinError::NotInOrder)?;
        Ok(Self { text, root })
    }

    /// What the text says; a text that says nothing is an empty mapping.
    fn model(&self) -> Model {
        self.root.as_ref().map_or_else(|| json!({}), Node::model)
    }

    fn section(&self, key: &str) -> Option<&Node> {
        self.root.as_ref()?.get(key)
    }

    fn entries(&self, key: &str) -> &[Node] {
        match self.section(key).map(|node| &node.value) {
            Some(tree::Value::List(items)) => items,
            _ => &[],
        }
    }

    /// The entries of `key` whose fields have these values.
    fn positions(&self, key: &str, fields: &[(&str, &str)]) -> Vec<usize> {
        let says = |node: &Node, field: &str, value: &str| node.get(field).is_some_and(|node| node.model() == value);
        let wanted = |node: &Node| fields.iter().all(|(field, value)| says(node, field, value));
        self.entries(key).iter().enumerate().filter(|(_, node)| wanted(node)).map(|(index, _)| index).collect()
    }
}

/// Adds a rule behind the others.
///
/// # Errors
/// If the file has a rule of that id, is not in order, or is laid out in a way that can't be edited safely.
pub fn add_rule(text: &str, rule: &NewRule) -> Result<String, DropinError> {
    let content = Content::parse(text)?;
    if !content.positions("rules", &[("id", &rule.id)]).is_empty() {
        return Err(DropinError::SameId(rule.id.clone()));
    }
    append(&content, "rules", &rule.yaml(), rule.model(), &format!("adding rule '{}'", rule.id))
}

/// Removes a rule, and the comments inside it. Those above and below it stay.
///
/// # Errors
/// If there is no such rule, or the file is not in order or can't be edited safely.
pub fn remove_rule(text: &str, id: &str) -> Result<String, DropinError> {
    let content = Content::parse(text)?;
    let Some(index) = content.positions("rules", &[("id", id)]).first().copied() else {
        return Err(DropinError::NoSuchRule(id.to_owned()));
    };
    remove(&content, "rules", index, &format!("removing rule '{id}'"))
}

/// Gives a rule another end.
///
/// # Errors
/// If there is no such rule, or the file is not in order or can't be edited safely.
pub fn set_expiry(text: &str, id: &str, expires: Timestamp) -> Result<String, DropinError> {
    let content = Content::parse(text)?;
    let Some(index) = content.positions("rules", &[("id", id)]).first().copied() else {
        return Err(DropinError::NoSuchRule(id.to_owned()));
    };
    let (expires, mut expected) = (expires.to_string(), content.model());
    expected["rules"][index]["expires"] = expires.as_str().into();
    let edited = edit::set(content.text, "rules", index, ("expires", &expires));
    checked(&content, edited, &expected, None, &format!("giving rule '{id}' another end"))
}

/// Gives a pair of zones its mode, or with `None` takes it away. Taking away what is not there changes nothing.
///
/// # Errors
/// If the file is not in order or can't be edited safely.
pub fn set_pair(text: &str, from: &str, to: &str, mode: Option<Mode>) -> Result<String, DropinError> {
    let content = Content::parse(text)?;
    let what = format!("changing the mode of {from} to {to}");
    match (content.positions("pairs", &[("from", from), ("to", to)]).last(), mode) {
        (None, None) => Ok(text.to_owned()),
        (None, Some(mode)) => {
            let model = json!({ "from": from, "to": to, "mode": mode.to_string() });
            append(&content, "pairs", &item::pair(from, to, mode), model, &what)
        }
        (Some(index), None) => {
            let shorter = remove(&content, "pairs", *index, &what)?;
            set_pair(&shorter, from, to, None)
        }
        (Some(index), Some(mode)) => change_mode(&content, *index, mode, &what),
    }
}

fn change_mode(content: &Content<'_>, index: usize, mode: Mode, what: &str) -> Result<String, DropinError> {
    let mut expected = content.model();
    expected["pairs"][index]["mode"] = mode.to_string().into();
    checked(content, edit::set(content.text, "pairs", index, ("mode", &mode.to_string())), &expected, None, what)
}

fn append(content: &Content<'_>, key: &str, item: &str, model: Model, what: &str) -> Result<String, DropinError> {
    let mut expected = content.model();
    let edited = match content.section(key) {
        None => {
            let head = if content.root.is_none() { "version: 1\n\n" } else { "" };
            Some(edit::section(content.text, head, key, item))
        }
        Some(node) if content.entries(key).is_empty() => edit::first_entry(content.text, node.spot, item),
        Some(_) => edit::push(content.text, key, item),
    };
    if content.root.is_none() {
        expected["version"] = "1".into();
    }
    let section = expected.as_object_mut().map(|fields| fields.entry(key).or_insert(Model::Null));
    match section {
        Some(Model::Array(entries)) => entries.push(model),
        Some(empty @ Model::Null) => *empty = json!([model]),
        _ => return Err(DropinError::NotEditable { what: what.to_owned() }),
    }
    checked(content, edited, &expected, None, what)
}

fn remove(content: &Content<'_>, key: &str, index: usize, what: &str) -> Result<String, DropinError> {
    let mut expected = content.model();
    if let Model::Array(entries) = &mut expected[key] {
        entries.remove(index);
    }
    let node = &content.entries(key)[index];
    checked(content, edit::remove(content.text, key, index), &expected, Some(node), what)
}

/// The proof: the edited text says what it should, and every comment is there but those inside of what was removed.
fn checked(
    content: &Content<'_>,
    edited: Option<String>,
    expected: &Model,
    removed: Option<&Node>,
    what: &str,
) -> Result<String, DropinError> {
    let refuse = || DropinError::NotEditable { what: what.to_owned() };
    let edited = edited.ok_or_else(refuse)?;
    let says = Content::parse(&edited).map_err(|_| refuse())?.model();
    let kept = comments_kept(content.text, &edited, removed).ok_or_else(refuse)?;
    if says == *expected && kept { Ok(edited) } else { Err(refuse()) }
}

fn comments_kept(before: &str, after: &str, removed: Option<&Node>) -> Option<bool> {
    let gone = removed.map_or(0..0, |node| {
        let line_end = before[node.end()..].find('\n').map_or(before.len(), |length| node.end() + length);
        node.spot.start..line_end
    });
    let mut left: Vec<String> = tree::comments(after)?.into_iter().map(|(_, words)| words).collect();
    left.sort_unstable();
    let mut wanted: Vec<String> =
        tree::comments(before)?.into_iter().filter(|(at, _)| !gone.contains(at)).map(|(_, words)| words).collect();
    wanted.sort_unstable();
    let mut left = left.into_iter();
    Some(wanted.iter().all(|words| left.any(|other| other == *words)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEFORE: &str = "# mine\nrules:\n  - { id: a } # about a\n  - { id: b }\n";

    fn judge(edited: &str, removed: Option<usize>) -> Result<String, DropinError> {
        let content = Content::parse(BEFORE).unwrap();
        let removed = removed.map(|index| &content.entries("rules")[index]);
        checked(&content, Some(edited.to_owned()), &json!({ "rules": [{ "id": "b" }] }), removed, "it")
    }

    #[test]
    fn an_edit_that_says_something_else_or_loses_a_comment_is_refused() {
        let right = "# mine\nrules:\n  - { id: b }\n";
        assert_eq!(judge(right, Some(0)).unwrap(), right);
        for wrong in [
            "# mine\nrules:\n  - { id: c }\n",
            "# mine\nrules:\n  - { id: b }\nmode: audit\n",
            "# mine\nrules: [\n",
            "rules:\n  - { id: b }\n",
        ] {
            assert!(matches!(judge(wrong, Some(0)), Err(DropinError::NotEditable { .. })), "{wrong}");
        }
        assert!(judge(right, Some(1)).is_err(), "the comment of an entry that stays has to stay");
    }
}
