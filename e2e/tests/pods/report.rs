//! What a run found: a table, one row for each thing that was done.

use std::{fmt::Write as _, time::Duration};

use rookery_e2e::report;

/// What clients did meanwhile, and what was checked.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Traffic {
    pub(crate) acked: usize,
    pub(crate) delivered: usize,
    /// Messages that changed places because the first may have been refused, unheard.
    pub(crate) excused: usize,
}

/// One thing that was done.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    /// What.
    pub(crate) what: &'static str,
    /// What is to be said about it.
    pub(crate) said: String,
    /// Until all was as declared again.
    pub(crate) took: Duration,
    /// The longest wait of a writer for an acknowledgement, repeats included.
    pub(crate) wait: Option<Duration>,
    /// Tries of writers that failed and were repeated.
    pub(crate) failed: u32,
    /// What clients did meanwhile, if there were any.
    pub(crate) traffic: Option<Traffic>,
}

/// All rows.
#[derive(Default)]
pub(crate) struct Report {
    /// What Kubernetes it is.
    pub(crate) kubernetes: String,
    /// Rows so far.
    pub(crate) rows: Vec<Row>,
    /// What went wrong.
    pub(crate) broken: Vec<String>,
    /// How long all took.
    pub(crate) took: Duration,
}

impl Report {
    /// The part of the page that a run writes.
    pub(crate) fn page(&self) -> String {
        let mut page = format!(
            "    KUBECONFIG=... ROOKERY_E2E_IMAGES=... make e2e\n\nRevision {}, {}, {}; {:.0} minutes.\n\n",
            report::from_environment("ROOKERY_E2E_REVISION"),
            self.kubernetes,
            report::machine(),
            self.took.as_secs_f64() / 60.0,
        );
        let sum = |count: fn(&Traffic) -> usize| -> usize {
            self.rows.iter().filter_map(|row| row.traffic.as_ref()).map(count).sum()
        };
        let _ = writeln!(
            page,
            "**{} broken promises**; {} acknowledgements and {} deliveries checked. {} times two messages changed places, where the first \
             was not answered before its client left and may have been refused, unheard: that is none.\n",
            self.broken.len(),
            sum(|traffic| traffic.acked),
            sum(|traffic| traffic.delivered),
            sum(|traffic| traffic.excused),
        );
        for broken in &self.broken {
            let _ = writeln!(page, "- {}", broken.lines().next().unwrap_or_default());
        }
        page.push_str(
            "\n| what was done | took | longest wait | failed tries | acknowledged | delivered | |\n",
        );
        page.push_str("| --- | ---: | ---: | ---: | ---: | ---: | --- |\n");
        for row in &self.rows {
            let number = |count: Option<usize>| count.map_or_else(String::new, |count| count.to_string());
            let _ = writeln!(
                page,
                "| {} | {:.0} s | {} | {} | {} | {} | {} |",
                row.what,
                row.took.as_secs_f64(),
                row.wait.map_or_else(String::new, |wait| format!("{} ms", wait.as_millis())),
                row.traffic.map_or_else(String::new, |_| row.failed.to_string()),
                number(row.traffic.map(|traffic| traffic.acked)),
                number(row.traffic.map(|traffic| traffic.delivered)),
                row.said,
            );
        }
        page
    }
}
