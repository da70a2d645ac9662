//! Durable sends per second, as senders and rooms grow; and what the disk alone can do.

use std::{
    fs::File,
    io::Write,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use super::closed::{self, Until};
use crate::{
    bed::PATIENCE,
    limits,
    report::{Output, Report},
    socket::{Fleet, FleetSettings, SendTemplate, Wire},
    target::{Http, Node, NodeSettings, api, metrics, own_cpu_seconds},
};

/// Flags of `send`.
#[derive(Debug, Clone, clap::Args)]
pub struct Arguments {
    /// Messages that wait for their acknowledgement at any time, and rooms that they go to; several pairs
    #[arg(long, value_name = "SENDS:ROOMS", value_delimiter = ',', value_parser = pair,
          default_value = "1:1,16:1,256:1,1024:1,16:16,256:64,1024:200")]
    levels: Vec<(usize, usize)>,
    /// Bytes of each message's text, at least 24
    #[arg(long, default_value_t = 128)]
    text_bytes: usize,
    /// Seconds measured at each level, after a fourth of it as warm-up
    #[arg(long, default_value_t = 2.0)]
    window: f64,
    /// Subprotocol of the connections
    #[arg(long, value_enum, default_value = "json")]
    protocol: Wire,
    #[command(flatten)]
    node: NodeSettings,
    #[command(flatten)]
    output: Output,
}

/// Connections at most: senders share them.
const CONNECTIONS: usize = 64;
const USERS: usize = 16;

pub(super) fn pair(text: &str) -> Result<(usize, usize), String> {
    let parsed = text.split_once(':').and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)));
    parsed.filter(|(a, b)| *a > 0 && *b > 0).ok_or_else(|| "expected as 256:64".to_owned())
}

/// Measures.
///
/// # Errors
/// When the server cannot be started, prepared or reached.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    limits::allow_connections(CONNECTIONS)?;
    let mut report = Report::for_this_command();
    let node = Node::start(&arguments.node)?;
    let (http, run) = (Http::to(node.address), super::run_name());
    let users = api::users(http, USERS, &run)?;
    let most = arguments.levels.iter().map(|(_, rooms)| *rooms).max().unwrap_or(1);
    let rooms = api::rooms(http, &vec![users.iter().collect(); most])?;
    let templates: Vec<SendTemplate> = rooms
        .iter()
        .map(|room| arguments.protocol.send(room, arguments.text_bytes, &run))
        .collect::<anyhow::Result<_>>()?;
    let settings =
        FleetSettings { servers: vec![node.address], wire: arguments.protocol, patience: PATIENCE };
    let mut fleet = Fleet::new(settings)?;
    let hello = |conn: usize| -> Arc<[u8]> {
        arguments.protocol.hello(&users[conn % users.len()].token, Some(&[])).into()
    };
    fleet.open_all((0..CONNECTIONS).map(hello))?;

    for &(sends, in_rooms) in &arguments.levels {
        let what = format!("{sends} sends at once to {in_rooms} rooms");
        if let Some(directory) = node.directory() {
            let bare = write_and_sync(directory, Duration::from_secs_f64(arguments.window / 4.0))?;
            report.add(&what, "durable/s", None, "disk", bare);
        }
        let templates = &templates[..in_rooms];
        closed::run(&mut fleet, templates, sends, Until::Seconds(arguments.window / 4.0))?;
        let before = (node.usage().cpu_seconds()?, own_cpu_seconds()?, metrics::parse(&node.metrics()?));
        let result = closed::run(&mut fleet, templates, sends, Until::Seconds(arguments.window))?;
        let after = metrics::parse(&node.metrics()?);
        report.add(&what, "durable/s", None, "rookery", result.per_second);
        report.add(&format!("{what}: p50"), "ms", None, "rookery", result.latency_ms.p50);
        report.add(&format!("{what}: p99"), "ms", None, "rookery", result.latency_ms.p99);
        report.add(&format!("{what}: p99.9"), "ms", None, "rookery", result.latency_ms.p999);
        let cores = (node.usage().cpu_seconds()? - before.0) / arguments.window;
        report.add(&format!("{what}: server"), "cores", None, "rookery", cores);
        let resident = node.usage().memory()?.resident_mib();
        report.add(&format!("{what}: server, resident"), "MiB", None, "rookery", resident);
        let detail = serde_json::json!({
            "result": result,
            "generator_cores": (own_cpu_seconds()? - before.1) / arguments.window,
            "metrics": metrics::grown(&before.2, &after),
        });
        report.detail(&what, "rookery", &detail);
    }
    report.finish(&arguments.output)
}

/// Appends and syncs, one after the other, as fast as the disk can: per second.
fn write_and_sync(directory: &Path, time: Duration) -> anyhow::Result<f64> {
    let path = directory.join("sync");
    let mut file = File::create(&path)?;
    let (began, mut count) = (Instant::now(), 0_u32);
    while began.elapsed() < time {
        file.write_all(&[0x5a; 512])?;
        file.sync_data()?;
        count += 1;
    }
    let rate = f64::from(count) / began.elapsed().as_secs_f64();
    std::fs::remove_file(&path)?;
    Ok(rate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_pairs() {
        assert_eq!(pair("256:64"), Ok((256, 64)));
        assert!(pair("0:1").is_err() && pair("16").is_err());
    }
}
