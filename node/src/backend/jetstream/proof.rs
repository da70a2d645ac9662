//! Reads that are certain.
//!
//! A leader that stood still, or is cut off, answers for a moment as if it still led: what it does not have may be there all the
//! same. Only a write that is acknowledged proves what was read, because a quorum took part in it. So the newest message
//! that matches is read, and a message without meaning is stored under the condition that it still is the newest one. Its
//! subject is one of the stream's rows; the last one replaces the one before.
//!
//! That costs a synced write. Only what would be told as "there is none" is worth it; and few are under way at once, whoever
//! asks for how many rooms that are none.

use std::time::{Duration, Instant};

use bytes::Bytes;

use super::{
    JetStream,
    gets::Newest,
    item::Item,
    layout::Place,
    publish::{Post, Posted},
};
use crate::backend::{Seen, Unavailable};

/// Proofs of one node at the same time.
pub(super) const PROOFS: usize = 8;
/// Pause before the first repeat, which doubles up to the second.
const PAUSES: [Duration; 2] = [Duration::from_millis(5), Duration::from_millis(100)];
/// The same where a replica lags.
const LAGS: [Duration; 2] = [Duration::from_millis(2), Duration::from_millis(200)];

impl JetStream {
    /// The newest message of a log stream that matches, proven to have been so at some time during this call.
    pub(super) async fn proven(&self, part: u16, filter: &str) -> Result<Option<Item>, Unavailable> {
        let end = Instant::now() + self.link.read_timeout;
        let _turn = tokio::time::timeout_at(end.into(), self.proofs.acquire()).await.map_err(|_| {
            Unavailable("What the log has could not be proven: too many others ask for the same.".into())
        })?;
        let stream = self.layout.log_stream(part);
        let [mut longest, most] = PAUSES;
        loop {
            let last = self.link.last(&stream, filter).await?;
            let proof = Post::new(self.layout.proof(part), Bytes::new())
                .header("Nats-Rollup", "sub")
                .expecting_of(last.as_ref().map_or(0, |last| last.at), filter);
            self.link.metrics.proofs.inc();
            let why = match self.link.post(proof, self.append_timeout).await {
                Posted::Stored(_) => return Ok(last),
                // Something newer is there, or on its way.
                Posted::Refused(code) => format!("NATS refuses it now ({code})"),
                Posted::Unknown(why) => why,
            };
            let pause = longest.mul_f64(rand::random_range(0.5..1.0));
            if Instant::now() + pause >= end {
                return Err(Unavailable(format!("What the log has could not be proven: {why}.").into()));
            }
            tokio::time::sleep(pause).await;
            longest = (longest * 2).min(most);
        }
    }

    /// The newest message of a subject, from a replica that has at least a record that is known to be stored.
    pub(super) async fn as_of(&self, place: &Place, seen: Seen) -> Result<Option<Item>, Unavailable> {
        let end = Instant::now() + self.link.read_timeout;
        let [mut pause, most] = LAGS;
        // Where the record lies: so there is always an answer that says up to where the replica has the stream.
        let record = self.layout.record(seen.room, seen.first_seq);
        loop {
            let newest = self.link.newest(&place.stream, &[&place.subject, &record]).await?;
            if let Newest::All(items, up_to) = newest
                && up_to >= seen.at.0
            {
                return Ok(items.into_iter().find(|item| item.subject == place.subject));
            }
            self.link.metrics.stale.inc();
            if Instant::now() + pause >= end {
                return Err(Unavailable("The log shows only what is older than what is known of it.".into()));
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(most);
        }
    }
}
