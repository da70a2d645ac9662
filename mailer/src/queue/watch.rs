//! Looks at the streams every few seconds: how many jobs wait, how long the oldest has, and how many were given up.

use std::time::Duration;

use super::Queue;
use crate::{courier::now_ms, metrics::MailerMetrics};

const EVERY: Duration = Duration::from_secs(5);

/// Keeps the gauges, until it is aborted.
pub async fn watch(queue: Queue, metrics: MailerMetrics) {
    let mut tick = tokio::time::interval(EVERY);
    loop {
        tick.tick().await;
        // Asking while disconnected would only queue the question.
        if !queue.connected() {
            continue;
        }
        if let Ok(stream) = queue.outbox().await {
            let state = &stream.cached_info().state;
            let since = state.first_timestamp.unix_timestamp_nanos() / 1_000_000;
            let age = (i128::from(now_ms()) - since).max(0) / 1000;
            let age = if state.messages == 0 { 0 } else { i64::try_from(age).unwrap_or(i64::MAX) };
            metrics.oldest_job_seconds.set(age);
            metrics.jobs.set(i64::try_from(state.messages).unwrap_or(i64::MAX));
        }
        if let Ok(stream) = queue.context.get_stream(queue.dead_stream()).await {
            let dead = stream.cached_info().state.messages;
            metrics.dead_letters.set(i64::try_from(dead).unwrap_or(i64::MAX));
        }
    }
}
