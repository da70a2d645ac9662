//! Takes jobs, from the outbox and from among those whose time has come again, as long as the SMTP server can be used.

use std::{sync::Arc, time::Duration};

use async_nats::jetstream::consumer::PullConsumer;
use futures_util::future::join_all;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_util::task::TaskTracker;

use super::{Queue, pull::Puller, streams::Source};
use crate::{
    courier::Courier,
    metrics::MailerMetrics,
    retry::RetrySettings,
    smtp::{SmtpSettings, Turn},
};

/// After something failed that is not a mail's fault.
pub(super) const PAUSE: Duration = Duration::from_millis(500);
/// A job is acknowledged late by so much more than sending may take.
pub(super) const SPARE: Duration = Duration::from_secs(5);
/// Jobs that wait here for each connection to be free. To ask for jobs costs NATS an agreement of its servers, to be given some another,
/// however many they are.
const AHEAD: u32 = 4;
/// Places for each connection that must be free before jobs are asked for.
const LEAST: u32 = 2;
/// Jobs that wait here for their turn at a rate, at most, and how long. To wait costs NATS a mark of progress now and then, of many jobs
/// together; to be put off costs two writes and what moves the job when its time has come.
const HELD: usize = 1_000;
const HOLD: Duration = Duration::from_secs(60);

/// What is known about sending now; for readiness.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Standing {
    /// Why the last mail could not be handed over; `None`: it could.
    pub trouble: Option<String>,
    /// Why no jobs come.
    pub no_jobs: Option<String>,
}

/// Of a job that is seen through: among those that were taken, or among those whose turn comes soon.
pub(super) struct Place {
    is_held: bool,
    _permit: OwnedSemaphorePermit,
}

/// What became of waiting for a turn.
pub(super) enum Waited {
    /// It has come.
    ItsTurn,
    /// This mailer stops.
    UntilTheEnd,
    /// It is too long until then, or too many wait.
    Not,
}

/// Sends the jobs of the outbox.
pub struct Worker {
    pub(super) queue: Queue,
    pub(super) courier: Courier,
    pub(super) retry: RetrySettings,
    pub(super) metrics: MailerMetrics,
    /// For jobs of each source. Neither waits for the other's.
    places: [Arc<Semaphore>; 2],
    /// So many of a source's places must be free before jobs are asked for.
    least: u32,
    /// For jobs whose turn at a rate comes soon: those behind them, which may be codes, are taken meanwhile.
    held: Arc<Semaphore>,
    /// All jobs that are seen through, until the last word about them.
    jobs: TaskTracker,
    stopping: watch::Sender<bool>,
    pub(super) ack_wait: Duration,
    /// A mail is under way for no longer.
    pub(super) longest: Duration,
    standing: watch::Sender<Standing>,
}

impl Worker {
    /// One that has as many mails under way as there are connections, and some jobs for each that wait.
    pub fn new(queue: Queue, courier: Courier, retry: RetrySettings, smtp: &SmtpSettings) -> Arc<Self> {
        let places = || Arc::new(Semaphore::new(smtp.connections.saturating_mul(1 + AHEAD) as usize));
        Arc::new(Self {
            queue,
            metrics: courier.metrics().clone(),
            courier,
            retry,
            places: [places(), places()],
            least: smtp.connections.saturating_mul(LEAST),
            held: Arc::new(Semaphore::new(HELD)),
            jobs: TaskTracker::new(),
            stopping: watch::Sender::default(),
            // Marks of progress keep what takes longer.
            ack_wait: smtp.timeout() + SPARE,
            longest: smtp.longest() + SPARE,
            standing: watch::Sender::default(),
        })
    }

    /// What is known about sending now.
    pub fn standing(&self) -> watch::Receiver<Standing> {
        self.standing.subscribe()
    }

    /// Takes jobs until `stop` says so; those that it has then are seen through, if `within` suffices.
    pub async fn run(self: &Arc<Self>, stop: watch::Receiver<bool>, within: Duration) {
        let sources = [Source::Outbox, Source::Due];
        join_all(sources.map(|source| self.take_from(source, stop.clone()))).await;
        self.stopping.send_replace(true);
        self.jobs.close();
        if tokio::time::timeout(within, self.jobs.wait()).await.is_err() {
            tracing::warn!(
                "not all mails could be handed over in time; they are tried again by another mailer"
            );
        }
        self.courier.smtp().close().await;
    }

