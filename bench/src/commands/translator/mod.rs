//! Translations per second of each local engine, how long after its message a translation comes, and whether chat notices what becomes of
//! the translator: its p99 with one that it alone asks, with none, and with one that others keep at full load.
//!
//! Engines are in the scheduler's idle class by default, where they get what nobody else wants; a full load is measured with that and
//! without.

mod asks;
mod reader;

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use anyhow::Context as _;
use rookery_testbed::{find_models, find_modes};
use serde_json::json;

use self::{
    asks::{Asked, Asks, Lines},
    reader::Reader,
};
use super::{
    beside::{Chat, Service, TARGET, program},
    cluster::{SENDERS, Town, progress},
};
use crate::{
    bed::Bed,
    clock, limits,
    report::{Output, Report},
    socket::Wire,
    target::{Cluster, ClusterSettings, Http, Usage, api},
};

const REST: &str = "a translator that chat alone asks";
const AGAIN: &str = "a translator that chat alone asks, once more";
const AWAY: &str = "no translator";
const FULL: &str = "a translator at full load";
const EQUAL: &str = "a translator at full load, idle_class = false";
const SAME_ROUND: &str = "one that chat alone asks in the same round";
/// What is said in chat: something to translate.
const WORDS: &str = " The house is big and the water is cold, I think, and the dog is in the garden.";
/// A translation that does not come by then never will.
const PATIENCE: Duration = Duration::from_secs(60);
/// Lines that are asked for again and again.
const KNOWN: u64 = 200;

/// Flags of `translator`.
#[derive(Debug, Clone, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    cluster: ClusterSettings,
    /// The translator's program
    #[arg(long, value_name = "PATH", default_value = "target/release/rookery-translator")]
    translator: PathBuf,
    /// Engines to measure, of those that are installed
    #[arg(long, value_enum, value_delimiter = ',', default_value = "apertium,firefox")]
    engines: Vec<EngineName>,
    /// Requests under way at any time
    #[arg(long, default_value_t = 16)]
    at_once: u64,
    /// Messages per second of which it is measured when their translations come
    #[arg(long, default_value_t = 10.0)]
    spoken: f64,
    /// Whether engines are in the scheduler's idle class, as by default; one window is measured without in any case
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set)]
    idle_class: bool,
    #[command(flatten)]
    chat: Chat,
    /// How often each is measured, in turn
    #[arg(long, default_value_t = 3)]
    repetitions: usize,
    #[command(flatten)]
    output: Output,
}

/// An engine that runs on this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum EngineName {
    /// English to Spanish
    Apertium,
    /// English to Portuguese
    Firefox,
}

impl EngineName {
    fn name(self) -> &'static str {
        match self {
            Self::Apertium => "apertium",
            Self::Firefox => "firefox",
        }
    }

    fn target(self) -> &'static str {
        match self {
            Self::Apertium => "es",
            Self::Firefox => "pt",
        }
    }

    fn is_installed(self) -> bool {
        match self {
            Self::Apertium => find_modes().is_some_and(|modes| modes.join("eng-spa.mode").exists()),
            Self::Firefox => find_models().is_some(),
        }
    }
}

/// Measures.
///
/// # Errors
/// When a server cannot be started, prepared or reached, or a translation does not come. That a server's program or all engines are not
/// installed is said, and is none.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    limits::allow_connections(arguments.chat.readers + SENDERS)?;
    arguments.chat.cores.of_chat()?;
    let (engines, missing): (Vec<_>, Vec<_>) =
        arguments.engines.iter().copied().partition(|engine| engine.is_installed());
    for engine in missing {
        progress(&format!("SKIPPED: {} is not installed; run scripts/setup test", engine.name()));
    }
    if engines.is_empty() {
        return Ok(());
    }
    let mut report = Report::for_this_command();
    let cluster = Cluster::start_with(&arguments.cluster, &[("ROOKERY_TRANSLATION__MODE", "nats")])?;
    let Some(cluster) = cluster else { return Ok(()) };
    let asks = Asks::new(&cluster.nats(), cluster.name(), arguments.chat.cores)?;
    for _ in 0..arguments.repetitions.max(1) {
        for engine in &engines {
            let translator = started(&cluster, arguments, &[*engine], arguments.idle_class)?;
            speed(&translator, *engine, &asks, arguments, &mut report)?;
            delay(&cluster, *engine, arguments, &mut report)?;
            translator.stop();
        }
    }
    beside_chat(&cluster, &engines, &asks, arguments, &mut report)?;
    report.finish(&arguments.output)
}

