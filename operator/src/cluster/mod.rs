//! ChatClusters: one look at one of them (`look.rs`) is to see what there is, read what it names (dereference), say what cannot be
//! (validate), build, apply, move nodes, tell. Each look begins anew and may end anywhere: the next one goes on.

mod apply;
mod differ;
mod internal;
mod look;
mod neighbours;
mod nodes;
mod observe;
mod outside;
mod pace;
mod pods;
mod prune;
mod servers;
mod status;
mod stores;
mod validate;

use std::{sync::Arc, time::Duration};

use k8s_openapi::{
    api::core::v1::{ObjectReference, Pod},
    jiff::Timestamp,
};
use kube::{
    Client, Resource, ResourceExt,
    runtime::{
        controller::Action,
        events::{Event, EventType, Recorder, Reporter},
    },
};
use parking_lot::RwLock;
use rookery_crds::ChatCluster;

use crate::{
    build::{self, OPERATOR},
    metrics::{OperatorMetrics, Outcome},
    settings::OperatorSettings,
};

pub use differ::differs;
pub(crate) use internal::operator_token;
pub(crate) use nodes::address as node_address;
pub use observe::Observed;
pub use stores::{Served, Stores, Watched};
pub use validate::Problem;

/// What every look needs.
pub struct Context {
    /// The API server.
    pub client: Client,
    /// Settings.
    pub settings: OperatorSettings,
    /// Metrics.
    pub metrics: OperatorMetrics,
    /// Events.
    pub recorder: Recorder,
    stores: RwLock<Vec<Arc<Stores>>>,
    pace: pace::Pace,
    failures: pace::Failures,
    known: outside::Known,
}

impl Context {
    /// A context.
    pub fn new(client: Client, settings: OperatorSettings, metrics: OperatorMetrics) -> Self {
        let reporter = Reporter { controller: OPERATOR.to_owned(), instance: Some(settings.identity()) };
        Self {
            recorder: Recorder::new(client.clone(), reporter),
            client,
            settings,
            metrics,
            stores: RwLock::default(),
            pace: pace::Pace::default(),
            failures: pace::Failures::default(),
            known: outside::Known::default(),
        }
    }

    /// Has looks read what these watches tell. Without any, every look asks the API server itself.
    pub fn read_from(&self, stores: Arc<Stores>) {
        self.stores.write().push(stores);
    }

    fn stores_of(&self, namespace: &str) -> Option<Arc<Stores>> {
        let covers = |stores: &&Arc<Stores>| stores.namespace.as_deref().is_none_or(|own| own == namespace);
        self.stores.read().iter().find(covers).cloned()
    }

    fn all_stores(&self) -> Vec<Arc<Stores>> {
        self.stores.read().clone()
    }

    /// The same, if they have told everything once.
    pub(crate) fn full_stores_of(&self, namespace: &str) -> Option<Arc<Stores>> {
        self.stores_of(namespace).filter(|stores| stores.are_full())
    }

    /// Notes that a look at something failed; says after how long to look again.
    pub(crate) fn failed(&self, uid: &str) -> Duration {
        self.failures.failed(uid)
    }

    /// Notes that a look at something did not fail.
    pub(crate) fn worked(&self, uid: &str) {
        self.failures.succeeded(uid);
    }

    async fn tell(&self, cluster: &ChatCluster, kind: EventType, reason: &str, note: String) {
        self.tell_of(&cluster.object_ref(&()), kind, reason, note).await;
    }

    /// The same of what happens to one of its pods. Events of a reason are counted together, under what the first one says: not those of
    /// another pod or of another action.
    async fn tell_of_pod(
        &self,
        cluster: &ChatCluster,
        kind: EventType,
        (reason, action): (&str, &str),
        pod: Option<&Pod>,
        note: String,
    ) {
        let event = Event {
            type_: kind,
            reason: reason.to_owned(),
            note: Some(note),
            action: action.to_owned(),
            secondary: pod.map(|pod| pod.object_ref(&())),
        };
        self.publish(&event, &cluster.object_ref(&())).await;
    }

    /// Tells an Event of something.
    pub(crate) async fn tell_of(&self, what: &ObjectReference, kind: EventType, reason: &str, note: String) {
        let event = Event {
            type_: kind,
            reason: reason.to_owned(),
            note: Some(note),
            action: reason.to_owned(),
            secondary: None,
        };
        self.publish(&event, what).await;
    }

