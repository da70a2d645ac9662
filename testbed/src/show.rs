//! A running cluster for somebody at a terminal: a line per part, and a line when that changes.

use std::{
    io::Write as _,
    path::Path,
    process::ExitCode,
    time::{Duration, Instant},
};

use rookery_testbed::{Cluster, ClusterOptions, PATIENCE};

/// How often the parts are looked at.
const TICK: Duration = Duration::from_millis(100);
/// A part that has ended is started again after that: long enough to see what its absence does.
const AGAIN: Duration = Duration::from_secs(5);
/// For a node to drain, for a server to end.
const STOPPING: Duration = Duration::from_secs(20);

/// Between two questions to a part whether it still serves.
const ASK: Duration = Duration::from_secs(2);

/// A part as it is shown.
#[derive(Clone, Copy)]
enum State {
    Starting(Instant),
    /// As it was when it was last asked.
    Ready(Instant),
    /// It runs, but does not serve: paused, cut off, or without what it needs.
    Silent(Instant),
    Ended(Instant),
}

/// Starts it, shows it until `signals` is no longer 0, and stops it.
pub(crate) fn run(options: &ClusterOptions, data: &Path, signals: impl Fn() -> u32) -> ExitCode {
    let Some(cluster) = Cluster::spawn(options) else { return ExitCode::FAILURE };
    let servers = cluster.servers();
    let total = servers.len() + cluster.nodes().len() + cluster.translators().len();
    let mut states: Vec<Option<State>> = vec![None; total];
    for state in &mut states[..servers.len()] {
        *state = Some(State::Starting(Instant::now()));
    }
    let mut greeted = false;
    let mut failed = false;
    while signals() == 0 && !failed {
        // Nodes come when what they run on is there.
        let below = states[..servers.len()].iter().all(|state| matches!(state, Some(State::Ready(_))));
        for (index, slot) in states.iter_mut().enumerate() {
            let part = Part::of(&cluster, index);
            match *slot {
                None if below => {
                    part.start();
                    *slot = Some(State::Starting(Instant::now()));
                }
                None => {}
                Some(State::Starting(since)) => {
                    if let Some(status) = part.process().try_wait() {
                        // At the first start that is a fault of the machine's or ours; later it is tried again.
                        failed = !greeted;
                        line(part.name(), &format!("ended while it started: {status}"));
                        tail(&part);
                        *slot = Some(State::Ended(Instant::now()));
                    } else if part.is_ready() {
                        let took = since.elapsed().as_secs_f64();
                        line(part.name(), &format!("ready   {:<28} {took:.1} s", part.place()));
                        *slot = Some(State::Ready(Instant::now()));
                    } else if since.elapsed() > PATIENCE && !greeted {
                        failed = true;
                        line(part.name(), "is not ready after a minute");
                        tail(&part);
                    }
                }
                Some(was @ (State::Ready(asked) | State::Silent(asked))) => {
                    if let Some(status) = part.process().try_wait() {
                        line(
                            part.name(),
                            &format!("ended   {status}; started again in {} s", AGAIN.as_secs()),
                        );
                        *slot = Some(State::Ended(Instant::now()));
                    } else if asked.elapsed() >= ASK {
                        let serves = part.is_ready();
                        let now = if serves { State::Ready } else { State::Silent }(Instant::now());
                        if matches!(was, State::Ready(_)) != serves {
                            line(
                                part.name(),
                                if serves { "ready   again" } else { "silent  it runs, but does not serve" },
                            );
                        }
                        *slot = Some(now);
                    }
                }
                Some(State::Ended(since)) if since.elapsed() >= AGAIN => {
                    part.start();
                    *slot = Some(State::Starting(Instant::now()));
                }
                Some(State::Ended(_)) => {}
            }
        }
        if !greeted && states.iter().all(|state| matches!(state, Some(State::Ready(_)))) {
            greeted = true;
            greet(&cluster, data);
        }
        std::thread::sleep(TICK);
    }
    if !failed {
        say("\nstopping: nodes first, then what they run on; Ctrl-C again ends all of it at once");
    }
    let killed = cluster.stop(STOPPING);
    for name in &killed {
        line(name, "did not end by itself and was killed");
    }
    if failed {
        return ExitCode::FAILURE;
    }
    say("all parts have ended; the data stays");
    ExitCode::SUCCESS
}

/// A server, a node or a translator.
struct Part<'a> {
    cluster: &'a Cluster,
    index: usize,
}

impl<'a> Part<'a> {
    fn of(cluster: &'a Cluster, index: usize) -> Self {
        Self { cluster, index }
    }

    fn node(&self) -> Option<&'a rookery_testbed::Node> {
        self.cluster.nodes().get(self.index.checked_sub(self.cluster.servers().len())?)
    }

    fn translator(&self) -> Option<&'a rookery_testbed::Translator> {
        let before = self.cluster.servers().len() + self.cluster.nodes().len();
        self.cluster.translators().get(self.index.checked_sub(before)?)
    }

    fn process(&self) -> &'a rookery_testbed::Process {
        match (self.node(), self.translator()) {
            (Some(node), _) => node.process(),
            (None, Some(translator)) => translator.process(),
            (None, None) => self.cluster.servers()[self.index],
        }
    }

    fn name(&self) -> &'a str {
        self.process().name()
    }

    fn start(&self) {
        self.process().start();
    }

    fn is_ready(&self) -> bool {
        match (self.node(), self.translator()) {
            (Some(node), _) => node.is_ready(),
            (None, Some(translator)) => translator.is_ready(),
            (None, None) => self.cluster.is_serving(self.index),
        }
    }

    fn place(&self) -> String {
        match (self.node(), self.translator()) {
            (Some(node), _) => format!("{}  shard {}", node.url(), node.shard()),
            (None, Some(translator)) => format!("{}/metrics", translator.management_url()),
            (None, None) => self.cluster.server_url(self.index),
        }
    }
}

fn greet(cluster: &Cluster, data: &Path) {
    let first = &cluster.nodes()[0];
    let translators =
        cluster.translators().iter().map(|translator| format!("{}/metrics", translator.management_url()));
    let translators: Vec<_> = translators.collect();
    let all: Vec<String> = cluster.urls();
    say(&format!(
        "
The cluster is running: one chat, whichever node you talk to.

  nodes        {}
  API          {url}/docs
  mails        {url}/dev/mailbox   (codes arrive here; nothing is sent)
  WebSocket    {ws}/v1/ws
  metrics      {}/metrics, and so on
  translators  {}
  logs, data   {}

Kill any one part (kill -9, kill -STOP): chat goes on, and the part is started again. docs/cluster.md says what to
look at. Ctrl-C stops all of it.",
        all.join("  "),
        first.management_url(),
        if translators.is_empty() { "none".to_owned() } else { translators.join("  ") },
        data.display(),
        url = first.url(),
        ws = first.url().replacen("http", "ws", 1),
    ));
}

fn tail(part: &Part<'_>) {
    say(&part.process().log_tail(15));
}

fn line(name: &str, text: &str) {
    say(&format!("{name:<12} {text}"));
}

/// To standard output; it does not matter if nobody is there.
fn say(text: &str) {
    let mut out = std::io::stdout();
    let _ = writeln!(out, "{text}").and_then(|()| out.flush());
}

/// To standard error.
pub(crate) fn error(text: &str) {
    let _ = writeln!(std::io::stderr(), "rookery-testbed: {text}");
}