/// Starts a translator, whose engines are in the scheduler's idle class or not, and returns when it is ready.
fn started(
    cluster: &Cluster,
    arguments: &Arguments,
    engines: &[EngineName],
    idle: bool,
) -> anyhow::Result<Service> {
    let program = program(&arguments.translator)?;
    let names: Vec<_> = engines.iter().map(|engine| engine.name()).collect();
    let models = find_models().filter(|_| engines.contains(&EngineName::Firefox)).unwrap_or_default();
    let settings = [
        ("SERVER__CLUSTER", cluster.name().to_owned()),
        ("NATS__URLS", cluster.nats().join(",")),
        ("REDIS__URL", cluster.redis()),
        ("TRANSLATOR__ENGINES", names.join(" ")),
        ("TRANSLATOR__IDLE_CLASS", idle.to_string()),
        ("TRANSLATOR__FIREFOX__MODELS", models.to_string_lossy().into_owned()),
        ("LOG__LEVEL", "warn".to_owned()),
    ];
    let name = format!("translator-{}-{idle}", names.join("-"));
    let words = vec![program.to_string_lossy().into_owned(), "serve".to_owned()];
    let process = arguments.chat.cores.process(cluster, &name, words);
    let translator = Service::new("the translator", process, &settings);
    translator.start();
    Ok(translator)
}

/// What it and the programs of its engines use.
fn usage(translator: &Service) -> anyhow::Result<Usage> {
    Ok(Usage::of_tree(translator.process.pid().context("the translator has ended")?))
}

#[allow(clippy::cast_precision_loss)] // Far below 2^53.
fn per_second(asked: &Asked) -> f64 {
    asked.translated as f64 / asked.seconds
}

/// How fast it translates: what is new, what it knows, and what Redis knows.
fn speed(
    translator: &Service,
    engine: EngineName,
    asks: &Asks,
    arguments: &Arguments,
    report: &mut Report,
) -> anyhow::Result<()> {
    let (name, target) = (engine.name(), engine.target());
    let window = Duration::from_secs_f64(arguments.chat.window);
    // Its programs and models are started when they are first needed.
    asks.ask(target, Lines::New, 1, Duration::from_secs_f64(arguments.chat.warm_up))?;
    let (first, usage) = (asks.next(), usage(translator)?);
    for at_once in [1, arguments.at_once] {
        let before = usage.cpu_seconds()?;
        let new = asks.ask(target, Lines::New, at_once, window)?;
        anyhow::ensure!(new.translated > 0, "{name} translates nothing");
        #[allow(clippy::cast_precision_loss)] // Far below 2^53.
        let cost = (usage.cpu_seconds()? - before) * 1e6 / new.translated as f64;
        let latency = new.latency.percentiles();
        let what = format!("{name}, new lines, {at_once} at once");
        progress(&format!(
            "{what}: {:.0}/s, p50 {:.1} p99 {:.1} ms",
            per_second(&new),
            latency.p50,
            latency.p99
        ));
        report.add(&what, "/s", None, TARGET, per_second(&new));
        report.add(&format!("{what}: p50"), "ms", None, TARGET, latency.p50);
        report.add(&format!("{what}: p99"), "ms", None, TARGET, latency.p99);
        report.add(&format!("{what}: CPU"), "µs each", None, TARGET, cost);
    }
    let count = asks.next() - first;
    let known = Lines::Known { first, count: KNOWN.min(count) };
    let local = asks.ask(target, known, arguments.at_once, window)?;
    // The same one again, with nothing in its memory.
    translator.stop();
    translator.start();
    let shared = asks.ask(target, Lines::Once { first, count }, arguments.at_once, window)?;
    for (what, asked) in [("known to the translator", local), ("known to Redis", shared)] {
        let what = format!("{name}, lines {what}");
        progress(&format!("{what}: {:.0}/s", per_second(&asked)));
        report.add(&what, "/s", None, TARGET, per_second(&asked));
    }
    Ok(())
}

