//! Looks at the streams every few seconds: how many jobs wait, how long the oldest has, how many were given up, and how many are gone.

use std::time::Duration;

use async_nats::jetstream::stream::Stream;

use super::{Queue, later::SINCE};
use crate::{courier::now_ms, metrics::MailerMetrics};

const EVERY: Duration = Duration::from_secs(5);

/// Keeps the gauges, until it is aborted.
pub async fn watch(queue: Queue, metrics: MailerMetrics) {
    let mut tick = tokio::time::interval(EVERY);
    let mut gone_until = 0;
    loop {
        tick.tick().await;
        // Asking while disconnected would only queue the question.
        if !queue.connected() {
            continue;
        }
        let outbox = queue.outbox().await.ok();
        let later = queue.context.get_stream(queue.later_stream()).await.ok();
        if let (Some(outbox), Some(later)) = (&outbox, &later) {
            let (first, second) = (&outbox.cached_info().state, &later.cached_info().state);
            let since = match first.messages {
                0 => None,
                _ => i64::try_from(first.first_timestamp.unix_timestamp_nanos() / 1_000_000).ok(),
            };
            let since = since.into_iter().chain(oldest(later).await).min();
            metrics.oldest_job_seconds.set(since.map_or(0, |since| (now_ms() - since).max(0) / 1000));
            metrics.jobs.set(i64::try_from(first.messages + second.messages).unwrap_or(i64::MAX));
        }
        if let Some(outbox) = &outbox {
            let gone = gone(&queue, outbox, &mut gone_until).await;
            if gone > 0 {
                tracing::error!(gone, "mails waited for longer than the outbox keeps them, and are lost");
                metrics.lost.inc_by(gone);
            }
        }
        if let Ok(stream) = queue.context.get_stream(queue.dead_stream()).await {
            let dead = stream.cached_info().state.messages;
            metrics.dead_letters.set(i64::try_from(dead).unwrap_or(i64::MAX));
        }
    }
}

/// When the job that was put off the longest ago came into the outbox. A later one may be a little older.
async fn oldest(later: &Stream) -> Option<i64> {
    let state = &later.cached_info().state;
    if state.messages == 0 {
        return None;
    }
    let first = later.get_raw_message(state.first_sequence).await.ok()?;
    first.headers.get(SINCE)?.as_str().parse().ok()
}

/// How many jobs are gone that nobody was given, beyond those counted before. From a work queue who takes a message removes it, and age
/// does.
async fn gone(queue: &Queue, outbox: &Stream, counted_until: &mut u64) -> u64 {
    let Ok(given_until) = queue.given_until(outbox).await else { return 0 };
    let gone_until = outbox.cached_info().state.first_sequence.saturating_sub(1);
    let gone = gone_until.saturating_sub(given_until.max(*counted_until));
    *counted_until = (*counted_until).max(gone_until);
    gone
}