    /// Waits here for a job's turn at a rate, which comes `after` this time.
    pub(super) async fn hold(&self, place: &mut Place, after: Duration) -> Waited {
        if after > HOLD {
            return Waited::Not;
        }
        if !place.is_held {
            let Ok(held) = self.held.clone().try_acquire_owned() else { return Waited::Not };
            *place = Place { is_held: true, _permit: held };
        }
        match self.wait(tokio::time::sleep(after)).await {
            Some(()) => Waited::ItsTurn,
            None => Waited::UntilTheEnd,
        }
    }

    /// Waits for a connection to be free. `None`: this mailer stops.
    pub(super) async fn connection(&self) -> Option<Turn<'_>> {
        self.wait(self.courier.smtp().turn()).await
    }

    /// Has a job wait, which is not under way meanwhile. `None`: this mailer stops.
    async fn wait<T>(&self, until: impl Future<Output = T>) -> Option<T> {
        let mut stopping = self.stopping.subscribe();
        self.metrics.under_way.dec();
        let waited = tokio::select! {
            come = until => Some(come),
            _ = stopping.wait_for(|stopping| *stopping) => None,
        };
        self.metrics.under_way.inc();
        waited
    }

    async fn take_from(self: &Arc<Self>, source: Source, mut stop: watch::Receiver<bool>) {
        while !*stop.borrow() {
            let consumer = tokio::select! {
                consumer = self.queue.consumer(source, self.ack_wait) => consumer,
                _ = stop.wait_for(|stop| *stop) => break,
            };
            match consumer {
                Ok(consumer) => {
                    self.say_jobs(None);
                    if let Err(why) = self.take(source, consumer, &mut stop).await {
                        self.say_jobs(Some(why));
                    }
                }
                Err(why) => self.say_jobs(Some(why)),
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    fn say_jobs(&self, why: Option<String>) {
        let changed = self.standing.send_if_modified(|now| {
            let changed = now.no_jobs != why;
            now.no_jobs.clone_from(&why);
            changed
        });
        if let Some(why) = why.filter(|_| changed) {
            tracing::warn!(why, "no jobs can be taken");
        }
    }

    pub(super) fn say_smtp(&self, trouble: Option<String>) {
        self.standing.send_if_modified(|now| {
            let changed = now.trouble != trouble;
            now.trouble = trouble;
            changed
        });
    }

    async fn take(
        self: &Arc<Self>,
        source: Source,
        consumer: PullConsumer,
        stop: &mut watch::Receiver<bool>,
    ) -> Result<(), String> {
        let mut puller = Puller::new(&self.queue, consumer).await?;
        let places = &self.places[usize::from(source == Source::Due)];
        while !*stop.borrow() {
            if self.courier.is_away() {
                tokio::select! {
                    () = self.courier.usable() => self.say_smtp(None),
                    done = self.give_up_what_is_old(source, &mut puller) => done?,
                    _ = stop.wait_for(|stop| *stop) => {}
                }
                continue;
            }
            // Asked now, a request would be sent after the reconnect, when nobody waits for its jobs any more.
            if !self.queue.connected() {
                return Err("there is no connection to NATS".to_owned());
            }
            let permits = tokio::select! {
                permits = places.clone().acquire_many_owned(self.least) => permits,
                _ = stop.wait_for(|stop| *stop) => continue,
            };
            let Ok(mut permits) = permits else { return Ok(()) };
            while let Ok(more) = places.clone().try_acquire_owned() {
                permits.merge(more);
            }
            self.pull(source, &mut puller, permits).await?;
        }
        Ok(())
    }

    /// Asks for a job for each of the permits.
    async fn pull(
        self: &Arc<Self>,
        source: Source,
        puller: &mut Puller,
        mut permits: OwnedSemaphorePermit,
    ) -> Result<(), String> {
        let mut pull = puller.pull(permits.num_permits()).await?;
        while let Some(permit) = permits.split(1) {
            let Some(message) = pull.next().await else { break };
            let place = Place { is_held: false, _permit: permit };
            self.jobs.spawn(self.clone().see_through(source, message?, place));
        }
        Ok(())
    }
}
