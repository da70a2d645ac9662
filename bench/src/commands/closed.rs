//! A closed loop of sends: a number of messages wait for their acknowledgement at any time, and each
//! acknowledgement makes its connection send the next. It measures throughput, and the latency of a server kept
//! exactly so busy.

use std::time::Duration;

use crate::{
    bed::PATIENCE,
    clock,
    load::{Latency, Percentiles},
    socket::{Fleet, SendTemplate, Sink},
};

/// When to send no more.
#[derive(Debug, Clone, Copy)]
pub(super) enum Until {
    /// After so many seconds.
    Seconds(f64),
    /// After so many messages.
    Messages(u64),
}

/// What came of it.
#[derive(Debug, serde::Serialize)]
pub(super) struct Level {
    pub(super) messages: u64,
    pub(super) seconds: f64,
    pub(super) per_second: f64,
    pub(super) latency_ms: Percentiles,
}

/// Keeps `sends` messages waiting, to the templates' rooms in turn, on all connections of the fleet.
pub(super) fn run(
    fleet: &mut Fleet,
    templates: &[SendTemplate],
    sends: usize,
    until: Until,
) -> anyhow::Result<Level> {
    let mut acks = Acks { latency: Latency::new()?, done: Vec::new(), waiting: 0, failed: None };
    let from = clock::now();
    let (end, most) = match until {
        Until::Seconds(seconds) => (from + clock::nanos(Duration::from_secs_f64(seconds)), u64::MAX),
        Until::Messages(count) => (u64::MAX, count),
    };
    let connections = fleet.open().min(sends).max(1);
    acks.done.extend((0..sends).map(|send| send % connections));
    let mut stamp = from;
    let (mut turn, mut sent) = (0, 0);
    while clock::now() < end && acks.latency.count() < most {
        let mut done = std::mem::take(&mut acks.done);
        done.sort_unstable();
        for &conn in &done {
            if sent == most {
                break;
            }
            // Ids are times: no two may be the same.
            stamp = clock::now().max(stamp + 1);
            let since = fleet.since();
            fleet.queue(conn, |out| templates[turn % templates.len()].write(stamp, since, out));
            turn += 1;
            sent += 1;
            acks.waiting += 1;
        }
        done.dedup();
        for conn in done {
            fleet.flush(conn, &mut acks);
        }
        // A server that answers nothing must not keep us.
        let patience = clock::now() + clock::nanos(PATIENCE);
        let before = acks.latency.count();
        fleet.turn(end.min(patience), &mut acks)?;
        anyhow::ensure!(
            clock::now() < patience || acks.latency.count() > before,
            "no send was answered for {PATIENCE:?}"
        );
        if let Some(why) = &acks.failed {
            anyhow::bail!("a send failed after {} others: {why}", acks.latency.count());
        }
    }
    let seconds = clock::seconds(clock::now() - from);
    let (messages, latency_ms) = (acks.latency.count(), acks.latency.percentiles());
    let patience = clock::now() + clock::nanos(PATIENCE);
    while acks.waiting > 0 && clock::now() < patience {
        fleet.turn(patience, &mut acks)?;
    }
    anyhow::ensure!(acks.waiting == 0, "{} sends were never answered", acks.waiting);
    let per_second = super::connect::per_second(messages, seconds);
    Ok(Level { messages, seconds, per_second, latency_ms })
}

struct Acks {
    latency: Latency,
    done: Vec<usize>,
    waiting: usize,
    failed: Option<String>,
}

impl Sink for Acks {
    fn ack(&mut self, conn: usize, due: u64, now: u64) {
        self.latency.record(now.saturating_sub(due));
        self.waiting = self.waiting.saturating_sub(1);
        self.done.push(conn);
    }
    fn refused(&mut self, why: &str) {
        self.failed = Some(why.to_owned());
    }
    fn closed(&mut self, _conn: usize, why: &str) {
        self.failed = Some(why.to_owned());
    }
}
