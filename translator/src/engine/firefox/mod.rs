//! Firefox Translations: neural models of a few dozen megabytes, run in this process.
//!
//! Each model translates one way, all of them to English or from it; other pairs go by way of English. An engine of the library
//! stays on the thread that made it, so each direction has a thread, which loads its model when it is first needed.

mod block;
mod direction;
mod models;

use std::{collections::BTreeMap, path::Path, sync::Arc};

use async_trait::async_trait;

use self::direction::Direction;
use super::{Answers, Batch, Class, Engine, EngineError, Most};
use crate::text::Lang;

/// See the module's text.
pub struct Firefox {
    directions: BTreeMap<(Lang, Lang), Direction>,
}

/// Whether this machine can run the library's code, which is built for these instructions without asking.
fn cpu_suffices() -> bool {
    #[cfg(target_arch = "x86_64")]
    return std::arch::is_x86_feature_detected!("avx2");
    #[cfg(target_arch = "aarch64")]
    return std::arch::is_aarch64_feature_detected!("i8mm");
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    return true;
}

impl Firefox {
    /// Finds the models in a folder and the folders in it, and loads each once: what is damaged is told to whoever starts it, and not
    /// to the first who reads its language. Empty if there are none. Takes a moment for each. `class` is for
    /// translating alone.
    ///
    /// # Errors
    /// A sentence: which model cannot be used, or that this machine cannot run them.
    pub fn find(folder: &Path, class: Class) -> Result<Self, String> {
        let models = models::find(folder)?;
        if !models.is_empty() && !cpu_suffices() {
            return Err("this machine's processor cannot run them: it lacks AVX2 (on ARM: i8mm)".to_owned());
        }
        let directions = models.into_iter().map(|(pair, files)| {
            let direction = Direction::new(pair, files, class);
            direction.try_out().map(|()| (pair, direction))
        });
        Ok(Self { directions: directions.collect::<Result<_, _>>()? })
    }

    /// Whether there is no model.
    pub fn is_empty(&self) -> bool {
        self.directions.is_empty()
    }

    /// One model, or two by way of English.
    fn way(&self, source: Lang, target: Lang) -> Option<Vec<&Direction>> {
        if let Some(direct) = self.directions.get(&(source, target)) {
            return Some(vec![direct]);
        }
        let there = self.directions.get(&(source, Lang::ENGLISH))?;
        let on = self.directions.get(&(Lang::ENGLISH, target))?;
        Some(vec![there, on])
    }
}

#[async_trait]
impl Engine for Firefox {
    fn name(&self) -> &'static str {
        "firefox"
    }

    fn version(&self, source: Lang, target: Lang) -> String {
        let way = self.way(source, target).unwrap_or_default();
        way.iter().map(|direction| direction.version()).collect::<Vec<_>>().join("+")
    }

    fn has(&self, source: Lang, target: Lang) -> bool {
        source != target && self.way(source, target).is_some()
    }

    fn pairs(&self) -> Vec<(Lang, Lang)> {
        self.directions.keys().copied().collect()
    }

    fn most_per_call(&self) -> Most {
        Most { lines: 32, characters: 5_000 }
    }

    async fn translate(&self, batch: Batch) -> Result<Answers, EngineError> {
        let mut all = Vec::with_capacity(batch.targets.len());
        for target in &batch.targets {
            let way = self.way(batch.source, *target);
            let way = way.ok_or(EngineError::Unfit("it does not have this pair".into()))?;
            let mut texts = batch.texts.clone();
            for direction in way {
                texts = Arc::from(direction.ask(texts).await?);
            }
            all.push(texts.to_vec());
        }
        Ok(all)
    }
}
