//! Zone files for tests: the office's zones, small tables, and the rules that a test is about.

use std::fmt;

/// A zone file being told; it displays as YAML.
#[derive(Debug, Clone)]
pub struct Zones {
    mode: &'static str,
    interfaces: Vec<(String, &'static str)>,
    forward: &'static str,
    rules: Vec<String>,
    pairs: Vec<String>,
}

impl Default for Zones {
    fn default() -> Self {
        Self::new()
    }
}

impl Zones {
    /// The office's zones with no rule at all.
    #[must_use]
    pub fn new() -> Self {
        let interfaces = vec![("lan*".to_owned(), "auto"), ("wan*".to_owned(), "auto")];
        Self { mode: "enforce", interfaces, forward: "kernel", rules: Vec::new(), pairs: Vec::new() }
    }

    /// Watches only.
    #[must_use]
    pub fn audit(mut self) -> Self {
        self.mode = "audit";
        self
    }

    /// This hook for this interface, whatever `auto` would choose.
    #[must_use]
    pub fn hook(mut self, interface: &str, hook: &'static str) -> Self {
        self.interfaces.insert(0, (interface.to_owned(), hook));
        self
    }

    /// This hook for every interface.
    #[must_use]
    pub fn hooks(mut self, hook: &'static str) -> Self {
        for (_, chosen) in &mut self.interfaces {
            *chosen = hook;
        }
        self
    }

    /// Lets XDP forward what is established, on every interface.
    #[must_use]
    pub fn shortcut(mut self) -> Self {
        self.forward = "shortcut";
        self
    }

    /// A rule; `services` as in a zone file, separated by commas.
    #[must_use]
    pub fn rule(mut self, id: &str, from: &str, to: &str, services: &str) -> Self {
        self.rules.push(format!(
            "{{ id: {id}, from: {from}, to: {to}, services: [{services}], reason: a test, approved_by: tests@example.com }}"
        ));
        self
    }

    /// Lets the last rule run out at this time (RFC 3339).
    ///
    /// # Panics
    /// If there is no rule yet.
    #[must_use]
    pub fn until(mut self, time: jiff::Timestamp) -> Self {
        let rule = self.rules.last_mut().expect("a rule that could run out");
        rule.truncate(rule.len() - 2);
        rule.extend([", expires: \"", &time.to_string(), "\" }"]);
        self
    }

    /// Only watches one pair of zones.
    #[must_use]
    pub fn watched(mut self, from: &str, to: &str) -> Self {
        self.pairs.push(format!("{{ from: {from}, to: {to}, mode: audit }}"));
        self
    }
}

impl fmt::Display for Zones {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "version: 1\nmode: {}\ninterfaces:", self.mode)?;
        for (name, hook) in &self.interfaces {
            writeln!(f, "  - {{ name: \"{name}\", hook: {hook}, forward: {} }}", self.forward)?;
        }
        writeln!(
            f,
            r#"zones:
  accounting:
    networks: [10.20.0.0/24, "fd00:20::/64"]
    interfaces: [lan20, lan21]
    intra_zone: allow
  dev:
    networks: [10.30.0.0/24, "fd00:30::/64"]
    interfaces: [lan30]
  guest:
    networks: [10.40.0.0/24, "fd00:40::/64"]
    interfaces: [lan40]
  internet:
    networks: [0.0.0.0/0, "::/0"]
limits:
  connections: 4096
  half_open: 1024"#
        )?;
        for (key, entries) in [("rules", &self.rules), ("pairs", &self.pairs)] {
            if !entries.is_empty() {
                writeln!(f, "{key}:")?;
                entries.iter().try_for_each(|entry| writeln!(f, "  - {entry}"))?;
            }
        }
        Ok(())
    }
}
