//! The complete output of the charts, as files that are read in a review. `ROOKERY_GOLDEN=write` writes them anew.

use std::{fs, path::Path};

use rookery_charts::Helm;
use serde_json::{Value, json};

use crate::support::{RELEASE, everything};

fn check(name: &str, chart: &str, values: &Value) {
    let Some(helm) = Helm::find_or_say() else { return };
    let rendered = helm.template(chart, &RELEASE, values).unwrap();
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden").join(format!("{name}.yaml"));
    if std::env::var("ROOKERY_GOLDEN").as_deref() == Ok("write") {
        fs::write(&file, &rendered).unwrap();
    }
    let golden = fs::read_to_string(&file).unwrap_or_default();
    let (rendered, golden): (Vec<_>, Vec<_>) = (rendered.lines().collect(), golden.lines().collect());
    let same = rendered.iter().zip(&golden).take_while(|(one, other)| one == other).count();
    assert!(
        rendered == golden,
        "{}, line {}: rendered is {:?}, kept is {:?}; ROOKERY_GOLDEN=write writes it anew",
        file.display(),
        same + 1,
        rendered.get(same),
        golden.get(same)
    );
}

#[test]
fn the_operator_as_it_comes() {
    check("operator", "rookery-operator", &json!({}));
}

#[test]
fn the_operator_in_its_own_namespace_alone() {
    check(
        "operator-namespaced",
        "rookery-operator",
        &json!({"scope": "namespaces", "rbac": {"aggregate": false}, "replicas": 1}),
    );
}

#[test]
fn the_operator_with_everything() {
    check("operator-everything", "rookery-operator", &everything());
}
