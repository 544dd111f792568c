//! One metric family under construction. Knows the exposition's shapes, and nothing of what is measured.

use prometheus::proto::{Counter, Gauge, LabelPair, Metric, MetricFamily, MetricType};

/// A family: one name, one help text, one type, and a series for each set of labels.
pub(super) struct Family {
    head: MetricFamily,
    labels: &'static [&'static str],
    series: Vec<Metric>,
}

impl Family {
    /// A family of values that only grow.
    pub(super) fn counter(name: &str, help: &str, labels: &'static [&'static str]) -> Self {
        Self::new(name, help, labels, MetricType::COUNTER)
    }

    /// A family of values that go up and down.
    pub(super) fn gauge(name: &str, help: &str, labels: &'static [&'static str]) -> Self {
        Self::new(name, help, labels, MetricType::GAUGE)
    }

    fn new(name: &str, help: &str, labels: &'static [&'static str], kind: MetricType) -> Self {
        let mut family = MetricFamily::default();
        family.set_name(name.to_owned());
        family.set_help(help.to_owned());
        family.set_field_type(kind);
        Self { head: family, labels, series: Vec::new() }
    }

    /// Adds a series; `values` stand in the order of the family's labels.
    pub(super) fn add(&mut self, values: &[&str], value: f64) {
        debug_assert_eq!(self.labels.len(), values.len(), "{}", self.head.name());
        let labels = self.labels.iter().zip(values).map(|(name, value)| label(name, value)).collect();
        let mut metric = Metric::from_label(labels);
        if self.head.get_field_type() == MetricType::COUNTER {
            let mut counter = Counter::default();
            counter.set_value(value);
            metric.set_counter(counter);
        } else {
            let mut gauge = Gauge::default();
            gauge.set_value(value);
            metric.set_gauge(gauge);
        }
        self.series.push(metric);
    }

    /// Adds a count. Exact up to 2^53, which is what Prometheus can hold.
    #[expect(clippy::cast_precision_loss, reason = "the exposition format knows only floats")]
    pub(super) fn count(&mut self, values: &[&str], count: u64) {
        self.add(values, count as f64);
    }

    /// The family, unless it has no series: the format has no way to say that.
    pub(super) fn finish(mut self) -> Option<MetricFamily> {
        if self.series.is_empty() {
            return None;
        }
        self.head.set_metric(self.series);
        Some(self.head)
    }
}

fn label(name: &str, value: &str) -> LabelPair {
    let mut pair = LabelPair::default();
    pair.set_name(name.to_owned());
    pair.set_value(value.to_owned());
    pair
}
