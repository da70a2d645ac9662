//! What is told: figures by target, as a table and as JSON.

use std::{collections::BTreeMap, io::Write, path::PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Where a report goes.
#[derive(Debug, Clone, clap::Args)]
pub struct Output {
    /// Also write the report, with every step, to this file
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

/// One command's figures.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Report {
    /// The command, as it was given.
    pub command: String,
    /// Cores, processor, kernel.
    pub machine: Value,
    /// What was measured, in the order of the table.
    pub figures: Vec<Figure>,
    /// Everything else there is to know: steps, metrics.
    pub details: Vec<Value>,
}

/// One thing that was measured, on one or several targets.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Figure {
    /// What.
    pub name: String,
    /// In what.
    pub unit: String,
    /// What Rookery is to reach, in words.
    pub aim: Option<String>,
    /// By target: every repetition's value.
    pub values: BTreeMap<String, Vec<f64>>,
}

impl Figure {
    /// The median of a target's values.
    pub fn median(&self, target: &str) -> Option<f64> {
        let mut values = self.values.get(target)?.clone();
        values.sort_by(f64::total_cmp);
        let middle = values.len() / 2;
        match values.len() {
            0 => None,
            odd if odd % 2 == 1 => Some(values[middle]),
            _ => Some(f64::midpoint(values[middle - 1], values[middle])),
        }
    }
}

impl Report {
    /// An empty one for this process's command line.
    pub fn for_this_command() -> Self {
        let mut words: Vec<String> = std::env::args().collect();
        if let Some(program) = words.first_mut() {
            "rookery-bench".clone_into(program);
        }
        Self {
            command: words.join(" "),
            machine: crate::bed::machine(),
            figures: Vec::new(),
            details: Vec::new(),
        }
    }

    /// Adds one value of a figure.
    pub fn add(&mut self, name: &str, unit: &str, aim: Option<&str>, target: &str, value: f64) {
        let at = self.figures.iter().position(|figure| figure.name == name).unwrap_or_else(|| {
            self.figures.push(Figure {
                name: name.to_owned(),
                unit: unit.to_owned(),
                aim: aim.map(str::to_owned),
                values: BTreeMap::new(),
            });
            self.figures.len() - 1
        });
        self.figures[at].values.entry(target.to_owned()).or_default().push(value);
    }

    /// Keeps something for the JSON.
    pub fn detail(&mut self, what: &str, target: &str, detail: &impl Serialize) {
        let value = serde_json::to_value(detail).unwrap_or_default();
        self.details.push(serde_json::json!({"what": what, "target": target, "value": value}));
    }

    /// Prints the table, and writes the file if one is asked for.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn finish(&self, output: &Output) -> anyhow::Result<()> {
        std::io::stdout().write_all(markdown(&self.figures).as_bytes())?;
        if let Some(path) = &output.json {
            if let Some(folder) = path.parent() {
                std::fs::create_dir_all(folder)?;
            }
            std::fs::write(path, serde_json::to_string_pretty(self)? + "\n")?;
        }
        Ok(())
    }
}

/// Targets in the order of the table's columns.
const TARGETS: [&str; 5] = ["rookery", "cluster", "raw", "coalescing", "disk"];

/// Figures as a Markdown table: medians (and the spread, where there are several), and Rookery's ratio to each limit.
pub fn markdown(figures: &[Figure]) -> String {
    let present: Vec<&str> = TARGETS
        .into_iter()
        .filter(|target| figures.iter().any(|figure| figure.values.contains_key(*target)))
        .collect();
    let mut rows = vec![vec!["figure".to_owned(), "unit".to_owned()]];
    rows[0].extend(present.iter().map(|target| (*target).to_owned()));
    rows[0].extend(["ratio".to_owned(), "aim".to_owned()]);
    for figure in figures {
        let mut row = vec![figure.name.clone(), figure.unit.clone()];
        row.extend(present.iter().map(|target| cell(figure, target)));
        row.push(ratios(figure, &present));
        row.push(figure.aim.clone().unwrap_or_default());
        rows.push(row);
    }
    table(&rows)
}

fn cell(figure: &Figure, target: &str) -> String {
    let Some(median) = figure.median(target) else { return String::new() };
    let values = &figure.values[target];
    let (low, high) = values.iter().fold((f64::MAX, f64::MIN), |(low, high), v| (low.min(*v), high.max(*v)));
    if values.len() > 1 && high > low {
        format!("{} ({}-{})", short(median), short(low), short(high))
    } else {
        short(median)
    }
}

fn ratios(figure: &Figure, present: &[&str]) -> String {
    let Some(ours) = figure.median("rookery") else { return String::new() };
    let to = |target: &&str| {
        let theirs = figure.median(target).filter(|theirs| *theirs > 0.0)?;
        Some(format!("{:.2} of {target}", ours / theirs))
    };
    let others = present.iter().filter(|target| **target != "rookery");
    others.filter_map(to).collect::<Vec<_>>().join(", ")
}

/// A number to three digits, large ones with separators.
fn short(value: f64) -> String {
    let size = value.abs();
    if size >= 1_000.0 {
        let magnitude = 10_f64.powf(size.log10().floor() - 2.0);
        let rounded = format!("{:.0}", (value / magnitude).round() * magnitude);
        let mut text = String::new();
        for (i, digit) in rounded.chars().enumerate() {
            if i > 0 && (rounded.len() - i) % 3 == 0 {
                text.push(',');
            }
            text.push(digit);
        }
        text
    } else if size >= 100.0 {
        format!("{value:.0}")
    } else if size >= 10.0 {
        format!("{value:.1}")
    } else {
        format!("{value:.2}")
    }
}

fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.first().map_or(0, Vec::len);
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for (i, row) in rows.iter().enumerate() {
        let cells: Vec<String> =
            row.iter().zip(&widths).map(|(cell, &width)| format!("{cell:<width$}")).collect();
        text.push_str(&format!("| {} |\n", cells.join(" | ")));
        if i == 0 {
            let rule: Vec<String> = widths.iter().map(|&width| "-".repeat(width.max(3))).collect();
            text.push_str(&format!("| {} |\n", rule.join(" | ")));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_and_ratios_are_told() {
        let mut report = Report::for_this_command();
        for value in [300.0, 100.0, 200.0] {
            report.add("highest rate", "deliveries/s", Some("60 %"), "rookery", value * 1e4);
        }
        report.add("highest rate", "deliveries/s", None, "coalescing", 4e6);
        let text = markdown(&report.figures);
        assert!(text.contains("2,000,000 (1,000,000-3,000,000)"), "{text}");
        assert!(text.contains("0.50 of coalescing") && text.contains("60 %"), "{text}");
        assert_eq!(text.lines().count(), 3);
    }

    #[test]
    fn numbers_have_three_digits() {
        let of =
            [(1_234_567.0, "1,230,000"), (999.6, "1000"), (45.678, "45.7"), (8.0, "8.00"), (0.0, "0.00")];
        for (value, text) in of {
            assert_eq!(short(value), text);
        }
        assert_eq!(short(12_345.0), "12,300");
    }
}
