//! Acknowledges deliveries, a group of them with one confirmation.
//!
//! The server takes what comes over one connection for one consumer in its order: when it says that it has the last acknowledgement of a group, it has those before
//! it. If the connection was lost in between, those that went with it come again, and what is remembered of them tells that they are done.

use std::collections::HashMap;

use async_nats::{
    Request, Subject,
    jetstream::{AckKind, Message},
};
use bytes::Bytes;
use futures_util::future::join_all;
use tokio::sync::oneshot;

use super::{Away, Queue, streams::ANSWER};

/// An acknowledgement that is to be sent.
#[derive(Debug)]
pub(super) struct Acknowledgement {
    /// Of the consumer that has delivered.
    consumer: (String, String),
    to: Subject,
    kind: Bytes,
    answer: oneshot::Sender<Result<(), Away>>,
}

impl Queue {
    /// Acknowledges with others, and returns once the server has said that it knows.
    pub(super) async fn acknowledge(&self, message: &Message, kind: AckKind) -> Result<(), Away> {
        let info = message.info().map_err(away)?;
        let consumer = (info.stream.to_owned(), info.consumer.to_owned());
        let to = message.reply.clone().ok_or_else(|| away("it did not come from a stream"))?;
        let (answer, acknowledged) = oneshot::channel();
        let acknowledgement = Acknowledgement { consumer, to, kind: kind.into(), answer };
        if let Some(group) = self.acknowledgements.join(acknowledgement) {
            let queue = self.clone();
            tokio::spawn(async move {
                let mut consumers: HashMap<_, Vec<_>> = HashMap::new();
                for one in group.leave().await {
                    consumers.entry(one.consumer.clone()).or_default().push(one);
                }
                join_all(consumers.into_values().map(|of_one| queue.acknowledge_all(of_one))).await;
            });
        }
        acknowledged.await.unwrap_or_else(|_| Err(away("the mailer stops")))
    }

    async fn acknowledge_all(&self, of_one_consumer: Vec<Acknowledgement>) {
        let confirmed = self.confirm(&of_one_consumer).await;
        for one in of_one_consumer {
            let _ = one.answer.send(confirmed.clone());
        }
    }

    async fn confirm(&self, of_one_consumer: &[Acknowledgement]) -> Result<(), Away> {
        let Some((last, others)) = of_one_consumer.split_last() else { return Ok(()) };
        for one in others {
            self.client.publish(one.to.clone(), one.kind.clone()).await.map_err(away)?;
        }
        // Over the subscription that the client has for all answers: see `pull`.
        let request = Request::new().payload(last.kind.clone()).timeout(Some(ANSWER));
        self.client.send_request(last.to.clone(), request).await.map(drop).map_err(away)
    }
}

fn away(why: impl std::fmt::Display) -> Away {
    Away(format!("an acknowledgement was not confirmed: {why}"))
}
