//! One look. First at what the watches have told, which costs nobody anything; and only if that says that something is to be written, at the
//! API server itself: what is written is never because of what is a moment old.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use k8s_openapi::jiff::Timestamp;
use kube::{Api, ResourceExt, runtime::events::EventType};
use rookery_crds::ChatCluster;

use super::{
    Context, Look, LookError, Next, Observed, Problem, Stores, api, apply, differ::differs, internal,
    neighbours, nodes, observe, outside, pods, prune, servers, status, validate,
};
use crate::{
    build::{self, Inputs, Manifest},
    roll::{self, Step, Why},
};

/// What is waited for is told by watches; deadlines are not.
const DEADLINES: Duration = Duration::from_secs(15);
/// What no watch tells is looked at again after so long.
const UNTOLD: Duration = Duration::from_secs(60);
/// And where nothing is watched at all.
const UNWATCHED: Duration = Duration::from_secs(10);

pub(super) async fn look(cluster: &ChatCluster, context: &Context) -> Result<Next, LookError> {
    let (Some(namespace), Some(uid)) = (cluster.namespace(), cluster.uid()) else { return Ok(Next::Gone) };
    let name = cluster.name_any();
    if cluster.metadata.deletion_timestamp.is_some() {
        // Everything belongs to it: Kubernetes' garbage collector takes it away, with nothing of ours to wait for.
        return Ok(Next::Gone);
    }
    let stores = context.stores_of(&namespace);
    if let Some(stores) = &stores
        && let Some(mut observed) = stores.observe(&namespace, &name, &uid)
    {
        let look = Look { context, cluster, namespace: &namespace, name: &name, uid: &uid };
        observed.refused = observe::refused(&look, &observed).await;
        let plan = Plan::new(&look, &observed, Some(stores)).await?;
        if let Some(held) = plan.is_held(&look, &observed) {
            return finish(&look, plan, held, &observed, true).await;
        }
    }
    let clusters: Api<ChatCluster> = Api::namespaced(context.client.clone(), &namespace);
    let newest = clusters.get_opt(&name).await.map_err(api("read a ChatCluster"))?;
    let Some(cluster) = newest.filter(|newest| newest.uid().as_ref() == Some(&uid)) else {
        return Ok(Next::Gone);
    };
    if cluster.metadata.deletion_timestamp.is_some() {
        return Ok(Next::Gone);
    }
    let look = Look { context, cluster: &cluster, namespace: &namespace, name: &name, uid: &uid };
    let mut observed = observe::observe(&look).await?;
    let plan = Plan::new(&look, &observed, None).await?;
    let told = if cluster.spec.paused { Vec::new() } else { plan.carry_out(&look, &mut observed).await? };
    finish(&look, plan, told, &observed, stores.is_some()).await
}

/// What is to be, and what is in its way.
struct Plan {
    seen: roll::Seen,
    verdict: roll::Verdict,
    manifests: Vec<Manifest>,
    problems: Vec<Problem>,
    /// Parts whose pods are left as they are.
    kept: BTreeSet<String>,
    /// Nothing can be planned before this is made.
    lacks_secret: bool,
}

