//! Makes what is built so: server-side apply, by one field manager, and only of what is not so already.

use kube::{
    Api,
    api::{DeleteParams, DynamicObject, Patch, PatchParams, Preconditions, ValidationDirective},
};
use rookery_crds::ChatClusterSpec;

use super::{Context, LookError, Observed, api, differ::differs, observe};
use crate::build::{Manifest, OPERATOR};

/// An object that could not be made so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    /// As one word.
    pub(super) reason: &'static str,
    /// As a sentence.
    pub(super) message: String,
}

/// Applies what differs. What the API server refuses is told and does not keep the rest from being applied; `Err` is only that the API server cannot be
/// reached.
pub(super) async fn apply(
    context: &Context,
    namespace: &str,
    uid: &str,
    manifests: &[Manifest],
    observed: &mut Observed,
) -> Result<Vec<Failure>, LookError> {
    let mut failures = Vec::new();
    for manifest in manifests {
        if !manifest.kind.built_in && !observed.has_gateways {
            continue; // told by validation
        }
        if let Err(failure) = one(context, namespace, uid, manifest, observed).await? {
            failures.push(failure);
        }
    }
    Ok(failures)
}

async fn one(
    context: &Context,
    namespace: &str,
    uid: &str,
    manifest: &Manifest,
    observed: &mut Observed,
) -> Result<Result<(), Failure>, LookError> {
    let kind = manifest.kind;
    let objects: Api<DynamicObject> =
        Api::namespaced_with(context.client.clone(), namespace, &kind.resource());
    let there = observed.get(kind.kind, &manifest.name);
    if there.is_some_and(|there| there.ours && !differs(&manifest.value, &there.value)) {
        return Ok(Ok(()));
    }
    let taken = |by: &str| {
        let message = format!(
            "{} {} is there already and belongs to {by}: remove it, or call the ChatCluster something else",
            kind.kind, manifest.name
        );
        Ok(Err(Failure { reason: "NameTaken", message }))
    };
    let known = match there {
        Some(there) if there.theirs => return taken("another owner"),
        // Ours, or once ours and left without an owner.
        Some(_) => true,
        // Not among those with our label: somebody else's, or ours with its label taken off.
        None => match objects.get_metadata_opt(&manifest.name).await.map_err(api("read an object"))? {
            Some(other) if observe::owner(&other.metadata) == Some(uid) => true,
            Some(_) => return taken("somebody else"),
            None => false,
        },
    };
    let params = PatchParams {
        field_manager: Some(OPERATOR.to_owned()),
        // What is ours is repaired, whoever changed it. What is new must not take anything from anybody.
        force: known,
        field_validation: Some(ValidationDirective::Strict),
        dry_run: false,
    };
    match objects.patch(&manifest.name, &params, &Patch::Apply(&manifest.value)).await {
        Ok(made) => {
            context.metrics.wrote(kind.kind, "apply");
            tracing::info!(namespace, kind = kind.kind, name = manifest.name, new = !known, "applied");
            let value = serde_json::to_value(&made).unwrap_or_default();
            observed.objects.insert((kind.kind, manifest.name.clone()), observe::object(kind, value, uid));
            Ok(Ok(()))
        }
        Err(kube::Error::Api(status)) if (400..500).contains(&status.code) && status.code != 429 => {
            let message =
                format!("{} {} is refused by Kubernetes: {}", kind.kind, manifest.name, status.message);
            Ok(Err(Failure { reason: "ApplyRefused", message: message.chars().take(900).collect() }))
        }
        Err(error) => Err(api("apply an object")(error)),
    }
}

/// Deletes what is ours and not declared any more.
pub(super) async fn prune(
    context: &Context,
    namespace: &str,
    uid: &str,
    manifests: &[Manifest],
    observed: &Observed,
    internal: &str,
    spec: &ChatClusterSpec,
) -> Result<(), LookError> {
    let own_secret = spec.nats.external.is_none() || spec.redis.external.is_none();
    for ((kind, name), object) in &observed.objects {
        let declared = manifests.iter().any(|manifest| manifest.kind.kind == *kind && manifest.name == *name);
        let keep = *kind == "Secret" && (name != internal || own_secret);
        let going = object.value.pointer("/metadata/deletionTimestamp").is_some();
        if declared || keep || going || !object.ours {
            continue;
        }
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
            Err(error) => return Err(api("delete an object")(error)),
        }
    }
    Ok(())
}
