//! The alerts: each fires for its own fault and not without one, names metrics that there are, and is explained.

use std::{collections::BTreeSet, fs, path::Path, process::Command};

use rookery_charts::{Helm, directory, objects};
use rookery_testbed::find_program_or_say;
use serde_json::Value;

use crate::support::{everything, one, operator};

fn read(path: &str) -> String {
    let file = directory("..").join(path);
    fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

fn rules() -> Value {
    objects(&read("charts/rookery-operator/files/alerts.yaml")).unwrap().remove(0)
}

/// Each alert's rule.
fn alerts() -> Vec<Value> {
    let rules = rules();
    let groups = rules["groups"].as_array().unwrap();
    groups.iter().flat_map(|group| group["rules"].as_array().unwrap().clone()).collect()
}

#[test]
fn each_fires_for_its_fault_and_none_without() {
    let Some(promtool) = find_program_or_say("promtool") else { return };
    let tests = directory("tests/alerts.test.yaml");
    let done = Command::new(promtool).args(["test", "rules"]).arg(&tests).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&[done.stdout, done.stderr].concat()));
}

#[test]
fn each_is_tested_and_explained() {
    let (tests, pages) = (read("charts/tests/alerts.test.yaml"), read("docs/alerts.md"));
    for alert in alerts() {
        let name = alert["alert"].as_str().unwrap();
        assert!(tests.contains(&format!("alertname=\"{name}\"")), "{name} has no test");
        assert!(pages.contains(&format!("### {name}\n")), "{name} has no page");
        assert_eq!(alert["annotations"]["runbook"], format!("docs/alerts.md#{}", name.to_lowercase()));
        assert!(["critical", "warning"].contains(&alert["labels"]["severity"].as_str().unwrap()), "{name}");
    }
}

/// Names of metrics as `text` registers them: the prefix of its registry with each text in quotes.
fn registered(text: &str, into: &mut BTreeSet<String>) {
    let Some((_, rest)) = text.split_once("sub_registry_with_prefix(\"") else { return };
    let prefix = rest.split('"').next().unwrap_or_default();
    into.extend(text.split('"').skip(1).step_by(2).map(|name| format!("{prefix}_{name}")));
}

fn look(folder: &Path, into: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            look(&path, into);
        } else if path.file_name().is_some_and(|name| name == "metrics.rs") {
            registered(&fs::read_to_string(path).unwrap(), into);
        }
    }
}

#[test]
fn their_metrics_are_those_of_the_programs() {
    let mut there = BTreeSet::new();
    for program in ["node", "mailer", "translator"] {
        look(&directory("..").join(program).join("src"), &mut there);
    }
    let operator = directory("../operator/src");
    if operator.is_dir() {
        look(&operator, &mut there);
    }
    let operator = operator.is_dir();
    let mut named = 0;
    for alert in alerts() {
        let expression = alert["expr"].as_str().unwrap();
        for word in expression.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_')) {
            // The operator is looked at as soon as it is there.
            if !word.starts_with("rookery_") || (word.starts_with("rookery_operator_") && !operator) {
                continue;
            }
            let name = word.trim_end_matches("_total").trim_end_matches("_bucket");
            assert!(there.contains(name), "{}: no program has {name}", alert["alert"]);
            named += 1;
        }
    }
    assert!(named > 10);
}

#[test]
fn the_chart_gives_them_to_the_prometheus_operator() {
    let Some(helm) = Helm::find_or_say() else { return };
    assert_eq!(one(&operator(&helm, &everything()), "PrometheusRule")["spec"], rules());
}
