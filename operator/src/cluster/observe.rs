//! What there is of a cluster: by its label, kind by kind.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use futures_util::future::try_join_all;
use k8s_openapi::{
    api::{core::v1::Pod, events::v1::Event},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::{
    Api, ResourceExt,
    api::{DynamicObject, ListParams},
};
use serde_json::Value;

use super::{Look, LookError, api};
use crate::build::{CLUSTER, COMPONENT, KINDS, Kind, MANIFEST_HASH};

/// So many Events of one object are read at most.
const EVENTS: u32 = 500;

/// An object that there is.
#[derive(Debug, Clone)]
pub struct Object {
    /// What it is.
    pub kind: Kind,
    /// All of it.
    pub value: Value,
    /// Whose it is.
    pub owner: Owner,
}

/// Whom an object belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// This very ChatCluster.
    This,
    /// One of the same name that is no more: Kubernetes deletes it.
    Former,
    /// Somebody else.
    Other,
    /// Nobody.
    Nobody,
}

impl Owner {
    pub(super) fn of(metadata: &ObjectMeta, name: &str, uid: &str) -> Self {
        let owners = metadata.owner_references.as_deref().unwrap_or_default();
        match owners.iter().find(|owner| owner.controller == Some(true)) {
            None => Self::Nobody,
            Some(owner) if owner.uid == uid => Self::This,
            Some(owner) if owner.kind == "ChatCluster" && owner.name == name => Self::Former,
            Some(_) => Self::Other,
        }
    }
}

impl Object {
    /// Whether it belongs to this very ChatCluster.
    pub fn is_ours(&self) -> bool {
        self.owner == Owner::This
    }

    /// Whether it makes pods.
    pub fn is_workload(&self) -> bool {
        self.is_ours() && matches!(self.kind.kind, "StatefulSet" | "Deployment")
    }

    /// The hash of the manifest that it was made by.
    pub fn hash(&self) -> &str {
        self.value["metadata"]["annotations"][MANIFEST_HASH].as_str().unwrap_or_default()
    }

    /// A number in its status or spec; 0 if it is not there.
    pub fn number(&self, path: &str) -> i32 {
        let number = self.value.pointer(path).and_then(Value::as_i64).unwrap_or_default();
        i32::try_from(number).unwrap_or(i32::MAX)
    }

    /// A text in it; empty if it is not there.
    pub fn text(&self, path: &str) -> &str {
        self.value.pointer(path).and_then(Value::as_str).unwrap_or_default()
    }

    /// Whether Kubernetes has looked at its newest form.
    pub fn is_looked_at(&self) -> bool {
        self.number("/status/observedGeneration") >= self.number("/metadata/generation")
    }
}

/// What there is.
#[derive(Debug, Default)]
pub struct Observed {
    /// By kind and name.
    pub objects: HashMap<(&'static str, String), Object>,
    /// Pods of all parts.
    pub pods: Vec<Pod>,
    /// Why StatefulSets cannot make the pods that they lack, by their names.
    pub refused: BTreeMap<String, String>,
    /// Kinds that this Kubernetes has.
    pub kinds: BTreeSet<&'static str>,
}

impl Observed {
    /// Whether this Kubernetes has a kind.
    pub fn has(&self, kind: Kind) -> bool {
        kind.built_in || self.kinds.contains(kind.kind)
    }

    /// One object.
    pub fn get(&self, kind: &'static str, name: &str) -> Option<&Object> {
        self.objects.get(&(kind, name.to_owned()))
    }

    /// The pod of a name.
    pub(super) fn pod(&self, name: &str) -> Option<&Pod> {
        self.pods.iter().find(|pod| pod.metadata.name.as_deref() == Some(name))
    }

