//! The rooms' logs: appending, and the tail. Reading is in `read`.

use std::time::{Duration, Instant};

use async_trait::async_trait;
use rookery_protocol::id::RoomId;

use super::{
    JetStream,
    connect::PAYLOAD,
    item::{Item, SPAN},
    layout::Layout,
    publish::{BATCH, Post, Posted},
    rows,
};
use crate::backend::{
    Append, Appended, Committed, Expect, LogSeq, Read, RoomLog, Row, Rows as _, Table, Unavailable,
};

/// Before a leader that answered with something old is asked again.
const AGAIN: Duration = Duration::from_millis(25);

/// What headers and subject of a message may need of its size, bytes.
pub(super) const HEADERS: usize = 4 << 10;

fn committed(room: RoomId, item: Item) -> Committed {
    Committed { room, at: LogSeq(item.at), record: item.payload }
}

/// The messages of an append, the record last: an acknowledgement tells the place of the last. And the rows that do not
/// fit into a batch with it.
fn posts(layout: &Layout, append: &Append) -> Result<(Vec<Post>, Vec<Row>), String> {
    if append.record.len() + HEADERS > PAYLOAD {
        return Err(format!("a record of {} bytes is too large for a message", append.record.len()));
    }
    let stream = layout.log_stream(layout.part(append.room));
    let mut rows: Vec<Row> = append.rows.clone();
    let mut left = Vec::new();
    if rows.len() >= BATCH {
        // Only mentions can be so many, and they are counts for people: they may come a moment after the record.
        rows.sort_by_key(|row| row.table == Table::ReadMarks && row.key.len() == 40);
        left = rows.split_off(BATCH - 1);
    }
    let mut posts = Vec::with_capacity(rows.len() + 1);
    for post in rows::posts(layout, &rows)? {
        if post.0 != stream {
            return Err("a row of another room's stream".to_owned());
        }
        posts.push(post.1);
    }
    let record = Post::new(layout.record(append.room, append.first_seq), append.record.clone())
        .header(SPAN, &format!("{}-{}", append.first_seq, append.last_seq))
        .expecting_of(append.expected.0, &layout.records(append.room));
    posts.push(record);
    Ok((posts, left))
}

#[async_trait]
impl RoomLog for JetStream {
    async fn append(&self, append: Append) -> Appended {
        let (room, metrics) = (append.room, &self.link.metrics);
        let (posts, left) = match posts(&self.layout, &append) {
            Ok(posts) => posts,
            Err(why) => {
                // A bug of the caller: nothing is stored, and trying again would not help.
                tracing::error!(%room, why, "refused an append");
                return Appended::ConditionFailed;
            }
        };
        let (began, rows) = (Instant::now(), posts.len() as u64 - 1);
        let stream = self.layout.log_stream(self.layout.part(room));
        let posted = self.post_all(&stream, posts, self.append_timeout).await;
        match posted {
            Posted::Stored(at) if at > append.expected.0 => {
                metrics.append.observe(began.elapsed().as_secs_f64());
                metrics.appends.inc();
                metrics.rows.inc_by(rows);
                self.live.committed(room, LogSeq(at), append.record);
                if !left.is_empty() {
                    let left = left.into_iter().map(|row| (row, Expect::Any)).collect();
                    if let Err(why) = self.write(left).await {
                        tracing::warn!(%room, %why, "some mentions of a very large record are not counted");
                    }
                }
                Appended::Committed(LogSeq(at))
            }
            Posted::Refused(code) => {
                metrics.refused.inc();
                tracing::debug!(%room, code, "an append's condition did not hold");
                Appended::ConditionFailed
            }
            Posted::Stored(_) | Posted::Unknown(_) => {
                metrics.unknown.inc();
                if let Posted::Unknown(why) = posted {
                    tracing::debug!(%room, why, "an append's outcome is unknown");
                }
                self.live.in_doubt(room);
                Appended::Unknown
            }
        }
    }

    async fn tail(&self, room: RoomId) -> Result<Option<Committed>, Unavailable> {
        Ok(self.last_record(room).await?.map(|item| committed(room, item)))
    }

    async fn certain_tail(&self, room: RoomId) -> Result<Option<Committed>, Unavailable> {
        let (part, records) = (self.layout.part(room), self.layout.records(room));
        Ok(self.proven(part, &records).await?.map(|item| committed(room, item)))
    }

    async fn read(&self, room: RoomId, read: Read) -> Result<Vec<Committed>, Unavailable> {
        self.read_records(room, read).await
    }

    async fn forget(&self, room: RoomId, before: u64) -> Result<(), Unavailable> {
        self.forget_records(room, before).await
    }

    fn follow(&self, room: RoomId, on: bool) {
        if on {
            self.live.follow(&self.link, room);
        } else {
            self.live.unfollow(room);
        }
    }
}

impl JetStream {
    /// The room's last record, from the leader. A leader that stood still or was cut off answers for a moment as if it
    /// still led: what is older than a record that this node has seen is asked for again.
    pub(super) async fn last_record(&self, room: RoomId) -> Result<Option<Item>, Unavailable> {
        let (stream, records) = (self.layout.log_stream(self.layout.part(room)), self.layout.records(room));
        let end = Instant::now() + self.link.read_timeout;
        loop {
            let seen = self.live.seen(room);
            let last = self.link.last(&stream, &records).await?;
            if last.as_ref().map_or(0, |last| last.at) >= seen.0 {
                return Ok(last);
            }
            self.link.metrics.stale.inc();
            if Instant::now() + AGAIN >= end {
                return Err(Unavailable("The log shows only what is older than what was seen of it.".into()));
            }
            tokio::time::sleep(AGAIN).await;
        }
    }
}