/// How long after its message a translation comes to somebody who reads another language.
fn delay(
    cluster: &Cluster,
    engine: EngineName,
    arguments: &Arguments,
    report: &mut Report,
) -> anyhow::Result<()> {
    let http = cluster.http()?;
    let [speaker, reader] = two_users(http)?;
    wants(http, &reader, engine)?;
    let room = api::rooms(http, &[vec![&speaker, &reader]])?.remove(0);
    // At another node than the one that is written to, where there is one.
    let last = *cluster.addresses().last().context("no node runs")?;
    let reads = Reader::open(last, &reader.token)?;
    let begun = clock::now();
    let pause = Duration::from_secs_f64(1.0 / arguments.spoken);
    let mut said = 0;
    let run = super::run_name();
    while clock::seconds(clock::now() - begun) < arguments.chat.warm_up + arguments.chat.window || said < 2 {
        if said > 0 && reads.translations() == 0 {
            // The first one waits for the engine to start.
            anyhow::ensure!(clock::now() - begun < clock::nanos(PATIENCE), "no translation comes");
            std::thread::sleep(Duration::from_millis(5));
            continue;
        }
        if said == 1 {
            reads.take()?;
        }
        let text = format!("The house number {said} of {run} is big and the water is cold, I think.");
        let body = json!({"text": text, "client_msg_id": format!("{run}-{said}")});
        http.json("POST", &format!("/v1/rooms/{room}/messages"), Some(&speaker.token), Some(&body))?;
        said += 1;
        std::thread::sleep(pause);
    }
    let told = clock::now();
    while reads.translations() < said {
        anyhow::ensure!(clock::now() - told < clock::nanos(PATIENCE), "translations are missing");
        std::thread::sleep(Duration::from_millis(5));
    }
    let latency = reads.take()?.percentiles();
    let what = format!("{}, a translation after its message", engine.name());
    progress(&format!("{what}: p50 {:.1} p99 {:.1} ms", latency.p50, latency.p99));
    report.add(&format!("{what}: p50"), "ms", None, TARGET, latency.p50);
    report.add(&format!("{what}: p99"), "ms", None, TARGET, latency.p99);
    Ok(())
}

fn two_users(http: Http) -> anyhow::Result<[api::User; 2]> {
    let users = api::users(http, 2, &super::run_name())?;
    users.try_into().map_err(|_| anyhow::anyhow!("two users were asked for"))
}

/// The user reads the language that an engine translates into.
fn wants(http: Http, user: &api::User, engine: EngineName) -> anyhow::Result<()> {
    let body = json!({ "language": engine.target() });
    http.json("PATCH", "/v1/users/me", Some(&user.token), Some(&body)).map(drop)
}

