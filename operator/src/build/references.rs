//! What pods of a cluster read of Secrets and ConfigMaps, found in the manifests themselves.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::Manifest;

/// What is read of something, and by whom.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reference {
    /// Keys without which a pod does not start.
    pub keys: BTreeSet<String>,
    /// Parts whose pods read it.
    pub parts: BTreeSet<String>,
}

/// By kind and name, all that pods read and that is not among the manifests.
pub type References = BTreeMap<(&'static str, String), Reference>;

/// All that the pods of these manifests read.
pub fn references(manifests: &[Manifest]) -> References {
    let mut all = References::new();
    for manifest in manifests.iter().filter(|manifest| manifest.is_workload()) {
        let mut add = |kind: &'static str, name: &Value, keys: &mut dyn Iterator<Item = &str>| {
            let Some(name) = name.as_str() else { return };
            let reference = all.entry((kind, name.to_owned())).or_default();
            reference.keys.extend(keys.map(str::to_owned));
            reference.parts.insert(manifest.component.clone());
        };
        let pod = &manifest.value["spec"]["template"]["spec"];
        for volume in list(&pod["volumes"]) {
            let secret = &volume["secret"];
            let mut keys = list(&secret["items"]).filter_map(|item| item["key"].as_str());
            add("Secret", &secret["secretName"], &mut keys);
            add("ConfigMap", &volume["configMap"]["name"], &mut std::iter::empty());
        }
        for variable in list(&pod["containers"]).flat_map(|container| list(&container["env"])) {
            let key = &variable["valueFrom"]["secretKeyRef"];
            add("Secret", &key["name"], &mut key["key"].as_str().into_iter());
        }
    }
    let made = |kind: &str, name: &str| {
        manifests.iter().any(|manifest| manifest.kind.kind == kind && manifest.name == name)
    };
    all.retain(|(kind, name), _| !made(kind, name));
    all
}

/// ConfigMaps that the pods of a workload have as volumes.
pub fn config_maps(workload: &Value) -> impl Iterator<Item = &str> {
    let volumes = list(&workload["spec"]["template"]["spec"]["volumes"]);
    volumes.filter_map(|volume| volume["configMap"]["name"].as_str())
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}
