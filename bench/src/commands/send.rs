//! Durable sends per second, as senders and rooms grow; and what the disk alone can do.

use std::{
    collections::BTreeMap,
    fs::File,
    io::Write,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    bed::PATIENCE,
    clock, limits,
    load::{Latency, Percentiles},
    report::{Output, Report},
    socket::{Fleet, FleetSettings, SendTemplate, Sink, Wire},
    target::{Http, Node, NodeSettings, api, own_cpu_seconds},
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

fn pair(text: &str) -> Result<(usize, usize), String> {
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
    let settings = FleetSettings { server: node.address, wire: arguments.protocol, patience: PATIENCE };
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
        level(&mut fleet, &templates[..in_rooms], sends, arguments.window / 4.0)?;
        let before = (node.usage().cpu_seconds()?, own_cpu_seconds()?, metrics(&node)?);
        let result = level(&mut fleet, &templates[..in_rooms], sends, arguments.window)?;
        let after = metrics(&node)?;
        report.add(&what, "durable/s", None, "rookery", result.per_second);
        report.add(&format!("{what}: p50"), "ms", None, "rookery", result.latency_ms.p50);
        report.add(&format!("{what}: p99"), "ms", None, "rookery", result.latency_ms.p99);
        let cores = (node.usage().cpu_seconds()? - before.0) / arguments.window;
        report.add(&format!("{what}: server"), "cores", None, "rookery", cores);
        let detail = serde_json::json!({
            "result": result,
            "generator_cores": (own_cpu_seconds()? - before.1) / arguments.window,
            "metrics": difference(&before.2, &after),
        });
        report.detail(&what, "rookery", &detail);
    }
    report.finish(&arguments.output)
}

#[derive(serde::Serialize)]
struct Level {
    per_second: f64,
    latency_ms: Percentiles,
}

/// Keeps `sends` messages waiting for some seconds: each acknowledgement makes its connection send the next.
/// This is a closed loop: it measures throughput, and the latency of a server kept exactly so busy.
fn level(fleet: &mut Fleet, templates: &[SendTemplate], sends: usize, seconds: f64) -> anyhow::Result<Level> {
    let mut acks = Acks { latency: Latency::new()?, done: Vec::new(), waiting: 0, failed: None };
    let from = clock::now();
    let until = from + clock::nanos(Duration::from_secs_f64(seconds));
    acks.done.extend((0..sends).map(|send| send % CONNECTIONS.min(sends)));
    let mut stamp = from;
    let mut turn = 0;
    while clock::now() < until {
        let mut done = std::mem::take(&mut acks.done);
        done.sort_unstable();
        for &conn in &done {
            // Ids are times: no two may be the same.
            stamp = clock::now().max(stamp + 1);
            let since = fleet.since();
            fleet.queue(conn, |out| templates[turn % templates.len()].write(stamp, since, out));
            turn += 1;
            acks.waiting += 1;
        }
        done.dedup();
        for conn in done {
            fleet.flush(conn, &mut acks);
        }
        fleet.turn(until, &mut acks)?;
        if let Some(why) = &acks.failed {
            anyhow::bail!("a send failed after {} others: {why}", acks.latency.count());
        }
    }
    let elapsed = clock::seconds(clock::now() - from);
    let (count, latency_ms) = (acks.latency.count(), acks.latency.percentiles());
    let patience = clock::now() + clock::nanos(PATIENCE);
    while acks.waiting > 0 && clock::now() < patience {
        fleet.turn(patience, &mut acks)?;
    }
    anyhow::ensure!(acks.waiting == 0, "{} sends were never answered", acks.waiting);
    Ok(Level { per_second: super::connect::per_second(count, elapsed), latency_ms })
}

struct Acks {
    latency: Latency,
    done: Vec<usize>,
    waiting: usize,
    failed: Option<String>,
}

impl Sink for Acks {
    fn ack(&mut self, conn: usize, due: u64, now: u64) {
        self.latency.record(now.saturating_sub(due));
        self.waiting = self.waiting.saturating_sub(1);
        self.done.push(conn);
    }
    fn refused(&mut self, why: &str) {
        self.failed = Some(why.to_owned());
    }
    fn closed(&mut self, _conn: usize, why: &str) {
        self.failed = Some(why.to_owned());
    }
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

/// The node's metrics that are single numbers, by name and labels.
fn metrics(node: &Node) -> anyhow::Result<BTreeMap<String, f64>> {
    let text = node.metrics()?;
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    Ok(lines
        .filter_map(|line| line.rsplit_once(' '))
        .filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?)))
        .collect())
}

/// How much each counter grew.
fn difference(before: &BTreeMap<String, f64>, after: &BTreeMap<String, f64>) -> BTreeMap<String, f64> {
    let grown = |(name, value): (&String, &f64)| {
        let by = value - before.get(name).copied().unwrap_or(0.0);
        (by != 0.0).then(|| (name.clone(), by))
    };
    after.iter().filter_map(grown).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_pairs() {
        assert_eq!(pair("256:64"), Ok((256, 64)));
        assert!(pair("0:1").is_err() && pair("16").is_err());
    }

    #[test]
    fn counters_that_grew_are_told() {
        let before = BTreeMap::from([("a".to_owned(), 1.0), ("b".to_owned(), 2.0)]);
        let after = BTreeMap::from([("a".to_owned(), 4.0), ("b".to_owned(), 2.0), ("c".to_owned(), 5.0)]);
        assert_eq!(
            difference(&before, &after),
            BTreeMap::from([("a".to_owned(), 3.0), ("c".to_owned(), 5.0)])
        );
    }
}
