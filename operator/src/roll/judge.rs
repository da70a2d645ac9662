//! The judgement itself. See the folder's first file for what it keeps to.

use k8s_openapi::jiff::Timestamp;

use super::{Millis, Node, Seen, Shard, Step, Stuck, Verdict, Waiting, Why};

/// What is to be done next.
pub fn judge(seen: &Seen) -> Verdict {
    let mut verdict = Verdict::default();
    let mut rest = Vec::new();
    for shard in &seen.shards {
        let current = shard.current.unwrap_or(shard.desired);
        let replicas =
            if current > shard.desired { shrink(seen, shard, current, &mut verdict) } else { shard.desired };
        if replicas > shard.desired {
            verdict.moving = true;
        }
        if shard.desired == 0 && replicas == 0 {
            verdict.gone.push(shard.name.clone());
        }
        verdict.replicas.insert(shard.name.clone(), replicas);
        // Pods above are Kubernetes' business from here on.
        rest.extend(shard.nodes.iter().filter(|node| node.ordinal < replicas).map(|node| (shard, node)));
    }
    broken(&rest, &mut verdict);
    stuck(seen, &rest, &mut verdict);
    one_at_a_time(seen, &rest, &mut verdict);
    verdict.moving |= !verdict.steps.is_empty() || rest.iter().any(|(_, node)| node.updated == Some(false));
    verdict
}

/// How many nodes a shard keeps for now that is to have fewer: the ones with the greatest numbers go, each when it has drained.
fn shrink(seen: &Seen, shard: &Shard, current: i32, verdict: &mut Verdict) -> i32 {
    let mut keeps = current;
    while keeps > shard.desired {
        let last = shard.nodes.iter().find(|node| node.ordinal == keeps - 1);
        let Some(last) = last else {
            keeps -= 1;
            continue;
        };
        let overdue = is_overdue(seen, last);
        let goes = last.terminating()
            || !last.running
            || last.broken.is_some()
            || overdue
            || last.draining_since.is_some() && last.told.as_ref().is_some_and(super::Told::is_drained);
        if !goes {
            break;
        }
        if overdue && !last.terminating() && last.running {
            verdict.overdue.push(last.name.clone());
        }
        keeps -= 1;
    }
    keeps
}

fn is_overdue(seen: &Seen, node: &Node) -> bool {
    node.draining_since.is_some_and(|since| seen.now - since > seen.drain_deadline)
}

/// Who is being stopped is given so much longer than he was told: machines are slow, and clocks differ.
const STOP_SPARE: Millis = 60 * 1000;

/// What cannot run and is not wanted any more: all of it at once that never took clients. Of those that did, one, and only if nobody else
/// is on his way: what keeps them from running may pass, and they would all be back.
fn broken(nodes: &[(&Shard, &Node)], verdict: &mut Verdict) {
    let on_the_way = nodes.iter().any(|(_, node)| {
        node.terminating() || node.draining_since.is_some() || node.updated != Some(false) && !node.ready
    });
    let broken = nodes
        .iter()
        .map(|(_, node)| *node)
        .filter(|node| node.updated == Some(false) && node.broken.is_some() && !node.terminating());
    let (served, never): (Vec<&Node>, Vec<&Node>) = broken.partition(|node| node.served);
    let one = if on_the_way || !never.is_empty() { None } else { served.first() };
    for node in never.iter().chain(one) {
        verdict.steps.push(Step::Delete { node: node.name.clone(), why: Why::Broken });
    }
}

/// What is wanted and does not get ready; and what does not get away.
fn stuck(seen: &Seen, nodes: &[(&Shard, &Node)], verdict: &mut Verdict) {
    for (_, node) in nodes {
        let mut tell = |why: String| verdict.stuck.push(Stuck { node: node.name.clone(), why });
        if let Some(stop_by) = node.stop_by {
            if let Some(why) = overstays(seen.now, stop_by, &node.name) {
                tell(why);
            }
            continue;
        }
        if node.ready || node.updated == Some(false) || node.draining_since.is_some() {
            continue;
        }
        if let Some(why) = &node.broken {
            tell(why.clone());
        } else if is_late(seen, node) {
            tell(format!("is not ready for more than {} s", seen.ready_deadline / 1000));
        }
    }
}

/// What is to be said of a pod that was to have stopped long ago.
pub fn overstays(now: Millis, stop_by: Millis, pod: &str) -> Option<String> {
    let until = Timestamp::from_millisecond(stop_by).unwrap_or_default();
    (now > stop_by + STOP_SPARE).then(|| {
        format!(
            "was to have stopped by {until}: is its machine gone? If it is so for good, remove its Node from Kubernetes, or kubectl \
             delete pod {pod} --force"
        )
    })
}

/// Whether it was to be ready by now.
fn is_late(seen: &Seen, node: &Node) -> bool {
    !node.ready && seen.now - node.unready_since > seen.ready_deadline
}

