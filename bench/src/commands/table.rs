//! Several reports as one table.

use std::{io::Write, path::PathBuf};

use anyhow::Context;

use crate::report::{Report, markdown};

/// Flags of `table`.
#[derive(Debug, Clone, clap::Args)]
pub struct Arguments {
    /// Files that --json wrote
    #[arg(required = true)]
    reports: Vec<PathBuf>,
}

/// Prints it.
///
/// # Errors
/// When a file cannot be read.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let mut figures = Vec::new();
    let mut text = String::new();
    for path in &arguments.reports {
        let json =
            std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        let report: Report =
            serde_json::from_str(&json).with_context(|| format!("{} is no report", path.display()))?;
        if text.is_empty() {
            let of = |key: &str| report.machine[key].as_str().unwrap_or("unknown").to_owned();
            let cores = &report.machine["cores"];
            text = format!("{}, {cores} cores, Linux {}\n\n", of("cpu"), of("kernel"));
        }
        figures.extend(report.figures);
    }
    text.push_str(&markdown(&figures));
    Ok(std::io::stdout().write_all(text.as_bytes())?)
}
