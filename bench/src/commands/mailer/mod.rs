//! Mails per second of one mailer, and whether chat notices it: p99 with the mailer at rest, stopped while mails wait, and at full load.

mod jobs;
mod sink;

use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use anyhow::Context as _;
use rookery_testbed::{Process, eventually};

use super::cluster::{SENDERS, Town, progress};
use crate::{
    bed::{self, Bed, Plan},
    clock, limits,
    report::{Output, Report},
    socket::Wire,
    target::{Cluster, ClusterSettings, Http, Usage},
};
use jobs::Jobs;
use sink::Sink;

const TARGET: &str = "cluster";
/// Bytes of a chat message's text.
const TEXT_BYTES: usize = 128;
/// At a full load so many mails wait, about.
const WAITING: u64 = 1_000;
/// Mails that do not come by then never will.
const PATIENCE: Duration = Duration::from_secs(120);
/// A mailer that does not end by itself for so long is killed.
const LEAVING: Duration = Duration::from_secs(20);

/// Flags of `mailer`.
#[derive(Debug, Clone, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    cluster: ClusterSettings,
    /// The mailer's program
    #[arg(long, value_name = "PATH", default_value = "target/release/rookery-mailer")]
    mailer: PathBuf,
    /// Mails sent to measure how fast that goes
    #[arg(long, default_value_t = 3_000)]
    mails: u64,
    /// Connections of the mailer
    #[arg(long, default_value_t = 8)]
    connections: u32,
    /// Beside the full load: mails per second, held to that by the mailer's own setting
    #[arg(long, default_value_t = 50)]
    steady: u32,
    /// Chat messages per second
    #[arg(long, default_value_t = 100.0)]
    rate: f64,
    /// Rooms that they go to
    #[arg(long, default_value_t = 100)]
    rooms: usize,
    /// Connections that read all of the rooms, spread over the nodes
    #[arg(long, default_value_t = 3)]
    readers: usize,
    /// How often each is measured, in turn
    #[arg(long, default_value_t = 3)]
    repetitions: usize,
    /// Seconds of warm-up of each step
    #[arg(long, default_value_t = 1.0)]
    warm_up: f64,
    /// Seconds measured in each step
    #[arg(long, default_value_t = 5.0)]
    window: f64,
    #[command(flatten)]
    output: Output,
}

/// Measures.
///
/// # Errors
/// When a server cannot be started, prepared or reached, or a mail does not come. That the servers' programs are not installed is said,
/// and is none.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    limits::allow_connections(arguments.readers + SENDERS)?;
    let mut report = Report::for_this_command();
    let Some(cluster) = Cluster::start(&arguments.cluster)? else { return Ok(()) };
    let sink = Arc::new(Sink::start()?);
    let of_run = super::run_name();
    let mut jobs = Jobs::new(&cluster.nats(), cluster.name(), of_run)?;
    let fast = Mailer::new(&cluster, arguments, &sink, 0)?;
    for _ in 0..arguments.repetitions.max(1) {
        mails(&fast, (&mut jobs, &sink), arguments, &mut report)?;
    }

    let steady = Mailer::new(&cluster, arguments, &sink, arguments.steady)?;
    let town = Town::new(&cluster, (Wire::Json, TEXT_BYTES))?;
    let rooms = town.rooms(arguments.rooms)?;
    let mut bed = town.bed(&rooms, arguments.readers)?;
    for _ in 0..arguments.repetitions.max(1) {
        fast.start();
        chat(&mut bed, arguments, "a mailer at rest", &mut report)?;
        fast.stop();
        jobs.put(arguments.mails)?;
        chat(&mut bed, arguments, "no mailer, mails waiting", &mut report)?;
        let what = format!("a mailer at {} mails/s", arguments.steady);
        jobs = loaded(&steady, (jobs, &sink), (&mut bed, arguments), &what, &mut report)?;
        steady.stop();
        jobs = loaded(&fast, (jobs, &sink), (&mut bed, arguments), "a mailer at full load", &mut report)?;
        drained(&jobs, &sink)?;
        fast.stop();
    }
    for what in ["no mailer, mails waiting", "a mailer at full load"] {
        ratio(what, &mut report);
    }
    drop(bed);
    report.finish(&arguments.output)
}

/// A mailer that is started and stopped.
struct Mailer {
    process: Process,
    management: SocketAddr,
}

impl Mailer {
    fn new(cluster: &Cluster, arguments: &Arguments, sink: &Sink, per_second: u32) -> anyhow::Result<Self> {
        let program = arguments.mailer.canonicalize().with_context(|| {
            format!("there is no {}: build it with cargo build --release", arguments.mailer.display())
        })?;
        let management = SocketAddr::from(([127, 0, 0, 1], rookery_testbed::free_port()));
        let nats = cluster.nats();
        let settings = [
            ("SERVER__MANAGEMENT", management.to_string()),
            ("CLUSTER__NAME", cluster.name().to_owned()),
            ("NATS__URLS", nats.join(",")),
            ("NATS__REPLICAS", nats.len().to_string()),
            ("MAIL__FROM", "chat@example.org".to_owned()),
            ("SMTP__HOST", sink.address.ip().to_string()),
            ("SMTP__PORT", sink.address.port().to_string()),
            ("SMTP__SECURITY", "plain".to_owned()),
            ("SMTP__CONNECTIONS", arguments.connections.to_string()),
            ("SMTP__PER_SECOND", per_second.to_string()),
            ("LOG__LEVEL", "warn".to_owned()),
        ];
        let process = cluster.process(&format!("mailer-{per_second}"), &program, vec!["run".to_owned()]);
        let process = settings
            .iter()
            .fold(process, |process, (key, value)| process.with_env(&format!("ROOKERY_{key}"), value));
        Ok(Self { process, management })
    }

