//! Which faults happen, in which order, and how long each lasts: all from the seed.

use std::time::Duration;

use rand::{RngExt as _, rngs::StdRng};
use rookery_e2e::load::LOG_STREAMS;
use rookery_testbed::{Cluster, Fault, Flow};

const NODES: usize = 3;

/// One thing to do to the cluster.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Step {
    /// A fault, for so long at least.
    Fault(Fault, Duration),
    /// The server that leads a stream of room logs is killed or paused; which one that is shows only then.
    StreamLeader { stream: u16, pause: Option<Duration> },
    /// Every node in turn is drained and started again.
    Rolling,
}

impl Step {
    /// The fault that it is now, and for how long; none for a rolling restart, which is several.
    pub(crate) fn fault(self, cluster: &Cluster) -> Option<(Fault, Duration)> {
        match self {
            Self::Fault(fault, hold) => Some((fault, hold)),
            Self::StreamLeader { stream, pause } => {
                let leader = cluster.nats().leader_of(&format!("rookery-log-{stream}")).unwrap_or(0);
                Some(match pause {
                    Some(hold) => (Fault::PauseNats(leader), hold),
                    None => (Fault::KillNats(leader), Duration::from_millis(500)),
                })
            }
            Self::Rolling => None,
        }
    }

    /// What kind it is, for the report.
    pub(crate) fn kind(self) -> &'static str {
        match self {
            Self::StreamLeader { pause: None, .. } => "kill -9 of a stream's leader",
            Self::StreamLeader { .. } => "pause of a stream's leader",
            Self::Rolling => "rolling restart of all nodes",
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
                Fault::CutPeers(_) => "node cut from all nodes",
                Fault::CutPeersOneWay(..) => "node cut from all nodes, one way",
                Fault::Part(..) => "two nodes cut from each other",
                Fault::Slow(..) => "all wires of a node slow",
                Fault::Lose(..) => "packet loss (stalls of a retransmission)",
                Fault::Reset(_) => "all wires of a node reset",
                Fault::KillNats(_) => "kill -9 of a NATS server",
                Fault::PauseNats(_) => "pause of a NATS server",
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

/// The few that are done whenever the tests are run: what differs most, shortest first.
pub(crate) fn smoke() -> Vec<Step> {
    let ms = Duration::from_millis;
    vec![
        Step::Fault(Fault::KillNode(1), ms(300)),
        Step::Fault(Fault::Part(0, 2), ms(1_000)),
        Step::Fault(Fault::DrainNode(0), ms(300)),
        Step::Fault(Fault::KillRedis, ms(200)),
        Step::Fault(Fault::Lose(1, 50), ms(1_000)),
        Step::Fault(Fault::CutNats(2), ms(2_000)),
        Step::Fault(Fault::PauseNode(0), ms(4_500)),
        Step::StreamLeader { stream: 0, pause: None },
    ]
}

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
    let stream = random.random_range(0..LOG_STREAMS);
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
        61..62 => Fault::CutRedis(node),
        62..66 => Fault::CutPeers(node),
        66..69 => Fault::CutPeersOneWay(node, flow),
        69..74 => Fault::Part(node, other),
        74..77 => Fault::Slow(node, Duration::from_millis(random.random_range(20..200))),
        77..80 => Fault::Lose(node, random.random_range(5..100)),
        80..82 => Fault::Reset(node),
        82..88 => return Step::StreamLeader { stream, pause: None },
        88..91 => return Step::StreamLeader { stream, pause: Some(either) },
        91..93 => Fault::KillNats(node),
        93..95 => Fault::KillEtcd(node),
        95..97 => Fault::PauseEtcd(node),
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
        | Fault::CutPeers(node)
        | Fault::CutPeersOneWay(node, _)
        | Fault::Part(node, _)
        | Fault::Slow(node, _)
        | Fault::Lose(node, _)
        | Fault::Reset(node) => Some(node),
        _ => None,
    }
}
