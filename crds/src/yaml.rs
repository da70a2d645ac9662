//! The definitions as files.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;

use crate::{ChatCluster, ChatRoom};

/// Where the files are, from the workspace's root.
pub const FOLDER: &str = "crds/yaml";

/// All definitions.
pub fn definitions() -> Vec<CustomResourceDefinition> {
    vec![ChatCluster::crd(), ChatRoom::crd()]
}

/// All files: name and text.
///
/// # Errors
/// None in practice: a definition has a YAML form.
pub fn files() -> Result<Vec<(String, String)>, serde_saphyr::SerializeError> {
    let text = |crd: &CustomResourceDefinition| {
        let name = format!("{}.yaml", crd.spec.names.plural);
        let body = serde_saphyr::to_string(crd)?;
        Ok((name, format!("# Written by `cargo run -p rookery-crds`; do not edit.\n{body}")))
    };
    definitions().iter().map(text).collect()
}
