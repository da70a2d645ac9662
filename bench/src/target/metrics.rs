//! What servers say of themselves, as Prometheus reads it.

use std::collections::BTreeMap;

/// Metrics that are single numbers, by name and labels.
pub type Metrics = BTreeMap<String, f64>;

/// Reads the text that `/metrics` answers.
pub fn parse(text: &str) -> Metrics {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .filter_map(|line| line.rsplit_once(' '))
        .filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?)))
        .collect()
}

/// How much each counter grew.
pub fn grown(before: &Metrics, after: &Metrics) -> Metrics {
    let grown = |(name, value): (&String, &f64)| {
        let by = value - before.get(name).copied().unwrap_or(0.0);
        (by != 0.0).then(|| (name.clone(), by))
    };
    after.iter().filter_map(grown).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_with_their_labels() {
        let text = "# TYPE a counter\na_total 3\nb{code=\"x y\"} 0.5\n# EOF\n";
        let wanted = Metrics::from([("a_total".to_owned(), 3.0), ("b{code=\"x y\"}".to_owned(), 0.5)]);
        assert_eq!(parse(text), wanted);
    }

    #[test]
    fn counters_that_grew_are_told() {
        let before = Metrics::from([("a".to_owned(), 1.0), ("b".to_owned(), 2.0)]);
        let after = Metrics::from([("a".to_owned(), 4.0), ("b".to_owned(), 2.0), ("c".to_owned(), 5.0)]);
        assert_eq!(grown(&before, &after), Metrics::from([("a".to_owned(), 3.0), ("c".to_owned(), 5.0)]));
    }
}
