//! Everything that is made of each example, as files to be read. `ROOKERY_GOLDEN=write` writes them anew.

// What is not as it must be ends a test, in helpers, too.
#![allow(clippy::unwrap_used)]

use std::{collections::BTreeMap, fs, path::Path};

use rookery_crds::ChatCluster;
use rookery_operator::build::{Inputs, build, declared};

fn example(name: &str) -> ChatCluster {
    let path = format!("{}/examples/{name}.yaml", env!("CARGO_MANIFEST_DIR"));
    serde_saphyr::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

fn rendered(name: &str) -> String {
    let cluster = example(name);
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
    let all: Vec<_> =
        build(&inputs).iter().map(|manifest| serde_saphyr::to_string(&manifest.value).unwrap()).collect();
    all.join("---\n")
}

#[test]
fn examples_are_rendered_as_before() {
    for name in ["minimal", "laptop", "external"] {
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
    assert_eq!(changed("engines/deepl"), ["big-translator"]);
    assert_eq!(
        changed("nats-credentials/rookery.creds"),
        ["big-blue", "big-green", "big-mailer", "big-translator"]
    );
    assert_eq!(changed("registry/.dockerconfigjson"), Vec::<String>::new());
}
