//! Deletes what is ours and not declared any more.

use std::collections::BTreeSet;

use kube::{
    Api,
    api::{DeleteParams, DynamicObject, Preconditions},
};
use serde_json::Value;

use super::{Look, LookError, Observed, Problem, api, observe::Object, refusal};
use crate::build::{COMPONENT, Manifest, references};

/// What is to go.
pub(super) fn goes<'a>(
    manifests: &'a [Manifest],
    observed: &'a Observed,
) -> impl Iterator<Item = (&'static str, &'a str, &'a Object)> {
    let in_use = configs_in_use(observed);
    observed.objects.iter().filter_map(move |((kind, name), object)| {
        let declared = manifests.iter().any(|manifest| manifest.kind.kind == *kind && manifest.name == *name);
        // The one Secret is no manifest; it goes with its ChatCluster.
        let keep = *kind == "Secret" || *kind == "ConfigMap" && in_use.contains(name);
        let going = object.value.pointer("/metadata/deletionTimestamp").is_some();
        (!declared && !keep && !going && object.is_ours()).then_some((*kind, name.as_str(), object))
    })
}

pub(super) async fn prune(
    look: &Look<'_>,
    manifests: &[Manifest],
    observed: &Observed,
) -> Result<Vec<Problem>, LookError> {
    let Look { context, namespace, uid, .. } = *look;
    let mut problems = Vec::new();
    for (kind, name, object) in goes(manifests, observed) {
        let objects: Api<DynamicObject> =
            Api::namespaced_with(context.client.clone(), namespace, &object.kind.resource());
        let params = DeleteParams {
            preconditions: Some(Preconditions {
                uid: Some(object.text("/metadata/uid").to_owned()),
                ..Preconditions::default()
            }),
            ..DeleteParams::background()
        };
        match objects.delete(name, &params).await {
            Ok(_) => {
                context.metrics.wrote(object.kind.kind, "delete");
                tracing::info!(namespace, kind, name, uid, "deleted: it is not declared any more");
            }
            // Gone, or another one by now.
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => {}
            Err(error) => match refusal(&error) {
                Some(why) => {
                    let message = format!("{kind} {name} is to be deleted; Kubernetes refuses that: {why}");
                    problems.push(Problem::new("DeleteRefused", message));
                }
                None => return Err(api("delete an object")(error)),
            },
        }
    }
    Ok(problems)
}

/// ConfigMaps that pods have, or may still get: a pod that is deleted while Kubernetes rolls its part is made anew as it was.
fn configs_in_use(observed: &Observed) -> BTreeSet<String> {
    let of_pods = observed.pods.iter().flat_map(|pod| {
        let volumes = pod.spec.as_ref().and_then(|spec| spec.volumes.as_deref()).unwrap_or_default();
        volumes.iter().filter_map(|volume| Some(volume.config_map.as_ref()?.name.clone()))
    });
    let workloads = observed.objects.values().filter(|object| object.is_workload());
    let of_templates =
        workloads.clone().flat_map(|object| references::config_maps(&object.value).map(str::to_owned));
    let rolled: BTreeSet<&str> = workloads.filter(|object| is_rolled(object)).map(component).collect();
    let of_rolled = observed.objects.values().filter(|object| object.kind.kind == "ConfigMap");
    let of_rolled = of_rolled.filter(|object| rolled.contains(component(object)));
    let of_rolled = of_rolled.map(|object| object.text("/metadata/name").to_owned());
    of_pods.chain(of_templates).chain(of_rolled).collect()
}

fn component(object: &Object) -> &str {
    object.value["metadata"]["labels"][COMPONENT].as_str().unwrap_or_default()
}

/// Whether Kubernetes is replacing pods of it. (Nodes are replaced by the operator: who of them is made anew is made by the newest
/// template.)
fn is_rolled(object: &Object) -> bool {
    if object.value.pointer("/spec/updateStrategy/type").and_then(Value::as_str) == Some("OnDelete") {
        return false;
    }
    let revisions = ["/status/currentRevision", "/status/updateRevision"].map(|path| object.text(path));
    !object.is_looked_at()
        || revisions[0] != revisions[1]
        || object.number("/status/updatedReplicas") < object.number("/status/replicas")
}
