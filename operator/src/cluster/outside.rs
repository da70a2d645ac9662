//! What pods of a cluster read that is not made here: Secrets and ConfigMaps. Their values are looked at only to see whether the keys
//! are there, and whether they have changed: a keyed hash of them is kept, nothing else, and it is not logged.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use hmac::{Hmac, KeyInit, Mac};
use k8s_openapi::{
    ByteString,
    api::core::v1::{ConfigMap, Secret},
};
use kube::Api;
use parking_lot::Mutex;
use sha2::Sha256;

use super::{Look, LookError, Stores, api};
use crate::build::References;

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Outside {
    /// A stamp for each `Secret/NAME/KEY` and `ConfigMap/NAME`, another one whenever its content changes.
    pub(super) stamps: BTreeMap<String, String>,
    /// Keys of each.
    pub(super) keys: BTreeMap<(&'static str, String), BTreeSet<String>>,
    /// Keys of Secrets, `NAME/KEY`, whose content is no word that could be put between quotes.
    pub(super) odd: BTreeSet<String>,
}

impl Outside {
    /// Notes the content of a Secret.
    pub(super) fn secret(&mut self, name: &str, data: &BTreeMap<String, ByteString>, key: &[u8]) {
        for (part, value) in data {
            self.stamps.insert(format!("Secret/{name}/{part}"), stamp(key, [(part.as_str(), &*value.0)]));
            let odd = |text: &str| text.is_empty() || text.contains(|c: char| c.is_control() || c == '\'');
            if std::str::from_utf8(&value.0).map_or(true, odd) {
                self.odd.insert(format!("{name}/{part}"));
            }
        }
        self.keys.insert(("Secret", name.to_owned()), data.keys().cloned().collect());
    }

    fn config_map(&mut self, name: &str, map: &ConfigMap, key: &[u8]) {
        let texts = map.data.iter().flatten().map(|(part, text)| (part.as_str(), text.as_bytes()));
        let bytes = map.binary_data.iter().flatten().map(|(part, value)| (part.as_str(), &*value.0));
        let all: Vec<_> = texts.chain(bytes).collect();
        let keys = all.iter().map(|(part, _)| (*part).to_owned()).collect();
        self.stamps.insert(format!("ConfigMap/{name}"), stamp(key, all));
        self.keys.insert(("ConfigMap", name.to_owned()), keys);
    }
}

/// Says whether something is another than before, to who does not know the key nothing else.
fn stamp<'a>(key: &[u8], content: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> String {
    // Any length of key will do.
    let Ok(mut hash) = <Hmac<Sha256> as KeyInit>::new_from_slice(key) else { return String::new() };
    let mut add = |bytes: &[u8]| {
        hash.update(&(bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    };
    for (part, value) in content {
        add(part.as_bytes());
        add(value);
    }
    hash.finalize().into_bytes().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// What was read of something, for as long as its version is the same: stamps, keys, and which of them are odd.
type Content = (BTreeMap<String, String>, BTreeSet<String>, BTreeSet<String>);

/// Where something is: namespace, kind, name.
type Place = (String, &'static str, String);

/// What was read before, with the version that it had and the stamp of the key of stamps.
#[derive(Debug, Default)]
pub(super) struct Known(Mutex<HashMap<Place, (String, String, Content)>>);

/// So much is remembered; then it is read anew.
const MOST: usize = 10_000;

impl Known {
    fn get(&self, place: &Place, version: &str, key: &str) -> Option<Content> {
        let all = self.0.lock();
        let (at, under, content) = all.get(place)?;
        (at == version && under == key).then(|| content.clone())
    }

    fn put(&self, place: Place, version: String, key: String, content: Content) {
        let mut all = self.0.lock();
        if all.len() >= MOST {
            all.clear();
        }
        all.insert(place, (version, key, content));
    }
}

/// `stores`: what the watches say to be there in a version that is known is not read again.
pub(super) async fn read(
    look: &Look<'_>,
    wanted: &References,
    key: &[u8],
    stores: Option<&Stores>,
) -> Result<Outside, LookError> {
    let Look { context, namespace, .. } = *look;
    let secrets: Api<Secret> = Api::namespaced(context.client.clone(), namespace);
    let config_maps: Api<ConfigMap> = Api::namespaced(context.client.clone(), namespace);
    let mut outside = Outside::default();
    let under = stamp(key, []);
    for (kind, name) in wanted.keys() {
        let place = (namespace.to_owned(), *kind, name.clone());
        if let Some(stores) = stores {
            let Some(version) = stores.version(kind, namespace, name) else { continue };
            if let Some((stamps, keys, odd)) = context.known.get(&place, &version, &under) {
                outside.stamps.extend(stamps);
                outside.keys.insert((kind, name.clone()), keys);
                outside.odd.extend(odd);
                continue;
            }
        }
        let mut found = Outside::default();
        let metadata = if *kind == "Secret" {
            let Some(secret) = secrets.get_opt(name).await.map_err(api("read a Secret"))? else { continue };
            found.secret(name, &secret.data.unwrap_or_default(), key);
            secret.metadata
        } else {
            let map = config_maps.get_opt(name).await.map_err(api("read a ConfigMap"))?;
            let Some(map) = map else { continue };
            found.config_map(name, &map, key);
            map.metadata
        };
        let keys = found.keys.values().flatten().cloned().collect();
        let version = metadata.resource_version.unwrap_or_default();
        context.known.put(place, version, under.clone(), (found.stamps.clone(), keys, found.odd.clone()));
        outside.stamps.extend(found.stamps);
        outside.odd.extend(found.odd);
        outside.keys.extend(found.keys);
    }
    Ok(outside)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_is_of_the_content_and_of_the_key_alone() {
        let one = || stamp(b"key", [("a", b"1".as_slice()), ("b", b"2")]);
        assert_eq!(one(), one());
        assert_eq!(one().len(), 16);
        for other in [
            stamp(b"other", [("a", b"1".as_slice()), ("b", b"2")]),
            stamp(b"key", [("a", b"1".as_slice()), ("b", b"3")]),
            stamp(b"key", [("a", b"1".as_slice()), ("c", b"2")]),
            stamp(b"key", [("a", b"1b".as_slice()), ("", b"2")]),
        ] {
            assert_ne!(one(), other);
        }
    }
}
