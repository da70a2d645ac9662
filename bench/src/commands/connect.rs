//! Authenticated connects per second.

use std::sync::Arc;

use super::Target;
use crate::{
    bed::PATIENCE,
    clock, limits,
    load::{Latency, Percentiles},
    raw::{Mode, RawSettings},
    report::{Output, Report},
    socket::{Fleet, FleetSettings, Sink, Wire},
    target::{Http, Node, NodeSettings, Raw, Usage, api, own_cpu_seconds},
};

/// Flags of `connect`.
#[derive(Debug, Clone, clap::Args)]
pub struct Arguments {
    /// Connections that are opening at any time: as soon as one has its welcome it is closed, and the next begins
    #[arg(long, default_value_t = 64)]
    concurrency: usize,
    /// Users that they belong to, each in one room
    #[arg(long, default_value_t = 50)]
    users: usize,
    /// Seconds measured, after one of warm-up
    #[arg(long, default_value_t = 4.0)]
    window: f64,
    /// How often each target has its turn
    #[arg(long, default_value_t = 3)]
    repetitions: usize,
    /// What to measure
    #[arg(long, value_enum, value_delimiter = ',', default_value = "rookery,raw")]
    targets: Vec<Target>,
    /// Subprotocol of the connections
    #[arg(long, value_enum, default_value = "json")]
    protocol: Wire,
    #[command(flatten)]
    node: NodeSettings,
    #[command(flatten)]
    output: Output,
}

/// A server to connect to.
struct Door {
    name: &'static str,
    fleet: Fleet,
    usage: Usage,
    hellos: Vec<Arc<[u8]>>,
    /// Ends with this.
    _server: Server,
}

enum Server {
    Node(#[expect(dead_code, reason = "held until the end")] Node),
    Raw(#[expect(dead_code, reason = "held until the end")] Raw),
}

/// Measures.
///
/// # Errors
/// When a server cannot be started, prepared or reached.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    limits::allow_connections(arguments.concurrency * 2)?;
    let mut report = Report::for_this_command();
    let mut doors = Vec::new();
    if arguments.targets.contains(&Target::Rookery) {
        let node = Node::start(&arguments.node)?;
        let http = Http::to(node.address);
        let users = api::users(http, arguments.users.max(1), &super::run_name())?;
        api::rooms(http, &[users.iter().collect()])?;
        let hellos = users.iter().map(|user| arguments.protocol.hello(&user.token, None).into()).collect();
        let settings =
            FleetSettings { servers: vec![node.address], wire: arguments.protocol, patience: PATIENCE };
        let (fleet, usage) = (Fleet::new(settings)?, node.usage());
        doors.push(Door { name: "rookery", fleet, usage, hellos, _server: Server::Node(node) });
    }
    if arguments.targets.contains(&Target::Raw) {
        let settings = RawSettings { mode: Mode::Raw, frame_bytes: 430, rooms: 1 };
        let raw = Raw::start(&settings, arguments.node.server_cpu)?;
        let hellos = vec![Wire::Json.hello("none", None).into()];
        let settings = FleetSettings { servers: vec![raw.address], wire: Wire::Json, patience: PATIENCE };
        let (fleet, usage) = (Fleet::new(settings)?, raw.usage());
        doors.push(Door { name: "raw", fleet, usage, hellos, _server: Server::Raw(raw) });
    }
    for door in &mut doors {
        for i in 0..arguments.concurrency.max(1) {
            door.fleet.add(door.hellos[i % door.hellos.len()].clone());
        }
    }
    for _ in 0..arguments.repetitions.max(1) {
        for door in &mut doors {
            churn(arguments, door, 1.0)?;
            let result = churn(arguments, door, arguments.window)?;
            report.add(
                "authenticated connects",
                "per second",
                Some("≥ 10,000"),
                door.name,
                result.per_second,
            );
            report.add("connects: server", "cores", None, door.name, result.server_cores);
            report.add("connects: p99 until welcome", "ms", None, door.name, result.latency_ms.p99);
            report.detail("connect", door.name, &result);
        }
    }
    report.finish(&arguments.output)
}

#[derive(serde::Serialize)]
struct Churn {
    per_second: f64,
    latency_ms: Percentiles,
    server_cores: f64,
    generator_cores: f64,
}

/// Opens and closes connections for some seconds.
fn churn(arguments: &Arguments, door: &mut Door, seconds: f64) -> anyhow::Result<Churn> {
    let places = arguments.concurrency.max(1);
    let mut welcomes =
        Welcomes { began: vec![0; places], latency: Latency::new()?, done: Vec::new(), failed: None };
    let (server, generator, from) = (door.usage.cpu_seconds()?, own_cpu_seconds()?, clock::now());
    let until = from + clock::nanos(std::time::Duration::from_secs_f64(seconds));
    for place in 0..places {
        welcomes.began[place] = clock::now();
        door.fleet.connect(place)?;
    }
    let mut turn = 0;
    while clock::now() < until {
        door.fleet.turn(until, &mut welcomes)?;
        if let Some(why) = &welcomes.failed {
            anyhow::bail!("a connection failed after {} others: {why}", welcomes.latency.count());
        }
        for place in std::mem::take(&mut welcomes.done) {
            turn += 1;
            door.fleet.set_hello(place, door.hellos[turn % door.hellos.len()].clone());
            welcomes.began[place] = clock::now();
            door.fleet.connect(place)?;
        }
    }
    let elapsed = clock::seconds(clock::now() - from);
    let result = Churn {
        per_second: per_second(welcomes.latency.count(), elapsed),
        latency_ms: welcomes.latency.percentiles(),
        server_cores: (door.usage.cpu_seconds()? - server) / elapsed,
        generator_cores: (own_cpu_seconds()? - generator) / elapsed,
    };
    for place in 0..places {
        door.fleet.close(place);
    }
    Ok(result)
}

#[allow(clippy::cast_precision_loss)]
pub(super) fn per_second(count: u64, seconds: f64) -> f64 {
    count as f64 / seconds
}

struct Welcomes {
    began: Vec<u64>,
    latency: Latency,
    done: Vec<usize>,
    failed: Option<String>,
}

impl Sink for Welcomes {
    fn ready(&mut self, conn: usize, now: u64) {
        self.latency.record(now.saturating_sub(self.began[conn]));
        self.done.push(conn);
    }
    fn closed(&mut self, _conn: usize, why: &str) {
        self.failed = Some(why.to_owned());
    }
}
