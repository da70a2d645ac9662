//! Rows: a row's newest message is its value; older ones are removed by `Nats-Rollup`.
//!
//! A deleted row is a message that says so, which the server removes after a while.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use bytes::Bytes;

use super::{
    JetStream,
    connect::PAYLOAD,
    item::{GONE, Item, PIECES},
    layout::{Layout, Place},
    log::HEADERS,
    public::GONE_HOURS,
    publish::{BATCH, Post, Posted},
};
use crate::backend::{Entry, Expect, Row, Rows, Seen, Table, Unavailable, Written};

/// A deleted row's message is removed after this time; where lists are kept in memory, later.
const GONE_TTL: &str = "60s";
/// A value beyond this is cut into pieces of this size.
const PIECE: usize = 512 << 10;
/// Longest snapshot.
const LARGE: usize = 64 << 20;
/// Rows that are written at once when they need not be.
const TOGETHER: usize = 400;
/// Between two tries of a write, and at first of a read.
const PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_millis(200);

/// One message for each row, with its stream; a row that comes twice is written as it is last.
pub(super) fn posts(layout: &Layout, rows: &[Row]) -> Result<Vec<(String, Post)>, String> {
    let mut posts: Vec<(String, Post)> = Vec::with_capacity(rows.len());
    let mut known = HashMap::with_capacity(rows.len());
    for row in rows {
        let (place, post) = post(layout, row)?;
        match known.get(&place.subject) {
            Some(&at) => posts[at] = (place.stream, post),
            None => {
                known.insert(place.subject, posts.len());
                posts.push((place.stream, post));
            }
        }
    }
    Ok(posts)
}

fn place(layout: &Layout, table: Table, key: &[u8]) -> Result<Place, String> {
    layout
        .row(table, key)
        .ok_or_else(|| format!("{table:?} has no row with a key of {} bytes here", key.len()))
}

fn post(layout: &Layout, row: &Row) -> Result<(Place, Post), String> {
    let place = place(layout, row.table, &row.key)?;
    let value = row.value.clone().unwrap_or_default();
    if value.len() + HEADERS > PAYLOAD {
        return Err(format!(
            "a row of {:?} with {} bytes is too large for a message",
            row.table,
            value.len()
        ));
    }
    let mut post = Post::new(place.subject.clone(), value).header("Nats-Rollup", "sub");
    if row.value.is_none() {
        post = post.header(GONE, "1");
        post = match row.table {
            Table::PublicRooms => post.header("Nats-TTL", &format!("{GONE_HOURS}h")),
            _ => post.header("Nats-TTL", GONE_TTL),
        };
    }
    Ok((place, post))
}

fn wrong(why: String) -> Unavailable {
    tracing::error!(why, "a row cannot be kept");
    Unavailable(why.into())
}

fn entry(key: &[u8], item: Item) -> Entry {
    Entry { key: Bytes::copy_from_slice(key), value: item.payload, revision: item.at }
}

fn is_large(row: &Row) -> bool {
    row.table == Table::Snapshots && row.value.as_ref().is_some_and(|value| value.len() > PIECE)
}

/// The messages of a row, the last of which is its value, or names the pieces of it.
fn all_posts(layout: &Layout, row: Row) -> Result<(Place, Vec<Post>), String> {
    if !is_large(&row) {
        let (place, post) = post(layout, &row)?;
        return Ok((place, vec![post]));
    }
    let Row { table, key, value } = row;
    let value = value.unwrap_or_default();
    if value.len() > LARGE {
        return Err(format!("a row of {table:?} with {} bytes is too large", value.len()));
    }
    let place = place(layout, table, &key)?;
    let id = format!("{:032x}", rand::random::<u128>());
    let mut posts = Vec::new();
    for (number, start) in (0..value.len()).step_by(PIECE).enumerate() {
        let piece = value.slice(start..value.len().min(start + PIECE));
        posts.push(
            Post::new(format!("{}.{number}", place.subject), piece)
                .header("Nats-Rollup", "sub")
                .header(PIECES, &format!("{number} {id}")),
        );
    }
    let head = format!("{} {id}", posts.len());
    let head =
        Post::new(place.subject.clone(), Bytes::new()).header("Nats-Rollup", "sub").header(PIECES, &head);
    posts.push(head);
    Ok((place, posts))
}

/// A row that is written under a condition.
struct Conditional {
    place: Place,
    /// Of a large value.
    pieces: Vec<Post>,
    post: Post,
    expect: Expect,
    /// The sequence that its subject must have.
    sequence: u64,
}

