//! The translator.

use rookery_crds::cluster::{EngineUsage, RedisSpec, SecretKey, TranslatorSpec};
use serde_json::{Value, json};

use super::{
    Inputs, MANAGEMENT_PORT, Manifest,
    config::{self, Access},
    pods::Volume,
    side::{self, Side},
};

const DRAIN: i32 = 10;

/// Whether translators cannot use the cluster's Redis: they know neither sentinels nor clusters of it, nor certificates of their own.
pub fn redis_is_left_out(redis: &RedisSpec) -> bool {
    redis.external.as_ref().is_some_and(|redis| {
        let plain = redis.url.starts_with("redis://") || redis.url.starts_with("rediss://");
        !plain || redis.tls.as_ref().is_some_and(|tls| tls.client_secret.is_some())
    })
}

pub(super) fn build(inputs: &Inputs<'_>, translator: &TranslatorSpec) -> Vec<Manifest> {
    let (nats, _) = config::nats(inputs);
    let redis = if redis_is_left_out(&inputs.spec.redis) { Access::default() } else { config::redis(inputs) };
    let mut outside = [nats.outside, redis.outside].concat();
    let mut volumes = nats.volumes;
    volumes.extend(redis.volumes);

    // Nothing on this machine is an engine.
    let mut engines = json!({ "engines": "deepl azure libretranslate", "apertium": { "modes": "" } });
    let mut mount = |engine: &mut Value, setting: &str, folder: &str, file: &str, secret: &SecretKey| {
        let path = format!("/run/rookery/{folder}");
        engine[setting] = format!("{path}/{file}").into();
        volumes.push(Volume::secret(folder, &secret.name, &path, &[(&secret.key, file)]));
        outside.push(config::secret_key(&secret.name, &secret.key));
    };
    // Without a Redis each translator counts for itself what may be spent: then each has its part of it.
    let alone = redis_is_left_out(&inputs.spec.redis);
    let share = |characters: i64| match (alone, characters) {
        (true, characters) if characters > 0 => (characters / i64::from(translator.replicas.max(1))).max(1),
        (_, characters) => characters,
    };
    let mut engine = |of: &str, url: &str, usage: &EngineUsage, key: Option<&SecretKey>| {
        let languages = if usage.languages.is_empty() { &translator.languages } else { &usage.languages };
        let day_characters = share(usage.day_characters);
        let mut engine =
            json!({ "url": url, "day_characters": day_characters, "languages": languages.join(" ") });
        if let Some(secret) = key {
            mount(&mut engine, "api_key_file", &format!("{of}-key"), "key", secret);
        }
        engines[of] = engine;
    };
    if let Some(deepl) = &translator.deepl {
        engine("deepl", &deepl.url, &deepl.usage, Some(&deepl.key_secret));
    }
    if let Some(google) = &translator.google {
        engine("google", &google.url, &google.usage, google.key_secret.as_ref());
    }
    if let Some(azure) = &translator.azure {
        engine("azure", &azure.url, &azure.usage, Some(&azure.key_secret));
    }
    if let Some(libre) = &translator.libre_translate {
        engine("libretranslate", &libre.url, &libre.usage, libre.key_secret.as_ref());
    }
    if let Some(google) = &translator.google {
        // Not said where there is none: translators that run are not to be replaced by an operator that knows one engine more.
        engines["engines"] = "deepl google azure libretranslate".into();
        let settings = &mut engines["google"];
        settings["version"] = if google.key_secret.is_some() { 2 } else { 3 }.into();
        for (name, value) in [("project", &google.project), ("location", &google.location)] {
            if let Some(value) = value {
                settings[name] = value.clone().into();
            }
        }
        if let Some(secret) = &google.credentials_secret {
            mount(settings, "credentials_file", "google-credentials", "account.json", secret);
        }
    }
    if let Some(region) = translator.azure.as_ref().and_then(|azure| azure.region.as_ref()) {
        engines["azure"]["region"] = region.clone().into();
    }
    // Its settings differ from the others': no streams, servers as one text, Redis without certificates or sentinels.
    let mut nats = nats.settings;
    if let Some(settings) = nats.as_object_mut() {
        settings.remove("replicas");
        let urls = settings.get("urls").and_then(Value::as_array).cloned().unwrap_or_default();
        let urls: Vec<_> = urls.iter().filter_map(Value::as_str).collect();
        settings.insert("urls".to_owned(), urls.join(",").into());
    }
    let redis = if alone { json!({}) } else { redis.settings };
    let settings = json!({
        "server": {
            "cluster": inputs.cluster_name(),
            "management": format!("0.0.0.0:{MANAGEMENT_PORT}"),
            "drain_deadline_seconds": DRAIN,
        },
        "log": { "format": "json" },
        "nats": nats,
        "redis": redis,
        "translator": engines,
    });
    let side = Side {
        component: "translator",
        image: inputs.spec.images.translator.as_ref(),
        command: "serve",
        replicas: translator.replicas,
        drain: DRAIN,
        settings: &settings,
        volumes,
        outside,
        resources: translator.resources.as_ref(),
    };
    side::build(inputs, side)
}