/// Chat's own latency, whatever a translator does.
fn beside_chat(
    cluster: &Cluster,
    engines: &[EngineName],
    asks: &Asks,
    arguments: &Arguments,
    report: &mut Report,
) -> anyhow::Result<()> {
    let town = Town::saying(cluster, Wire::Json, WORDS)?;
    let rooms = town.rooms(arguments.chat.rooms)?;
    let mut bed = town.bed(&rooms, arguments.chat.readers)?;
    let http = cluster.http()?;
    // Somebody on each node reads another language, in all windows, so that chat has as much to ask for and to deliver in each.
    let foreign = api::users(http, 1, &super::run_name())?.remove(0);
    wants(http, &foreign, engines[0])?;
    for room in &rooms {
        http.json("POST", &format!("/v1/rooms/{room}/join"), Some(&foreign.token), None)?;
    }
    for _ in 0..arguments.repetitions.max(1) {
        let open = |server: SocketAddr| Reader::open(server, &foreign.token);
        let readers: Vec<Reader> =
            cluster.addresses().into_iter().map(open).collect::<anyhow::Result<_>>()?;
        let come = || readers.iter().map(Reader::translations).sum::<u64>();
        let translator = started(cluster, arguments, engines, arguments.idle_class)?;
        let first = arguments.chat.run(&mut bed, REST, report)?;
        translator.stop();
        let translator = started(cluster, arguments, engines, arguments.idle_class)?;
        let full = loaded(&translator, engines, asks, (&mut bed, arguments), FULL, report)?;
        translator.stop();
        let translator = started(cluster, arguments, engines, false)?;
        let equal = loaded(&translator, engines, asks, (&mut bed, arguments), EQUAL, report)?;
        translator.stop();
        let translator = started(cluster, arguments, engines, arguments.idle_class)?;
        let again = arguments.chat.run(&mut bed, AGAIN, report)?;
        translator.stop();
        let away = arguments.chat.run(&mut bed, AWAY, report)?;
        // What waits for a translator must not be the next round's.
        let translator = started(cluster, arguments, engines, arguments.idle_class)?;
        caught_up(come)?;
        translator.stop();
        drop(readers);
        // Of one round, so that what the machine does in the meantime is the same for both, nearly.
        let rest = f64::midpoint(first, again);
        let mut add = |what: &str, aim: Option<&str>, times: f64| {
            report.add(&format!("chat with {what}: p99, against {SAME_ROUND}"), "times", aim, TARGET, times);
        };
        add(AGAIN, Some("1, but for chance"), again / first);
        add(AWAY, Some("≤ 1.05"), away / rest);
        add(FULL, Some("≤ 1.05"), full / rest);
        add(EQUAL, None, equal / rest);
    }
    Ok(())
}

/// Waits until all that waited for a translator is told, by its readers' count of translations.
fn caught_up(come: impl Fn() -> u64) -> anyhow::Result<()> {
    const QUIET: Duration = Duration::from_secs(5);
    let begun = clock::now();
    let (mut last, mut since) = (come(), begun);
    while last == 0 || clock::now() - since < clock::nanos(QUIET) {
        anyhow::ensure!(
            clock::now() - begun < clock::nanos(PATIENCE),
            "translations are missing, or come without end"
        );
        std::thread::sleep(Duration::from_millis(5));
        if come() != last {
            (last, since) = (come(), clock::now());
        }
    }
    Ok(())
}

/// Chat while a translator always has lines to translate: its p99 in milliseconds.
fn loaded(
    translator: &Service,
    engines: &[EngineName],
    asks: &Asks,
    (bed, arguments): (&mut Bed, &Arguments),
    what: &str,
    report: &mut Report,
) -> anyhow::Result<f64> {
    let floods: Vec<_> =
        engines.iter().map(|engine| asks.flood(engine.target(), arguments.at_once)).collect();
    // Its programs and models are started by then.
    std::thread::sleep(Duration::from_secs_f64(arguments.chat.warm_up));
    let (usage, begun) = (usage(translator)?, clock::now());
    let before = usage.cpu_seconds()?;
    let stepped = arguments.chat.run(bed, what, report);
    let cores = (usage.cpu_seconds()? - before) / clock::seconds(clock::now() - begun);
    let mut rate = 0.0;
    for flood in floods {
        rate += per_second(&flood.stop(asks)?);
    }
    let p99 = stepped?;
    report.add(&format!("chat with {what}: translations meanwhile"), "/s", None, TARGET, rate);
    report.add(&format!("chat with {what}: CPU of the translator"), "cores", None, TARGET, cores);
    progress(&format!("{what}: {rate:.0} translations/s, {cores:.2} cores"));
    Ok(p99)
}
