//! Pulls jobs from a consumer, over one subscription.
//!
//! The client's own batches subscribe anew each time, as its confirmed acknowledgements do. Each server of a cluster is told of every subscription and of its end, and
//! looks up anew who listens to what, chat's subjects as well.

use std::time::Duration;

use async_nats::{
    StatusCode, Subscriber,
    jetstream::{
        Context, Message,
        consumer::{PullConsumer, pull::BatchConfig},
    },
};
use futures_util::{Stream, StreamExt as _, stream};
use tokio::time::{Instant, timeout_at};

use super::{Queue, worker::SPARE};

/// A request for jobs waits so long at the server. At the end of the process this is waited for, so that no job is on its way to nobody.
pub(super) const PULL: Duration = Duration::from_secs(2);

/// Pulls from one consumer, one pull after the other.
pub(super) struct Puller {
    consumer: PullConsumer,
    context: Context,
    /// Each pull has a subject of its own below it, by which the server says that it has ended.
    inbox: String,
    answers: Subscriber,
    pulls: u64,
}

impl Puller {
    /// # Errors
    /// What is wrong, if there is no connection any more.
    pub(super) async fn new(queue: &Queue, consumer: PullConsumer) -> Result<Self, String> {
        let inbox = queue.client.new_inbox();
        let answers =
            queue.client.subscribe(format!("{inbox}.*")).await.map_err(|error| error.to_string())?;
        Ok(Self { consumer, context: queue.context.clone(), inbox, answers, pulls: 0 })
    }

    /// Asks for jobs: so many at most, of those that come within [`PULL`]. Those that a pull was not awaited for are had by the next.
    ///
    /// # Errors
    /// What is wrong, if there is no connection any more.
    pub(super) async fn pull(&mut self, count: usize) -> Result<Pull<'_>, String> {
        self.pulls += 1;
        let inbox = format!("{}.{}", self.inbox, self.pulls);
        let asked = BatchConfig { batch: count, expires: Some(PULL), ..BatchConfig::default() };
        let sent = self.consumer.request_batch(asked, inbox.clone().into()).await;
        sent.map_err(|error| error.to_string())?;
        Ok(Pull { puller: self, inbox, left: count, end: Instant::now() + PULL + SPARE })
    }
}

/// Jobs that were asked for.
pub(super) struct Pull<'a> {
    puller: &'a mut Puller,
    inbox: String,
    left: usize,
    /// By then the server has said that it has ended, or it never will.
    end: Instant,
}

impl Pull<'_> {
    /// The next job; `None`: there are no more for now.
    ///
    /// # Errors
    /// What the server says is wrong with the pull: its consumer was deleted, say, or has a new leader.
    pub(super) async fn next(&mut self) -> Option<Result<Message, String>> {
        while self.left > 0 {
            let answer = timeout_at(self.end, self.puller.answers.next()).await.ok().flatten()?;
            match answer.status {
                None | Some(StatusCode::OK) => {
                    self.left -= 1;
                    return Some(Ok(Message { message: answer, context: self.puller.context.clone() }));
                }
                // Of a pull before.
                Some(_) if answer.subject.as_str() != self.inbox => {}
                Some(StatusCode::TIMEOUT | StatusCode::NOT_FOUND) => return None,
                Some(status) => {
                    let why = answer.description.unwrap_or_default();
                    return Some(Err(format!("no jobs can be had: {status} {why}")));
                }
            }
        }
        None
    }

    /// The same as a stream.
    pub(super) fn into_stream(self) -> impl Stream<Item = Result<Message, String>> {
        stream::unfold(self, async |mut pull| pull.next().await.map(|job| (job, pull)))
    }
}
