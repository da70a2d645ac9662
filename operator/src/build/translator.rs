//! The translator.

use rookery_crds::cluster::{SecretKey, TranslatorSpec};
use serde_json::{Value, json};

use super::{
    Inputs, MANAGEMENT_PORT, Manifest, config,
    mailer::{deployment, probes},
    pods::{self, OURS, Pod, Volume},
};

const COMPONENT: &str = "translator";
const DRAIN: i32 = 10;

pub(super) fn build(inputs: &Inputs<'_>, translator: &TranslatorSpec) -> Vec<Manifest> {
    let names = inputs.names();
    let name = names.part(COMPONENT);
    let (nats, _) = config::nats(inputs);
    let redis = config::redis(inputs);
    let mut outside = [nats.outside, redis.outside].concat();
    let mut volumes = vec![Volume::config("config", &name, "/etc/rookery")];
    volumes.extend(nats.volumes);
    volumes.extend(redis.volumes);

    // Nothing on this machine is an engine.
    let mut engines = json!({ "engines": "deepl azure libretranslate", "apertium": { "modes": "" } });
    let mut key = |engine: &mut Value, of: &str, secret: Option<&SecretKey>| {
        let Some(secret) = secret else { return };
        let path = format!("/run/rookery/{of}-key");
        engine["api_key_file"] = format!("{path}/key").into();
        volumes.push(Volume::secret(&format!("{of}-key"), &secret.name, &path, &[(&secret.key, "key")]));
        outside.push(format!("Secret/{}", secret.name));
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
    let text = config::toml(&json!({
        "server": {
            "cluster": inputs.name,
            "management": format!("0.0.0.0:{MANAGEMENT_PORT}"),
            "drain_deadline_seconds": DRAIN,
        },
        "log": { "format": "json" },
        "nats": nats,
        "redis": redis,
        "translator": engines,
    }));
    let images = &inputs.spec.images;
    let image = images
        .translator
        .clone()
        .unwrap_or_else(|| format!("{}/translator:{}", images.repository, inputs.spec.version));
    let pod = Pod {
        component: COMPONENT,
        image: &image,
        command: json!(["rookery-translator", "serve", "--config", "/etc/rookery/translator.toml"]),
        user: OURS,
        env: config::nats_user(inputs).into_iter().collect(),
        ports: &[("management", MANAGEMENT_PORT)],
        container: probes(),
        volumes,
        claims: Vec::new(),
        resources: translator.resources.as_ref(),
        scheduling: &inputs.spec.scheduling,
        grace: DRAIN + 10,
        labels: Vec::new(),
        config_hash: pods::config_hash(inputs, &[&text], &outside),
    };
    vec![
        Manifest::new(
            inputs,
            "ConfigMap",
            COMPONENT,
            name.clone(),
            json!({ "data": { "translator.toml": text } }),
        ),
        Manifest::new(
            inputs,
            "Deployment",
            COMPONENT,
            name,
            deployment(inputs, COMPONENT, translator.replicas, pod),
        ),
    ]
}
