//! Turns of what a mailer writes: NATS has one write of its to store at a time.
//!
//! Each is stored by several servers and synced there, as chat's messages are, and a mail is three. With as many under way as there are
//! connections, an outbox that is full would have chat wait for them: where all share one core its p99 was 1.5 times as long, and with one at a time, at which a
//! mailer sends 160 to 200 mails a second where it sent 210 to 250, hardly longer (docs/benchmarks.md). Pauses between them brought
//! nothing more.

use std::{pin::pin, time::Duration};

use tokio::{sync::Semaphore, time::timeout};

/// A write that takes longer keeps nobody waiting: NATS may be away, and all find that out at the same time then.
const PATIENCE: Duration = Duration::from_millis(250);

#[derive(Debug)]
pub(super) struct Turns(Semaphore);

impl Turns {
    pub(super) fn new() -> Self {
        Self(Semaphore::new(1))
    }

    /// Writes when it is its turn.
    pub(super) async fn write<T>(&self, write: impl Future<Output = T>) -> T {
        let turn = self.0.acquire().await;
        let mut write = pin!(write);
        match timeout(PATIENCE, &mut write).await {
            Ok(done) => done,
            Err(_) => {
                drop(turn);
                write.await
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        future::pending,
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering},
        },
    };

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_is_under_way_at_a_time_unless_it_hangs() {
        let (turns, under_way) = (Arc::new(Turns::new()), Arc::<AtomicUsize>::default());
        let one = || {
            let (turns, under_way) = (turns.clone(), under_way.clone());
            tokio::spawn(async move {
                let write = async {
                    assert_eq!(under_way.fetch_add(1, Ordering::Relaxed), 0);
                    tokio::time::sleep(Duration::from_millis(3)).await;
                    under_way.fetch_sub(1, Ordering::Relaxed);
                };
                turns.write(write).await;
            })
        };
        let all: Vec<_> = (0..20).map(|_| one()).collect();
        for one in all {
            one.await.unwrap();
        }
        let hangs = {
            let turns = turns.clone();
            tokio::spawn(async move { turns.write(pending::<()>()).await })
        };
        tokio::task::yield_now().await;
        let begun = tokio::time::Instant::now();
        one().await.unwrap();
        assert!(begun.elapsed() >= PATIENCE && begun.elapsed() < 2 * PATIENCE, "{:?}", begun.elapsed());
        hangs.abort();
    }
}
