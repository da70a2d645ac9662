//! Requests to a translator over NATS, as nodes make them.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::Context as _;
use async_nats::Client;
use prost::Message as _;
use rookery_protocol::translator::{TranslateReply, TranslateRequest};
use tokio::{runtime::Runtime, task::JoinSet};

use super::super::beside::Cores;
use crate::{clock, load::Latency};

/// An answer that does not come by then never will.
const PATIENCE: Duration = Duration::from_secs(60);

/// A way to the translators.
pub(super) struct Asks {
    client: Client,
    subject: String,
    /// Numbers of lines that nobody has asked for.
    next: Arc<AtomicU64>,
    runtime: Runtime,
}

/// What came of many requests.
pub(super) struct Asked {
    pub(super) translated: u64,
    pub(super) seconds: f64,
    pub(super) latency: Latency,
}

/// Which lines are asked for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Lines {
    /// Each is new.
    New,
    /// These, again and again.
    Known { first: u64, count: u64 },
    /// These, once each.
    Once { first: u64, count: u64 },
}

/// Twelve words, and a number that makes them unlike all others.
fn line(number: u64) -> String {
    format!("The house number {number} is big and the water is cold, I think.")
}

impl Asks {
    pub(super) fn new(nats: &[String], cluster: &str, cores: Cores) -> anyhow::Result<Self> {
        // Its thread belongs to who asks of the service, and is not chat's.
        let runtime = cores.beside(|| {
            Ok(tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?)
        })?;
        let client = runtime.block_on(async_nats::connect(nats)).context("NATS cannot be reached")?;
        // No line of another run is one of this.
        let next = Arc::new(AtomicU64::new(clock::now() / 1_000_000));
        Ok(Self { client, subject: format!("{cluster}.translate"), next, runtime })
    }

    /// The number of the next line that is new.
    pub(super) fn next(&self) -> u64 {
        self.next.load(Ordering::Relaxed)
    }

    /// Asks `at_once` lines at any time for `time`, or, those that are asked for once, until all are answered.
    pub(super) fn ask(
        &self,
        target: &str,
        lines: Lines,
        at_once: u64,
        time: Duration,
    ) -> anyhow::Result<Asked> {
        let stop = Arc::new(AtomicBool::new(false));
        let load = self.begin(target, lines, at_once, &stop);
        if !matches!(lines, Lines::Once { .. }) {
            std::thread::sleep(time);
            stop.store(true, Ordering::Release);
        }
        self.end(load)
    }

    /// Asks for new lines until [`Flood::stop`].
    pub(super) fn flood(&self, target: &str, at_once: u64) -> Flood {
        let stop = Arc::new(AtomicBool::new(false));
        let load = self.begin(target, Lines::New, at_once, &stop);
        Flood { stop, load }
    }

    fn begin(&self, target: &str, lines: Lines, at_once: u64, stop: &Arc<AtomicBool>) -> Load {
        let given = Arc::new(AtomicU64::new(0));
        let begun = clock::now();
        let mut tasks = JoinSet::new();
        for _ in 0..at_once {
            let (client, subject, target) = (self.client.clone(), self.subject.clone(), target.to_owned());
            let (next, given, stop) = (self.next.clone(), given.clone(), stop.clone());
            let work = async move {
                let (mut count, mut latency) = (0, Latency::new()?);
                while !stop.load(Ordering::Acquire) {
                    let at = given.fetch_add(1, Ordering::Relaxed);
                    let number = match lines {
                        Lines::New => next.fetch_add(1, Ordering::Relaxed),
                        Lines::Known { first, count } => first + at % count,
                        Lines::Once { count, .. } if at >= count => break,
                        Lines::Once { first, .. } => first + at,
                    };
                    let from = clock::now();
                    if translated(&client, &subject, &target, line(number)).await? {
                        count += 1;
                        latency.record(clock::now() - from);
                    }
                }
                Ok((count, latency))
            };
            tasks.spawn_on(work, self.runtime.handle());
        }
        Load { begun, tasks }
    }

    fn end(&self, load: Load) -> anyhow::Result<Asked> {
        let Load { begun, mut tasks } = load;
        let mut asked = Asked { translated: 0, seconds: 0.0, latency: Latency::new()? };
        self.runtime.block_on(async {
            while let Some(done) = tasks.join_next().await {
                let (count, latency) = done.context("a task that asks has panicked")??;
                asked.translated += count;
                asked.latency.add(&latency)?;
            }
            anyhow::Ok(())
        })?;
        asked.seconds = clock::seconds(clock::now() - begun);
        Ok(asked)
    }
}

struct Load {
    begun: u64,
    tasks: JoinSet<anyhow::Result<(u64, Latency)>>,
}

/// Requests that keep coming.
pub(super) struct Flood {
    stop: Arc<AtomicBool>,
    load: Load,
}

impl Flood {
    pub(super) fn stop(self, asks: &Asks) -> anyhow::Result<Asked> {
        self.stop.store(true, Ordering::Release);
        asks.end(self.load)
    }
}

/// Asks once. False: it was told to come later.
async fn translated(client: &Client, subject: &str, target: &str, text: String) -> anyhow::Result<bool> {
    let request = TranslateRequest {
        text,
        source: "en".to_owned(),
        targets: vec![target.to_owned()],
        source_is_sure: true,
    };
    let request = async_nats::Request::new().payload(request.encode_to_vec().into()).timeout(Some(PATIENCE));
    let answer = client.send_request(subject.to_owned(), request).await.context("no translator answers")?;
    let reply = TranslateReply::decode(&answer.payload[..]).context("that is no answer of a translator")?;
    Ok(!reply.texts.is_empty())
}