    async fn publish(&self, event: &Event, what: &ObjectReference) {
        if let Err(error) = self.recorder.publish(event, what).await {
            // Events are a comfort; the status says the same.
            tracing::debug!(%error, "an Event was not taken");
        }
    }
}

/// Why a look could not be finished.
#[derive(Debug, thiserror::Error)]
pub enum LookError {
    /// The API server refused or did not answer.
    #[error("cannot {what}: {source}")]
    Api {
        /// What was tried.
        what: &'static str,
        /// Why not.
        source: Box<kube::Error>,
    },
}

impl LookError {
    /// What the API server says against it, if it is that and not that it cannot be reached.
    fn refusal(&self) -> Option<String> {
        let Self::Api { what, source } = self;
        Some(format!("cannot {what}: {}", refusal(source)?))
    }
}

/// What the API server says against something, unless that passes: a conflict, too many requests, a fault of its own.
fn refusal(error: &kube::Error) -> Option<String> {
    match error {
        kube::Error::Api(status)
            if (400..500).contains(&status.code) && !matches!(status.code, 409 | 429) =>
        {
            Some(status.message.clone())
        }
        _ => None,
    }
}

pub(crate) fn api(what: &'static str) -> impl Fn(kube::Error) -> LookError {
    move |error| LookError::Api { what, source: Box::new(error) }
}

/// Looks at a ChatCluster, and says when to look again.
///
/// # Errors
/// [`LookError`]: the API server; it is tried again.
pub async fn reconcile(cluster: Arc<ChatCluster>, context: Arc<Context>) -> Result<Action, LookError> {
    let started = std::time::Instant::now();
    let uid = cluster.uid().unwrap_or_default();
    let mut outcome = look::look(&cluster, &context).await;
    if let Some(why) = outcome.as_ref().err().and_then(LookError::refusal) {
        tracing::warn!(namespace = cluster.namespace(), cluster = cluster.name_any(), why, "refused");
        outcome = status::refused(&context, &cluster, why).await.map(|()| Next::Refused);
    }
    context.metrics.seconds.observe(started.elapsed().as_secs_f64());
    let word = match &outcome {
        Ok(Next::Steady) => "done",
        Err(_) | Ok(Next::Refused) => "failed",
        Ok(_) => "waiting",
    };
    context.metrics.reconciles.get_or_create(&Outcome { outcome: word }).inc();
    context.metrics.last.set(Timestamp::now().as_second());
    if matches!(outcome, Ok(Next::Steady | Next::After(_) | Next::Gone)) {
        context.failures.succeeded(&uid);
    }
    Ok(match outcome? {
        Next::Steady => Action::requeue(context.settings.resync()),
        Next::After(pause) => Action::requeue(pause),
        Next::Refused => Action::requeue(context.failures.failed(&uid)),
        Next::Gone => Action::await_change(),
    })
}

/// When to look again after a look that failed.
pub fn again(cluster: &ChatCluster, context: &Context) -> Duration {
    context.failures.failed(&cluster.uid().unwrap_or_default())
}

/// The Secrets and ConfigMaps that a ChatCluster's pods read: whether it is to be looked at when one of them changes.
pub fn reads(cluster: &ChatCluster, kind: &str, name: &str) -> bool {
    let shards = build::declared(&cluster.spec);
    let inputs = build::Inputs {
        name: &cluster.name_any(),
        namespace: &cluster.namespace().unwrap_or_default(),
        uid: "",
        spec: &cluster.spec,
        shards: &shards,
        stamps: &std::collections::BTreeMap::new(),
        etcd_formed: false,
        operator_namespace: "",
    };
    let references = build::references(&build::build(&inputs));
    references.keys().any(|(own, other)| *own == kind && other == name)
}

/// When to look again.
enum Next {
    Steady,
    /// Something is waited for, or something is wrong.
    After(Duration),
    /// The API server refused what is needed to look at all.
    Refused,
    Gone,
}

/// What a look is at.
#[derive(Clone, Copy)]
struct Look<'a> {
    context: &'a Context,
    cluster: &'a ChatCluster,
    namespace: &'a str,
    name: &'a str,
    uid: &'a str,
}
