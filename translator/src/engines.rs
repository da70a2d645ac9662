//! The engines that settings name and that are there.

use std::{sync::Arc, time::Duration};

use crate::{
    engine::{
        Class, Engine,
        apertium::Apertium,
        firefox::Firefox,
        remote::{Azure, Deepl, Google, LibreTranslate},
    },
    settings::TranslatorSettings,
};

/// Whether any engine is set up or perhaps installed, found out without waiting.
pub fn may_be_there(settings: &TranslatorSettings) -> bool {
    let remotes =
        [&settings.libretranslate, &settings.deepl, &settings.google.remote, &settings.azure.remote];
    let modes = || {
        let entries = std::fs::read_dir(&settings.apertium.modes);
        entries.is_ok_and(|mut entries| {
            entries.any(|entry| {
                entry.is_ok_and(|entry| entry.path().extension().is_some_and(|end| end == "mode"))
            })
        })
    };
    !settings.firefox.models.as_os_str().is_empty()
        || remotes.iter().any(|remote| !remote.url.is_empty())
        || modes()
}

/// Sets engines up; says in the log which there are.
///
/// # Errors
/// A sentence that names the setting: an engine is set up and cannot be used. An engine that is not set up, or of which nothing
/// is installed, is passed over.
pub async fn set_up(settings: &TranslatorSettings) -> Result<Vec<Arc<dyn Engine>>, String> {
    let mut engines: Vec<Arc<dyn Engine>> = Vec::new();
    let listed = |name: &str| {
        let lists = settings.order.values().chain([&settings.engines]);
        lists.flat_map(|list| list.split_whitespace()).any(|listed| listed == name)
    };
    let class = if settings.idle_class { Class::Idle } else { Class::Usual };
    let wrong = |name: &str, why: String| format!("translator.{name}: {why}");
    if listed("firefox") && !settings.firefox.models.as_os_str().is_empty() {
        let folder = &settings.firefox.models;
        let looked_in = folder.clone();
        let found = tokio::task::spawn_blocking(move || Firefox::find(&looked_in, class)).await;
        let found = found.map_err(|_| "it cannot be looked for".to_owned()).and_then(|found| found);
        let found = found.map_err(|why| wrong("firefox.models", why))?;
        if found.is_empty() {
            return Err(wrong("firefox.models", format!("there is no model in {}", folder.display())));
        }
        engines.push(Arc::new(found));
    }
    if listed("apertium") && !settings.apertium.modes.as_os_str().is_empty() {
        let found = Apertium::find(&settings.apertium.modes, class).await;
        if !found.is_empty() {
            engines.push(Arc::new(found));
        }
    }
    let timeout = Duration::from_millis(settings.timeout_ms);
    let set = |name: &str, url: &str| listed(name) && !url.is_empty();
    if set("libretranslate", &settings.libretranslate.url) {
        let engine = LibreTranslate::new(&settings.libretranslate, timeout);
        engines.push(Arc::new(engine.map_err(|why| wrong("libretranslate", why))?));
    }
    if set("deepl", &settings.deepl.url) {
        engines.push(Arc::new(Deepl::new(&settings.deepl, timeout).map_err(|why| wrong("deepl", why))?));
    }
    if set("google", &settings.google.remote.url) {
        engines.push(Arc::new(Google::new(&settings.google, timeout).map_err(|why| wrong("google", why))?));
    }
    if set("azure", &settings.azure.remote.url) {
        engines.push(Arc::new(Azure::new(&settings.azure, timeout).map_err(|why| wrong("azure", why))?));
    }
    for engine in &engines {
        let pairs: Vec<_> =
            engine.pairs().iter().map(|(source, target)| format!("{source}-{target}")).collect();
        tracing::info!(engine = engine.name(), pairs = pairs.join(" "), "translates");
    }
    Ok(engines)
}
