//! A real Prometheus that watches programs of this machine.

use std::fmt::Write as _;

use rookery_testbed::{Bed, Process, eventually, find_program_or_say, free_port};
use serde_json::Value;

use crate::dashboards::{self, Query};

/// A program that is watched: the labels are those that the charts' PodMonitors give.
pub(crate) struct Target {
    /// `host:port`.
    pub(crate) address: String,
    /// Its pod's name.
    pub(crate) pod: String,
    /// Its ChatCluster's, if it is part of one.
    pub(crate) chatcluster: Option<&'static str>,
}

/// A running one. It scrapes every second, and evaluates the charts' alerts.
pub(crate) struct Prometheus {
    url: String,
    client: reqwest::Client,
    _process: Process,
}

impl Prometheus {
    /// `None`, said loudly: it is not installed.
    pub(crate) fn start(targets: &[Target]) -> Option<Self> {
        let program = find_program_or_say("prometheus")?;
        let bed = Bed::temporary();
        let mut config = format!(
            "global: {{scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}}\nrule_files: [{}]\nscrape_configs:\n\
             - job_name: rookery\n  static_configs:\n",
            dashboards::rules().canonicalize().expect("there are alerts").display(),
        );
        for Target { address, pod, chatcluster } in targets {
            let cluster = chatcluster.map_or_else(String::new, |name| format!(", chatcluster: {name}"));
            let _ = writeln!(
                config,
                "  - {{targets: ['{address}'], labels: {{namespace: chat, pod: {pod}{cluster}}}}}"
            );
        }
        let file = bed.dir().join("prometheus.yml");
        std::fs::write(&file, config).expect("a configuration can be written");
        let address = format!("127.0.0.1:{}", free_port());
        let args = [
            format!("--config.file={}", file.display()),
            format!("--storage.tsdb.path={}", bed.dir().join("prometheus").display()),
            format!("--web.listen-address={address}"),
        ];
        let process = bed.process("prometheus", &program, args.to_vec());
        process.start();
        eventually(
            "Prometheus serves",
            || process.log_tail(20),
            || {
                process.assert_running();
                std::net::TcpStream::connect(&address).ok()
            },
        );
        let client = reqwest::Client::builder().no_proxy().build().expect("a client without TLS");
        Some(Self { url: format!("http://{address}"), client, _process: process })
    }

    /// The answer to a call of its API, if it is one.
    async fn ask(&self, path: &str, query: &[(&str, &str)]) -> Option<Value> {
        let url = reqwest::Url::parse_with_params(&format!("{}/api/v1/{path}", self.url), query);
        let answer = self.client.get(url.expect("an address")).send().await.ok()?;
        let said: Value = serde_json::from_slice(&answer.bytes().await.ok()?).ok()?;
        // What is being started refuses to answer; what it does not understand will not be better later.
        assert_ne!(said["errorType"], "bad_data", "{query:?}: {said}");
        (said["status"] == "success").then(|| said["data"].clone())
    }

    /// Whether a query gives at least one number now, with what its legend names.
    pub(crate) async fn shows(&self, query: &Query) -> bool {
        let Some(data) = self.ask("query", &[("query", &query.text)]).await else { return false };
        let number = |series: &&Value| {
            let number = series["value"][1].as_str().and_then(|text| text.parse().ok());
            number.is_some_and(f64::is_finite)
        };
        let named = |series: &Value| query.labels.iter().all(|label| series["metric"][label].is_string());
        data["result"].as_array().into_iter().flatten().filter(number).any(named)
    }

    /// Its rules with the health of each: `(name, ok, last error)`.
    pub(crate) async fn rules(&self) -> Vec<(String, String, String)> {
        let Some(data) = self.ask("rules", &[]).await else { return Vec::new() };
        let groups = data["groups"].as_array().cloned().unwrap_or_default();
        let rules = groups.iter().flat_map(|group| group["rules"].as_array().cloned().unwrap_or_default());
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        rules.map(|rule| (text(&rule["name"]), text(&rule["health"]), text(&rule["lastError"]))).collect()
    }
}

/// What a program tells at `/metrics`, as text.
pub(crate) async fn scrape(url: &str) -> Option<String> {
    let client = reqwest::Client::builder().no_proxy().build().ok()?;
    client.get(format!("{url}/metrics")).send().await.ok()?.text().await.ok()
}
