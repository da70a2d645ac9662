//! What may be spent on a paid engine in a minute and in a day, by all translators together where they share a Redis.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;

use super::shared::SharedStore;

/// See the module's text. Windows are those of the clock: whole minutes and whole days, UTC.
pub(super) struct Budget {
    engine: &'static str,
    windows: Vec<Window>,
    shared: Option<SharedStore>,
}

struct Window {
    seconds: u64,
    most: u64,
    /// Number of the window, and what this process has spent in it.
    spent: Mutex<(u64, u64)>,
}

impl Budget {
    pub(super) fn new(engine: &'static str, minute: u64, day: u64, shared: Option<SharedStore>) -> Self {
        let window = |seconds, most| Window { seconds, most, spent: Mutex::default() };
        let windows = [(60, minute), (86_400, day)].into_iter().filter(|(_, most)| *most > 0);
        Self { engine, windows: windows.map(|(seconds, most)| window(seconds, most)).collect(), shared }
    }

    /// Spends so many characters, or says when there will be some again. What is spent stays spent if the engine fails: it may
    /// have counted them.
    pub(super) async fn spend(&self, characters: u64) -> Result<(), Duration> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.spend_at(now, characters).await
    }

    async fn spend_at(&self, now: Duration, characters: u64) -> Result<(), Duration> {
        for (at, window) in self.windows.iter().enumerate() {
            if let Err(wait) = window.spend(self.engine, characters, now, self.shared.as_ref()).await {
                for spent in &self.windows[..at] {
                    spent.give_back(self.engine, characters, now, self.shared.as_ref()).await;
                }
                return Err(wait);
            }
        }
        Ok(())
    }
}

impl Window {
    async fn spend(
        &self,
        engine: &str,
        characters: u64,
        now: Duration,
        shared: Option<&SharedStore>,
    ) -> Result<(), Duration> {
        let number = now.as_secs() / self.seconds;
        let ends = Duration::from_secs((number + 1) * self.seconds).saturating_sub(now);
        {
            let mut spent = self.spent.lock();
            if spent.0 != number {
                *spent = (number, 0);
            }
            // What this process has spent counts also while Redis is away.
            if spent.1 + characters > self.most {
                return Err(ends);
            }
            spent.1 += characters;
        }
        let Some(shared) = shared else { return Ok(()) };
        match shared.add(&self.name(engine, number), characters, Duration::from_secs(2 * self.seconds)).await
        {
            Some(all) if all > self.most => {
                self.give_back(engine, characters, now, Some(shared)).await;
                Err(ends)
            }
            _ => Ok(()),
        }
    }

    /// Not spent after all: others may need fewer.
    async fn give_back(&self, engine: &str, characters: u64, now: Duration, shared: Option<&SharedStore>) {
        let number = now.as_secs() / self.seconds;
        {
            let mut spent = self.spent.lock();
            if spent.0 == number {
                spent.1 = spent.1.saturating_sub(characters);
            }
        }
        if let Some(shared) = shared {
            shared.add_back(&self.name(engine, number), characters).await;
        }
    }

    fn name(&self, engine: &str, number: u64) -> String {
        format!("budget:{engine}:{}:{number}", self.seconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn no_more_is_spent_than_allowed_in_a_minute_and_in_a_day() {
        let budget = Budget::new("deepl", 100, 150, None);
        let midnight = 86_400 * 20_000;
        let spend =
            |second: u64, characters| budget.spend_at(Duration::from_secs(midnight + second), characters);
        assert_eq!(spend(10, 60).await, Ok(()));
        assert_eq!(spend(10, 60).await, Err(Duration::from_secs(50)));
        assert_eq!(spend(10, 40).await, Ok(()));
        assert_eq!(spend(60, 60).await, Err(Duration::from_secs(86_340)), "the day's are spent");
        // What the day refused is not taken from the minute.
        assert_eq!(spend(60, 50).await, Ok(()));
        assert_eq!(spend(86_400, 60).await, Ok(()), "at midnight, UTC, a new day begins");
        assert!(Budget::new("x", 0, 0, None).spend(u64::MAX).await.is_ok());
    }
}
