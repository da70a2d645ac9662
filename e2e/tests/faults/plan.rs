//! Which faults happen, in which order, and how long each lasts: all from the seed.

use std::time::{Duration, Instant};

use rand::{RngExt as _, rngs::StdRng};
use rookery_e2e::load;
use rookery_testbed::{Cluster, Fault, Flow};

use crate::round::{CLUSTER, ROOMS};

const NODES: usize = 3;
/// How long somebody to lead is waited for, when nothing is wrong.
const LED: Duration = Duration::from_secs(30);

/// One thing to do to the cluster.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Step {
    /// A fault, for so long at least.
    Fault(Fault, Duration),
    /// One of the node that owns the round's first room; which one that is shows only then.
    Owner(fn(usize) -> Fault, Duration),
    /// The server that leads the stream of a room's log is killed or paused.
    StreamLeader { room: usize, pause: Option<Duration> },
    /// The member that leads etcd is killed or paused.
    EtcdLeader { pause: Option<Duration> },
    /// Every node in turn is drained and started again.
    Rolling,
}

impl Step {
    /// The fault that it is now, and for how long; of a rolling restart the first one. `owners` are those of the round's rooms.
    ///
    /// # Errors
    /// Nobody leads what ought to have a leader.
    pub(crate) fn fault(
        self,
        cluster: &Cluster,
        rooms: &[String],
        owners: &[usize],
    ) -> Result<(Fault, Duration), String> {
        let moment = Duration::from_millis(500);
        Ok(match self {
            Self::Fault(fault, hold) => (fault, hold),
            Self::Owner(of, hold) => (of(owners[0]), hold),
            Self::StreamLeader { room, pause } => {
                let stream = load::stream_of(CLUSTER, &rooms[room]);
                let leader = led(&stream, || cluster.nats().leader_of(&stream))?;
                pause.map_or((Fault::KillNats(leader), moment), |hold| (Fault::PauseNats(leader), hold))
            }
            Self::EtcdLeader { pause } => {
                let leader = led("etcd", || cluster.etcd().leader())?;
                pause.map_or((Fault::KillEtcd(leader), moment), |hold| (Fault::PauseEtcd(leader), hold))
            }
            Self::Rolling => (Fault::DrainNode(0), Duration::ZERO),
        })
    }

    /// What kind it is, for the report.
    pub(crate) fn kind(self) -> &'static str {
        match self {
            Self::StreamLeader { pause: None, .. } => "kill -9 of a stream's leader",
            Self::StreamLeader { .. } => "pause of a stream's leader",
            Self::EtcdLeader { pause: None } => "kill -9 of etcd's leader",
            Self::EtcdLeader { .. } => "pause of etcd's leader",
            Self::Rolling => "rolling restart of all nodes",
            Self::Owner(of, hold) => Self::Fault(of(0), hold).kind(),
            Self::Fault(fault, hold) => match fault {
                Fault::KillNode(_) => "kill -9 of a node",
                Fault::PauseNode(_) if hold < LEASE => "pause of a node, shorter than its lease",
                Fault::PauseNode(_) => "pause of a node, longer than its lease",
                Fault::DrainNode(_) => "drain of a node (SIGTERM)",
                Fault::CutNats(_) => "node cut from NATS",
                Fault::CutNatsOneWay(..) => "node cut from NATS, one way",
                Fault::CutEtcd(_) => "node cut from etcd",
                Fault::CutEtcdOneWay(..) => "node cut from etcd, one way",
                Fault::CutRedis(_) => "node cut from Redis",
                Fault::CutRedisOneWay(..) => "node cut from Redis, one way",
                Fault::CutPeers(_) => "node cut from all nodes",
                Fault::CutPeersOneWay(..) => "node cut from all nodes, one way",
                Fault::Part(..) => "two nodes cut from each other",
                Fault::Slow(..) => "all wires of a node slow",
                Fault::Lose(..) => "packet loss (stalls of a retransmission)",
                Fault::Reset(_) => "all wires of a node reset",
                Fault::KillNats(_) => "kill -9 of a NATS server",
                Fault::PauseNats(_) => "pause of a NATS server",
                Fault::CutOffNats(_) => "NATS server cut from the others",
                Fault::KillEtcd(_) => "kill -9 of an etcd member",
                Fault::PauseEtcd(_) => "pause of an etcd member",
                Fault::KillRedis => "Redis restarted, its data lost",
                Fault::PauseRedis => "pause of Redis",
            },
        }
    }
}

/// `[cluster] lease_seconds`, by default.
const LEASE: Duration = Duration::from_secs(3);

/// Somebody who leads, once there is one.
fn led(what: &str, ask: impl Fn() -> Option<usize>) -> Result<usize, String> {
    let until = Instant::now() + LED;
    loop {
        match ask() {
            Some(leader) => return Ok(leader),
            None if Instant::now() >= until => return Err(format!("nobody leads {what}, for {LED:?}")),
            None => std::thread::sleep(Duration::from_millis(50)),
        }
    }
}

