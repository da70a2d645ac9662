//! The translator.

use rookery_crds::cluster::{SecretKey, TranslatorSpec};
use serde_json::{Value, json};

use super::{
    Inputs, MANAGEMENT_PORT, Manifest, config,
    pods::Volume,
    side::{self, Side},
};

const DRAIN: i32 = 10;

pub(super) fn build(inputs: &Inputs<'_>, translator: &TranslatorSpec) -> Vec<Manifest> {
    let (nats, _) = config::nats(inputs);
    let redis = config::redis(inputs);
    let mut outside = [nats.outside, redis.outside].concat();
    let mut volumes = nats.volumes;
    volumes.extend(redis.volumes);

    // Nothing on this machine is an engine.
    let mut engines = json!({ "engines": "deepl azure libretranslate", "apertium": { "modes": "" } });
    let mut key = |engine: &mut Value, of: &str, secret: Option<&SecretKey>| {
        let Some(secret) = secret else { return };
        let path = format!("/run/rookery/{of}-key");
        engine["api_key_file"] = format!("{path}/key").into();
        volumes.push(Volume::secret(&format!("{of}-key"), &secret.name, &path, &[(&secret.key, "key")]));
        outside.push(config::secret_key(&secret.name, &secret.key));
    };
    if let Some(deepl) = &translator.deepl {
        let mut engine = json!({
            "url": deepl.url,
            "languages": deepl.languages.join(" "),
            "day_characters": deepl.day_characters,
        });
        key(&mut engine, "deepl", Some(&deepl.key_secret));
        engines["deepl"] = engine;
    }
    if let Some(azure) = &translator.azure {
        let mut engine = json!({ "url": azure.url, "day_characters": azure.day_characters });
        if let Some(region) = &azure.region {
            engine["region"] = region.clone().into();
        }
        key(&mut engine, "azure", Some(&azure.key_secret));
        engines["azure"] = engine;
    }
    if let Some(libre) = &translator.libre_translate {
        let mut engine = json!({ "url": libre.url });
        key(&mut engine, "libretranslate", libre.key_secret.as_ref());
        engines["libretranslate"] = engine;
    }
    // Its settings differ from the others': no streams, servers as one text, Redis without certificates or sentinels.
    let mut nats = nats.settings;
    if let Some(settings) = nats.as_object_mut() {
        settings.remove("replicas");
        let urls = settings.get("urls").and_then(Value::as_array).cloned().unwrap_or_default();
        let urls: Vec<_> = urls.iter().filter_map(Value::as_str).collect();
        settings.insert("urls".to_owned(), urls.join(",").into());
    }
    let mut redis = redis.settings;
    let plain =
        redis["url"].as_str().is_some_and(|url| url.starts_with("redis://") || url.starts_with("rediss://"));
    if let Some(settings) = redis.as_object_mut() {
        let known = ["url", "username", "password_file", "tls_ca"];
        settings.retain(|key, _| plain && known.contains(&key.as_str()));
    }
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
