//! What the program's commands do.

use std::{io::Write as _, sync::Arc, time::Duration};

use prometheus_client::registry::Registry;
use rookery_protocol::outbox::{Mail, MailJob};
use rookery_service::{
    Failure, Health, Readiness, Signals, management_router, register_process, serve_management,
    settings::Wrong,
};
use tokio::{net::TcpListener, sync::watch};

use crate::{
    compose::{Composer, MailSettings},
    courier::{Courier, Tried, now_ms},
    metrics::MailerMetrics,
    queue::{self, Away, Queue, Worker},
    settings::Settings,
    smtp::{Rates, Smtp, SmtpSettings},
};

/// Makes what sends mails, of settings.
///
/// # Errors
/// [`Failure::Config`]: a file or a template that the settings name cannot be used.
pub fn courier(
    mail: &MailSettings,
    server: &SmtpSettings,
    metrics: MailerMetrics,
) -> Result<Courier, Failure> {
    let wrong = |key: &str, why: String| {
        let wrong = Wrong { key: key.to_owned(), why };
        Failure::Config(wrong.into())
    };
    let composer = Composer::new(mail).map_err(|why| wrong("mail", why.to_string()))?;
    let smtp = Smtp::new(server.clone()).map_err(|why| wrong("smtp", why.to_string()))?;
    Ok(Courier::new(composer, smtp, Rates::new(server), metrics))
}

/// Sends mails until a signal asks it to stop.
///
/// # Errors
/// [`Failure`]: what cannot be used, in words for whoever started it.
pub async fn run(settings: Settings) -> Result<(), Failure> {
    let cannot = |what: &str, error: std::io::Error| Failure::Other(format!("cannot {what}: {error}"));
    let mut signals = Signals::catch().map_err(|error| cannot("catch signals", error))?;
    let mut registry = Registry::default();
    register_process(&mut registry);
    let metrics = MailerMetrics::register(&mut registry);
    let courier = courier(&settings.mail, &settings.smtp, metrics.clone())?;
    let address = settings.server.management;
    let listener = TcpListener::bind(address).await;
    let listener = listener.map_err(|why| Failure::Listen { address, why, flag: "management" })?;
    let management = listener.local_addr().map_err(|error| cannot("listen", error))?;
    let readiness = Arc::new(Readiness::default());
    readiness.starting("waiting for NATS");
    tokio::spawn(serve_management(listener, management_router(Arc::new(registry), readiness.clone())));

    let begun = async {
        let queue = connect(&settings).await?;
        let within = Duration::from_secs(settings.nats.connect_seconds);
        queue.prepare(within).await.map_err(|error| Failure::Dependency(error.to_string()))?;
        Ok::<_, Failure>(queue)
    };
    let queue = tokio::select! {
        queue = begun => queue?,
        _ = signals.next() => return Ok(()),
    };
    let place = courier.smtp().place();
    let worker = Worker::new(queue.clone(), courier, settings.retry.clone(), &settings.smtp);
    show(&readiness, &queue, &worker, place);
    readiness.serve();
    tracing::info!(%management, cluster = settings.cluster.name, smtp = settings.smtp.host, "ready");

    let (stop, stopped) = watch::channel(false);
    let gauges = tokio::spawn(queue::watch(queue, metrics));
    let within = Duration::from_secs(settings.server.drain_seconds);
    let running = tokio::spawn(async move { worker.run(stopped, within).await });
    let signal = signals.next().await;
    tracing::info!(signal, "stopping: no more mails are begun");
    readiness.drain();
    let _ = stop.send(true);
    tokio::select! {
        _ = running => tracing::info!("stopped"),
        signal = signals.next() => tracing::warn!(signal, "stopping at once; no mail is lost"),
    }
    gauges.abort();
    Ok(())
}

