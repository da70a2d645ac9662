//! The Secret with what the operator has made up for a cluster: passwords of managed servers, the token by which nodes know the operator, and the
//! key of stamps. What is in it is never changed; what is not in it yet is added. One word of it stands there in two forms, and the second one
//! follows the first.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::{
    ByteString,
    api::core::v1::Secret,
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference},
};
use kube::{
    Api, Resource, ResourceExt,
    api::{Patch, PatchParams, PostParams},
};
use rookery_crds::ChatCluster;
use serde_json::{Value, json};

use super::{Context, Look, LookError, Observed, Problem, api, observe::Owner};
use crate::build::{CLUSTER, COMPONENT, MANAGED_BY, Names, OPERATOR, OPERATOR_TOKEN};

/// What is in it.
type Data = BTreeMap<String, ByteString>;

/// Key of the key of stamps.
const STAMPS: &str = "stamp-key";

/// A password that no configuration format takes for anything but text.
fn password() -> String {
    let digits: String = rand::random::<[u8; 24]>().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("p{digits}")
}

/// What is missing of it, made up.
fn missing(there: &Data) -> Data {
    let mut made = Data::new();
    let mut add = |key: &str, text: String| {
        if !there.contains_key(key) {
            made.insert(key.to_owned(), ByteString(text.into_bytes()));
        }
    };
    add(STAMPS, password());
    add("nats-password", password());
    add("nats-route-password", password());
    add(OPERATOR_TOKEN, password());
    // The same word in two forms. The plain one is what is meant: it is what its readers log in with.
    let redis = there.get("redis-password").and_then(|word| std::str::from_utf8(&word.0).ok());
    let word = redis.map_or_else(password, str::to_owned);
    if there.get("redis.conf").and_then(required).is_none_or(|required| required != word) {
        made.insert("redis.conf".to_owned(), ByteString(format!("requirepass {word}\n").into_bytes()));
    }
    if redis.is_none() {
        made.insert("redis-password".to_owned(), ByteString(word.into_bytes()));
    }
    made
}

/// The password that Redis asks for by this part of its configuration.
fn required(conf: &ByteString) -> Option<&str> {
    let lines = std::str::from_utf8(&conf.0).ok()?.lines();
    lines.filter_map(|line| line.strip_prefix("requirepass ")).next_back()
}

/// The Secret as it is.
pub(super) struct Internal {
    data: Data,
}

impl Internal {
    /// The key of stamps.
    pub(super) fn stamp_key(&self) -> &[u8] {
        self.data.get(STAMPS).map_or(&[], |key| &key.0)
    }

    /// What is in it.
    pub(super) fn data(&self) -> &Data {
        &self.data
    }
}

/// Name of the Secret.
pub(super) fn name(cluster: &str) -> String {
    Names { cluster }.internal()
}

/// What is seen of it, if that is as it is to be.
pub(super) fn found(look: &Look<'_>, observed: &Observed) -> Option<Result<Internal, Problem>> {
    let there = observed.get("Secret", &name(look.name)).filter(|there| there.is_ours())?;
    let secret: Secret = serde_json::from_value(there.value.clone()).ok()?;
    let data = secret.data.unwrap_or_default();
    let whole = secret.metadata.deletion_timestamp.is_none() && missing(&data).is_empty();
    whole.then_some(Ok(Internal { data }))
}

/// The token by which the nodes of the ChatCluster of this uid know the operator: of their own Secret, and of nobody else's of that name.
pub(crate) fn operator_token(secret: &Secret, uid: &str) -> Option<String> {
    if Owner::of(&secret.metadata, "", uid) != Owner::This {
        return None;
    }
    let token = secret.data.as_ref()?.get(OPERATOR_TOKEN)?;
    String::from_utf8(token.0.clone()).ok()
}

/// The same of what is seen, in whichever state the Secret is.
pub(super) fn seen_token(name: &str, uid: &str, observed: &Observed) -> Option<String> {
    let there = observed.get("Secret", &self::name(name))?;
    operator_token(&serde_json::from_value(there.value.clone()).ok()?, uid)
}

/// Whether it may be made now; else what is told meanwhile.
pub(super) fn may(look: &Look<'_>) -> Result<(), Option<Problem>> {
    look.context.pace.may(look.uid, "Secret", &name(look.name), "")
}

/// Makes it what it is to be. A problem, if one of its name is somebody else's.
pub(super) async fn ensure(look: &Look<'_>) -> Result<Result<Internal, Problem>, LookError> {
    let made = make(look).await?;
    if let Err(problem) = &made {
        look.context.pace.failed(look.uid, "Secret", &name(look.name), "", problem);
    }
    Ok(made)
}

