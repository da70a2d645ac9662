//! A whole cluster on this machine: how many durable sends it takes as rooms grow, how many deliveries over several
//! nodes, and what a message costs in CPU time, which may not grow with rooms, nodes or history.
//!
//! All parts share this machine's cores, so more nodes do not make it faster: what counts is CPU time per message.

mod cost;
mod fanout;
mod sends;
mod town;

use crate::{
    limits,
    load::stamp,
    report::{Output, Report},
    socket::Wire,
    target::{Cluster, ClusterSettings},
};
pub(super) use cost::progress;
pub(super) use town::{SENDERS, Town};

/// Flags of `cluster`.
#[derive(Debug, Clone, clap::Args)]
pub struct Arguments {
    /// What to measure
    #[arg(long, value_enum, value_delimiter = ',', default_value = "sends,fanout,rooms,nodes,history")]
    measure: Vec<What>,
    #[command(flatten)]
    cluster: ClusterSettings,
    /// `sends`: messages that wait for their acknowledgement at any time, and rooms that they go to; several pairs
    #[arg(long, value_name = "SENDS:ROOMS", value_delimiter = ',', value_parser = super::send::pair,
          default_value = "1:1,1024:1,1024:10,1024:100,1024:1000")]
    levels: Vec<(usize, usize)>,
    /// `fanout`: connections that read the one room, spread over the nodes
    #[arg(long, default_value_t = 600)]
    subscribers: usize,
    /// `fanout`: deliveries per second at which their cost is measured
    #[arg(long, default_value_t = 12_000.0)]
    deliveries: f64,
    /// `rooms`, `nodes`, `history`: messages per second
    #[arg(long, default_value_t = 300.0)]
    rate: f64,
    /// `rooms`, `nodes`, `history`: connections that read all of the rooms, spread over the nodes
    #[arg(long, default_value_t = 3)]
    readers: usize,
    /// `rooms`: how many
    #[arg(long, value_delimiter = ',', default_value = "1,100,1000")]
    rooms: Vec<usize>,
    /// `nodes`: rooms
    #[arg(long, default_value_t = 100)]
    rooms_of_nodes: usize,
    /// `history`: messages that the room has already
    #[arg(long, value_delimiter = ',', default_value = "100,10000,100000")]
    history: Vec<u64>,
    /// Seconds for which the cluster's use at rest is measured, which is taken off; 0: nothing is
    #[arg(long, default_value_t = 3.0)]
    rest: f64,
    /// How often each is measured, in turn
    #[arg(long, default_value_t = 3)]
    repetitions: usize,
    /// Seconds of warm-up of each step
    #[arg(long, default_value_t = 1.0)]
    warm_up: f64,
    /// Seconds measured in each step
    #[arg(long, default_value_t = 4.0)]
    window: f64,
    /// Subprotocol of the connections
    #[arg(long, value_enum, default_value = "json")]
    protocol: Wire,
    /// Bytes of each message's text, at least 24
    #[arg(long, default_value_t = 128)]
    text_bytes: usize,
    #[command(flatten)]
    output: Output,
}

/// What can be measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum What {
    /// Durable sends per second as rooms grow, and their latency at half of that
    Sends,
    /// One room, its readers spread over the nodes
    Fanout,
    /// CPU per message as rooms grow
    Rooms,
    /// CPU per message as nodes grow
    Nodes,
    /// CPU per message as the room's history grows
    History,
}

/// Measures.
///
/// # Errors
/// When a server cannot be started, prepared or reached. That the servers' programs are not installed is said, and
/// is none.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    anyhow::ensure!(arguments.text_bytes >= stamp::LEN, "a text has at least {} bytes here", stamp::LEN);
    limits::allow_connections(arguments.subscribers + arguments.readers + SENDERS)?;
    let mut report = Report::for_this_command();
    let Some(cluster) = Cluster::start(&arguments.cluster)? else { return Ok(()) };
    for what in &arguments.measure {
        let town = Town::new(&cluster, (arguments.protocol, arguments.text_bytes))?;
        match what {
            What::Sends => sends::run(&town, arguments, &mut report)?,
            What::Fanout => fanout::run(&town, arguments, &mut report)?,
            What::Rooms => cost::of_rooms(&town, arguments, &mut report)?,
            What::Nodes => cost::of_nodes(&town, arguments, &mut report)?,
            What::History => cost::of_history(&town, arguments, &mut report)?,
        }
    }
    report.finish(&arguments.output)
}
