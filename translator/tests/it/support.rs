//! What the tests share: which engines are installed.

use std::{
    io::Write as _,
    path::{Path, PathBuf},
    sync::{Arc, LazyLock},
    time::Duration,
};

use rookery_translator::{
    engine::{Class, Engine, apertium, apertium::Apertium, firefox::Firefox},
    engines,
    metrics::TranslatorMetrics,
    router::{Outcome, Request, SharedStore, Translator},
    settings::TranslatorSettings,
    text::Lang,
};

pub(crate) fn lang(tag: &str) -> Lang {
    Lang::parse(tag).unwrap()
}

pub(crate) fn skipped(what: &str) {
    // Not by `eprintln!`, which the test harness would swallow.
    let _ = writeln!(std::io::stderr(), "SKIPPED: {what}; run scripts/setup test to get it");
}

/// What a wait is for must come within a minute.
pub(crate) async fn within<T>(what: &str, wait: impl Future<Output = T>) -> T {
    let answer = tokio::time::timeout(rookery_testbed::PATIENCE, wait).await;
    answer.unwrap_or_else(|_| panic!("waited in vain: {what}"))
}

/// Asks until it is so.
pub(crate) async fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let asked = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    within(what, asked).await;
}

/// A folder with the few modes that are used here: each is tested at every start.
pub(crate) fn modes() -> &'static Path {
    static FOLDER: LazyLock<tempfile::TempDir> = LazyLock::new(|| {
        let folder = tempfile::tempdir().unwrap();
        for name in ["eng-spa.mode", "spa-eng.mode", "spa-cat.mode"] {
            let _ = std::fs::copy(Path::new(apertium::MODES).join(name), folder.path().join(name));
        }
        folder
    });
    FOLDER.path()
}

/// Apertium with English and Spanish.
pub(crate) async fn apertium() -> Option<Apertium> {
    let found = Apertium::find(modes(), Class::Usual).await;
    let usable = found.has(lang("en"), lang("es")) && found.has(lang("es"), lang("en"));
    if !usable {
        skipped("apertium and its pair eng-spa are not installed");
    }
    usable.then_some(found)
}

/// Where `scripts/servers` puts the models.
pub(crate) fn models() -> Option<PathBuf> {
    let found = rookery_testbed::find_models();
    if found.is_none() {
        skipped("the models of Firefox Translations are not there");
    }
    found
}

/// Firefox' models, English and Portuguese.
pub(crate) fn firefox() -> Option<Firefox> {
    match Firefox::find(&models()?, Class::Usual) {
        Ok(found) => Some(found),
        Err(why) => {
            skipped(&why);
            None
        }
    }
}

/// A translator with the engines of `settings`.
pub(crate) async fn translator(settings: &TranslatorSettings) -> Arc<Translator> {
    with_redis(settings, None).await
}

pub(crate) async fn with_redis(
    settings: &TranslatorSettings,
    redis: Option<&SharedStore>,
) -> Arc<Translator> {
    with_further(settings, redis, None).await
}

/// With an engine that is there already besides.
pub(crate) async fn with_further(
    settings: &TranslatorSettings,
    redis: Option<&SharedStore>,
    further: Option<Arc<Apertium>>,
) -> Arc<Translator> {
    assert_eq!(settings.check(), []);
    let mut engines = engines::set_up(settings).await.unwrap();
    engines.extend(further.map(|engine| engine as Arc<dyn Engine>));
    Translator::new(engines, settings, redis, TranslatorMetrics::default())
}

/// One engine alone, with an equal share of the cores that tests use all of.
pub(crate) fn only(engine: &str) -> TranslatorSettings {
    TranslatorSettings { engines: engine.to_owned(), idle_class: false, ..TranslatorSettings::default() }
}

/// Apertium alone.
pub(crate) fn only_apertium() -> TranslatorSettings {
    let mut settings = only("apertium");
    settings.apertium.modes = modes().to_owned();
    settings
}

pub(crate) fn request(text: &str, source: &str, targets: &[&str]) -> Request {
    let targets = targets.iter().map(|tag| lang(tag)).collect();
    Request { text: text.to_owned(), source: Some(lang(source)), source_is_sure: true, targets }
}

pub(crate) async fn ask(translator: &Arc<Translator>, text: &str, source: &str, target: &str) -> Outcome {
    let asked = translator.translate(request(text, source, &[target]));
    within("an answer of the translator", asked).await.outcomes.remove(0)
}

/// The text, and whose it is.
pub(crate) async fn text(
    translator: &Arc<Translator>,
    text: &str,
    source: &str,
    target: &str,
) -> (String, String) {
    match ask(translator, text, source, target).await {
        Outcome::Text { text, engine } => (text.to_string(), engine.to_string()),
        other => panic!("{text:.200?} was not translated: {other:?}"),
    }
}
