//! The Prometheus page as values. It must refuse what it cannot read: a line that is skipped is a test that passes
//! by accident.

use std::collections::BTreeMap;
use std::fmt;

use anyhow::{Context, Result};

/// One series: its metric and its labels in alphabetical order.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Series {
    /// The metric.
    pub name: String,
    /// Label names and values.
    pub labels: BTreeMap<String, String>,
}

impl Series {
    /// Whether it carries all of these labels.
    #[must_use]
    pub fn has(&self, labels: &[(&str, &str)]) -> bool {
        labels.iter().all(|(name, value)| self.labels.get(*name).is_some_and(|own| own == value))
    }
}

impl fmt::Display for Series {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let labels: Vec<_> = self.labels.iter().map(|(name, value)| format!("{name}=\"{value}\"")).collect();
        write!(f, "{}{{{}}}", self.name, labels.join(","))
    }
}

/// One scrape.
#[derive(Debug, Clone, Default)]
pub struct Metrics(pub BTreeMap<Series, f64>);

impl Metrics {
    /// Reads a page.
    pub fn parse(page: &str) -> Result<Self> {
        page.lines()
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
            .map(|line| parse_line(line).with_context(|| format!("not a metric: {line}")))
            .collect::<Result<_>>()
            .map(Self)
    }

    /// The sum of all series of this metric with these labels; 0 if there is none.
    #[must_use]
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.of(name).filter(|(series, _)| series.has(labels)).map(|(_, value)| value).sum()
    }

    /// [`Metrics::sum`] of what counts whole things.
    ///
    /// # Panics
    /// If the sum is negative or broken.
    #[must_use]
    pub fn count(&self, name: &str, labels: &[(&str, &str)]) -> u64 {
        whole(self.sum(name, labels))
    }

    /// All series of this metric.
    pub fn of<'a>(&'a self, name: &'a str) -> impl Iterator<Item = (&'a Series, f64)> + 'a {
        self.0.iter().filter(move |(series, _)| series.name == name).map(|(series, value)| (series, *value))
    }

    /// Dropped packets by reason, as `from > to: reason` with their number: every counter that is not zero.
    #[must_use]
    pub fn drops(&self) -> BTreeMap<String, u64> {
        self.told("segd_drops_total")
    }

    /// Distinct blocked connections by reason, told like [`Metrics::drops`].
    #[must_use]
    pub fn blocked_flows(&self) -> BTreeMap<String, u64> {
        self.told("segd_blocked_flows_total")
    }

    fn told(&self, name: &str) -> BTreeMap<String, u64> {
        let label = |series: &Series, name: &str| series.labels.get(name).cloned().unwrap_or_default();
        self.of(name)
            .filter(|(_, value)| *value != 0.0)
            .map(|(series, value)| {
                let [from, to, reason] = ["from_zone", "to_zone", "reason"].map(|name| label(series, name));
                (format!("{from} > {to}: {reason}"), whole(value))
            })
            .collect()
    }

    /// What grew since `earlier`, by how much.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let grown = self.0.iter().filter_map(|(series, value)| {
            let by = value - earlier.0.get(series).copied().unwrap_or(0.0);
            (by != 0.0).then(|| (series.clone(), by))
        });
        Self(grown.collect())
    }
}

/// # Panics
/// If it is no count: counters are never negative and never broken.
#[expect(clippy::cast_sign_loss, reason = "checked just above")]
fn whole(value: f64) -> u64 {
    assert!(value >= 0.0 && value.fract() == 0.0, "{value} is no count");
    value as u64
}

fn parse_line(line: &str) -> Result<(Series, f64)> {
    let (name, rest) = line.split_at(line.find(['{', ' ']).context("no value")?);
    let (labels, value) = match rest.strip_prefix('{') {
        Some(rest) => parse_labels(rest)?,
        None => (BTreeMap::new(), rest),
    };
    let value = value.split_whitespace().next().context("no value")?.parse()?;
    Ok((Series { name: name.to_owned(), labels }, value))
}

/// Labels up to the closing brace, and what stands behind it.
fn parse_labels(mut rest: &str) -> Result<(BTreeMap<String, String>, &str)> {
    let mut labels = BTreeMap::new();
    loop {
        rest = rest.trim_start_matches(',');
        if let Some(value) = rest.strip_prefix('}') {
            return Ok((labels, value));
        }
        let (name, quoted) = rest.split_once("=\"").context("a label without a value")?;
        let end = quoted.find('"').context("a label that does not end")?;
        labels.insert(name.to_owned(), quoted[..end].to_owned());
        rest = &quoted[end + 1..];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_becomes_sums_by_label() {
        let page = "# HELP x y\nx{a=\"1\",b=\"2\"} 3\nx{a=\"1\",b=\"3\"} 4\nx{a=\"2\",b=\"3\"} 5\nbare 7.5\n";
        let metrics = Metrics::parse(page).unwrap();
        assert!((metrics.sum("x", &[("a", "1")]) - 7.0).abs() < 1e-9);
        assert!((metrics.sum("x", &[]) - 12.0).abs() < 1e-9);
        assert!((metrics.sum("bare", &[]) - 7.5).abs() < 1e-9);
        assert!(Metrics::parse("x{a=\"1\" 3").is_err());
    }
}
