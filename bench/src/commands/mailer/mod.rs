//! Mails per second of one mailer, and whether chat notices it: p99 beside a mailer at rest, with none while mails wait, beside one that always
//! has mails and is held to a rate, as by an SMTP server that takes no more, and beside one all of whose connections are busy all the time, with
//! a server that takes its time and with one that answers at once.
//!
//! What a window at rest and another one of the same round differ by is told, too: a difference that is smaller shows nothing.

mod jobs;
mod sink;

use std::{path::PathBuf, time::Duration};

use anyhow::Context as _;

use super::{
    beside::{Chat, Service, TARGET, program},
    cluster::{SENDERS, Town, progress},
};
use crate::{
    bed::Bed,
    clock, limits,
    report::{Output, Report},
    socket::Wire,
    target::{Cluster, ClusterSettings, Usage},
};
use jobs::Jobs;
use sink::Sink;

const REST: &str = "a mailer at rest";
const AGAIN: &str = "a mailer at rest, once more";
const SAME_ROUND: &str = "against that at rest in the same round";
const MAILS: &str = "one mailer";
/// Bytes of a chat message's text.
const TEXT_BYTES: usize = 128;
/// Beside no mailer so many mails wait.
const WAITING: u64 = 300;
/// Mails for so many seconds more than a window are put in before it: the outbox must not run dry before the last message has come.
const SPARE: f64 = 5.0;
/// Of those that a mailer is to be busy with: so many at least.
const LEAST: u64 = 600;
/// Mails that do not come by then never will.
const PATIENCE: Duration = Duration::from_secs(120);
/// Of coreutils.
const NICE: &str = "/usr/bin/nice";

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
    /// Beside the full load: mails per second, held to that by the mailer's own setting; by default as by that setting's
    #[arg(long, default_value_t = 10)]
    steady: u32,
    /// An SMTP server that takes its time answers a mail after so many milliseconds
    #[arg(long, default_value_t = 100)]
    answer_ms: u64,
    /// Niceness of the mailer, and of its SMTP server: their CPU weight where they share cores, as requests of CPU are on Kubernetes
    #[arg(long, default_value_t = 19, value_parser = clap::value_parser!(u8).range(0..=19))]
    nice: u8,
    #[command(flatten)]
    chat: Chat,
    /// Rounds: in each, every kind of window is measured once, beginning with another one each time
    #[arg(long, default_value_t = 3)]
    repetitions: usize,
    #[command(flatten)]
    output: Output,
}

/// Measures.
///
/// # Errors
/// When a server cannot be started, prepared or reached, or a mail does not come. That the servers' programs are not installed is said,
/// and is none.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    limits::allow_connections(arguments.chat.readers + SENDERS)?;
    arguments.chat.cores.of_chat()?;
    let mut report = Report::for_this_command();
    let Some(cluster) = Cluster::start(&arguments.cluster)? else { return Ok(()) };
    let sink = arguments.chat.cores.beside(|| Sink::start(arguments.nice))?;
    let of_run = super::run_name();
    let mut jobs = Jobs::new(&cluster.nats(), cluster.name(), of_run)?;
    let fast = mailer(&cluster, arguments, &sink, 0)?;
    for _ in 0..arguments.repetitions.max(1) {
        mails(&fast, (&mut jobs, &sink), arguments, &mut report)?;
    }

    let steady = mailer(&cluster, arguments, &sink, arguments.steady)?;
    let town = Town::new(&cluster, (Wire::Json, TEXT_BYTES))?;
    let rooms = town.rooms(arguments.chat.rooms)?;
    let mut bed = town.bed(&rooms, arguments.chat.readers)?;
    let most =
        report.figures.iter().find(|figure| figure.name == MAILS).and_then(|figure| figure.median(TARGET));
    let late = Duration::from_millis(arguments.answer_ms);
    let kinds = [
        Kind { mailer: Some(&fast), ..Kind::new(REST) },
        Kind { mailer: Some(&fast), ..Kind::new(AGAIN) },
        Kind::new("no mailer, mails waiting"),
        Kind {
            mailer: Some(&steady),
            per_second: arguments.steady.into(),
            ..Kind::new(&format!("a mailer at {} mails/s", arguments.steady))
        },
        Kind {
            mailer: Some(&fast),
            per_second: f64::from(arguments.connections) / late.as_secs_f64().max(0.001),
            answer: late,
            ..Kind::new(&format!("a mailer at full load, its server answers in {} ms", arguments.answer_ms))
        },
        Kind {
            mailer: Some(&fast),
            per_second: most.unwrap_or(100.0),
            ..Kind::new("a mailer at full load, its server answers at once")
        },
    ];
    for round in 0..arguments.repetitions.max(1) {
        let mut p99 = vec![0.0; kinds.len()];
        for turn in 0..kinds.len() {
            let at = (round + turn) % kinds.len();
            p99[at] = window(&kinds[at], (&mut jobs, &sink, &fast), (&mut bed, arguments), &mut report)?;
        }
        // Of one round, so that what the machine does in the meantime is the same for both, nearly.
        let rest = f64::midpoint(p99[0], p99[1]);
        report.add(
            &format!("chat with {AGAIN}: p99, {SAME_ROUND}"),
            "times",
            Some("1, but for chance"),
            TARGET,
            p99[1] / p99[0],
        );
        for (kind, p99) in kinds.iter().zip(&p99).skip(2) {
            let name = format!("chat with {}: p99, {SAME_ROUND}", kind.what);
            report.add(&name, "times", Some("≤ 1.05"), TARGET, p99 / rest);
        }
    }
    drop(bed);
    report.finish(&arguments.output)
}

