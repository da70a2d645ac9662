//! Alerts and dashboards: each alert fires for its own fault and not without one, and is explained; all of them name metrics that there
//! are.

use std::{collections::BTreeSet, fs, path::Path, process::Command};

use rookery_charts::{Helm, directory, objects};
use rookery_testbed::find_program_or_say;
use serde_json::{Value, json};

use crate::support::{of_kind, one, operator};

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

/// Names of the alerts in it.
fn names(rule: &Value) -> Vec<String> {
    let groups = rule["groups"].as_array().unwrap();
    let alerts = groups.iter().flat_map(|group| group["rules"].as_array().unwrap());
    alerts.map(|alert| alert["alert"].as_str().unwrap().to_owned()).collect()
}

fn promtool(tests: &Path) {
    let Some(promtool) = find_program_or_say("promtool") else { return };
    let done = Command::new(promtool).args(["test", "rules"]).arg(tests).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&[done.stdout, done.stderr].concat()));
}

#[test]
fn each_fires_for_its_fault_and_none_without() {
    promtool(&directory("tests/alerts.test.yaml"));
}

/// The rule that the operator makes for a single chat, the one of its example: the same cases as for all chats, but those of the operator.
#[test]
fn those_of_one_chat_fire_for_its_faults_and_for_no_other_chats() {
    let made = objects(&read("operator/golden/external.yaml")).unwrap();
    let rule = &one(&made, "PrometheusRule")["spec"];
    let own: BTreeSet<String> = names(rule).into_iter().collect();
    assert!(own.len() > 10 && own.iter().all(|name| names(&rules()).contains(name)), "{own:?}");
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("rule.yaml"), rule.to_string()).unwrap();
    // As that chat is called, and as another one of its namespace and one of its name elsewhere.
    for (namespace, name, is_own) in
        [("chats", "big", true), ("chats", "small", false), ("other", "big", false)]
    {
        let text = read("charts/tests/alerts.test.yaml")
            .replace("namespace=\"chat\"", &format!("namespace=\"{namespace}\""))
            .replace("chatcluster=\"tea\"", &format!("chatcluster=\"{name}\""));
        let mut tests = objects(&text).unwrap().remove(0);
        tests["rule_files"] = json!(["rule.yaml"]);
        for case in tests["tests"].as_array_mut().unwrap() {
            let series = case["input_series"].as_array_mut().unwrap();
            series.retain(|series| !series["series"].as_str().unwrap().starts_with("rookery_operator_"));
            for test in case["promql_expr_test"].as_array_mut().unwrap() {
                let samples = test["exp_samples"].as_array_mut().unwrap();
                samples.retain(|sample| {
                    let labels = sample["labels"].as_str().unwrap();
                    is_own && own.iter().any(|name| labels.contains(&format!("alertname=\"{name}\"")))
                });
            }
        }
        let file = folder.path().join("test.yaml");
        fs::write(&file, tests.to_string()).unwrap();
        promtool(&file);
    }
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

/// The dashboards: name and content.
fn dashboards() -> Vec<(String, Value)> {
    let files = fs::read_dir(directory("rookery-operator/files/dashboards"))
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut all: Vec<_> = files
        .map(|file| {
            let name = file.file_name().unwrap().to_string_lossy().into_owned();
            (name, serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap())
        })
        .collect();
    all.sort_by(|(one, _): &(String, Value), (other, _)| one.cmp(other));
    all
}

/// All expressions, each with the name of where it is.
fn expressions() -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let mut all: Vec<_> =
        alerts().iter().map(|alert| (text(&alert["alert"]), text(&alert["expr"]))).collect();
    for (_, dashboard) in dashboards() {
        for panel in dashboard["panels"].as_array().unwrap() {
            let targets = panel["targets"].as_array().into_iter().flatten();
            all.extend(targets.map(|target| (text(&panel["title"]), text(&target["expr"]))));
        }
    }
    all
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
    let mut named = 0;
    for (place, expression) in expressions() {
        for word in expression.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_')) {
            // The operator is looked at as soon as it is there.
            if !word.starts_with("rookery_") || (word.starts_with("rookery_operator_") && !operator.is_dir())
            {
                continue;
            }
            let name = word.trim_end_matches("_total").trim_end_matches("_bucket");
            // A unit is appended where one is registered.
            let registered = there.contains(name) || there.contains(name.trim_end_matches("_seconds"));
            assert!(registered, "{place}: no program has {name}");
            named += 1;
        }
    }
    assert!(named > 40);
}

#[test]
fn every_panel_says_what_it_shows_and_has_its_place() {
    for (name, dashboard) in dashboards() {
        let mut taken = BTreeSet::new();
        for panel in dashboard["panels"].as_array().unwrap() {
            let title = panel["title"].as_str().unwrap();
            assert!(!title.is_empty());
            let at = |key: &str| panel["gridPos"][key].as_u64().unwrap();
            for x in at("x")..at("x") + at("w") {
                for y in at("y")..at("y") + at("h") {
                    assert!(x < 24 && taken.insert((x, y)), "{name}: {title} lies over another panel");
                }
            }
        }
    }
}

#[test]
fn the_chart_gives_them_to_prometheus_and_grafana() {
    let Some(helm) = Helm::find_or_say() else { return };
    let values = json!({"prometheusRule": {"enabled": true}, "dashboards": {"enabled": true}});
    let objects = operator(&helm, &values);
    assert_eq!(one(&objects, "PrometheusRule")["spec"], rules());
    let maps = of_kind(&objects, "ConfigMap");
    let dashboards = dashboards();
    assert_eq!(maps.len(), dashboards.len());
    for (map, (name, dashboard)) in maps.iter().zip(&dashboards) {
        let text = map["data"][format!("rookery-{name}")].as_str().unwrap();
        assert_eq!(&serde_json::from_str::<Value>(text).unwrap(), dashboard);
        assert_eq!(map["metadata"]["labels"]["grafana_dashboard"], "1");
    }
}
