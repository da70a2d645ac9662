//! What pods of a cluster read of Secrets and ConfigMaps, found in the manifests themselves.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::Manifest;

/// What is read of something, and by whom.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reference {
    /// Keys without which a pod does not start.
    pub keys: BTreeSet<String>,
    /// Keys among them that become words in an environment variable.
    pub words: BTreeSet<String>,
    /// Parts whose pods read it.
    pub parts: BTreeSet<String>,
}

/// By kind and name, all that pods read and that is not among the manifests.
pub type References = BTreeMap<(&'static str, String), Reference>;

/// All that the pods of these manifests read.
pub fn references(manifests: &[Manifest]) -> References {
    let mut all = References::new();
    for manifest in manifests.iter().filter(|manifest| manifest.is_workload()) {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let pod = &manifest.value["spec"]["template"]["spec"];
        for volume in list(&pod["volumes"]) {
            let secret = &volume["secret"];
            if let Some(reference) = read(&mut all, manifest, "Secret", &secret["secretName"]) {
                reference.keys.extend(list(&secret["items"]).filter_map(|item| text(&item["key"])));
            }
            read(&mut all, manifest, "ConfigMap", &volume["configMap"]["name"]);
        }
        for variable in list(&pod["containers"]).flat_map(|container| list(&container["env"])) {
            let from = &variable["valueFrom"];
            let (secret, map) = (&from["secretKeyRef"], &from["configMapKeyRef"]);
            if let Some(reference) = read(&mut all, manifest, "Secret", &secret["name"]) {
                reference.keys.extend(text(&secret["key"]));
                reference.words.extend(text(&secret["key"]));
            }
            if let Some(reference) = read(&mut all, manifest, "ConfigMap", &map["name"]) {
                reference.keys.extend(text(&map["key"]));
            }
        }
    }
    let made = |kind: &str, name: &str| {
        manifests.iter().any(|manifest| manifest.kind.kind == kind && manifest.name == name)
    };
    all.retain(|(kind, name), _| !made(kind, name));
    all
}

fn read<'a>(
    all: &'a mut References,
    by: &Manifest,
    kind: &'static str,
    name: &Value,
) -> Option<&'a mut Reference> {
    let reference = all.entry((kind, name.as_str()?.to_owned())).or_default();
    reference.parts.insert(by.component.clone());
    Some(reference)
}

/// ConfigMaps that the pods of a workload have as volumes.
pub fn config_maps(workload: &Value) -> impl Iterator<Item = &str> {
    let volumes = list(&workload["spec"]["template"]["spec"]["volumes"]);
    volumes.filter_map(|volume| volume["configMap"]["name"].as_str())
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}
