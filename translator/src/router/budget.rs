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
        for window in &self.windows {
            window.spend(self.engine, characters, now, self.shared.as_ref()).await?;
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
        let name = format!("budget:{engine}:{}:{number}", self.seconds);
        match shared.add(&name, characters, Duration::from_secs(2 * self.seconds)).await {
            Some(all) if all > self.most => {
                // Not spent after all: others may need fewer.
                shared.add_back(&name, characters).await;
                let mut spent = self.spent.lock();
                spent.1 = spent.1.saturating_sub(characters);
                Err(ends)
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn no_more_is_spent_than_allowed() {
        let budget = Budget::new("deepl", 0, 100, None);
        assert!(budget.spend(60).await.is_ok());
        let wait = budget.spend(60).await.unwrap_err();
        assert!(wait <= Duration::from_secs(86_400));
        // At midnight, UTC, a new day begins.
        assert!(budget.spend(40).await.is_ok() || wait < Duration::from_secs(1));
        assert!(Budget::new("x", 0, 0, None).spend(u64::MAX).await.is_ok());
    }
}
