//! Messages and events that are past.

use std::collections::{BTreeMap, BTreeSet};

use rookery_core::{
    record::{Body, Posted},
    room::Amendment,
};
use rookery_protocol::{
    client,
    id::{RoomId, UserId},
};

use super::{
    EventPage, log,
    render::{self, withhold},
    rows,
};
use crate::{
    backend::{RoomLog, Rows, Table},
    problem::Problem,
};

/// Events that one call looks at, at most: between two messages there may be any number of others.
const SCANNED: usize = 20_000;

/// Which part of a room's messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Those before this seq, newest first.
    Before(u64),
    /// Those after this seq, oldest first.
    After(u64),
}

/// Messages of a room, in the order asked for.
#[derive(Debug, Clone, Default)]
pub struct History {
    /// The messages.
    pub messages: Vec<client::Message>,
    /// There may be more in that direction; none are skipped by asking again from [`Self::reached`].
    pub has_more: bool,
    /// What to give as `before` or `after` next.
    pub reached: u64,
}

struct Found {
    seq: u64,
    ts: i64,
    posted: Box<Posted>,
}

/// Up to `limit` messages of a part; the log ends at `last_seq`.
pub(super) async fn page(
    store: (&dyn RoomLog, &dyn Rows),
    (room, viewer): (RoomId, UserId),
    last_seq: u64,
    part: Part,
    limit: usize,
) -> Result<History, Problem> {
    let (found, has_more, reached) = match part {
        Part::Before(before) => backwards(store.0, room, before.min(last_seq + 1), limit).await?,
        Part::After(after) => forwards(store.0, room, after, last_seq, limit).await?,
    };
    let seqs = || found.iter().map(|message| message.seq);
    let amended = match (seqs().min(), seqs().max()) {
        (Some(first), Some(last)) => amendments(store.1, room, first, last).await?,
        _ => BTreeMap::new(),
    };
    let messages = found
        .iter()
        .map(|m| render::message(room, m.seq, m.ts, &m.posted, amended.get(&m.seq), viewer))
        .collect();
    Ok(History { messages, has_more, reached })
}

async fn backwards(
    log: &dyn RoomLog,
    room: RoomId,
    before: u64,
    limit: usize,
) -> Result<(Vec<Found>, bool, u64), Problem> {
    let (mut found, mut next, mut scanned) = (Vec::new(), before, 0);
    while next > 1 {
        let records = log::records(log, room, 1, next - 1, true).await?;
        if records.is_empty() {
            return Ok((found, false, next));
        }
        for record in records {
            let first = record.first_seq;
            for (seq, event) in (first..).zip(record.events).collect::<Vec<_>>().into_iter().rev() {
                if seq >= next {
                    continue;
                }
                if found.len() == limit || scanned == SCANNED {
                    return Ok((found, true, next));
                }
                (next, scanned) = (seq, scanned + 1);
                if let Body::Posted(posted) = event.body {
                    found.push(Found { seq, ts: event.ts, posted });
                }
            }
        }
    }
    Ok((found, false, next))
}

async fn forwards(
    log: &dyn RoomLog,
    room: RoomId,
    after: u64,
    last_seq: u64,
    limit: usize,
) -> Result<(Vec<Found>, bool, u64), Problem> {
    let (mut found, mut reached, mut scanned) = (Vec::new(), after, 0);
    while reached < last_seq {
        let records = log::records(log, room, reached + 1, last_seq, false).await?;
        if records.is_empty() {
            return Ok((found, false, reached));
        }
        for record in records {
            let first = record.first_seq;
            for (seq, event) in (first..).zip(record.events) {
                if seq <= reached {
                    continue;
                }
                if found.len() == limit || scanned == SCANNED {
                    return Ok((found, true, reached));
                }
                (reached, scanned) = (seq, scanned + 1);
                if let Body::Posted(posted) = event.body {
                    found.push(Found { seq, ts: event.ts, posted });
                }
            }
        }
    }
    Ok((found, false, reached))
}

/// Amendments of messages with `first ≤ seq ≤ last`.
async fn amendments(
    rows: &dyn Rows,
    room: RoomId,
    first: u64,
    last: u64,
) -> Result<BTreeMap<u64, Amendment>, Problem> {
    // 256 seqs share the first seven bytes, and such lists are cheap in every backend: how much lies after `last`
    // does not matter.
    let parts = (first >> 8..=last >> 8).map(|part| {
        let key = rows::of_message(room, part << 8);
        async move { rows.scan(Table::Amendments, &key[..key.len() - 1], None, 256).await }
    });
    let found = futures_util::future::try_join_all(parts).await.map_err(|why| log::unavailable(&why))?;
    let mut amended = BTreeMap::new();
    for entry in found.into_iter().flatten() {
        if let Some(seq) = rows::seq_in(&entry.key).filter(|seq| (first..=last).contains(seq)) {
            amended.insert(seq, decode(room, seq, &entry.value)?);
        }
    }
    Ok(amended)
}