/// The few that are done whenever the tests are run: first those that no run may do without, then what differs most.
pub(crate) fn smoke() -> Vec<Step> {
    let ms = Duration::from_millis;
    vec![
        Step::Owner(Fault::KillNode, ms(300)),
        Step::Owner(Fault::PauseNode, LEASE + ms(700)),
        Step::StreamLeader { room: 0, pause: None },
        Step::Owner(Fault::DrainNode, Duration::ZERO),
        Step::Fault(Fault::KillRedis, ms(200)),
        Step::Fault(Fault::Part(0, 2), ms(700)),
        Step::Fault(Fault::Lose(1, 50), ms(700)),
        Step::Fault(Fault::CutNats(2), ms(1_500)),
    ]
}

/// So many of the few, from the first on, are done on the busiest machine.
pub(crate) const LEAST: usize = 5;

/// The next one of a long run; `ROOKERY_E2E_KIND=drain` lets only those happen whose kind has that word.
pub(crate) fn next(random: &mut StdRng) -> Step {
    let kind = std::env::var("ROOKERY_E2E_KIND").unwrap_or_default();
    let next = (0..10_000).map(|_| any(random)).find(|step| step.kind().contains(&kind));
    next.unwrap_or_else(|| panic!("ROOKERY_E2E_KIND={kind}: there is no such fault"))
}

fn any(random: &mut StdRng) -> Step {
    let node = random.random_range(0..NODES);
    let other = (node + random.random_range(1..NODES)) % NODES;
    let flow = if random.random_bool(0.5) { Flow::ToServer } else { Flow::ToClient };
    let short = Duration::from_millis(random.random_range(200..2_500));
    let long = Duration::from_millis(random.random_range(3_500..6_500));
    let either = if random.random_bool(0.7) { short } else { long };
    let room = random.random_range(0..ROOMS);
    let fault = match random.random_range(0..100) {
        0..18 => Fault::KillNode(node),
        18..24 => return Step::Fault(Fault::PauseNode(node), short),
        24..36 => return Step::Fault(Fault::PauseNode(node), long),
        36..43 => Fault::DrainNode(node),
        43..45 => return Step::Rolling,
        45..51 => Fault::CutNats(node),
        51..55 => Fault::CutNatsOneWay(node, flow),
        55..58 => return Step::Fault(Fault::CutEtcd(node), long),
        58..61 => return Step::Fault(Fault::CutEtcdOneWay(node, flow), long),
        61 => Fault::CutRedis(node),
        62 => Fault::CutRedisOneWay(node, flow),
        63..66 => Fault::CutPeers(node),
        66..69 => Fault::CutPeersOneWay(node, flow),
        69..74 => Fault::Part(node, other),
        74..77 => Fault::Slow(node, Duration::from_millis(random.random_range(20..200))),
        77..80 => Fault::Lose(node, random.random_range(5..100)),
        80..82 => Fault::Reset(node),
        82..88 => return Step::StreamLeader { room, pause: None },
        88..91 => return Step::StreamLeader { room, pause: Some(either) },
        91 => Fault::KillNats(node),
        // So long that the others elect leaders of their own.
        92 => return Step::Fault(Fault::CutOffNats(node), 2 * long),
        93 => Fault::KillEtcd(node),
        94 => return Step::EtcdLeader { pause: None },
        95 => Fault::PauseEtcd(node),
        96 => return Step::EtcdLeader { pause: Some(long) },
        97..99 => Fault::KillRedis,
        _ => Fault::PauseRedis,
    };
    Step::Fault(fault, either)
}

/// The node that a fault is done to, if it is one.
pub(crate) fn node_of(fault: Fault) -> Option<usize> {
    match fault {
        Fault::KillNode(node)
        | Fault::PauseNode(node)
        | Fault::DrainNode(node)
        | Fault::CutNats(node)
        | Fault::CutNatsOneWay(node, _)
        | Fault::CutEtcd(node)
        | Fault::CutEtcdOneWay(node, _)
        | Fault::CutRedis(node)
        | Fault::CutRedisOneWay(node, _)
        | Fault::CutPeers(node)
        | Fault::CutPeersOneWay(node, _)
        | Fault::Part(node, _)
        | Fault::Slow(node, _)
        | Fault::Lose(node, _)
        | Fault::Reset(node) => Some(node),
        _ => None,
    }
}

#[test]
fn what_no_short_run_may_do_without_comes_first() {
    let kinds: Vec<_> = smoke().into_iter().take(LEAST).map(Step::kind).collect();
    for kind in crate::MUST {
        assert!(kinds.contains(&kind), "{kind} in {kinds:?}");
    }
}
