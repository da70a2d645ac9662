//! The queries of the dashboards and alerts, as Prometheus gets them.

use std::{fs, path::PathBuf};

use serde_json::Value;

/// A query of a panel.
pub(crate) struct Query {
    /// The file.
    pub(crate) dashboard: String,
    /// The panel's title.
    pub(crate) panel: String,
    /// With the variables replaced, as Grafana does it: everything, over a time that suits a scrape every second.
    pub(crate) text: String,
    /// Labels that its legend names.
    pub(crate) labels: Vec<String>,
}

fn files() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../charts/rookery-operator/files"))
}

/// All of them.
pub(crate) fn queries() -> Vec<Query> {
    let mut all = Vec::new();
    for entry in fs::read_dir(files().join("dashboards")).expect("there are dashboards") {
        let path = entry.expect("a file").path();
        let dashboard = path.file_name().expect("it has a name").to_string_lossy().into_owned();
        let text = fs::read_to_string(&path).expect("it can be read");
        let content: Value = serde_json::from_str(&text).expect("it is JSON");
        for panel in content["panels"].as_array().expect("it has panels") {
            let title = panel["title"].as_str().expect("it has a title");
            for target in panel["targets"].as_array().into_iter().flatten() {
                let expression = target["expr"].as_str().expect("it has a query");
                let mut text = expression.replace("$__rate_interval", "10s");
                for variable in content["templating"]["list"].as_array().into_iter().flatten() {
                    let name = variable["name"].as_str().expect("it has a name");
                    text = text.replace(&format!("${name}"), ".+");
                }
                assert!(!text.contains('$'), "{dashboard}, {title}: {text}");
                let legend = target["legendFormat"].as_str().expect("it has a legend");
                let labels = legend.split("{{").skip(1).filter_map(|rest| rest.split_once("}}"));
                let labels = labels.map(|(label, _)| label.to_owned()).collect();
                all.push(Query { dashboard: dashboard.clone(), panel: title.to_owned(), text, labels });
            }
        }
    }
    assert!(all.len() > 60, "{} queries", all.len());
    all
}

/// Where queries are, and what they are.
pub(crate) fn list(queries: &[Query]) -> String {
    let line = |query: &Query| format!("{}, {}: {}", query.dashboard, query.panel, query.text);
    queries.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// The file of alerts.
pub(crate) fn rules() -> PathBuf {
    files().join("alerts.yaml")
}