impl Conditional {
    /// Whether the condition holds for what is stored; remembers the sequence then.
    fn holds(&mut self, now: Option<&Item>) -> bool {
        let (sequence, there) = now.map_or((0, false), |now| (now.at, !now.gone));
        self.sequence = sequence;
        match self.expect {
            Expect::Any => true,
            Expect::Absent => !there,
            Expect::Revision(revision) => there && sequence == revision,
        }
    }

    fn posts(&self) -> impl Iterator<Item = Post> {
        let post = match self.expect {
            Expect::Any => self.post.clone(),
            Expect::Absent | Expect::Revision(_) => self.post.clone().expecting(self.sequence),
        };
        self.pieces.iter().cloned().chain([post])
    }

    /// Whether what is stored is what was to be written.
    fn is_written(&self, now: Option<&Item>) -> bool {
        let gone = self.post.headers.get(GONE).is_some();
        let pieces = self.post.headers.get(PIECES).map(async_nats::HeaderValue::as_str);
        now.map_or(gone, |now| {
            now.gone == gone && now.payload == self.post.payload && now.pieces.as_deref() == pieces
        })
    }
}

#[async_trait]
impl Rows for JetStream {
    async fn get(&self, table: Table, key: &[u8]) -> Result<Option<Entry>, Unavailable> {
        let place = place(&self.layout, table, key).map_err(wrong)?;
        let end = Instant::now() + self.link.read_timeout;
        let mut pause = PAUSE;
        loop {
            let Some(item) = self.link.last(&place.stream, &place.subject).await?.filter(|item| !item.gone)
            else {
                return Ok(None);
            };
            let value = match &item.pieces {
                None => Some(item.payload),
                Some(pieces) => self.pieces(&place, pieces).await?,
            };
            if let Some(value) = value {
                return Ok(Some(Entry { key: Bytes::copy_from_slice(key), value, revision: item.at }));
            }
            // Written anew meanwhile: once more.
            if Instant::now() + pause >= end {
                return Err(Unavailable("The pieces of a snapshot do not belong together.".into()));
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    async fn certain(&self, table: Table, key: &[u8]) -> Result<Option<Entry>, Unavailable> {
        let place = place(&self.layout, table, key).map_err(wrong)?;
        let Some(part) = self.layout.part_of(&place) else {
            return Err(wrong(format!("{table:?} is not kept beside records")));
        };
        let item = self.proven(part, &place.subject).await?.filter(|item| !item.gone);
        Ok(item.map(|item| entry(key, item)))
    }

    async fn get_as_of(&self, table: Table, key: &[u8], seen: Seen) -> Result<Option<Entry>, Unavailable> {
        let place = place(&self.layout, table, key).map_err(wrong)?;
        let item = self.as_of(&place, seen).await?.filter(|item| !item.gone);
        Ok(item.map(|item| entry(key, item)))
    }

    async fn replace(&self, row: Row, expect: Expect) -> Result<Option<u64>, Unavailable> {
        Ok(self.write_conditional(vec![(row, expect)]).await?.ok())
    }

    async fn scan(
        &self,
        table: Table,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Entry>, Unavailable> {
        self.scan_rows(table, prefix, after, limit).await
    }

    async fn write(&self, writes: Vec<(Row, Expect)>) -> Result<Written, Unavailable> {
        if writes.iter().any(|(_, expect)| *expect != Expect::Any) {
            let written = self.write_conditional(writes).await?;
            return Ok(written.map_or_else(Written::Conflict, |_| Written::Done));
        }
        let (large, small): (Vec<Row>, Vec<Row>) = writes.into_iter().map(|(row, _)| row).partition(is_large);
        for row in large {
            let (place, posts) = all_posts(&self.layout, row).map_err(wrong)?;
            self.write_any(place.stream, posts).await?;
        }
        let mut streams: HashMap<String, Vec<Post>> = HashMap::new();
        for (stream, post) in posts(&self.layout, &small).map_err(wrong)? {
            streams.entry(stream).or_default().push(post);
        }
        let mut batches = Vec::new();
        for (stream, mut posts) in streams {
            while posts.len() > BATCH {
                batches.push((stream.clone(), posts.split_off(posts.len() - TOGETHER)));
            }
            batches.push((stream, posts));
        }
        let written = batches.into_iter().map(|(stream, posts)| self.write_any(stream, posts));
        futures_util::future::try_join_all(written).await?;
        Ok(Written::Done)
    }
}

impl JetStream {
    /// Rows without conditions, in one step; tried until they are written for certain.
    async fn write_any(&self, stream: String, posts: Vec<Post>) -> Result<(), Unavailable> {
        let count = posts.len() as u64;
        let end = Instant::now() + self.write_timeout;
        loop {
            let within = end.saturating_duration_since(Instant::now()).min(self.append_timeout);
            let why = match self.post_all(&stream, posts.clone(), within).await {
                Posted::Stored(_) => {
                    self.link.metrics.rows.inc_by(count);
                    return Ok(());
                }
                Posted::Refused(code) => format!("NATS refuses it now ({code})"),
                Posted::Unknown(why) => why,
            };
            if Instant::now() + PAUSE >= end {
                self.link.metrics.unknown.inc();
                return Err(Unavailable(format!("The rows could not be stored: {why}.").into()));
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// All or none, in one stream: where the last message is then, or which condition does not hold.
    async fn write_conditional(&self, writes: Vec<(Row, Expect)>) -> Result<Result<u64, usize>, Unavailable> {
        let mut rows = Vec::with_capacity(writes.len());
        for (row, expect) in writes {
            let (place, mut pieces) = all_posts(&self.layout, row).map_err(wrong)?;
            let Some(post) = pieces.pop() else { continue };
            let sequence = if let Expect::Revision(revision) = expect { revision } else { 0 };
            rows.push(Conditional { place, pieces, post, expect, sequence });
        }
        let Some(stream) = rows.first().map(|row| row.place.stream.clone()) else {
            return Err(wrong("nothing to write".into()));
        };
        let mut subjects: Vec<_> = rows.iter().map(|row| &row.place.subject).collect();
        subjects.sort();
        subjects.dedup();
        let count = rows.iter().map(|row| row.pieces.len() + 1).sum::<usize>();
        if subjects.len() < rows.len() || count > BATCH {
            return Err(wrong("rows written under conditions must differ, and be at most 1,000".into()));
        }
        if rows.iter().any(|row| row.place.stream != stream) {
            return Err(wrong("rows written under conditions must lie in one stream".into()));
        }
        let end = Instant::now() + self.write_timeout;
        let mut in_doubt = false;
        loop {
            let posts = rows.iter().flat_map(Conditional::posts).collect();
            let within = end.saturating_duration_since(Instant::now()).min(self.append_timeout);
            let why = match self.post_all(&stream, posts, within).await {
                Posted::Stored(at) => {
                    self.link.metrics.rows.inc_by(rows.len() as u64);
                    return Ok(Ok(at));
                }
                Posted::Refused(_) => "others write the same rows".to_owned(),
                Posted::Unknown(why) => {
                    in_doubt = true;
                    why
                }
            };
            // Which condition does not hold? If none, it could not be evaluated then.
            let mut now = self.newest_of(&stream, &rows).await?;
            if in_doubt && rows.iter().zip(&now).any(|(row, now)| row.is_written(now.as_ref())) {
                // An earlier try did it, all at once: perhaps while they were read, one after the other.
                now = self.newest_of(&stream, &rows).await?;
                if rows.iter().zip(&now).all(|(row, now)| row.is_written(now.as_ref())) {
                    return Ok(Ok(now.last().and_then(Option::as_ref).map_or(0, |now| now.at)));
                }
            }
            let failed = rows.iter_mut().zip(&now).position(|(row, now)| !row.holds(now.as_ref()));
            if let Some(index) = failed {
                return Ok(Err(index));
            }
            if Instant::now() + PAUSE >= end {
                self.link.metrics.unknown.inc();
                return Err(Unavailable(format!("The rows could not be stored: {why}.").into()));
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// What is there now of each row, by the stream's leader. Not of one moment.
    async fn newest_of(&self, stream: &str, rows: &[Conditional]) -> Result<Vec<Option<Item>>, Unavailable> {
        let now = rows.iter().map(|row| self.link.last(stream, &row.place.subject));
        futures_util::future::try_join_all(now).await
    }

    /// The pieces of a large value; `None`: they are not there, or others are.
    async fn pieces(&self, place: &Place, head: &str) -> Result<Option<Bytes>, Unavailable> {
        let Some((count, id)) = head.split_once(' ').and_then(|(n, id)| Some((n.parse::<usize>().ok()?, id)))
        else {
            return Err(wrong("a snapshot's pieces are not named".into()));
        };
        let mut value = Vec::new();
        for number in 0..count {
            let piece = self.link.last(&place.stream, &format!("{}.{number}", place.subject)).await?;
            let wanted = format!("{number} {id}");
            match piece.filter(|piece| piece.pieces.as_deref() == Some(&wanted)) {
                Some(piece) => value.extend_from_slice(&piece.payload),
                None => return Ok(None),
            }
        }
        Ok(Some(value.into()))
    }
}
