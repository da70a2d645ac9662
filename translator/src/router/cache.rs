//! Translations that are known: a few in this process, all of them in Redis.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use quick_cache::{Weighter, sync};
use sha2::{Digest, Sha256};

use super::shared::SharedStore;
use crate::{metrics::TranslatorMetrics, settings::TranslatorSettings, text::Lang};

/// A text and its language, by their hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Content([u8; 16], Lang);

impl Content {
    pub(super) fn new(text: &str, source: Lang) -> Self {
        let mut hash = [0; 16];
        hash.copy_from_slice(&Sha256::digest(text)[..16]);
        Self(hash, source)
    }
}

/// What a translation is remembered by.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) content: Content,
    pub(super) target: Lang,
    pub(super) engine: &'static str,
    pub(super) version: String,
}

impl Key {
    /// In Redis.
    pub(super) fn name(&self) -> String {
        let Content(hash, source) = &self.content;
        let hash: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("text:{hash}:{source}:{}:{}:{}", self.target, self.engine, self.version)
    }
}

#[derive(Clone)]
struct Bytes;

impl Weighter<Key, Arc<str>> for Bytes {
    fn weight(&self, key: &Key, text: &Arc<str>) -> u64 {
        (size_of::<Key>() + key.version.len() + text.len() + 64) as u64
    }
}

/// See the module's text.
pub(super) struct Cache {
    local: sync::Cache<Key, Arc<str>, Bytes>,
    shared: Option<SharedStore>,
    time: Duration,
    /// What an engine has refused for good, and when.
    unfit: sync::Cache<Key, Instant>,
    metrics: TranslatorMetrics,
}

/// A usual text with its key, in bytes.
const USUAL: u64 = 400;
/// What was refused for good is not asked for again for so long. A service may learn a language.
const UNFIT: Duration = Duration::from_secs(86_400);
/// So many of them are known.
const MOST_UNFIT: usize = 10_000;

impl Cache {
    pub(super) fn new(
        settings: &TranslatorSettings,
        shared: Option<SharedStore>,
        metrics: TranslatorMetrics,
    ) -> Self {
        let bytes = settings.cache_mib << 20;
        let items = usize::try_from(bytes / USUAL).unwrap_or(usize::MAX);
        Self {
            local: sync::Cache::with_weighter(items, bytes, Bytes),
            shared,
            time: Duration::from_secs(settings.cache_days * 86_400),
            unfit: sync::Cache::new(MOST_UNFIT),
            metrics,
        }
    }

    /// For each list of keys the first that is known, and its engine.
    pub(super) async fn get(&self, wanted: Vec<Vec<Key>>) -> Vec<Option<(Arc<str>, &'static str)>> {
        let local = |keys: &Vec<Key>| keys.iter().find_map(|key| Some((self.local.get(key)?, key.engine)));
        let mut found: Vec<_> = wanted.iter().map(local).collect();
        self.metrics_hits("local", found.iter().flatten().count());
        let Some(shared) = &self.shared else { return found };
        let missing: Vec<(usize, &Key)> = wanted
            .iter()
            .enumerate()
            .filter(|(at, _)| found[*at].is_none())
            .flat_map(|(at, keys)| keys.iter().map(move |key| (at, key)))
            .collect();
        if missing.is_empty() {
            return found;
        }
        let names: Vec<_> = missing.iter().map(|(_, key)| key.name()).collect();
        let mut hits = 0;
        for ((at, key), text) in missing.into_iter().zip(shared.get(&names).await) {
            if let (None, Some(text)) = (&found[at], text) {
                let text: Arc<str> = text.into();
                self.local.insert(key.clone(), text.clone());
                found[at] = Some((text, key.engine));
                hits += 1;
            }
        }
        self.metrics_hits("redis", hits);
        found
    }

    /// Whoever asks for it again, at each look at the history, say, must not have a paid service asked again.
    pub(super) fn is_unfit(&self, key: &Key) -> bool {
        self.unfit.get(key).is_some_and(|since| since.elapsed() < UNFIT)
    }

    pub(super) fn remember_unfit(&self, key: Key) {
        self.unfit.insert(key, Instant::now());
    }

    fn metrics_hits(&self, cache: &'static str, hits: usize) {
        for _ in 0..hits {
            self.metrics.hit(cache);
        }
    }

    pub(super) async fn put(&self, key: Key, text: &str) {
        if let Some(shared) = &self.shared {
            shared.put(&key.name(), text, self.time).await;
        }
        self.local.insert(key, text.into());
    }
}