async fn make(look: &Look<'_>) -> Result<Result<Internal, Problem>, LookError> {
    let Look { context, cluster, namespace, .. } = *look;
    let secrets: Api<Secret> = Api::namespaced(context.client.clone(), namespace);
    let name = name(look.name);
    let Some(there) =
        secrets.get_opt(&name).await.map_err(api("read the Secret of a cluster's own passwords"))?
    else {
        return Ok(Ok(Internal { data: create(context, cluster, &secrets, &name).await? }));
    };
    let owner = Owner::of(&there.metadata, look.name, look.uid);
    let labelled = there.labels().get(CLUSTER).is_some_and(|cluster| cluster == look.name);
    let going = there.metadata.deletion_timestamp.is_some();
    match owner {
        Owner::This if !going => {}
        // Once ours and left without an owner: restored from a backup, for instance.
        Owner::Nobody if labelled && !going => {}
        Owner::This | Owner::Former => return Ok(Err(Problem::left_over("Secret", &name))),
        Owner::Nobody | Owner::Other => return Ok(Err(Problem::taken("Secret", &name))),
    }
    let mut data = there.data.unwrap_or_default();
    let new = missing(&data);
    if !new.is_empty() || owner == Owner::Nobody || !labelled {
        let mut patch = json!({ "metadata": metadata(cluster, &name), "data": new });
        // Of what was read, and of nothing that came after.
        patch["metadata"]["resourceVersion"] = there.metadata.resource_version.into();
        let params = PatchParams { field_manager: Some(OPERATOR.to_owned()), ..PatchParams::default() };
        let patched = secrets.patch(&name, &params, &Patch::Merge(&patch)).await;
        data =
            patched.map_err(api("add to the Secret of a cluster's own passwords"))?.data.unwrap_or_default();
        context.metrics.wrote("Secret", "apply");
    }
    Ok(Ok(Internal { data }))
}

fn metadata(cluster: &ChatCluster, name: &str) -> Value {
    let owner = OwnerReference {
        block_owner_deletion: Some(true),
        ..cluster.controller_owner_ref(&()).unwrap_or_default()
    };
    json!({
        "name": name,
        "labels": {
            "app.kubernetes.io/part-of": "rookery",
            (MANAGED_BY): OPERATOR,
            (COMPONENT): "internal",
            (CLUSTER): cluster.name_any(),
        },
        "ownerReferences": [owner],
    })
}

async fn create(
    context: &Context,
    cluster: &ChatCluster,
    secrets: &Api<Secret>,
    name: &str,
) -> Result<Data, LookError> {
    let data = missing(&Data::new());
    let metadata: ObjectMeta = serde_json::from_value(metadata(cluster, name)).unwrap_or_default();
    let secret = Secret { metadata, data: Some(data.clone()), ..Secret::default() };
    let params = PostParams { field_manager: Some(OPERATOR.to_owned()), ..PostParams::default() };
    // Somebody else may have made one meanwhile: the next look sees that.
    secrets.create(&params, &secret).await.map_err(api("make the Secret of a cluster's own passwords"))?;
    context.metrics.wrote("Secret", "create");
    Ok(data)
}

/// Parts that cannot be built without it.
pub(super) fn readers(references: &crate::build::References) -> BTreeSet<String> {
    references.values().flat_map(|reference| reference.parts.iter().cloned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text<'a>(data: &'a Data, key: &str) -> &'a str {
        std::str::from_utf8(&data[key].0).unwrap()
    }

    #[test]
    fn what_is_missing_is_added_and_nothing_is_changed() {
        let all = missing(&Data::new());
        assert!(missing(&all).is_empty());
        assert_eq!(text(&all, "redis.conf"), format!("requirepass {}\n", text(&all, "redis-password")));
        // Of an operator that knew less, or with one taken out by a person.
        for key in all.keys().filter(|key| !key.starts_with("redis")) {
            let mut less = all.clone();
            less.remove(key);
            let new = missing(&less);
            assert_eq!(new.keys().collect::<Vec<_>>(), [key]);
            assert_ne!(new[key], all[key], "{key}");
        }
    }

    #[test]
    fn redis_asks_for_the_password_that_is_given() {
        let all = missing(&Data::new());
        let check = |there: &Data, added: &[&str]| {
            let mut whole = there.clone();
            let new = missing(there);
            assert_eq!(new.keys().collect::<Vec<_>>(), added);
            whole.extend(new);
            assert_eq!(
                text(&whole, "redis.conf"),
                format!("requirepass {}\n", text(&whole, "redis-password"))
            );
            assert!(missing(&whole).is_empty());
            whole
        };
        let mut less = all.clone();
        less.remove("redis.conf");
        assert_eq!(check(&less, &["redis.conf"]), all, "the same password once more");
        let mut less = all.clone();
        less.remove("redis-password");
        let new = check(&less, &["redis-password", "redis.conf"]);
        assert_ne!(new["redis-password"], all["redis-password"]);
        // One that a person gave, in one form alone; and one that is no text.
        let with = |key: &str, word: &[u8]| {
            let mut other = all.clone();
            other.insert(key.to_owned(), ByteString(word.to_vec()));
            other
        };
        let given = check(&with("redis-password", b"given"), &["redis.conf"]);
        assert_eq!(text(&given, "redis-password"), "given");
        assert_eq!(check(&with("redis.conf", b"requirepass other\n"), &["redis.conf"]), all);
        assert_eq!(check(&with("redis.conf", b"\xff"), &["redis.conf"]), all);
        check(&with("redis-password", b"\xff"), &["redis-password", "redis.conf"]);
        // What else it is told is its own matter.
        let more = format!("maxclients 7\n{}", text(&all, "redis.conf"));
        assert!(missing(&with("redis.conf", more.as_bytes())).is_empty());
    }
}