/// What a window is measured beside.
struct Kind<'a> {
    what: String,
    /// Which runs.
    mailer: Option<&'a Service>,
    /// How many mails it is expected to send at most; 0: it has none.
    per_second: f64,
    /// How late the SMTP server answers.
    answer: Duration,
}

impl Kind<'_> {
    /// Beside none.
    fn new(what: &str) -> Self {
        Self { what: what.to_owned(), mailer: None, per_second: 0.0, answer: Duration::ZERO }
    }
}

/// A mailer that sends so many mails per second; 0: as many as it can.
fn mailer(cluster: &Cluster, arguments: &Arguments, sink: &Sink, per_second: u32) -> anyhow::Result<Service> {
    let nats = cluster.nats();
    let settings = [
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
    // `nice` becomes the program that it starts.
    let program = program(&arguments.mailer)?.display().to_string();
    let words = [NICE.to_owned(), "-n".to_owned(), arguments.nice.to_string(), program, "run".to_owned()];
    let process = arguments.chat.cores.process(cluster, &format!("mailer-{per_second}"), words.to_vec());
    Ok(Service::new("the mailer", process, &settings))
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
    mailer: &Service,
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
    report.add(MAILS, "mails/s", None, TARGET, rate);
    report.add("one mailer: CPU", "µs/mail", None, TARGET, cost);
    Ok(())
}

/// Chat beside this, and its p99 in milliseconds. Afterwards no mailer runs and no mail waits.
fn window(
    kind: &Kind<'_>,
    (jobs, sink, fast): (&mut Jobs, &Sink, &Service),
    (bed, arguments): (&mut Bed, &Arguments),
    report: &mut Report,
) -> anyhow::Result<f64> {
    let seconds = arguments.chat.warm_up + arguments.chat.window + SPARE;
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // Some thousands.
    let expected = (kind.per_second * seconds * 1.2).ceil() as u64;
    // A rate that few mails were measured by is not to be believed.
    let mails = if expected > 0 { expected.max(LEAST) } else { 0 };
    jobs.put(if kind.mailer.is_some() { mails } else { WAITING })?;
    sink.answer_after(kind.answer);
    if let Some(mailer) = kind.mailer {
        mailer.start();
    }
    let (before, begun) = (sink.taken(), clock::now());
    let p99 = arguments.chat.run(bed, &kind.what, report)?;
    #[allow(clippy::cast_precision_loss)] // Far below 2^53.
    let rate = (sink.taken() - before) as f64 / clock::seconds(clock::now() - begun);
    if mails > 0 {
        anyhow::ensure!(sink.taken() < jobs.count(), "{}: the outbox ran dry: nothing is shown", kind.what);
        report.add(&format!("chat with {}: mails meanwhile", kind.what), "/s", None, TARGET, rate);
        progress(&format!("{}: {rate:.0} mails/s", kind.what));
    }
    if let Some(mailer) = kind.mailer {
        mailer.stop();
    }
    sink.answer_after(Duration::ZERO);
    if sink.taken() < jobs.count() {
        fast.start();
        drained(jobs, sink)?;
        fast.stop();
    }
    Ok(p99)
}
