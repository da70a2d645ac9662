//! A bed: one server or a cluster, the connections to it, and what drives its messages; and the steps that are run on it.
//!
//! Rookery's beds and the raw servers' differ only in who sends: connections of ours, or the raw server itself.
//! Everything that measures is the same code.

mod step;
mod tally;

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc, time::Duration};

use serde_json::Value;

pub use step::{Plan, Step, Use, find_max, run};

use crate::{
    clock,
    load::Schedule,
    raw::RawSettings,
    socket::{Fleet, FleetSettings, SendTemplate, Sink, Wire},
    target::{Node, Part, Raw},
};

/// Connections that do not come up by then mean that the server is lost.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// A server, or a cluster, with connections.
#[derive(Debug)]
pub struct Bed {
    /// `rookery`, `raw`, `coalescing`, `cluster`
    pub name: String,
    fleet: Fleet,
    source: Source,
    /// Whose use of the machine is told.
    parts: Vec<Part>,
    /// Deliveries that each message causes; 0: nobody reads, and acknowledgements count in place of deliveries.
    fan: u64,
    /// Rate to start the next search from, messages per second.
    pub next_search: f64,
}

/// Who sends.
#[derive(Debug)]
enum Source {
    Clients { rooms: Vec<Sending>, node: Option<Node> },
    Raw(Raw),
}

/// How to send to one room.
#[derive(Debug)]
pub struct Sending {
    /// What.
    pub template: SendTemplate,
    /// On which connections, in turn.
    pub senders: Vec<usize>,
}

impl Bed {
    /// A bed on a node: `hellos` one per connection; each message to a room reaches `fan` of them.
    ///
    /// # Errors
    /// When a connection is refused.
    pub fn on_node(
        node: Node,
        wire: Wire,
        hellos: Vec<Arc<[u8]>>,
        rooms: Vec<Sending>,
        fan: u64,
    ) -> anyhow::Result<Self> {
        let parts = vec![Part { name: "node", usage: node.usage() }];
        let settings = FleetSettings { servers: vec![node.address], wire, patience: PATIENCE };
        let source = Source::Clients { rooms, node: Some(node) };
        Self::of_clients("rookery", settings, source, parts, hellos, fan)
    }

    /// A bed on a running cluster, whose parts are told apart. Connections go to the nodes in turn. Otherwise as
    /// [`Self::on_node`].
    ///
    /// # Errors
    /// When a connection is refused.
    pub fn on_cluster(
        (servers, parts): (Vec<SocketAddr>, Vec<Part>),
        wire: Wire,
        hellos: Vec<Arc<[u8]>>,
        rooms: Vec<Sending>,
        fan: u64,
    ) -> anyhow::Result<Self> {
        let settings = FleetSettings { servers, wire, patience: PATIENCE };
        Self::of_clients("cluster", settings, Source::Clients { rooms, node: None }, parts, hellos, fan)
    }

    fn of_clients(
        name: &str,
        settings: FleetSettings,
        source: Source,
        parts: Vec<Part>,
        hellos: Vec<Arc<[u8]>>,
        fan: u64,
    ) -> anyhow::Result<Self> {
        let mut fleet = Fleet::new(settings)?;
        fleet.open_all(hellos)?;
        Ok(Self { name: name.to_owned(), fleet, source, parts, fan, next_search: 10_000.0 / positive(fan) })
    }