pub(super) fn decode(room: RoomId, seq: u64, value: &[u8]) -> Result<Amendment, Problem> {
    Amendment::decode(value).map_err(|error| {
        tracing::error!(%room, seq, %error, "the amendment of a message cannot be read");
        Problem::internal()
    })
}

/// What became of one message; `None`: nothing.
pub(super) async fn amendment(rows: &dyn Rows, room: RoomId, seq: u64) -> Result<Option<Amendment>, Problem> {
    let entry = rows
        .get(Table::Amendments, &rows::of_message(room, seq))
        .await
        .map_err(|why| log::unavailable(&why))?;
    entry.map(|entry| decode(room, seq, &entry.value)).transpose()
}

/// One message as `viewer` sees it; `None`: the event is no message.
pub(super) async fn message(
    store: (&dyn RoomLog, &dyn Rows),
    room: RoomId,
    viewer: UserId,
    seq: u64,
) -> Result<Option<client::Message>, Problem> {
    let Some((ts, posted)) = original(store.0, room, seq).await? else { return Ok(None) };
    let amended = amendment(store.1, room, seq).await?;
    Ok(Some(render::message(room, seq, ts, &posted, amended.as_ref(), viewer)))
}

/// One message as it was posted, and when; `None`: the event is no message.
pub(super) async fn original(
    log: &dyn RoomLog,
    room: RoomId,
    seq: u64,
) -> Result<Option<(i64, Box<Posted>)>, Problem> {
    let Some(record) = log::record_with(log, room, seq).await? else { return Ok(None) };
    let place = seq.checked_sub(record.first_seq).and_then(|place| usize::try_from(place).ok());
    let event = place.and_then(|place| record.events.into_iter().nth(place));
    Ok(event.and_then(|event| match event.body {
        Body::Posted(posted) => Some((event.ts, posted)),
        _ => None,
    }))
}

/// Durable events with `from ≤ seq ≤ to` as frames, at most `limit`. Of messages deleted since, neither the text
/// nor its edits are told.
pub(super) async fn events(
    store: (&dyn RoomLog, &dyn Rows),
    room: RoomId,
    (from, to): (u64, u64),
    limit: usize,
    last_seq: u64,
) -> Result<EventPage, Problem> {
    let mut page = EventPage { events: Vec::new(), last_seq };
    let (from, to) = (from.max(1), to.min(last_seq));
    let mut next = from;
    // By the message they are about.
    let mut texts: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
    'all: while next <= to {
        let records = log::records(store.0, room, next, to, false).await?;
        if records.is_empty() {
            break;
        }
        for record in &records {
            for (seq, event) in record.numbered() {
                if seq < next {
                    continue;
                }
                if seq > to || page.events.len() == limit {
                    break 'all;
                }
                match &event.body {
                    Body::Posted(_) => texts.entry(seq).or_default().push(page.events.len()),
                    Body::Edited { message_seq, .. } => {
                        texts.entry(*message_seq).or_default().push(page.events.len());
                    }
                    _ => {}
                }
                page.events.push((seq, render::frame(room, seq, event)));
                next = seq + 1;
            }
        }
    }
    for seq in deleted(store.1, room, from, &texts).await? {
        for &at in &texts[&seq] {
            withhold(&mut page.events[at].1);
        }
    }
    Ok(page)
}

/// Which of these messages are deleted. `from` is the first seq that was read.
async fn deleted(
    rows: &dyn Rows,
    room: RoomId,
    from: u64,
    of: &BTreeMap<u64, Vec<usize>>,
) -> Result<BTreeSet<u64>, Problem> {
    let mut gone = BTreeSet::new();
    // What was edited may lie far back: a look at each.
    for &seq in of.range(..from).map(|(seq, _)| seq) {
        if amendment(rows, room, seq).await?.is_some_and(|amendment| amendment.deleted) {
            gone.insert(seq);
        }
    }
    let rest = || of.range(from..).map(|(seq, _)| *seq);
    if let (Some(first), Some(last)) = (rest().next(), rest().next_back()) {
        let amended = amendments(rows, room, first, last).await?;
        gone.extend(amended.into_iter().filter(|(_, a)| a.deleted).map(|(seq, _)| seq));
    }
    gone.retain(|seq| of.contains_key(seq));
    Ok(gone)
}
