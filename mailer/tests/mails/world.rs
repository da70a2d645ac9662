//! NATS with an outbox as the nodes make it, an SMTP server, and mailers as processes.

use std::{
    collections::HashMap,
    fmt::Write as _,
    process::{Command, Output},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use async_nats::{
    header,
    jetstream::{
        self,
        message::PublishMessage,
        stream::{Config, DiscardPolicy, RetentionPolicy, State},
    },
};
use futures_util::StreamExt as _;
use rookery_protocol::outbox::{self, Mail, MailJob, VERSION, VERSION_HEADER};
use rookery_testbed::{Bed, NatsCluster, Process, Smtp, SmtpOptions};
use serde_json::Value;
use tokio::runtime::Runtime;

const PROGRAM: &str = env!("CARGO_BIN_EXE_rookery-mailer");
pub(crate) const CLUSTER: &str = "tests";

pub(crate) struct World {
    pub(crate) nats: NatsCluster,
    pub(crate) smtp: Smtp,
    pub(crate) bed: Bed,
    pub(crate) runtime: Runtime,
    pub(crate) context: jetstream::Context,
}

/// What mailers wrote down about jobs.
#[derive(Clone, Default)]
pub(crate) struct Notes(Arc<Mutex<Vec<(String, Value)>>>);

impl Notes {
    /// What was written about each job, in its order.
    pub(crate) fn by_job(&self) -> HashMap<String, Vec<Value>> {
        let mut jobs: HashMap<_, Vec<_>> = HashMap::new();
        for (job, note) in &*self.0.lock().unwrap() {
            jobs.entry(job.clone()).or_default().push(note.clone());
        }
        jobs
    }
}

/// A mailer with its management port.
pub(crate) struct Mailer {
    pub(crate) process: Process,
    pub(crate) port: u16,
}

impl World {
    /// `None`, said loudly: a server is not installed.
    pub(crate) fn new(smtp: &SmtpOptions) -> Option<Self> {
        Self::keeping(smtp, Duration::from_secs(24 * 3600))
    }

    /// One whose outbox keeps a job for so long.
    pub(crate) fn keeping(smtp: &SmtpOptions, max_age: Duration) -> Option<Self> {
        Self::on(rookery_testbed::nats_single()?, smtp, max_age)
    }

    /// On these servers, each of which has a copy of everything.
    pub(crate) fn on(nats: NatsCluster, smtp: &SmtpOptions, max_age: Duration) -> Option<Self> {
        let bed = Bed::temporary();
        let smtp = Smtp::start(&SmtpOptions { bed: Some(bed.clone()), ..smtp.clone() })?;
        let runtime = Runtime::new().unwrap();
        let context = runtime.block_on(async {
            let context = jetstream::new(async_nats::connect(&nats.urls()[0]).await.unwrap());
            let outbox = Config {
                name: outbox::stream(CLUSTER),
                subjects: vec![outbox::subject(CLUSTER)],
                retention: RetentionPolicy::WorkQueue,
                discard: DiscardPolicy::New,
                allow_direct: true,
                duplicate_window: max_age.min(Duration::from_secs(600)),
                max_age,
                num_replicas: nats.len(),
                ..Config::default()
            };
            context.create_stream(outbox).await.unwrap();
            context
        });
        Some(Self { nats, smtp, bed, runtime, context })
    }

    /// Settings that every mailer here has, and `more` lines of `[smtp]`.
    pub(crate) fn settings(&self, smtp: &str) -> String {
        format!(
            "[server]\nmanagement = '127.0.0.1:0'\n[cluster]\nname = '{CLUSTER}'\n[nats]\nurls = '{}'\nreplicas = {}\n\
             [mail]\nfrom = 'Tea Chat <chat@example.org>'\nservice = 'Tea Chat'\n\
             [retry]\ntries = 4\nfirst_seconds = 1\nlongest_seconds = 1\n[smtp]\nhost = 'localhost'\n{smtp}",
            self.nats.urls().join(","),
            self.nats.len(),
        )
    }

    /// `[smtp]` for the server as it is: STARTTLS if it has a certificate, else in the clear. No rate.
    pub(crate) fn smtp_settings(&self) -> String {
        let port = self.smtp.port();
        let mut text =
            format!("port = {port}\ntimeout_seconds = 10\ndata_done_seconds = 60\nper_second = 0\n");
        if self.smtp.ca().exists() {
            let _ = writeln!(text, "tls_ca = '{}'", self.smtp.ca().display());
        } else {
            text.push_str("security = 'plain'\n");
        }
        text
    }

    pub(crate) fn write(&self, name: &str, settings: &str) -> String {
        let path = self.bed.dir().join(name);
        std::fs::write(&path, settings).unwrap();
        path.to_string_lossy().into_owned()
    }

    /// Starts a mailer, and waits until it is ready.
    pub(crate) fn mailer(&self, name: &str, settings: &str) -> Mailer {
        let port = rookery_testbed::free_port();
        let settings = settings.replace("127.0.0.1:0", &format!("127.0.0.1:{port}"));
        let file = self.write(&format!("{name}.toml"), &settings);
        let args = vec![
            "run".into(),
            "--config".into(),
            file,
            "--log-level".into(),
            "info,rookery_mailer=trace".into(),
        ];
        let process = self.bed.process(name, std::path::Path::new(PROGRAM), args);
        process.start();
        let mailer = Mailer { process, port };
        mailer.await_ready();
        mailer
    }

    /// Runs a command of the program to its end.
    pub(crate) fn command(&self, args: &[&str], settings: &str) -> Output {
        let file = self.write("command.toml", settings);
        Command::new(PROGRAM).args(args).args(["--config", &file]).output().unwrap()
    }

    pub(crate) fn enqueue(&self, job: &MailJob) {
        self.enqueue_as(job, &job.id);
    }

    /// Under an id of its own for the stream's window of duplicates.
    pub(crate) fn enqueue_as(&self, job: &MailJob, message_id: &str) {
        self.runtime.block_on(async {
            let mut headers = async_nats::HeaderMap::new();
            headers.insert(VERSION_HEADER, VERSION);
            let publish =
                PublishMessage::build().payload(job.encode().into()).headers(headers).message_id(message_id);
            self.context.send_publish(outbox::subject(CLUSTER), publish).await.unwrap().await.unwrap();
        });
    }

    /// Notes all that mailers write down about jobs from now on, in its order: the job, and what was written. What comes as a batch counts once that is whole.
    pub(crate) fn notes(&self) -> Notes {
        let notes = Notes::default();
        let (seen, url) = (notes.clone(), self.nats.urls()[0].clone());
        let (ready, is_ready) = std::sync::mpsc::channel();
        self.runtime.spawn(async move {
            let client = async_nats::connect(url).await.unwrap();
            let mut all = client.subscribe(format!("{CLUSTER}.mailer.memory.*")).await.unwrap();
            client.flush().await.unwrap();
            ready.send(()).unwrap();
            let mut batches: HashMap<String, Vec<_>> = HashMap::new();
            while let Some(message) = all.next().await {
                let job = message.subject.rsplit('.').next().unwrap().to_owned();
                let note = (job, serde_json::from_slice(&message.payload).unwrap());
                let header = |name| message.headers.as_ref()?.get(name).map(ToString::to_string);
                let Some(id) = header(header::NATS_BATCH_ID) else {
                    seen.0.lock().unwrap().push(note);
                    continue;
                };
                let batch = batches.entry(id.clone()).or_default();
                batch.push(note);
                if header(header::NATS_BATCH_COMMIT).is_some() {
                    seen.0.lock().unwrap().append(batch);
                    batches.remove(&id);
                }
            }
        });
        is_ready.recv().unwrap();
        notes
    }

    /// Jobs that are in the outbox still. After its servers have started it has no leader for a moment, who would know.
    pub(crate) fn in_outbox(&self) -> u64 {
        let outbox = outbox::stream(CLUSTER);
        rookery_testbed::eventually("the outbox answers", String::new, || self.messages(&outbox))
    }

    /// Jobs that are in the outbox still, or wait for their time.
    pub(crate) fn waiting(&self) -> u64 {
        self.in_outbox() + self.messages(&format!("{CLUSTER}-mailer-later")).unwrap_or(0)
    }

    /// How many jobs were ever put off.
    pub(crate) fn put_off(&self) -> u64 {
        self.state(&format!("{CLUSTER}-mailer-later")).map_or(0, |state| state.last_sequence)
    }

    fn messages(&self, stream: &str) -> Option<u64> {
        self.state(stream).map(|state| state.messages)
    }

    fn state(&self, stream: &str) -> Option<State> {
        self.runtime.block_on(async {
            let stream = self.context.get_stream(stream).await.ok()?;
            Some(stream.cached_info().state.clone())
        })
    }

    /// How often a mailer was given a job out of the outbox.
    pub(crate) fn given(&self) -> u64 {
        self.runtime.block_on(async {
            let stream = self.context.get_stream(outbox::stream(CLUSTER)).await.unwrap();
            stream.consumer_info("mailer").await.unwrap().delivered.consumer_sequence
        })
    }

    /// Waits until no job waits.
    pub(crate) fn await_empty(&self) {
        rookery_testbed::eventually(
            "no job waits",
            || format!("{} jobs wait", self.waiting()),
            || (self.waiting() == 0).then_some(()),
        );
    }

    /// Waits until a mail to this address has come.
    pub(crate) fn await_mail(&self, to: &str) -> Value {
        rookery_testbed::eventually(
            "a mail comes",
            || format!("to {to}; {} came", self.smtp.mails().len()),
            || self.smtp.mails().into_iter().find(|mail| mail["to"][0] == to),
        )
    }

    /// How often each mail has come, by its `Message-ID`.
    pub(crate) fn came(&self) -> HashMap<String, usize> {
        let mut came = HashMap::new();
        for mail in self.smtp.mails() {
            *came.entry(mail["headers"]["message-id"].as_str().unwrap().to_owned()).or_default() += 1;
        }
        came
    }
}

impl Mailer {
    pub(crate) fn await_ready(&self) {
        rookery_testbed::eventually(
            "the mailer is ready",
            || self.process.log_tail(20),
            || {
                self.process.assert_running();
                self.get("/readyz").filter(|answer| answer.starts_with("HTTP/1.1 200"))
            },
        );
    }

    pub(crate) fn get(&self, path: &str) -> Option<String> {
        use std::io::{Read as _, Write as _};
        let mut socket = std::net::TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        socket.set_read_timeout(Some(Duration::from_secs(2))).ok()?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        socket.write_all(request.as_bytes()).ok()?;
        let mut answer = String::new();
        socket.read_to_string(&mut answer).ok()?;
        Some(answer)
    }

    /// The sum of a metric over its labels.
    pub(crate) fn metric(&self, name: &str) -> f64 {
        let text = self.get("/metrics").unwrap_or_default();
        let of_it = text
            .lines()
            .filter(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' '])));
        of_it.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }

    pub(crate) fn await_metric(&self, name: &str, at_least: f64) {
        let what = format!("{name} is {at_least} at least");
        rookery_testbed::eventually(
            &what,
            || format!("it is {}\n{}", self.metric(name), self.process.log_tail(20)),
            || (self.metric(name) >= at_least).then_some(()),
        );
    }
}

pub(crate) fn job(id: &str, to: &str, mail: Mail) -> MailJob {
    MailJob { id: id.into(), to: to.into(), language: "en".into(), not_after: None, mail }
}

pub(crate) fn welcome(id: &str, to: &str) -> MailJob {
    job(id, to, Mail::Welcome { username: "ada".into() })
}

/// Fails when something takes longer than it may.
pub(crate) fn within(limit: Duration, begun: Instant, what: &str) {
    assert!(begun.elapsed() < limit, "{what} took {:?}", begun.elapsed());
}
