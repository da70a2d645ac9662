//! The chart of the custom resources: whole, in step with `crds/`, and upgradable.

use std::{ffi::OsString, fs, path::Path};

use rookery_charts::{Helm, directory, objects};
use serde_json::{Value, json};

use crate::support::RELEASE;

const CHART: &str = "rookery-crds";

fn render(helm: &Helm, values: &Value) -> Vec<Value> {
    objects(&helm.template(CHART, &RELEASE, values).unwrap()).unwrap()
}

/// The definitions as the chart has them, in the order of their files.
fn definitions() -> Vec<Value> {
    let mut files: Vec<_> =
        fs::read_dir(directory(CHART).join("files")).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.iter().flat_map(|file| objects(&fs::read_to_string(file).unwrap()).unwrap()).collect()
}

#[test]
fn it_passes_helms_own_checks() {
    let Some(helm) = Helm::find_or_say() else { return };
    helm.lint(CHART, &json!({})).unwrap();
}

/// `ROOKERY_GOLDEN=write` copies them.
#[test]
fn the_definitions_are_those_of_the_types() {
    let (own, types) = (directory(CHART).join("files"), directory("../crds/yaml"));
    let names = |folder: &Path| -> Vec<OsString> {
        let mut names: Vec<_> =
            fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    for name in names(&types) {
        if std::env::var("ROOKERY_GOLDEN").as_deref() == Ok("write") {
            fs::copy(types.join(&name), own.join(&name)).unwrap();
        }
        let same = fs::read(own.join(&name)).ok() == fs::read(types.join(&name)).ok();
        assert!(same, "{name:?} is not as in crds/yaml; ROOKERY_GOLDEN=write copies it");
    }
    assert_eq!(names(&own), names(&types));
}

#[test]
fn nothing_but_labels_and_annotations_is_added_to_a_definition() {
    let Some(helm) = Helm::find_or_say() else { return };
    let rendered = render(&helm, &json!({"labels": {"team": "chat"}, "annotations": {"note": "x"}}));
    let mut stripped = rendered.clone();
    for object in &mut stripped {
        let metadata = object["metadata"].as_object_mut().unwrap();
        let labels = metadata.remove("labels").unwrap();
        assert_eq!(labels["team"], "chat");
        assert_eq!(labels["app.kubernetes.io/managed-by"], "Helm");
        assert_eq!(
            metadata.remove("annotations").unwrap(),
            json!({"helm.sh/resource-policy": "keep", "note": "x"})
        );
    }
    let definitions = definitions();
    assert!(!stripped.is_empty());
    assert_eq!(stripped, definitions);
}

#[test]
fn they_go_with_the_release_only_when_told_to() {
    let Some(helm) = Helm::find_or_say() else { return };
    for object in render(&helm, &json!({"keep": false})) {
        assert!(object["metadata"].get("annotations").is_none());
    }
}