    /// A bed on a raw server with `connections` connections, dealt out to the settings' rooms.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn on_raw(settings: &RawSettings, connections: usize, cpu: Option<usize>) -> anyhow::Result<Self> {
        let raw = Raw::start(settings, cpu)?;
        let mut fleet =
            Fleet::new(FleetSettings { servers: vec![raw.address], wire: Wire::Json, patience: PATIENCE })?;
        let hello: Arc<[u8]> = Wire::Json.hello("none", None).into();
        fleet.open_all(std::iter::repeat_n(hello, connections))?;
        let fan = (connections / settings.rooms.max(1)) as u64;
        let name = format!("{:?}", settings.mode).to_lowercase();
        let parts = vec![Part { name: "server", usage: raw.usage() }];
        Ok(Self { name, fleet, source: Source::Raw(raw), parts, fan, next_search: 50_000.0 / positive(fan) })
    }

    /// Deliveries that each message causes.
    pub fn fan(&self) -> f64 {
        positive(self.fan)
    }

    /// Bytes of the last delivered frame, with its header; 0: none came yet.
    pub fn frame_bytes(&self) -> usize {
        self.fleet.frame_bytes()
    }

    /// The node, where there is one.
    pub fn node(&self) -> Option<&Node> {
        match &self.source {
            Source::Clients { node, .. } => node.as_ref(),
            Source::Raw(_) => None,
        }
    }

    /// CPU seconds that each part has used.
    fn used(&self) -> anyhow::Result<BTreeMap<&'static str, f64>> {
        self.parts.iter().map(|part| Ok((part.name, part.usage.cpu_seconds()?))).collect()
    }

    /// Resident memory of all parts, MiB.
    fn resident_mib(&self) -> anyhow::Result<f64> {
        self.parts.iter().map(|part| Ok(part.usage.memory()?.resident_mib())).sum()
    }

    /// Cores that each part uses while nothing is asked of it.
    ///
    /// # Errors
    /// When a server is gone.
    pub fn at_rest(&mut self, time: Duration) -> anyhow::Result<BTreeMap<String, f64>> {
        self.settle()?;
        let (before, from) = (self.used()?, clock::now());
        let until = from + clock::nanos(time);
        while clock::now() < until {
            self.fleet.turn(until, &mut tally::Arrivals::default())?;
        }
        let elapsed = clock::seconds(clock::now() - from);
        let after = self.used()?;
        Ok(after.iter().map(|(part, used)| ((*part).to_owned(), (used - before[part]) / elapsed)).collect())
    }

    fn begin(&mut self, schedule: &Schedule) -> anyhow::Result<()> {
        match &mut self.source {
            Source::Clients { .. } => Ok(()),
            Source::Raw(raw) => raw.begin(schedule),
        }
    }

    /// Sends messages `from..to` of a schedule, where the server does not do that itself.
    fn send(&mut self, schedule: &Schedule, from: u64, to: u64, sink: &mut impl Sink) {
        let Source::Clients { rooms, .. } = &self.source else { return };
        let since = self.fleet.since();
        let mut touched: Vec<usize> = Vec::new();
        for k in from..to {
            let (room, turn) = (k % rooms.len() as u64, k / rooms.len() as u64);
            let Some(Sending { template, senders }) = rooms.get(index(room)) else { continue };
            let conn = senders[index(turn % senders.len() as u64)];
            self.fleet.queue(conn, |out| template.write(schedule.due_at(k), since, out));
            if touched.last() != Some(&conn) {
                touched.push(conn);
            }
        }
        for conn in touched {
            self.fleet.flush(conn, sink);
        }
    }

    /// Waits until nothing comes any more, and opens again what was closed; says how many those were.
    ///
    /// # Errors
    /// When the server is gone.
    pub fn settle(&mut self) -> anyhow::Result<usize> {
        const QUIET: u64 = 150_000_000;
        const LONGEST: u64 = 15_000_000_000;
        let began = clock::now();
        let mut rest = tally::Arrivals::default();
        let (mut seen, mut quiet_since) = (0, began);
        while clock::now() - quiet_since < QUIET && clock::now() - began < LONGEST {
            self.fleet.turn(clock::now() + QUIET / 3, &mut rest)?;
            if rest.count != seen {
                (seen, quiet_since) = (rest.count, clock::now());
            }
        }
        if let Source::Raw(raw) = &mut self.source {
            raw.finish()?;
        }
        self.fleet.reopen_closed()
    }
}

/// What may be said about a machine in a report.
pub fn machine() -> Value {
    let line = |path: &str| std::fs::read_to_string(path).unwrap_or_default().trim().to_owned();
    let cpu = line("/proc/cpuinfo");
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")?.split(": ").nth(1));
    serde_json::json!({
        // Not how many this process may use: it is pinned to one.
        "cores": cpu.lines().filter(|line| line.starts_with("processor")).count(),
        "cpu": model.unwrap_or("unknown"),
        "kernel": line("/proc/sys/kernel/osrelease"),
    })
}

fn index(value: u64) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}

#[allow(clippy::cast_precision_loss)] // Far below 2^53.
fn positive(value: u64) -> f64 {
    value.max(1) as f64
}