    /// Starts it, and returns when it is ready.
    fn start(&self) {
        self.process.start();
        let answers = || Http::to(self.management).text("GET", "/readyz", None, None);
        eventually(
            "the mailer is ready",
            || self.process.log_tail(10),
            || {
                self.process.assert_running();
                answers().is_ok_and(|(status, _)| status == 200).then_some(())
            },
        );
    }

    fn stop(&self) {
        self.process.terminate();
        if self.process.wait(LEAVING).is_none() {
            self.process.kill();
        }
    }
}

/// Waits until all mails have come.
fn drained(jobs: &Jobs, sink: &Sink) -> anyhow::Result<()> {
    let begun = clock::now();
    while sink.taken() < jobs.count() {
        anyhow::ensure!(clock::now() - begun < clock::nanos(PATIENCE), "mails are missing");
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

/// How fast one mailer empties an outbox.
fn mails(
    mailer: &Mailer,
    (jobs, sink): (&mut Jobs, &Sink),
    arguments: &Arguments,
    report: &mut Report,
) -> anyhow::Result<()> {
    jobs.put(arguments.mails)?;
    let (first, all) = (sink.taken(), jobs.count());
    mailer.start();
    let usage = Usage::of(mailer.process.pid().context("the mailer has ended")?);
    let (begun, mut from) = (clock::now(), None);
    while sink.taken() < all {
        if from.is_none() && sink.taken() > first {
            // From here on all connections are open.
            from = Some((sink.taken(), clock::now(), usage.cpu_seconds()?));
        }
        anyhow::ensure!(clock::now() - begun < clock::nanos(PATIENCE), "mails are missing");
        std::thread::sleep(Duration::from_millis(1));
    }
    let (count, at, cpu) = from.unwrap_or((first, begun, 0.0));
    #[allow(clippy::cast_precision_loss)] // Far below 2^53.
    let sent = (sink.taken() - count) as f64;
    let rate = sent / clock::seconds(clock::now() - at);
    let cost = (usage.cpu_seconds()? - cpu) * 1e6 / sent;
    mailer.stop();
    progress(&format!("{rate:.0} mails/s, {cost:.0} µs of CPU each"));
    report.add("one mailer", "mails/s", None, TARGET, rate);
    report.add("one mailer: CPU", "µs/mail", None, TARGET, cost);
    Ok(())
}

/// Chat while a mailer, which is started, always has mails to send.
fn loaded(
    mailer: &Mailer,
    (jobs, sink): (Jobs, &Arc<Sink>),
    (bed, arguments): (&mut Bed, &Arguments),
    what: &str,
    report: &mut Report,
) -> anyhow::Result<Jobs> {
    mailer.start();
    let flood = jobs.flood(sink.clone(), arguments.mails.min(WAITING));
    let (before, begun) = (sink.taken(), clock::now());
    let stepped = chat(bed, arguments, what, report);
    #[allow(clippy::cast_precision_loss)] // Far below 2^53.
    let rate = (sink.taken() - before) as f64 / clock::seconds(clock::now() - begun);
    let jobs = flood.stop()?;
    stepped?;
    report.add(&format!("chat with {what}: mails meanwhile"), "/s", None, TARGET, rate);
    progress(&format!("{what}: {rate:.0} mails/s"));
    Ok(jobs)
}

/// Chat at its rate, whatever else goes on.
fn chat(bed: &mut Bed, arguments: &Arguments, what: &str, report: &mut Report) -> anyhow::Result<()> {
    let plan = Plan { rate: arguments.rate, warm_up: arguments.warm_up, window: arguments.window };
    let step = bed::run(bed, plan)?;
    anyhow::ensure!(step.lost == 0, "{what}: {} messages were lost: {step:?}", step.lost);
    let (p50, p99) = (step.latency_ms.p50, step.latency_ms.p99);
    progress(&format!("chat with {what}: p50 {p50:.1} p99 {p99:.1} ms"));
    report.add(&format!("chat with {what}: p50"), "ms", None, TARGET, p50);
    report.add(&format!("chat with {what}: p99"), "ms", None, TARGET, p99);
    report.detail(what, TARGET, &step);
    Ok(())
}

/// p99 against that with a mailer at rest, by the medians.
fn ratio(what: &str, report: &mut Report) {
    let median = |what: &str| {
        let name = format!("chat with {what}: p99");
        report.figures.iter().find(|figure| figure.name == name)?.median(TARGET)
    };
    if let (Some(rest), Some(now)) = (median("a mailer at rest"), median(what)) {
        let name = format!("chat with {what}: p99 against that at rest");
        report.add(&name, "times", Some("≤ 1.05"), TARGET, now / rest);
    }
}