/// Goes on with the node that is being taken out, or takes the next one.
fn one_at_a_time(seen: &Seen, nodes: &[(&Shard, &Node)], verdict: &mut Verdict) {
    let leaves = |shard: &Shard, node: &Node| node.ordinal >= shard.desired;
    // A node that was asked to drain does not come back by itself: its way is gone to the end, whatever is wanted by now.
    // (One that leaves and is done waits for those after it, and for nobody else.)
    let done = |node: &Node| {
        !node.running || is_overdue(seen, node) || node.told.as_ref().is_some_and(super::Told::is_drained)
    };
    let mut taken = nodes
        .iter()
        .filter(|(_, node)| node.draining_since.is_some() && !node.terminating())
        .filter(|(shard, node)| !(leaves(shard, node) && done(node)))
        .peekable();
    if taken.peek().is_some() {
        let mut cut_off = Vec::new();
        for (shard, node) in taken {
            let name = node.name.clone();
            let drained = node.told.as_ref().is_some_and(super::Told::is_drained);
            if leaves(shard, node) {
                // It goes by the shard becoming smaller, as soon as it is the last one.
                verdict.steps.extend(remind(node, Why::Leaving));
                verdict.waiting = Some(Waiting::Drains { node: name });
            } else if drained {
                verdict.steps.push(Step::Delete { node: name, why: Why::Drained });
            } else if !node.running || is_overdue(seen, node) {
                cut_off.push(*node);
            } else {
                verdict.steps.extend(remind(node, Why::Stale));
                verdict.waiting = Some(Waiting::Drains { node: name });
            }
        }
        end(seen, nodes, &cut_off, verdict);
        return;
    }
    // A node that leaves takes nobody's place: it needs one other that serves, not all of them.
    let leaving = nodes
        .iter()
        .filter(|(shard, node)| leaves(shard, node) && !node.terminating() && node.draining_since.is_none());
    if let Some((_, node)) = leaving.max_by_key(|(_, node)| node.ordinal) {
        let others =
            nodes.iter().any(|(shard, other)| !leaves(shard, other) && other.ready && !other.terminating());
        if others {
            verdict.steps.push(Step::Drain { node: node.name.clone(), why: Why::Leaving });
            verdict.waiting = Some(Waiting::Drains { node: node.name.clone() });
            return;
        }
        verdict.waiting = Some(Waiting::Others { node: node.name.clone() });
        return;
    }
    if let Some(shard) =
        seen.shards.iter().find(|shard| shard.nodes.iter().any(|node| node.updated.is_none()))
    {
        verdict.waiting = Some(Waiting::Kubernetes { shard: shard.name.clone() });
        return;
    }
    if let Some(missing) = missing(seen) {
        verdict.waiting = Some(missing);
        return;
    }
    let stale: Vec<_> = nodes.iter().filter(|(_, node)| node.updated == Some(false)).collect();
    // One that is not ready anyway, before those that are.
    let next = stale.iter().max_by_key(|(_, node)| (!node.ready, node.ordinal));
    // Of those that are to go anyway and should have been ready long ago, none waits for another.
    let unready = nodes.iter().find(|(_, node)| {
        node.terminating()
            || !node.ready
                && next.is_none_or(|(_, next)| next.name != node.name)
                && !(node.updated == Some(false) && is_late(seen, node))
    });
    match (unready, next) {
        (Some((_, node)), _) => verdict.waiting = Some(Waiting::Starts { node: node.name.clone() }),
        (None, Some((_, node))) if node.broken.is_some() => {} // goes already
        (None, Some((_, node))) if nodes.len() == 1 => {
            // Nobody could take its rooms over.
            verdict.steps.push(Step::Delete { node: node.name.clone(), why: Why::Stale });
        }
        (None, Some((_, node))) => {
            verdict.steps.push(Step::Drain { node: node.name.clone(), why: Why::Stale });
            verdict.waiting = Some(Waiting::Drains { node: node.name.clone() });
        }
        (None, None) => {}
    }
}

/// Ends a drain that does not end by itself, since its time is up or its node does not run. There are several where nodes were to
/// leave, one after the other, and now are to stay: one at a time goes, and only while no other node stops, since somebody may still need each of them.
fn end(seen: &Seen, nodes: &[(&Shard, &Node)], cut_off: &[&Node], verdict: &mut Verdict) {
    let Some(node) = cut_off.first() else { return };
    let deletes = verdict.steps.iter().find_map(|step| match step {
        Step::Delete { node, .. } => Some(node.clone()),
        Step::Drain { .. } => None,
    });
    // One whose machine is lost never stops.
    let stops =
        |node: &Node| node.stop_by.is_some_and(|stop_by| overstays(seen.now, stop_by, &node.name).is_none());
    let stopping = nodes.iter().find(|(_, node)| stops(node)).map(|(_, node)| node.name.clone());
    if let Some(node) = deletes.or(stopping) {
        verdict.waiting = Some(Waiting::Starts { node });
        return;
    }
    let why = if is_overdue(seen, node) {
        verdict.overdue.push(node.name.clone());
        Why::Overdue
    } else {
        Why::Drained
    };
    verdict.steps.push(Step::Delete { node: node.name.clone(), why });
}

/// Asks again, when it was noted that it drains but it does not.
fn remind(node: &Node, why: Why) -> Option<Step> {
    let drains = node.told.as_ref().is_some_and(|told| told.draining);
    (!drains).then(|| Step::Drain { node: node.name.clone(), why })
}

/// A node that is to be there and is not.
fn missing(seen: &Seen) -> Option<Waiting> {
    seen.shards.iter().find_map(|shard| {
        let wanted = shard.current.unwrap_or(0).min(shard.desired);
        let absent = (0..wanted).find(|ordinal| shard.nodes.iter().all(|node| node.ordinal != *ordinal))?;
        Some(Waiting::Missing { node: format!("{}-{absent}", shard.set), set: shard.set.clone() })
    })
}
