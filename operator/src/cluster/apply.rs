//! Makes what is built so: server-side apply, by one field manager, and only of what is not so already.

use std::collections::BTreeSet;

use kube::{
    Api,
    api::{DynamicObject, Patch, PatchParams, ValidationDirective},
};
use serde_json::Value;

use super::{
    Look, LookError, Observed, Problem, api,
    differ::differs,
    observe::{self, Owner},
    refusal,
};
use crate::build::{Manifest, OPERATOR};

/// Applies what differs. What the API server refuses is told and does not keep the rest from being applied; `Err` is only that the API server cannot be
/// reached.
pub(super) async fn apply(
    look: &Look<'_>,
    manifests: &[&Manifest],
    observed: &mut Observed,
) -> Result<Vec<Problem>, LookError> {
    let mut problems = Vec::new();
    for manifest in manifests {
        let (pace, kind) = (&look.context.pace, manifest.kind.kind);
        match one(look, manifest, observed).await? {
            Some(problem) => {
                pace.failed(look.uid, kind, &manifest.name, manifest.hash(), &problem);
                problems.push(problem);
            }
            None => pace.done(look.uid, kind, &manifest.name),
        }
    }
    Ok(problems)
}

async fn one(
    look: &Look<'_>,
    manifest: &Manifest,
    observed: &mut Observed,
) -> Result<Option<Problem>, LookError> {
    let Look { context, namespace, .. } = *look;
    let kind = manifest.kind;
    let objects: Api<DynamicObject> =
        Api::namespaced_with(context.client.clone(), namespace, &kind.resource());
    let there = observed.get(kind.kind, &manifest.name);
    if there.is_some_and(|there| there.is_ours() && !differs(&manifest.value, &there.value)) {
        return Ok(None);
    }
    // Also when it is something else that is to be written now.
    let held = context.pace.may(look.uid, kind.kind, &manifest.name, manifest.hash());
    if matches!(held, Err(Some(problem)) if problem.reason == "Contested") {
        return Ok(None);
    }
    let owner = match there {
        Some(there) => Some(there.owner),
        // Not among those with our label: somebody else's, or ours with its label taken off.
        None => match objects.get_metadata_opt(&manifest.name).await {
            Ok(Some(other)) => match Owner::of(&other.metadata, look.name, look.uid) {
                Owner::Nobody => Some(Owner::Other),
                owner => Some(owner),
            },
            Ok(None) => None,
            Err(error) => return refused(manifest, error).map(Some),
        },
    };
    match owner {
        Some(Owner::Other) => return Ok(Some(Problem::taken(kind.kind, &manifest.name))),
        Some(Owner::Former) => return Ok(Some(Problem::left_over(kind.kind, &manifest.name))),
        // Ours, or once ours and left without an owner; or new.
        Some(Owner::This | Owner::Nobody) | None => {}
    }
    let known = owner.is_some();
    if let Some(there) = there.filter(|there| there.hash() == manifest.hash()) {
        let by = changed_by(&there.value);
        context.pace.repaired(look.uid, kind.kind, &manifest.name, manifest.hash(), &by);
    }
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
            let made = observe::object(kind, &made, look.name, look.uid);
            observed.objects.insert((kind.kind, manifest.name.clone()), made);
            Ok(None)
        }
        Err(error) => refused(manifest, error).map(Some),
    }
}

/// Who else has written an object, by what they call themselves.
fn changed_by(there: &Value) -> String {
    let managers = there.pointer("/metadata/managedFields").and_then(Value::as_array);
    // What Kubernetes itself says of an object is in a subresource.
    let others = managers.into_iter().flatten().filter(|entry| entry.get("subresource").is_none());
    let names: BTreeSet<_> =
        others.filter_map(|entry| entry["manager"].as_str()).filter(|name| *name != OPERATOR).collect();
    if names.is_empty() {
        return "somebody else".to_owned();
    }
    names.into_iter().collect::<Vec<_>>().join(", ").chars().take(200).collect()
}

/// What the API server says against an object, if it says anything.
fn refused(manifest: &Manifest, error: kube::Error) -> Result<Problem, LookError> {
    let why = refusal(&error).ok_or_else(|| api("apply an object")(error))?;
    let message = format!("{} {} is refused by Kubernetes: {why}", manifest.kind.kind, manifest.name);
    Ok(Problem::new("ApplyRefused", message.chars().take(900).collect()))
}
