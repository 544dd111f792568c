//! What `segctl` writes: a rule or a pair as YAML, each word quoted where YAML could take it for something else.

use jiff::Timestamp;
use serde_json::{Value as Model, json};

use crate::policy::Mode;

/// A rule as `segctl allow` gives it. Nothing in it is checked here: the whole policy is, before it is put in force.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewRule {
    /// Unique over all files.
    pub id: String,
    /// Zones, or `any`.
    pub from: Vec<String>,
    /// Zones, or `any`.
    pub to: Vec<String>,
    /// Names of services, or literals.
    pub services: Vec<String>,
    /// Why; needed between two zones.
    pub reason: Option<String>,
    /// Who answers for it; needed between two zones.
    pub approved_by: Option<String>,
    /// Ticket of the change.
    pub ticket: Option<String>,
    /// When it stops to allow.
    pub expires: Option<Timestamp>,
    /// Written if it is not `Enforce`.
    pub mode: Mode,
    /// Written if set.
    pub log: bool,
}

impl NewRule {
    /// The fields that are written, in their order. One zone alone is written as a word.
    fn fields(&self) -> Vec<(&'static str, Model)> {
        let zones = |names: &[String]| if let [name] = names { json!(name) } else { json!(names) };
        let mut fields = vec![
            ("id", json!(self.id)),
            ("from", zones(&self.from)),
            ("to", zones(&self.to)),
            ("services", json!(self.services)),
        ];
        let expires = self.expires.map(|time| time.to_string());
        let optional = [
            ("reason", &self.reason),
            ("approved_by", &self.approved_by),
            ("ticket", &self.ticket),
            ("expires", &expires),
        ];
        fields.extend(optional.into_iter().filter_map(|(key, text)| Some((key, json!(text.as_ref()?)))));
        if self.mode != Mode::Enforce {
            fields.push(("mode", json!(self.mode.to_string())));
        }
        if self.log {
            fields.push(("log", json!("true")));
        }
        fields
    }

    /// What the rule says when it is read again.
    pub(super) fn model(&self) -> Model {
        self.fields().into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
    }

    /// As a block mapping, one key a line.
    pub(super) fn yaml(&self) -> String {
        self.fields()
            .into_iter()
            .fold(String::new(), |text, (key, value)| text + key + ": " + &flow(key, &value) + "\n")
    }
}

/// A pair as a flow mapping.
pub(super) fn pair(from: &str, to: &str, mode: Mode) -> String {
    format!("{{ from: {}, to: {}, mode: {mode} }}\n", scalar(from), scalar(to))
}

fn flow(key: &str, value: &Model) -> String {
    match value {
        // Neither is text; what they are can't be misread.
        Model::String(word) if matches!(key, "log" | "expires") => word.clone(),
        Model::Array(items) => {
            let items: Vec<String> = items.iter().filter_map(Model::as_str).map(scalar).collect();
            format!("[{}]", items.join(", "))
        }
        other => scalar(other.as_str().unwrap_or_default()),
    }
}

/// Plain where no reader of YAML could misunderstand it, else in double quotes as JSON has them.
fn scalar(text: &str) -> String {
    let begins = |c: char| c.is_ascii_alphanumeric();
    let inside = |c: char| c.is_ascii_alphanumeric() || " _-./@+".contains(c);
    let ambiguous =
        ["true", "false", "yes", "no", "on", "off", "null", "y", "n"].contains(&text.to_ascii_lowercase().as_str());
    let plain = text.starts_with(begins) && text.chars().all(inside) && !text.ends_with(' ') && !ambiguous;
    if plain && text.parse::<f64>().is_err() { text.to_owned() } else { Model::from(text).to_string() }
}