impl Plan {
    /// `stores`: by what the watches have told, and nothing is written.
    async fn new(look: &Look<'_>, observed: &Observed, stores: Option<&Stores>) -> Result<Self, LookError> {
        let Look { context, cluster, namespace, name, uid } = *look;
        let spec = &cluster.spec;
        let mut shards = build::declared(spec);
        let seen = nodes::seen(cluster, &shards, observed).await;
        let verdict = roll::judge(&seen);
        shards.extend(nodes::leaving(&shards, &verdict));
        for shard in &mut shards {
            shard.replicas = verdict.replicas.get(&shard.spec.name).copied().unwrap_or(shard.replicas);
        }
        let etcd_name = build::Names { cluster: name }.part("etcd");
        let etcd = |kind| {
            observed.get(kind, &etcd_name).filter(|object| object.is_ours()).map(|object| &object.value)
        };
        let mut inputs = Inputs {
            name,
            namespace,
            uid,
            spec,
            shards: &shards,
            stamps: &BTreeMap::new(),
            etcd_formed: build::etcd::is_formed(etcd("ConfigMap"), etcd("StatefulSet")),
            operator_namespace: &context.settings.lease_namespace,
        };
        let mut wanted = build::references(&build::build(&inputs));

        let mut problems = Vec::new();
        let (mut own, mut lacks_secret) = (internal::found(look, observed), false);
        if own.is_none() && !spec.paused {
            own = match stores {
                None => Some(internal::ensure(look).await?),
                Some(_) => internal::may(look).err().flatten().map(Err),
            };
            lacks_secret = own.is_none();
        }
        let key = own.as_ref().and_then(|own| own.as_ref().ok()).map(internal::Internal::stamp_key);
        let own_name = ("Secret", internal::name(name));
        let readers = internal::readers(&wanted);
        wanted.remove(&own_name);
        let mut outside = outside::read(look, &wanted, key.unwrap_or_default(), stores).await?;
        match &own {
            Some(Ok(own)) => outside.secret(&own_name.1, own.data(), own.stamp_key()),
            // Without the key nothing can be said of anything that is outside.
            Some(Err(problem)) => problems.push(problem.clone().of(readers)),
            None => {}
        }
        problems.extend(neighbours::validate(look).await?);
        problems.extend(validate::validate(spec, &wanted, &outside, observed));
        let kept = problems.iter().flat_map(|problem| problem.parts.clone()).collect();
        inputs.stamps = &outside.stamps;
        let manifests = build::build(&inputs);
        Ok(Self { seen, verdict, manifests, problems, kept, lacks_secret })
    }

    /// Manifests that are to be applied.
    fn applied(&self, observed: &Observed) -> Vec<&Manifest> {
        self.manifests
            .iter()
            // What this Kubernetes does not have is told by validation.
            .filter(|manifest| observed.has(manifest.kind))
            .filter(|manifest| !(manifest.is_workload() && self.kept.contains(&manifest.component)))
            .collect()
    }

    /// Steps of the judgement that are to be done.
    fn steps(&self) -> &[Step] {
        if self.kept.contains("node") { &[] } else { &self.verdict.steps }
    }

    /// `None`: something is to be written. Else what is to be told of what was tried a short while ago and is not tried again yet.
    fn is_held(&self, look: &Look<'_>, observed: &Observed) -> Option<Vec<Problem>> {
        if look.cluster.spec.paused {
            return Some(Vec::new());
        }
        if self.lacks_secret
            || !self.steps().is_empty()
            || !servers::hopeless(observed, pods::now()).is_empty()
        {
            return None;
        }
        let pace = &look.context.pace;
        let mut told = pace.contested(look.uid);
        for manifest in self.applied(observed) {
            let there = observed.get(manifest.kind.kind, &manifest.name);
            if there.is_some_and(|there| there.is_ours() && !differs(&manifest.value, &there.value)) {
                continue;
            }
            match pace.may(look.uid, manifest.kind.kind, &manifest.name, manifest.hash()) {
                Ok(()) => return None,
                Err(problem) => told.extend(problem.filter(|problem| problem.reason != "Contested")),
            }
        }
        prune::goes(&self.manifests, observed).next().is_none().then_some(told)
    }

    /// Writes; gives what was refused.
    async fn carry_out(&self, look: &Look<'_>, observed: &mut Observed) -> Result<Vec<Problem>, LookError> {
        let manifests = self.applied(observed);
        let mut problems = apply::apply(look, &manifests, observed).await?;
        problems.extend(self.take(look, observed).await?);
        problems.extend(servers::replace(look, observed).await?);
        problems.extend(prune::prune(look, &self.manifests, observed).await?);
        problems.extend(look.context.pace.contested(look.uid));
        Ok(problems)
    }

