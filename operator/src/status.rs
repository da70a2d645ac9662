//! What the statuses of ChatClusters and ChatRooms have in common: how a condition is put, and how a status is written. What is to be
//! said is decided where it is known, in `cluster/status/` and `rooms/status.rs`.

use std::fmt::Debug;

use k8s_openapi::{NamespaceResourceScope, jiff::Timestamp};
use kube::{
    Api, Resource, ResourceExt,
    api::{Patch, PatchParams},
};
use rookery_crds::Condition;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::json;

use crate::{
    build::OPERATOR,
    cluster::{Context, LookError, api},
};

/// What a condition says: whether it holds, why in a word, why in a sentence.
pub(crate) type Says = (bool, &'static str, String);

/// What conditions are put by.
pub(crate) struct Conditions<'a> {
    /// Those of before: one that holds on keeps its time.
    pub(crate) before: &'a [Condition],
    pub(crate) now: Timestamp,
    pub(crate) generation: i64,
    /// Longest message, in characters; the definition allows 1,024.
    pub(crate) longest: usize,
}

impl Conditions<'_> {
    /// The condition of this kind as it was.
    pub(crate) fn last(&self, kind: &str) -> Option<&Condition> {
        self.before.iter().find(|condition| condition.kind == kind)
    }

    /// As it is now.
    pub(crate) fn put(&self, kind: &str, (holds, reason, message): &Says) -> Condition {
        let status = if *holds { "True" } else { "False" };
        let since = self.last(kind).filter(|last| last.status == status);
        Condition {
            kind: kind.to_owned(),
            status: status.to_owned(),
            reason: (*reason).to_owned(),
            message: message.chars().take(self.longest).collect(),
            last_transition_time: since.map_or_else(
                || self.now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
                |last| last.last_transition_time.clone(),
            ),
            observed_generation: self.generation,
        }
    }
}

/// Writes the status of an object of this kind. `false`: the object is gone, or another one by now.
///
/// # Errors
/// The API server, which was asked to do `what`.
pub(crate) async fn write<K>(
    context: &Context,
    object: &K,
    status: &impl Serialize,
    (kind, what): (&'static str, &'static str),
) -> Result<bool, LookError>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
{
    let objects: Api<K> = Api::namespaced(context.client.clone(), &object.namespace().unwrap_or_default());
    let patch = json!({
        "apiVersion": K::api_version(&()),
        "kind": kind,
        // Not of another one that was made under the same name.
        "metadata": { "name": object.name_any(), "uid": object.uid() },
        "status": status,
    });
    let params =
        PatchParams { field_manager: Some(OPERATOR.to_owned()), force: true, ..PatchParams::default() };
    match objects.patch_status(&object.name_any(), &params, &Patch::Apply(&patch)).await {
        Ok(_) => {
            context.metrics.wrote(kind, "status");
            Ok(true)
        }
        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(false),
        Err(error) => Err(api(what)(error)),
    }
}
