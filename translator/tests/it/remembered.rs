//! What translations are remembered by, in a real Redis: the text, its language, the target, the engine and its version.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use async_trait::async_trait;
use rookery_translator::{
    engine::{Answers, Batch, Engine, EngineError, Most},
    metrics::TranslatorMetrics,
    router::{SharedStore, Translator},
    settings::TranslatorSettings,
    text::Lang,
};

use crate::support::text;

/// Says who it is, and what it was asked.
struct Named {
    name: &'static str,
    version: &'static str,
    calls: Arc<AtomicUsize>,
}

#[async_trait]
impl Engine for Named {
    fn name(&self) -> &'static str {
        self.name
    }

    fn version(&self, _: Lang, _: Lang) -> String {
        self.version.to_owned()
    }

    fn has(&self, _: Lang, _: Lang) -> bool {
        true
    }

    fn most_per_call(&self) -> Most {
        Most { lines: 10, characters: 1_000 }
    }

    async fn translate(&self, batch: Batch) -> Result<Answers, EngineError> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        let Batch { texts, source, targets } = batch;
        let say = |target: &Lang| {
            let of = |text: &String| format!("{text}: {source}-{target} {}-{}", self.name, self.version);
            texts.iter().map(of).collect()
        };
        Ok(targets.iter().map(say).collect())
    }
}

/// A translation that is asked for: text, source, target, engine, version.
type Asked = (&'static str, &'static str, &'static str, &'static str, &'static str);

const FIRST: Asked = ("Tea or milk", "en", "es", "deepl", "1");
/// Each differs from the first in one of these.
const OTHERS: [Asked; 5] = [
    ("Milk or tea", "en", "es", "deepl", "1"),
    ("Tea or milk", "de", "es", "deepl", "1"),
    ("Tea or milk", "en", "fr", "deepl", "1"),
    ("Tea or milk", "en", "es", "azure", "1"),
    ("Tea or milk", "en", "es", "deepl", "2"),
];

/// By a translator that remembers nothing itself, with this engine alone.
async fn ask(redis: &str, calls: &Arc<AtomicUsize>, (line, source, target, name, version): Asked) -> String {
    let shared = {
        let client = redis::Client::open(redis).unwrap();
        SharedStore::open(client, "test", TranslatorMetrics::default(), rookery_testbed::PATIENCE).unwrap()
    };
    let engine = Named { name, version, calls: calls.clone() };
    let settings = TranslatorSettings::default();
    let translator =
        Translator::new(vec![Arc::new(engine)], &settings, Some(&shared), TranslatorMetrics::default());
    let (answer, by) = text(&translator, line, source, target).await;
    assert_eq!(by, name);
    answer
}

#[tokio::test]
async fn each_part_of_what_a_translation_is_remembered_by_tells_it_from_others() {
    let Some(redis) = tokio::task::spawn_blocking(rookery_testbed::redis).await.unwrap() else { return };
    let calls = Arc::new(AtomicUsize::new(0));
    let mut connection =
        redis::Client::open(redis.url()).unwrap().get_multiplexed_async_connection().await.unwrap();
    let all = || [FIRST].into_iter().chain(OTHERS);
    // The second time each is known, and is its own.
    for known in [false, true] {
        for (number, asked) in all().enumerate() {
            let (line, source, target, name, version) = asked;
            let answer = ask(&redis.url(), &calls, asked).await;
            assert_eq!(answer, format!("{line}: {source}-{target} {name}-{version}"));
            let wanted = if known { OTHERS.len() + 1 } else { number + 1 };
            assert_eq!(calls.load(Ordering::SeqCst), wanted, "{asked:?}");
            let keys: Vec<String> =
                redis::cmd("KEYS").arg("test:translator:text:*").query_async(&mut connection).await.unwrap();
            assert_eq!(keys.len(), wanted, "{asked:?}: {keys:?}");
        }
    }
    // They are kept for the days that settings say, and not for ever.
    let keys: Vec<String> =
        redis::cmd("KEYS").arg("test:translator:text:*").query_async(&mut connection).await.unwrap();
    let most = TranslatorSettings::default().cache_days * 86_400;
    for key in keys {
        let life: u64 = redis::cmd("TTL").arg(&key).query_async(&mut connection).await.unwrap();
        assert!((most - 600..=most).contains(&life), "{key}: {life}");
    }
    tokio::task::spawn_blocking(move || drop(redis)).await.unwrap();
}
