//! What a ChatCluster names that is not made here: Secrets and ConfigMaps. Their values are looked at only to see whether the keys
//! are there; none is kept, logged or put anywhere else.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::{
    ByteString,
    api::core::v1::{ConfigMap, Secret},
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference},
};
use kube::{Api, Resource, ResourceExt, api::PostParams};
use rookery_crds::{
    ChatCluster, ChatClusterSpec,
    cluster::{SecretKey, Tls},
};

use super::{Context, LookError, Observed, api};
use crate::build::{CLUSTER, COMPONENT, MANAGED_BY, Names, OPERATOR};

/// Something outside, and the keys that are needed of it.
pub(super) type Wanted = BTreeMap<(&'static str, String), BTreeSet<String>>;

/// What was found of it.
#[derive(Debug, Default)]
pub(super) struct Outside {
    /// A stamp for each, another one whenever it changes: `Secret/NAME`.
    pub(super) stamps: BTreeMap<String, String>,
    /// Keys of each.
    pub(super) keys: BTreeMap<(&'static str, String), BTreeSet<String>>,
}

/// All that a spec names.
pub(super) fn wanted(spec: &ChatClusterSpec) -> Wanted {
    let mut wanted = Wanted::new();
    let mut secret = |name: &str, keys: &[&str]| {
        let all = wanted.entry(("Secret", name.to_owned())).or_default();
        all.extend(keys.iter().map(|key| (*key).to_owned()));
    };
    let tls = |tls: Option<&Tls>, secret: &mut dyn FnMut(&str, &[&str])| {
        if let Some(tls) = tls {
            secret(&tls.ca_secret.name, &[&tls.ca_secret.key]);
            if let Some(client) = &tls.client_secret {
                secret(&client.name, &["tls.crt", "tls.key"]);
            }
        }
    };
    if let Some(nats) = &spec.nats.external {
        if let Some(user) = &nats.user_secret {
            secret(&user.name, &["username", "password"]);
        }
        if let Some(credentials) = &nats.credentials_secret {
            secret(&credentials.name, &[&credentials.key]);
        }
        tls(nats.tls.as_ref(), &mut secret);
    }
    if let Some(etcd) = &spec.etcd.external {
        if let Some(user) = &etcd.user_secret {
            secret(&user.name, &["username", "password"]);
        }
        tls(etcd.tls.as_ref(), &mut secret);
    }
    if let Some(redis) = &spec.redis.external {
        for key in [&redis.password_secret, &redis.sentinel_password_secret].into_iter().flatten() {
            secret(&key.name, &[&key.key]);
        }
        tls(redis.tls.as_ref(), &mut secret);
    }
    let mut keys: Vec<&SecretKey> = Vec::new();
    if let Some(mailer) = &spec.mailer {
        keys.extend(&mailer.smtp.password_secret);
        keys.extend(&mailer.smtp.ca_secret);
    }
    if let Some(translator) = &spec.translator {
        keys.extend(translator.deepl.iter().map(|engine| &engine.key_secret));
        keys.extend(translator.azure.iter().map(|engine| &engine.key_secret));
        keys.extend(translator.libre_translate.iter().filter_map(|engine| engine.key_secret.as_ref()));
    }
    for key in keys {
        secret(&key.name, &[&key.key]);
    }
    if let Some(templates) = spec.mailer.as_ref().and_then(|mailer| mailer.templates_ref.as_ref()) {
        wanted.entry(("ConfigMap", templates.name.clone())).or_default();
    }
    wanted
}

fn stamp(metadata: &ObjectMeta) -> String {
    let part = |part: &Option<String>| part.clone().unwrap_or_default();
    format!("{}/{}", part(&metadata.uid), part(&metadata.resource_version))
}

/// Reads all of it.
pub(super) async fn read(context: &Context, namespace: &str, wanted: &Wanted) -> Result<Outside, LookError> {
    let secrets: Api<Secret> = Api::namespaced(context.client.clone(), namespace);
    let config_maps: Api<ConfigMap> = Api::namespaced(context.client.clone(), namespace);
    let mut outside = Outside::default();
    for (kind, name) in wanted.keys() {
        let found = match *kind {
            "Secret" => secrets.get_opt(name).await.map_err(api("read a Secret"))?.map(|secret| {
                let keys = secret.data.unwrap_or_default().into_keys().collect();
                (stamp(&secret.metadata), keys)
            }),
            _ => config_maps.get_opt(name).await.map_err(api("read a ConfigMap"))?.map(|map| {
                let keys = map.data.unwrap_or_default().into_keys().collect();
                (stamp(&map.metadata), keys)
            }),
        };
        if let Some((stamp, keys)) = found {
            outside.stamps.insert(format!("{kind}/{name}"), stamp);
            outside.keys.insert((kind, name.clone()), keys);
        }
    }
    Ok(outside)
}

/// Name of the Secret with passwords of our own making.
pub(super) fn internal(name: &str) -> String {
    Names { cluster: name }.internal()
}

/// A password that no configuration format takes for anything but text.
fn password() -> String {
    let digits: String = rand::random::<[u8; 24]>().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("p{digits}")
}

/// Makes the Secret with the passwords of managed servers if it is not there; never changes one. Returns its stamp, if the cluster
/// needs it.
pub(super) async fn ensure_internal(
    context: &Context,
    cluster: &ChatCluster,
    observed: &Observed,
) -> Result<Option<String>, LookError> {
    let spec = &cluster.spec;
    if spec.nats.external.is_some() && spec.redis.external.is_some() {
        return Ok(None);
    }
    let (name, namespace) = (internal(&cluster.name_any()), cluster.namespace().unwrap_or_default());
    if let Some(there) = observed.get("Secret", &name) {
        let stamp = format!("{}/{}", there.text("/metadata/uid"), there.text("/metadata/resourceVersion"));
        return Ok(Some(stamp));
    }
    let owner = OwnerReference {
        block_owner_deletion: Some(true),
        ..cluster.controller_owner_ref(&()).unwrap_or_default()
    };
    let labels = [
        ("app.kubernetes.io/part-of", "rookery"),
        (MANAGED_BY, OPERATOR),
        (COMPONENT, "internal"),
        (CLUSTER, &*cluster.name_any()),
    ];
    let (nats, redis) = (password(), password());
    let data = [
        ("nats-password", nats),
        ("redis.conf", format!("requirepass {redis}\n")),
        ("redis-password", redis),
    ];
    let secret = Secret {
        metadata: ObjectMeta {
            name: Some(name.clone()),
            namespace: Some(namespace.clone()),
            labels: Some(labels.into_iter().map(|(key, text)| (key.to_owned(), text.to_owned())).collect()),
            owner_references: Some(vec![owner]),
            ..ObjectMeta::default()
        },
        data: Some(
            data.into_iter().map(|(key, text)| (key.to_owned(), ByteString(text.into_bytes()))).collect(),
        ),
        ..Secret::default()
    };
    let secrets: Api<Secret> = Api::namespaced(context.client.clone(), &namespace);
    let params = PostParams { field_manager: Some(OPERATOR.to_owned()), ..PostParams::default() };
    let made = secrets
        .create(&params, &secret)
        .await
        .map_err(api("make the Secret of a cluster's own passwords"))?;
    context.metrics.wrote("Secret", "create");
    Ok(Some(stamp(&made.metadata)))
}
