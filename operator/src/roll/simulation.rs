//! A small Kubernetes with nodes in it, driven by chance: what the judgement promises holds at every step, and when the world is good
//! again everything gets to where it is to be.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::{Node, Seen, Shard, Step, Told, Verdict, Waiting, Why, judge};

const TICK: i64 = 1_000;
const DRAIN_DEADLINE: i64 = 20 * TICK;
const READY_DEADLINE: i64 = 30 * TICK;
/// Ticks.
const NEVER: u32 = 1_000_000;

#[derive(Debug, Clone)]
struct Pod {
    revision: u32,
    /// Since when it is not ready.
    unready_since: i64,
    /// Ticks until it is ready; `None`: never.
    starts_in: Option<u32>,
    /// Cannot run.
    broken: bool,
    /// Was ready once.
    served: bool,
    stops_in: Option<u32>,
    /// Since when it is being stopped.
    stopping_since: Option<i64>,
    /// As noted on the pod.
    draining_since: Option<i64>,
    /// Was really asked, and has so many rooms left.
    rooms: Option<u64>,
    /// Never gets rid of its rooms.
    clings: bool,
}

impl Pod {
    fn ready(&self) -> bool {
        self.starts_in == Some(0) && !self.broken && self.stops_in.is_none() && self.rooms.is_none()
    }
    fn running(&self) -> bool {
        !self.broken
    }
    fn stop(&mut self, now: i64, ticks: u32) {
        self.stops_in.get_or_insert(ticks);
        self.stopping_since.get_or_insert(now);
    }
}

#[derive(Debug, Clone)]
struct World {
    now: i64,
    revision: u32,
    /// Kubernetes has looked at the newest template.
    observed: bool,
    bad: Vec<u32>,
    /// What all need is away.
    away: bool,
    shards: BTreeMap<String, (i32, i32)>,
    pods: BTreeMap<(String, i32), Pod>,
}

/// What happens between two looks of the operator.
#[derive(Debug, Clone)]
enum Event {
    Tick,
    NewRevision {
        good: bool,
    },
    Scale {
        shard: bool,
        to: i32,
    },
    Crash {
        pod: prop::sample::Index,
    },
    PodGone {
        pod: prop::sample::Index,
    },
    Clings {
        pod: prop::sample::Index,
    },
    /// Something that all need is away: all of them crash until it is back.
    AllCrash,
    Back,
    /// Nobody hears of its machine any more.
    MachineLost {
        pod: prop::sample::Index,
    },
    /// Machines that were lost are removed.
    MachinesRemoved,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        12 => Just(Event::Tick),
        1 => any::<bool>().prop_map(|good| Event::NewRevision { good }),
        1 => (any::<bool>(), 0..4).prop_map(|(shard, to)| Event::Scale { shard, to }),
        1 => any::<prop::sample::Index>().prop_map(|pod| Event::Crash { pod }),
        1 => any::<prop::sample::Index>().prop_map(|pod| Event::PodGone { pod }),
        1 => any::<prop::sample::Index>().prop_map(|pod| Event::Clings { pod }),
        1 => Just(Event::AllCrash),
        2 => Just(Event::Back),
        1 => any::<prop::sample::Index>().prop_map(|pod| Event::MachineLost { pod }),
        1 => Just(Event::MachinesRemoved),
    ]
}

impl World {
    fn new() -> Self {
        let shards = [("a".to_owned(), (3, 3)), ("b".to_owned(), (2, 2))].into();
        let mut world = Self {
            now: 0,
            revision: 1,
            observed: true,
            bad: Vec::new(),
            away: false,
            shards,
            pods: BTreeMap::new(),
        };
        world.tick();
        world
    }

    fn pod(&self) -> Pod {
        let bad = self.bad.contains(&self.revision);
        Pod {
            revision: self.revision,
            unready_since: self.now,
            starts_in: (!bad).then_some(2),
            broken: bad || self.away,
            served: false,
            stops_in: None,
            stopping_since: None,
            draining_since: None,
            rooms: None,
            clings: false,
        }
    }

