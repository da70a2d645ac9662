//! Removing a room's oldest records, a subject of 256 events at a time.

use std::{ops::Range, sync::Arc, time::Duration};

use async_nats::HeaderMap;
use bytes::Bytes;
use rookery_protocol::id::RoomId;
use serde_json::json;

use super::{
    JetStream,
    history::KEPT,
    layout::{CHUNK, Layout, chunk_of},
    link::Link,
    read::Source,
};
use crate::backend::Unavailable;

/// A purge looks at all messages of its subject.
const PATIENCE: Duration = Duration::from_secs(10);
/// A page is not read for longer.
const MARGIN: Duration = Duration::from_secs(60);

impl JetStream {
    /// The first event that is still there; 1: all are, or there is none.
    pub(super) async fn first(&self, room: RoomId) -> Result<u64, Unavailable> {
        let (stream, records) = (self.layout.log_stream(self.layout.part(room)), self.layout.records(room));
        let first = self.link.next(&stream, &records, 1).await?;
        Ok(first.and_then(|item| item.span()).map_or(1, |(first, _)| first))
    }

    pub(super) async fn forget_records(&self, room: RoomId, before: u64) -> Result<(), Unavailable> {
        let last = self.last_record(room).await?.and_then(|item| item.span()).map_or(0, |(_, last)| last);
        let before = before.min(last);
        let first = self.first(room).await?;
        for chunk in chunk_of(first)..chunk_of(before) {
            // The last record of a subject may reach into the next one.
            let found = self.chunk(room, chunk, u64::MAX, Source::Replica).await?;
            if found.last().is_some_and(|record| record.last >= before) {
                break;
            }
            purge(&self.link, &self.layout, room, &self.layout.chunk(room, chunk)).await?;
            self.history.remove(room, chunk);
        }
        let kept = self.first(room).await?;
        let amended = forget_amendments(self.link.clone(), self.layout.clone(), room, first..kept);
        // Other nodes may have read the records a moment ago, and show them until they read again: not without what became of
        // them, for a message that was deleted would be seen again. If this node ends before, some rows stay that nobody reads.
        tokio::spawn(async move {
            tokio::time::sleep(KEPT + MARGIN).await;
            if let Err(why) = amended.await {
                tracing::warn!(%room, %why, "what became of forgotten messages stays");
            }
        });
        Ok(())
    }
}

/// Removes what became of messages of these seqs, but for the last ones.
pub(super) async fn forget_amendments(
    link: Arc<Link>,
    layout: Layout,
    room: RoomId,
    seqs: Range<u64>,
) -> Result<(), Unavailable> {
    for part in seqs.start / CHUNK..seqs.end / CHUNK {
        purge(&link, &layout, room, &layout.amendments(room, part)).await?;
    }
    Ok(())
}

async fn purge(link: &Link, layout: &Layout, room: RoomId, filter: &str) -> Result<(), Unavailable> {
    let subject = format!("$JS.API.STREAM.PURGE.{}", layout.log_stream(layout.part(room)));
    let what = Bytes::from(json!({ "filter": filter }).to_string());
    let answer = link.ask(subject, HeaderMap::new(), what, PATIENCE).await;
    let answer = answer.map_err(|why| Unavailable(format!("The log does not forget: {why}.").into()))?;
    let answer: serde_json::Value = serde_json::from_slice(&answer.payload).unwrap_or_default();
    if answer["success"] == true {
        return Ok(());
    }
    let why = answer["error"]["description"].as_str().unwrap_or("an odd answer");
    Err(Unavailable(format!("The log does not forget: {why}.").into()))
}
