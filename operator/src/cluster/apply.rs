//! Makes what is built so: server-side apply, by one field manager, and only of what is not so already.

use std::collections::BTreeSet;

use kube::{
    Api,
    api::{DynamicObject, Patch, PatchParams, ValidationDirective},
};

use super::{
    Look, LookError, Observed, Problem, api,
    differ::differs,
    observe::{self, Owner},
    refusal,
};
use crate::build::{Manifest, OPERATOR};

/// Applies what differs. What the API server refuses is told and does not keep the rest from being applied; `Err` is only that the API server cannot be
/// reached. The pods of `kept` parts are left as they are.
pub(super) async fn apply(
    look: &Look<'_>,
    manifests: &[Manifest],
    kept: &BTreeSet<String>,
    observed: &mut Observed,
) -> Result<Vec<Problem>, LookError> {
    let mut problems = Vec::new();
    for manifest in manifests {
        if !manifest.kind.built_in && !observed.has_gateways {
            continue; // told by validation
        }
        if manifest.is_workload() && kept.contains(&manifest.component) {
            continue;
        }
        problems.extend(one(look, manifest, observed).await?);
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

/// What the API server says against an object, if it says anything.
fn refused(manifest: &Manifest, error: kube::Error) -> Result<Problem, LookError> {
    let why = refusal(&error).ok_or_else(|| api("apply an object")(error))?;
    let message = format!("{} {} is refused by Kubernetes: {why}", manifest.kind.kind, manifest.name);
    Ok(Problem::new("ApplyRefused", message.chars().take(900).collect()))
}