    /// Kubernetes and the nodes do what they do.
    fn tick(&mut self) {
        self.now += TICK;
        self.observed = true;
        self.pods.retain(|_, pod| pod.stops_in != Some(0));
        for pod in self.pods.values_mut() {
            for left in [&mut pod.starts_in, &mut pod.stops_in].into_iter().flatten() {
                *left = left.saturating_sub(1);
            }
            if let Some(rooms) = pod.rooms.as_mut().filter(|_| !pod.clings) {
                *rooms = rooms.saturating_sub(1);
            }
        }
        for (name, (_, replicas)) in self.shards.clone() {
            for ordinal in 0..replicas {
                let new = self.pod();
                self.pods.entry((name.clone(), ordinal)).or_insert(new);
            }
            for ((shard, ordinal), pod) in &mut self.pods {
                if *shard == name && *ordinal >= replicas {
                    pod.stop(self.now, 2);
                }
            }
        }
        for pod in self.pods.values_mut() {
            pod.served |= pod.ready();
            if pod.ready() {
                pod.unready_since = self.now;
            }
        }
    }

    fn happens(&mut self, event: &Event) {
        let at = |world: &Self, index: &prop::sample::Index| {
            (!world.pods.is_empty())
                .then(|| world.pods.keys().nth(index.index(world.pods.len())).cloned())
                .flatten()
        };
        match event {
            Event::Tick => {}
            Event::NewRevision { good } => {
                self.revision += 1;
                self.observed = false;
                if !good {
                    self.bad.push(self.revision);
                }
            }
            Event::Scale { shard, to } => {
                // The first shard is never taken out: a cluster has one.
                let (name, least) = if *shard { ("a", 1) } else { ("b", 0) };
                if let Some((desired, _)) = self.shards.get_mut(name) {
                    *desired = (*to).max(least);
                }
            }
            Event::Crash { pod } => {
                if let Some(pod) = at(self, pod).and_then(|key| self.pods.get_mut(&key)) {
                    // It comes back, and knows nothing of a drain.
                    pod.rooms = None;
                    pod.starts_in = pod.starts_in.map(|_| 2);
                }
            }
            Event::PodGone { pod } => {
                if let Some(pod) = at(self, pod).and_then(|key| self.pods.get_mut(&key)) {
                    pod.stop(self.now, 1);
                }
            }
            Event::AllCrash => {
                self.away = true;
                for pod in self.pods.values_mut() {
                    pod.broken = true;
                    pod.rooms = None;
                }
            }
            Event::Back => {
                self.away = false;
                for pod in self.pods.values_mut() {
                    pod.broken = self.bad.contains(&pod.revision);
                    if !pod.broken && pod.rooms.is_none() {
                        pod.starts_in = Some(2);
                    }
                }
            }
            Event::MachineLost { pod } => {
                if let Some(pod) = at(self, pod).and_then(|key| self.pods.get_mut(&key)) {
                    // Evicted, and nobody says that it has stopped.
                    pod.stop(self.now, NEVER);
                    pod.stops_in = Some(NEVER);
                }
            }
            Event::MachinesRemoved => {
                self.pods.retain(|_, pod| pod.stops_in.is_none_or(|ticks| ticks < NEVER / 2));
            }
            Event::Clings { pod } => {
                if let Some(pod) = at(self, pod).and_then(|key| self.pods.get_mut(&key)) {
                    pod.clings = true;
                }
            }
        }
        self.tick();
    }

    fn seen(&self, deaf: bool) -> Seen {
        let shards = self.shards.iter().map(|(name, (desired, replicas))| Shard {
            name: name.clone(),
            set: name.clone(),
            desired: *desired,
            current: Some(*replicas),
            nodes: self
                .pods
                .iter()
                .filter(|((shard, _), _)| shard == name)
                .map(|((_, ordinal), pod)| Node {
                    name: format!("{name}-{ordinal}"),
                    ordinal: *ordinal,
                    updated: self.observed.then_some(pod.revision == self.revision),
                    ready: pod.ready(),
                    running: pod.running(),
                    stop_by: pod.stopping_since.map(|since| since + 2 * TICK),
                    broken: pod.broken.then(|| "ImagePullBackOff".to_owned()),
                    served: pod.served,
                    unready_since: pod.unready_since,
                    draining_since: pod.draining_since,
                    told: (!deaf && pod.running()).then(|| Told {
                        draining: pod.rooms.is_some(),
                        rooms: pod.rooms.unwrap_or(7),
                        connections: 0,
                        unacked: 0,
                    }),
                })
                .collect(),
        });
        Seen {
            now: self.now,
            shards: shards.collect(),
            drain_deadline: DRAIN_DEADLINE,
            ready_deadline: READY_DEADLINE,
        }
    }

