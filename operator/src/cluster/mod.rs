//! One look at a ChatCluster: see what there is, read what it names (dereference), say what cannot be (validate), build, apply,
//! move nodes, tell. Each look begins anew and may end anywhere: the next one goes on.

mod apply;
mod differ;
mod internal;
mod nodes;
mod observe;
mod outside;
mod pods;
mod prune;
mod status;
mod validate;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

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
    let mut outcome = look(&cluster, &context).await;
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
    Ok(match outcome? {
        Next::Steady => Action::requeue(context.settings.resync()),
        Next::Soon => Action::requeue(context.settings.poll()),
        Next::Trouble | Next::Refused => Action::requeue(TROUBLE),
        Next::Gone => Action::await_change(),
    })
}

/// When to look again.
enum Next {
    Steady,
    /// Nodes are being moved.
    Soon,
    Trouble,
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

async fn look(cluster: &ChatCluster, context: &Context) -> Result<Next, LookError> {
    if cluster.metadata.deletion_timestamp.is_some() {
        // Everything belongs to it: Kubernetes' garbage collector takes it away, with nothing of ours to wait for.
        return Ok(Next::Gone);
    }
    let (Some(namespace), Some(uid)) = (cluster.namespace(), cluster.uid()) else { return Ok(Next::Gone) };
    let (name, spec) = (cluster.name_any(), &cluster.spec);
    let look = Look { context, cluster, namespace: &namespace, name: &name, uid: &uid };
    let mut observed = observe::observe(context, &namespace, &name, &uid).await?;

    let mut shards = build::declared(spec);
    let mut seen = nodes::seen(cluster, &shards, &observed).await;
    let verdict = roll::judge(&seen);
    shards.extend(nodes::leaving(&shards, &verdict));
    for shard in &mut shards {
        shard.replicas = verdict.replicas.get(&shard.spec.name).copied().unwrap_or(shard.replicas);
    }
    let mut inputs = Inputs {
        name: &name,
        namespace: &namespace,
        uid: &uid,
        spec,
        shards: &shards,
        stamps: &BTreeMap::new(),
        operator_namespace: &context.settings.lease_namespace,
    };
    let mut wanted = build::references(&build::build(&inputs));

    let mut problems = Vec::new();
    let own = if spec.paused { None } else { Some(internal::ensure(context, cluster, &namespace).await?) };
    let key = own.as_ref().and_then(|own| own.as_ref().ok()).map(internal::Internal::stamp_key);
    let own_name = ("Secret", internal::name(&name));
    let mut outside = outside::read(context, &namespace, &wanted, key.unwrap_or_default()).await?;
    match &own {
        Some(Ok(own)) => outside.secret(&own_name.1, own.data(), own.stamp_key()),
        // Without the key nothing can be said of anything that is outside.
        Some(Err(problem)) => problems.push(problem.clone().of(internal::readers(&wanted))),
        None => {}
    }
    wanted.remove(&own_name);
    problems.extend(validate::validate(spec, &wanted, &outside, &observed));
    let kept: BTreeSet<String> = problems.iter().flat_map(|problem| problem.parts.clone()).collect();

    if !spec.paused {
        inputs.stamps = &outside.stamps;
        let manifests = build::build(&inputs);
        problems.extend(apply::apply(&look, &manifests, &kept, &mut observed).await?);
        if !kept.contains("node") {
            problems.extend(take(&look, &verdict, &seen, &observed).await?);
        }
        problems.extend(prune::prune(&look, &manifests, &observed).await?);
    }

    seen.shards.retain(|shard| !verdict.gone.contains(&shard.name));
    let facts = status::Facts {
        cluster,
        now: Timestamp::now(),
        problems: &problems,
        verdict: &verdict,
        seen: &seen,
        observed: &observed,
    };
    let next = status::status(&facts);
    status::write(context, cluster, &namespace, next).await?;
    Ok(if problems.iter().any(|problem| problem.passes) {
        Next::Soon
    } else if !problems.is_empty() {
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
    look: &Look<'_>,
    verdict: &roll::Verdict,
    seen: &roll::Seen,
    observed: &Observed,
) -> Result<Vec<Problem>, LookError> {
    let Look { context, cluster, .. } = *look;
    let mut problems = Vec::new();
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
                let refused = nodes::drain(look, observed, node, first).await?;
                let told = first && refused.is_none();
                problems.extend(refused);
                if told {
                    let why = match why {
                        Why::Leaving => "there are to be fewer nodes",
                        _ => "it is to be replaced",
                    };
                    let note = format!("{node} hands its rooms over: {why}");
                    context.tell(cluster, EventType::Normal, "NodeDraining", note).await;
                }
            }
            Step::Delete { node, why } => {
                if let Some(refused) = nodes::delete(look, observed, node).await? {
                    problems.push(refused);
                    continue;
                }
                let (kind, note) = match why {
                    Why::Broken => (EventType::Warning, format!("{node} cannot run and is replaced at once")),
                    Why::Overdue => (EventType::Warning, format!("{node} is replaced before it has drained")),
                    _ => (EventType::Normal, format!("{node} is replaced")),
                };
                context.tell(cluster, kind, "NodeReplaced", note).await;
            }
        }
    }
    Ok(problems)
}