fn show(readiness: &Readiness, queue: &Queue, worker: &Arc<Worker>, place: String) {
    let queue = queue.clone();
    readiness.show("nats", true, move || {
        let good = queue.connected();
        Health { good, says: if good { "connected" } else { "away: mails wait" }.to_owned() }
    });
    let standing = worker.standing();
    let outbox = standing.clone();
    readiness.show("outbox", false, move || match &outbox.borrow().no_jobs {
        None => Health { good: true, says: "jobs are taken".to_owned() },
        Some(why) => Health { good: false, says: why.clone() },
    });
    readiness.show("smtp", false, move || match &standing.borrow().trouble {
        None => Health { good: true, says: place.clone() },
        Some(why) => Health { good: false, says: why.clone() },
    });
}

async fn connect(settings: &Settings) -> Result<Queue, Failure> {
    let queue = Queue::connect(&settings.nats, &settings.cluster.name).await;
    queue.map_err(|error| Failure::Dependency(error.to_string()))
}

/// Tries a configuration: connects to the SMTP server, and sends one mail.
///
/// # Errors
/// [`Failure`] says what does not work.
pub async fn send_test(settings: Settings, to: String, language: String) -> Result<(), Failure> {
    let metrics = MailerMetrics::register(&mut Registry::default());
    let courier = courier(&settings.mail, &settings.smtp, metrics)?;
    let place = courier.smtp().place();
    courier.smtp().try_out().await.map_err(|why| Failure::Dependency(why.to_string()))?;
    say(&format!("{place}: connected{}\n", if settings.smtp.user.is_some() { " and logged in" } else { "" }));
    let mail = Mail::Welcome { username: String::new() };
    // Each test is a mail of its own.
    let id = format!("test-{}-{}", now_ms(), rand::random::<u64>());
    let job = MailJob { id, to: to.clone(), language, not_after: None, mail };
    let tried = courier.send(&job, courier.smtp().turn().await).await;
    courier.smtp().close().await;
    match tried {
        Tried::Sent => {
            say(&format!("{place}: took a mail to {to}\n"));
            Ok(())
        }
        Tried::Failed(why) | Tried::Away(why) => Err(Failure::Dependency(format!("not now: {why}"))),
        Tried::Unknown(why) => Err(Failure::Dependency(format!("perhaps: {why}"))),
        Tried::Hopeless(why) => Err(Failure::Dependency(why)),
        Tried::Expired => Ok(()),
    }
}

/// Prints the dead letters.
///
/// # Errors
/// [`Failure`]: NATS cannot be used.
pub async fn list_dead(settings: Settings, limit: usize) -> Result<(), Failure> {
    let letters = connect(&settings).await?.dead_letters();
    let found = letters.list(limit).await.map_err(away)?;
    for letter in &found {
        let (kind, to) =
            letter.job.as_ref().map_or(("unreadable", "-"), |job| (job.mail.kind(), job.to.as_str()));
        // An address may hold anything; the list has a line each.
        let to: String = to.chars().filter(|c| !c.is_control()).collect();
        let (id, since, tries, why) = (letter.id(), &letter.since, &letter.tries, &letter.why);
        say(&format!("{id}\t{since}\t{tries}\t{kind}\t{to}\t{why}\n"));
    }
    Ok(())
}

/// Puts dead letters back into the outbox: these, or all.
///
/// # Errors
/// [`Failure`]: NATS cannot be used, or there is no such letter.
pub async fn requeue_dead(settings: Settings, jobs: Vec<String>, all: bool) -> Result<(), Failure> {
    let letters = connect(&settings).await?.dead_letters();
    let mut missing = Vec::new();
    let mut done = 0_usize;
    if all {
        for letter in letters.list(usize::MAX).await.map_err(away)? {
            letters.requeue(&letter).await.map_err(away)?;
            done += 1;
        }
    }
    for id in jobs {
        match letters.find(&id).await.map_err(away)? {
            Some(letter) => {
                letters.requeue(&letter).await.map_err(away)?;
                done += 1;
            }
            None => missing.push(id),
        }
    }
    say(&format!("{done} put back\n"));
    if missing.is_empty() {
        return Ok(());
    }
    Err(Failure::Other(format!("no dead letter: {}", missing.join(", "))))
}

fn away(away: Away) -> Failure {
    Failure::Dependency(away.0)
}

/// To standard output; it does not matter if nobody is there.
fn say(text: &str) {
    let _ = std::io::stdout().write_all(text.as_bytes());
}