    fn key(node: &str) -> (String, i32) {
        let (shard, ordinal) = node.split_once('-').unwrap();
        (shard.to_owned(), ordinal.parse().unwrap())
    }

    /// Of those that have ever taken clients and that somebody may still need one goes at a time, and only while nobody is on his way: whoever
    /// was asked to drain waits for those that stop, anyone else also for those that start.
    fn look_at_deletions(&self, verdict: &Verdict) {
        let deleted: Vec<_> = verdict
            .steps
            .iter()
            .filter_map(|step| match step {
                Step::Delete { node, .. } => Some(Self::key(node)),
                Step::Drain { .. } => None,
            })
            .collect();
        let drained = |pod: &Pod| pod.draining_since.is_some() && pod.rooms == Some(0) && !pod.broken;
        let needed: Vec<_> =
            deleted.iter().filter(|key| self.pods[key].served && !drained(&self.pods[key])).collect();
        assert!(needed.len() <= 1, "{needed:?} go together: {verdict:?}");
        let Some(one) = needed.first() else { return };
        assert!(!deleted.iter().any(|key| drained(&self.pods[key])), "{one:?} goes with others: {verdict:?}");
        let asked = self.pods[one].draining_since.is_some();
        for (key, pod) in &self.pods {
            let stays = key.1 < verdict.replicas[&key.0] && key != *one;
            let starts = !asked && pod.revision == self.revision && !pod.ready();
            // Of a machine that is lost nothing is waited for.
            let lost = asked && pod.stopping_since.is_some_and(|since| self.now - since > 62 * TICK);
            let stops = pod.stops_in.is_some() && !lost;
            assert!(!(stays && (starts || stops)), "{one:?} goes while {key:?} is on its way");
        }
    }

    /// What waits for something that does not come is told: in a world in which nothing happens, nothing is waited for in silence.
    fn is_told(&self, verdict: &Verdict) -> bool {
        match &verdict.waiting {
            Some(Waiting::Starts { node }) => verdict.stuck.iter().any(|stuck| stuck.node == *node),
            Some(Waiting::Others { .. }) => !verdict.stuck.is_empty(),
            _ => true,
        }
    }

    /// The operator looks, and does the first `does` of what it finds to do.
    fn operate(&mut self, deaf: bool, does: usize) {
        let seen = self.seen(deaf);
        let verdict = judge(&seen);
        self.look_at_deletions(&verdict);
        let mut left = does;
        for (name, replicas) in &verdict.replicas {
            let (desired, current) = self.shards[name];
            assert!(*replicas >= desired, "{name} has fewer than declared: {verdict:?}");
            for ordinal in *replicas..current {
                if let Some(pod) = self.pods.get(&(name.clone(), ordinal)) {
                    let late = pod.draining_since.is_some_and(|since| self.now - since > DRAIN_DEADLINE);
                    let drained = pod.rooms == Some(0) && pod.draining_since.is_some();
                    assert!(
                        drained || late || pod.broken || pod.stops_in.is_some(),
                        "{name}-{ordinal} is dropped with rooms: {pod:?}"
                    );
                }
            }
            if left == 0 {
                return;
            }
            if current != *replicas {
                left -= 1;
                self.shards.get_mut(name).unwrap().1 = *replicas;
            }
        }
        for step in &verdict.steps {
            if left == 0 {
                return;
            }
            left -= 1;
            match step {
                Step::Drain { node, .. } => {
                    let key = Self::key(node);
                    let leaves = key.1 >= self.shards[&key.0].0;
                    let others: Vec<_> = self
                        .pods
                        .iter()
                        .filter(|(other, _)| **other != key && other.1 < self.shards[&other.0].1)
                        .collect();
                    let pod = &self.pods[&key];
                    if pod.draining_since.is_none() && pod.ready() && !leaves {
                        for (other, state) in &others {
                            let going = other.1 >= self.shards[&other.0].0;
                            assert!(going || state.ready(), "{node} is drained while {other:?} is not ready");
                        }
                    }
                    if pod.draining_since.is_none() {
                        // One that leaves, too, and is done waits only for those after it.
                        let done = |key: &(String, i32), pod: &Pod| {
                            let late =
                                pod.draining_since.is_some_and(|since| self.now - since > DRAIN_DEADLINE);
                            key.1 >= self.shards[&key.0].0 && (pod.rooms == Some(0) || late || pod.broken)
                        };
                        let begun = others
                            .iter()
                            .filter(|(_, pod)| pod.draining_since.is_some() && pod.stops_in.is_none())
                            .filter(|(key, pod)| !done(key, pod));
                        assert_eq!(begun.count(), 0, "{node} is drained while another one drains");
                    }
                    let now = self.now;
                    let pod = self.pods.get_mut(&key).unwrap();
                    pod.draining_since.get_or_insert(now);
                    if left == 0 {
                        return; // noted, but not asked
                    }
                    pod.rooms.get_or_insert(3);
                }
                Step::Delete { node, .. } => {
                    let kept = |(key, _): &(&(String, i32), &Pod)| key.1 < self.shards[&key.0].1;
                    let alone = self.pods.iter().filter(kept).count() == 1;
                    let now = self.now;
                    let pod = self.pods.get_mut(&Self::key(node)).unwrap();
                    let late = pod.draining_since.is_some_and(|since| now - since > DRAIN_DEADLINE);
                    let drained = pod.draining_since.is_some() && pod.rooms == Some(0);
                    assert!(
                        drained || late || pod.broken || alone,
                        "{node} is deleted with rooms: {pod:?} {verdict:?}"
                    );
                    pod.stop(now, 2);
                }
            }
        }
    }

