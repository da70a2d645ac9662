//! The files under `crds/yaml` are what the types say.

use rookery_crds::yaml;

#[test]
fn the_yaml_is_current() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/yaml");
    for (name, text) in yaml::files().unwrap() {
        let there = std::fs::read_to_string(format!("{folder}/{name}")).unwrap_or_default();
        assert!(there == text, "crds/yaml/{name} is not current: run `cargo run -p rookery-crds`");
    }
}

/// What the API server would accept and people would regret: fields without a text, numbers and texts without a limit.
#[test]
fn every_field_is_described_and_bounded() {
    let mut missing = Vec::new();
    for crd in yaml::definitions() {
        let crd = serde_json::to_value(&crd).unwrap();
        let spec = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
        look("spec", spec, &mut missing);
    }
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}

fn look(path: &str, schema: &serde_json::Value, missing: &mut Vec<String>) {
    let has = |key: &str| schema.get(key).is_some();
    let mut no = |what: &str| missing.push(format!("{path}: {what}"));
    if !has("description") && !path.ends_with("[]") {
        no("is not described");
    }
    match schema["type"].as_str() {
        Some("string") if !(has("enum") || has("maxLength") || has("pattern")) => no("has no limit"),
        Some("integer") if !(has("minimum") && has("maximum")) => no("has no limit"),
        Some("array") => {
            if !has("maxItems") {
                no("has no limit");
            }
            look(&format!("{path}[]"), &schema["items"], missing);
        }
        Some("object") => {
            if let Some(fields) = schema["properties"].as_object() {
                for (name, field) in fields {
                    look(&format!("{path}.{name}"), field, missing);
                }
            } else if !has("maxProperties") {
                no("has no limit");
            }
        }
        _ => {}
    }
}