    /// Pods of a part.
    pub fn pods_of(&self, component: &str) -> impl Iterator<Item = &Pod> {
        self.pods.iter().filter(move |pod| pod.labels().get(COMPONENT).is_some_and(|own| own == component))
    }
}

/// Whether an object belongs to what has this uid.
pub(super) fn belongs(metadata: &ObjectMeta, uid: &str) -> bool {
    let owners = metadata.owner_references.as_deref().unwrap_or_default();
    owners.iter().any(|owner| owner.controller == Some(true) && owner.uid == uid)
}

/// Notes whose an object is.
pub(super) fn object(kind: Kind, item: &DynamicObject, name: &str, uid: &str) -> Object {
    let mut value = serde_json::to_value(item).unwrap_or_default();
    // Lists leave out what all of their items are.
    value["apiVersion"] = kind.api_version.into();
    value["kind"] = kind.kind.into();
    Object { kind, value, owner: Owner::of(&item.metadata, name, uid) }
}

/// What there is, as the API server says it now.
pub(super) async fn observe(look: &Look<'_>) -> Result<Observed, LookError> {
    let Look { context, namespace, name, uid, .. } = *look;
    let params = ListParams::default().labels(&format!("{CLUSTER}={name}"));
    let lists = KINDS.iter().map(|kind| {
        let params = &params;
        async move {
            let objects: Api<DynamicObject> =
                Api::namespaced_with(context.client.clone(), namespace, &kind.resource());
            match objects.list(params).await {
                Ok(list) => Ok(Some((*kind, list))),
                // No such kind here, or none that an older chart gives a right to.
                Err(kube::Error::Api(status)) if matches!(status.code, 403 | 404) && !kind.built_in => {
                    Ok(None)
                }
                Err(error) => Err(api("list what belongs to a cluster")(error)),
            }
        }
    });
    let mut observed = Observed::default();
    for (kind, list) in try_join_all(lists).await?.into_iter().flatten() {
        observed.kinds.insert(kind.kind);
        for item in list {
            let Some(own) = item.metadata.name.clone() else { continue };
            observed.objects.insert((kind.kind, own), object(kind, &item, name, uid));
        }
    }
    let pods: Api<Pod> = Api::namespaced(context.client.clone(), namespace);
    observed.pods = pods.list(&params).await.map_err(api("list pods"))?.items;
    observed.refused = refused(look, &observed).await;
    Ok(observed)
}

/// Why StatefulSets that lack pods cannot make them. They say it by Events alone.
pub(super) async fn refused(look: &Look<'_>, observed: &Observed) -> BTreeMap<String, String> {
    let Look { context, namespace, .. } = *look;
    let mut refused = BTreeMap::new();
    for object in
        observed.objects.values().filter(|object| object.is_ours() && object.kind.kind == "StatefulSet")
    {
        let name = object.text("/metadata/name");
        let uid = object.text("/metadata/uid");
        let pods = observed.pods.iter().filter(|pod| belongs(&pod.metadata, uid));
        let wanted = usize::try_from(object.number("/spec/replicas")).unwrap_or_default();
        if pods.count() >= wanted {
            continue;
        }
        let events: Api<Event> = Api::namespaced(context.client.clone(), namespace);
        let fields = format!("regarding.uid={uid}");
        let params = ListParams::default().fields(&fields).limit(EVENTS);
        match events.list(&params).await {
            Ok(events) => refused.extend(refusal(&events.items).map(|why| (name.to_owned(), why))),
            // An older chart does not give this right. Then it is told later, and without a reason.
            Err(error) => tracing::warn!(namespace, %error, "cannot read why {name} lacks pods"),
        }
    }
    refused
}

/// The last thing that was told of making pods, if it is that it failed.
fn refusal(events: &[Event]) -> Option<String> {
    let when = |event: &Event| {
        let series = event.series.as_ref().map(|series| series.last_observed_time.0);
        let last = event.deprecated_last_timestamp.as_ref().map(|time| time.0);
        series.or(last).or(event.event_time.as_ref().map(|time| time.0))
    };
    let about = |event: &&Event| {
        event.reason.as_deref().is_some_and(|reason| matches!(reason, "FailedCreate" | "SuccessfulCreate"))
    };
    let last = events.iter().filter(about).max_by_key(|event| when(event))?;
    let note = last.note.as_deref().filter(|_| last.reason.as_deref() == Some("FailedCreate"))?;
    Some(note.chars().take(400).collect())
}