    fn is_settled(&self) -> bool {
        self.shards.values().all(|(desired, current)| desired == current)
            && self.pods.len()
                == self.shards.values().map(|(desired, _)| usize::try_from(*desired).unwrap()).sum::<usize>()
            && self.pods.values().all(|pod| pod.revision == self.revision && pod.ready())
    }
}

proptest! {
    #[test]
    fn keeps_its_promises_and_arrives(
        events in prop::collection::vec((event(), any::<bool>(), 0usize..6), 0..120),
        last_scale in 1..4i32,
    ) {
        let mut world = World::new();
        for (event, deaf, does) in &events {
            world.happens(event);
            world.operate(*deaf, *does);
        }
        // Nothing happens for a long time: what is waited for by then is told.
        for _ in 0..110 {
            world.operate(false, usize::MAX);
            world.tick();
        }
        let verdict = judge(&world.seen(false));
        prop_assert!(world.is_told(&verdict), "{world:#?}\n{verdict:#?}");
        // Now somebody sets it right.
        world.happens(&Event::Back);
        world.happens(&Event::MachinesRemoved);
        world.happens(&Event::NewRevision { good: true });
        world.happens(&Event::Scale { shard: true, to: last_scale });
        for _ in 0..400 {
            world.operate(false, usize::MAX);
            world.tick();
            if world.is_settled() {
                break;
            }
        }
        prop_assert!(world.is_settled(), "{world:#?}\n{:#?}", judge(&world.seen(false)));
        // And then there is nothing left to do.
        prop_assert_eq!(judge(&world.seen(false)).steps, vec![]);
        prop_assert_eq!(judge(&world.seen(false)).waiting, None);
    }
}

/// Runs a world until it is settled; returns how many ticks that took.
fn settle(world: &mut World) -> u32 {
    for ticks in 0..400 {
        if world.is_settled() {
            return ticks;
        }
        world.operate(false, usize::MAX);
        world.tick();
    }
    panic!("never settled: {world:#?}");
}

#[test]
fn a_bad_revision_stops_at_the_first_node_and_the_good_one_after_it_arrives() {
    let mut world = World::new();
    settle(&mut world);
    world.happens(&Event::NewRevision { good: false });
    for _ in 0..200 {
        world.operate(false, usize::MAX);
        world.tick();
    }
    let healthy = world.pods.values().filter(|pod| pod.ready()).count();
    assert_eq!(healthy, 4, "one node of five tried it: {world:#?}");
    let told = judge(&world.seen(false));
    assert_eq!(told.stuck.len(), 1);
    assert_eq!(told.steps, []);
    world.happens(&Event::NewRevision { good: true });
    world.operate(false, usize::MAX);
    assert!(
        world.pods.values().any(|pod| pod.broken && pod.stops_in.is_some()),
        "the broken one goes at once: {world:#?}"
    );
    settle(&mut world);
}