    /// Does the steps of the judgement.
    async fn take(&self, look: &Look<'_>, observed: &Observed) -> Result<Vec<Problem>, LookError> {
        let Look { context, cluster, .. } = *look;
        let mut problems = Vec::new();
        let known: BTreeMap<&str, &roll::Node> = self
            .seen
            .shards
            .iter()
            .flat_map(|shard| &shard.nodes)
            .map(|node| (node.name.as_str(), node))
            .collect();
        let tell = async |kind, reason, action, node: &str, note| {
            context.tell_of_pod(cluster, kind, (reason, action), observed.pod(node), note).await;
        };
        for name in self.verdict.overdue.iter().filter(|_| !self.kept.contains("node")) {
            let note = format!(
                "{name} has not drained in time and is stopped; its rooms are taken over by other nodes"
            );
            tell(EventType::Warning, "DrainOverdue", "Stop", name, note).await;
        }
        for step in self.steps() {
            match step {
                Step::Drain { node, why } => {
                    let first = known.get(node.as_str()).is_none_or(|node| node.draining_since.is_none());
                    let refused = nodes::drain(look, observed, node, first).await?;
                    let told = first && refused.is_none();
                    problems.extend(refused);
                    if told {
                        let (action, why) = match why {
                            Why::Leaving => ("Leave", "there are to be fewer nodes"),
                            _ => ("Replace", "it is to be replaced"),
                        };
                        let note = format!("{node} hands its rooms over: {why}");
                        tell(EventType::Normal, "NodeDraining", action, node, note).await;
                    }
                }
                Step::Delete { node, why } => {
                    if let Some(refused) = nodes::delete(look, observed, node).await? {
                        problems.push(refused);
                        continue;
                    }
                    let (kind, note) = match why {
                        Why::Broken => {
                            (EventType::Warning, format!("{node} cannot run and is replaced at once"))
                        }
                        Why::Overdue => {
                            (EventType::Warning, format!("{node} is replaced before it has drained"))
                        }
                        _ => (EventType::Normal, format!("{node} is replaced")),
                    };
                    tell(kind, "NodeReplaced", "Replace", node, note).await;
                }
            }
        }
        Ok(problems)
    }
}

/// Tells how it is, and says when to look again.
async fn finish(
    look: &Look<'_>,
    plan: Plan,
    told: Vec<Problem>,
    observed: &Observed,
    watched: bool,
) -> Result<Next, LookError> {
    let Look { context, cluster, .. } = *look;
    let Plan { mut seen, mut verdict, mut problems, .. } = plan;
    problems.extend(told);
    // The judgement was made before this was applied.
    if verdict.waiting.is_none() {
        verdict.waiting = nodes::not_looked_at(&seen, observed);
    }
    let drains = seen.shards.iter().flat_map(|shard| &shard.nodes);
    let drains = drains.into_iter().any(|node| node.draining_since.is_some() && !node.terminating());
    seen.shards.retain(|shard| !verdict.gone.contains(&shard.name));
    let facts = status::Facts {
        cluster,
        now: Timestamp::now(),
        problems: &problems,
        verdict: &verdict,
        seen: &seen,
        observed,
    };
    let next = status::status(&facts);
    let waits = !next.waits_for.is_empty();
    status::write(look, next).await?;

    // A new node is asked before long; a step that was begun goes on at once.
    let mut pause = None;
    let mut within = |time: Duration| pause = Some(pause.map_or(time, |pause: Duration| pause.min(time)));
    if !cluster.spec.paused {
        if drains || !verdict.steps.is_empty() {
            within(context.settings.poll());
        } else if waits || verdict.moving {
            within(if watched { DEADLINES } else { context.settings.poll() });
        }
    }
    if let Some(next) = context.pace.next(look.uid) {
        within(next);
    }
    if !watched && !problems.is_empty() {
        within(UNWATCHED);
    }
    let is_told =
        |problem: &Problem| matches!(problem.reason, "SecretMissing" | "ConfigMapMissing" | "Contested");
    if problems.iter().any(|problem| !is_told(problem)) {
        within(UNTOLD);
    }
    Ok(pause.map_or(Next::Steady, Next::After))
}
