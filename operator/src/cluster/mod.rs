//! One look at a ChatCluster: see what there is, read what it names (dereference), say what cannot be (validate), build, apply,
//! move nodes, tell. Each look begins anew and may end anywhere: the next one goes on.

mod apply;
mod differ;
mod nodes;
mod observe;
mod outside;
mod pods;
mod status;
mod validate;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use k8s_openapi::jiff::Timestamp;
use kube::{
    Client, Resource, ResourceExt,
    runtime::{
        controller::Action,
        events::{Event, EventType, Recorder, Reporter},
    },
};
use rookery_crds::ChatCluster;

use crate::{
    build::{self, Inputs, OPERATOR},
    metrics::{OperatorMetrics, Outcome},
    roll::{self, Step, Why},
    settings::OperatorSettings,
};

pub use differ::differs;
pub use observe::Observed;
pub use validate::Problem;

/// What is wrong is looked at again after so long, without anything having changed.
const TROUBLE: Duration = Duration::from_secs(10);

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
}

impl Context {
    /// A context.
    pub fn new(client: Client, settings: OperatorSettings, metrics: OperatorMetrics) -> Self {
        let reporter = Reporter { controller: OPERATOR.to_owned(), instance: Some(settings.identity()) };
        Self { recorder: Recorder::new(client.clone(), reporter), client, settings, metrics }
    }

    async fn tell(&self, cluster: &ChatCluster, kind: EventType, reason: &str, note: String) {
        let event = Event {
            type_: kind,
            reason: reason.to_owned(),
            note: Some(note),
            action: reason.to_owned(),
            secondary: None,
        };
        if let Err(error) = self.recorder.publish(&event, &cluster.object_ref(&())).await {
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

pub(crate) fn api(what: &'static str) -> impl Fn(kube::Error) -> LookError {
    move |error| LookError::Api { what, source: Box::new(error) }
}

/// Looks at a ChatCluster, and says when to look again.
///
/// # Errors
/// [`LookError`]: the API server; it is tried again.
pub async fn reconcile(cluster: Arc<ChatCluster>, context: Arc<Context>) -> Result<Action, LookError> {
    let started = std::time::Instant::now();
    let outcome = look(&cluster, &context).await;
    context.metrics.seconds.observe(started.elapsed().as_secs_f64());
    let word = match &outcome {
        Ok(Next::Steady) => "done",
        Ok(_) => "waiting",
        Err(_) => "failed",
    };
    context.metrics.reconciles.get_or_create(&Outcome { outcome: word }).inc();
    context.metrics.last.set(Timestamp::now().as_second());
    Ok(match outcome? {
        Next::Steady => Action::requeue(context.settings.resync()),
        Next::Soon => Action::requeue(context.settings.poll()),
        Next::Trouble => Action::requeue(TROUBLE),
        Next::Gone => Action::await_change(),
    })
}

/// When to look again.
enum Next {
    Steady,
    /// Nodes are being moved.
    Soon,
    Trouble,
    Gone,
}

async fn look(cluster: &ChatCluster, context: &Context) -> Result<Next, LookError> {
    if cluster.metadata.deletion_timestamp.is_some() {
        // Everything belongs to it: Kubernetes' garbage collector takes it away, with nothing of ours to wait for.
        return Ok(Next::Gone);
    }
    let (Some(namespace), Some(uid)) = (cluster.namespace(), cluster.uid()) else { return Ok(Next::Gone) };
    let name = cluster.name_any();
    let spec = &cluster.spec;
    let mut observed = observe::observe(context, &namespace, &name, &uid).await?;

    let wanted = outside::wanted(spec);
    let mut outside = outside::read(context, &namespace, &wanted).await?;
    let problems = validate::validate(spec, &wanted, &outside, &observed);
    let blocked = problems.iter().any(|problem| problem.blocks);

    let mut shards = build::declared(spec);
    let mut seen = nodes::seen(cluster, &shards, &observed).await;
    let verdict = roll::judge(&seen);
    shards.extend(nodes::leaving(&shards, &verdict));
    for shard in &mut shards {
        shard.replicas = verdict.replicas.get(&shard.spec.name).copied().unwrap_or(shard.replicas);
    }

    let mut failures = Vec::new();
    if !blocked && !spec.paused {
        if let Some(stamp) = outside::ensure_internal(context, cluster, &observed).await? {
            outside.stamps.insert(format!("Secret/{}", outside::internal(&name)), stamp);
        }
        let inputs = Inputs {
            name: &name,
            namespace: &namespace,
            uid: &uid,
            spec,
            shards: &shards,
            stamps: &outside.stamps,
            operator_namespace: &context.settings.lease_namespace,
        };
        let manifests = build::build(&inputs);
        failures = apply::apply(context, &namespace, &uid, &manifests, &mut observed).await?;
        take(context, cluster, &namespace, &verdict, &seen, &observed).await?;
        apply::prune(context, &namespace, &uid, &manifests, &observed, &outside::internal(&name), spec)
            .await?;
    }

    seen.shards.retain(|shard| !verdict.gone.contains(&shard.name));
    let facts = status::Facts {
        cluster,
        now: Timestamp::now(),
        problems: &problems,
        failures: &failures,
        verdict: &verdict,
        seen: &seen,
        observed: &observed,
    };
    let next = status::status(&facts);
    status::write(context, cluster, &namespace, next).await?;
    Ok(if !failures.is_empty() || !problems.is_empty() {
        Next::Trouble
    } else if spec.paused {
        Next::Steady
    } else if verdict.moving || verdict.waiting.is_some() {
        Next::Soon
    } else {
        Next::Steady
    })
}

/// Does the steps of a verdict.
async fn take(
    context: &Context,
    cluster: &ChatCluster,
    namespace: &str,
    verdict: &roll::Verdict,
    seen: &roll::Seen,
    observed: &Observed,
) -> Result<(), LookError> {
    let known: BTreeMap<&str, &roll::Node> =
        seen.shards.iter().flat_map(|shard| &shard.nodes).map(|node| (node.name.as_str(), node)).collect();
    for name in &verdict.overdue {
        let note =
            format!("{name} has not drained in time and is stopped; its rooms are taken over by other nodes");
        context.tell(cluster, EventType::Warning, "DrainOverdue", note).await;
    }
    for step in &verdict.steps {
        match step {
            Step::Drain { node, why } => {
                let first = known.get(node.as_str()).is_none_or(|node| node.draining_since.is_none());
                nodes::drain(context, namespace, observed, node, first, &cluster.spec.rollout).await?;
                if first {
                    let why = match why {
                        Why::Leaving => "there are to be fewer nodes",
                        _ => "it is to be replaced",
                    };
                    let note = format!("{node} hands its rooms over: {why}");
                    context.tell(cluster, EventType::Normal, "NodeDraining", note).await;
                }
            }
            Step::Delete { node, why } => {
                nodes::delete(context, namespace, observed, node).await?;
                let (kind, note) = match why {
                    Why::Broken => (EventType::Warning, format!("{node} cannot run and is replaced at once")),
                    Why::Overdue => (EventType::Warning, format!("{node} is replaced before it has drained")),
                    _ => (EventType::Normal, format!("{node} is replaced")),
                };
                context.tell(cluster, kind, "NodeReplaced", note).await;
            }
        }
    }
    Ok(())
}