#[test]
fn a_shard_that_is_taken_out_empties_and_goes() {
    let mut world = World::new();
    settle(&mut world);
    world.happens(&Event::Scale { shard: false, to: 0 });
    settle(&mut world);
    assert_eq!(judge(&world.seen(false)).gone, ["b"]);
}

/// Two were to leave, the first of them with clients that do not go, and now are to stay. The one that has drained is replaced, and only after
/// that the one whose time is up: somebody may need it.
#[test]
fn of_two_that_were_to_leave_and_are_to_stay_the_one_in_use_goes_last() {
    let mut world = World::new();
    world.happens(&Event::Scale { shard: false, to: 3 });
    settle(&mut world);
    let (first, second) = (("b".to_owned(), 1), ("b".to_owned(), 2));
    world.pods.get_mut(&first).unwrap().clings = true;
    world.happens(&Event::NewRevision { good: true });
    while world.pods[&first].draining_since.is_none() {
        world.operate(false, usize::MAX);
        world.tick();
    }
    // Its way is gone to the end; as long as that lasts, so does the second one's way.
    world.happens(&Event::Scale { shard: false, to: 1 });
    world.pods.get_mut(&second).unwrap().clings = true;
    while world.pods[&second].draining_since.is_none() {
        world.operate(false, usize::MAX);
        world.tick();
    }
    world.pods.get_mut(&second).unwrap().clings = false;
    while world.pods[&second].rooms != Some(0) {
        world.tick();
    }
    world.happens(&Event::Scale { shard: false, to: 3 });
    let deleted = |world: &World| judge(&world.seen(false)).steps;
    let goes = |node: &str, why| Step::Delete { node: node.to_owned(), why };
    assert_eq!(deleted(&world), [goes("b-2", Why::Drained)]);
    world.operate(false, usize::MAX);
    assert_eq!(deleted(&world), [], "the other one stops");
    while world.pods.get(&second).is_none_or(|pod| pod.stops_in.is_some()) {
        world.tick();
    }
    assert_eq!(deleted(&world), [goes("b-1", Why::Overdue)]);
    settle(&mut world);
}

/// What all need was away, and all of them have crashed: they are not all thrown away for that when something new is declared.
#[test]
fn of_those_that_served_and_crash_one_goes_at_a_time() {
    let mut world = World::new();
    settle(&mut world);
    world.happens(&Event::AllCrash);
    world.happens(&Event::NewRevision { good: true });
    for _ in 0..100 {
        world.operate(false, usize::MAX);
        world.tick();
    }
    let old = world.pods.values().filter(|pod| pod.revision == 1).count();
    assert_eq!(old, 4, "one of five was tried: {world:#?}");
    assert_eq!(judge(&world.seen(false)).stuck.len(), 1);
    world.happens(&Event::Back);
    settle(&mut world);
}

/// Two old nodes that are not ready for another reason do not wait for each other for ever.
#[test]
fn old_nodes_that_are_never_ready_do_not_wait_for_each_other() {
    let mut world = World::new();
    settle(&mut world);
    for ordinal in 0..2 {
        world.pods.get_mut(&("a".to_owned(), ordinal)).unwrap().starts_in = None;
    }
    world.happens(&Event::NewRevision { good: true });
    settle(&mut world);
}

#[test]
fn a_node_whose_machine_is_lost_is_told() {
    let mut world = World::new();
    settle(&mut world);
    let now = world.now;
    world.pods.get_mut(&("a".to_owned(), 0)).unwrap().stop(now, NEVER);
    assert_eq!(judge(&world.seen(false)).stuck, [], "it may still stop");
    for _ in 0..100 {
        world.tick();
    }
    let stuck = judge(&world.seen(false)).stuck;
    assert!(
        stuck.len() == 1 && stuck[0].node == "a-0" && stuck[0].why.contains("kubectl delete pod a-0 --force"),
        "{stuck:?}"
    );
}
