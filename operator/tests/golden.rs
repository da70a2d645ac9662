//! Everything that is made of each example, as files to be read. `ROOKERY_GOLDEN=write` writes them anew; not what `golden/released/` has of
//! each release.

// What is not as it must be ends a test, in helpers, too.
#![allow(clippy::unwrap_used)]

use std::{collections::BTreeMap, fs, path::Path};

use rookery_crds::ChatCluster;
use rookery_operator::build::{Inputs, Manifest, build, declared};
use serde_json::Value;

const EXAMPLES: [&str; 3] = ["minimal", "laptop", "external"];

fn read(folder: &str, name: &str) -> ChatCluster {
    let path = format!("{}/{folder}/{name}.yaml", env!("CARGO_MANIFEST_DIR"));
    serde_saphyr::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

fn example(name: &str) -> ChatCluster {
    read("examples", name)
}

fn made(cluster: &ChatCluster) -> Vec<Manifest> {
    let shards = declared(&cluster.spec);
    let stamps: BTreeMap<String, String> = BTreeMap::new();
    let inputs = Inputs {
        name: cluster.metadata.name.as_deref().unwrap(),
        namespace: "chats",
        uid: "00000000-0000-0000-0000-000000000000",
        spec: &cluster.spec,
        shards: &shards,
        stamps: &stamps,
        etcd_formed: false,
        operator_namespace: "rookery-system",
    };
    build(&inputs)
}

fn rendered(name: &str) -> String {
    let all: Vec<_> = made(&example(name))
        .iter()
        .map(|manifest| serde_saphyr::to_string(&manifest.value).unwrap())
        .collect();
    all.join("---\n")
}

/// Of all that makes pods: its name, and their template.
fn templates(cluster: &ChatCluster) -> Value {
    let template = |manifest: &Manifest| {
        let template = manifest.value.pointer("/spec/template")?.clone();
        Some((format!("{}/{}", manifest.kind.kind, manifest.name), template))
    };
    made(cluster).iter().filter_map(template).collect::<serde_json::Map<_, _>>().into()
}

#[test]
fn examples_are_rendered_as_before() {
    for name in EXAMPLES {
        let file = format!("{}/golden/{name}.yaml", env!("CARGO_MANIFEST_DIR"));
        let now = rendered(name);
        if std::env::var_os("ROOKERY_GOLDEN").is_some_and(|value| value == "write") {
            fs::write(&file, &now).unwrap();
        }
        let before = fs::read_to_string(&file).unwrap_or_default();
        if now == before {
            continue;
        }
        let line = now.lines().zip(before.lines()).position(|(now, before)| now != before);
        let at = line.unwrap_or_else(|| now.lines().count().min(before.lines().count()));
        panic!(
            "golden/{name}.yaml differs at line {}:\n  was: {}\n  is:  {}\nIf that is meant, run ROOKERY_GOLDEN=write cargo test -p \
             rookery-operator --test golden. A changed pod template restarts the pods of every cluster at the next upgrade of the operator",
            at + 1,
            before.lines().nth(at).unwrap_or("(nothing)"),
            now.lines().nth(at).unwrap_or("(nothing)"),
        );
    }
    assert!(Path::new(&format!("{}/golden", env!("CARGO_MANIFEST_DIR"))).is_dir());
}

/// An upgrade of the operator restarts no pod: what each release declared has the very templates today that it had then. `ROOKERY_GOLDEN`
/// adds what a new version's folder lacks, and writes nothing anew that is there.
#[test]
fn what_was_declared_under_an_earlier_release_has_the_same_pods_today() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/released");
    let mut seen = 0;
    for release in fs::read_dir(&root).unwrap() {
        let release = release.unwrap().file_name().into_string().unwrap();
        for name in EXAMPLES {
            let now = templates(&read(&format!("golden/released/{release}"), name));
            let file = root.join(&release).join(format!("{name}.templates.yaml"));
            if !file.exists() && std::env::var_os("ROOKERY_GOLDEN").is_some_and(|value| value == "write") {
                fs::write(&file, serde_saphyr::to_string(&now).unwrap()).unwrap();
            }
            let then: Value = serde_saphyr::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
            let (now, then) = (now.as_object().unwrap(), then.as_object().unwrap());
            assert_eq!(now.keys().collect::<Vec<_>>(), then.keys().collect::<Vec<_>>(), "{release}: {name}");
            for (workload, template) in then {
                assert_eq!(
                    &now[workload], template,
                    "{release}: {name}: the upgrade of the operator would restart the pods of {workload}"
                );
                seen += 1;
            }
        }
    }
    assert!(seen >= 13, "{seen}");
}

/// What is outside is part of the pod template's hash: a new password restarts those who read it at their start, and nobody else.
#[test]
fn a_changed_secret_changes_those_who_read_it() {
    let cluster = example("external");
    let shards = declared(&cluster.spec);
    let hashes = |stamps: &BTreeMap<String, String>| -> BTreeMap<String, String> {
        let inputs = Inputs {
            name: "big",
            namespace: "chats",
            uid: "u",
            spec: &cluster.spec,
            shards: &shards,
            stamps,
            etcd_formed: false,
            operator_namespace: "o",
        };
        build(&inputs)
            .into_iter()
            .filter_map(|manifest| {
                let hash =
                    manifest.value.pointer("/spec/template/metadata/annotations/rookery.chat~1outside")?;
                Some((manifest.name.clone(), hash.as_str()?.to_owned()))
            })
            .collect()
    };
    let before = hashes(&BTreeMap::new());
    let changed = |secret: &str| -> Vec<String> {
        let after = hashes(&[(format!("Secret/{secret}"), "2".to_owned())].into());
        after.into_iter().filter(|(name, hash)| before[name] != *hash).map(|(name, _)| name).collect()
    };
    assert_eq!(changed("etcd-user/password"), ["big-blue", "big-green"]);
    assert_eq!(changed("etcd-user/username"), ["big-blue", "big-green"]);
    assert_eq!(changed("etcd-user/other"), Vec::<String>::new());
    for engine in ["deepl", "google.json"] {
        assert_eq!(changed(&format!("engines/{engine}")), ["big-translator"]);
    }
    assert_eq!(
        changed("nats-credentials/rookery.creds"),
        ["big-blue", "big-green", "big-mailer", "big-translator"]
    );
    assert_eq!(changed("corporate-ca/ca.crt"), ["big-blue", "big-green"]);
    assert_eq!(changed("registry/.dockerconfigjson"), Vec::<String>::new());
}

/// A list by names has no order: in another one it restarts nobody.
#[test]
fn issuers_in_another_order_are_the_same() {
    let mut cluster = example("external");
    let all = |cluster: &ChatCluster| -> Vec<Value> {
        made(cluster).into_iter().map(|manifest| manifest.value).collect()
    };
    // Both with a file: their volumes have no order either.
    let authority = cluster.spec.auth.external_issuers[0].ca_secret.clone();
    cluster.spec.auth.external_issuers[1].ca_secret = authority;
    let before = all(&cluster);
    cluster.spec.auth.external_issuers.reverse();
    assert_eq!(before, all(&cluster));
}
