//! What an idle connection costs in memory.

use std::{sync::Arc, time::Duration};

use super::Target;
use crate::{
    bed::PATIENCE,
    clock, limits,
    raw::{Mode, RawSettings},
    report::{Output, Report},
    socket::{Fleet, FleetSettings, Sink, Wire},
    target::{Http, Memory, Node, NodeSettings, Raw, Usage, api},
};

/// Flags of `idle`.
#[derive(Debug, Clone, clap::Args)]
pub struct Arguments {
    /// Connections
    #[arg(long, default_value_t = 10_000)]
    connections: usize,
    /// Users that they belong to
    #[arg(long, default_value_t = 100)]
    users: usize,
    /// Rooms; each user is in two of them
    #[arg(long, default_value_t = 50)]
    rooms: usize,
    /// Seconds from the last welcome until memory is read
    #[arg(long, default_value_t = 5.0)]
    settle: f64,
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

/// Measures.
///
/// # Errors
/// When a server cannot be started, prepared or reached.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    limits::allow_connections(arguments.connections)?;
    let mut report = Report::for_this_command();
    if arguments.targets.contains(&Target::Rookery) {
        let node = Node::start(&arguments.node)?;
        let http = Http::to(node.address);
        let users = api::users(http, arguments.users.max(1), &super::run_name())?;
        let rooms = arguments.rooms.max(1);
        let of_rooms: Vec<Vec<_>> = (0..rooms)
            .map(|room| {
                // User u is in rooms u and u + 1, counted round.
                let inside = |u: &usize| u % rooms == room || (u + 1) % rooms == room;
                (0..users.len()).filter(inside).map(|u| &users[u]).collect()
            })
            .filter(|members: &Vec<_>| !members.is_empty())
            .collect();
        api::rooms(http, &of_rooms)?;
        let hello = |conn: usize| arguments.protocol.hello(&users[conn % users.len()].token, None).into();
        let hellos = (0..arguments.connections).map(hello);
        let settings =
            FleetSettings { servers: vec![node.address], wire: arguments.protocol, patience: PATIENCE };
        measure(arguments, "rookery", settings, &node.usage(), hellos, &mut report)?;
    }
    if arguments.targets.contains(&Target::Raw) {
        let settings = RawSettings { mode: Mode::Raw, frame_bytes: 430, rooms: 1 };
        let raw = Raw::start(&settings, arguments.node.server_cpu)?;
        let hello: Arc<[u8]> = Wire::Json.hello("none", None).into();
        let hellos = std::iter::repeat_n(hello, arguments.connections);
        let settings = FleetSettings { servers: vec![raw.address], wire: Wire::Json, patience: PATIENCE };
        measure(arguments, "raw", settings, &raw.usage(), hellos, &mut report)?;
    }
    report.finish(&arguments.output)
}

fn measure(
    arguments: &Arguments,
    name: &str,
    settings: FleetSettings,
    usage: &Usage,
    hellos: impl Iterator<Item = Arc<[u8]>>,
    report: &mut Report,
) -> anyhow::Result<()> {
    let mut fleet = Fleet::new(settings)?;
    // What the preparation took is given back first, or connections would seem to need less than they do.
    std::thread::sleep(Duration::from_secs_f64(arguments.settle));
    let before = usage.memory()?;
    let began = clock::now();
    fleet.open_all(hellos)?;
    let opened = clock::seconds(clock::now() - began);
    let (idle_from, cpu) = (clock::now(), usage.cpu_seconds()?);
    let mut watch = Watch::default();
    let until = idle_from + clock::nanos(Duration::from_secs_f64(arguments.settle));
    while clock::now() < until {
        fleet.turn(until, &mut watch)?;
    }
    let after = usage.memory()?;
    let idle_cpu = (usage.cpu_seconds()? - cpu) / clock::seconds(clock::now() - idle_from);
    anyhow::ensure!(watch.closed == 0, "{} idle connections were closed: {}", watch.closed, watch.why);
    let what = format!("{} idle connections", arguments.connections);
    let per =
        |bytes: fn(&Memory) -> u64| per_connection(bytes(&before), bytes(&after), arguments.connections);
    report.add(&format!("{what}: resident memory each"), "KiB", Some("≤ 4"), name, per(|memory| memory.rss));
    report.add(&format!("{what}: unique memory each"), "KiB", None, name, per(|memory| memory.uss));
    report.add(&format!("{what}: server, idle"), "cores", None, name, idle_cpu);
    report.detail(
        &what,
        name,
        &serde_json::json!({"before": before, "after": after, "opened_in_seconds": opened}),
    );
    Ok(())
}

#[allow(clippy::cast_precision_loss)]
fn per_connection(before: u64, after: u64, connections: usize) -> f64 {
    after.saturating_sub(before) as f64 / 1_024.0 / connections.max(1) as f64
}

#[derive(Default)]
struct Watch {
    closed: usize,
    why: String,
}

impl Sink for Watch {
    fn closed(&mut self, _conn: usize, why: &str) {
        self.closed += 1;
        why.clone_into(&mut self.why);
    }
}
