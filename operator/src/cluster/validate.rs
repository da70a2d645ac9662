//! What only the operator can see: the API server has refused the rest.

use std::collections::BTreeSet;

use rookery_crds::ChatClusterSpec;

use super::{Observed, outside::Outside};
use crate::build::{self, References};

/// Something that cannot be as it is declared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// As one word.
    pub reason: &'static str,
    /// As a sentence that says what to do.
    pub message: String,
    /// Parts whose pods are left as they are until it is solved.
    pub parts: BTreeSet<String>,
    /// Whether it goes away by itself, and is only waited for.
    pub passes: bool,
}

impl Problem {
    pub(super) fn new(reason: &'static str, message: String) -> Self {
        Self { reason, message, parts: BTreeSet::new(), passes: false }
    }

    /// An object of somebody else has the name of one of ours.
    pub(super) fn taken(kind: &str, name: &str) -> Self {
        let message = format!(
            "{kind} {name} is there already and belongs to somebody else: remove it, or call the ChatCluster something else"
        );
        Self::new("NameTaken", message)
    }

    /// What belonged to a ChatCluster of the same name is still being deleted.
    pub(super) fn left_over(kind: &str, name: &str) -> Self {
        let message = format!("{kind} {name} of a former ChatCluster of this name is being deleted");
        Self { passes: true, ..Self::new("LeftOver", message) }
    }

    /// The same, of these parts.
    pub(super) fn of(self, parts: BTreeSet<String>) -> Self {
        Self { parts, ..self }
    }
}

pub(super) fn validate(
    spec: &ChatClusterSpec,
    wanted: &References,
    outside: &Outside,
    observed: &Observed,
) -> Vec<Problem> {
    let mut problems = Vec::new();
    for ((kind, name), reference) in wanted {
        let reason = if *kind == "Secret" { "SecretMissing" } else { "ConfigMapMissing" };
        let message = match outside.keys.get(&(*kind, name.clone())) {
            None => format!("{kind} {name}, which the spec names, is not in this namespace: make it"),
            Some(there) => {
                let missing: Vec<_> = reference.keys.difference(there).map(String::as_str).collect();
                if missing.is_empty() {
                    continue;
                }
                format!("{kind} {name} has no key {}: add it", missing.join(" and no key "))
            }
        };
        problems.push(Problem::new(reason, message).of(reference.parts.clone()));
    }
    for ((_, name), reference) in wanted {
        for key in reference.words.iter().filter(|key| outside.odd.contains(&format!("{name}/{key}"))) {
            let message = format!(
                "{key} in Secret {name} must be a word without line ends and without ': was it written with a line end?"
            );
            problems.push(Problem::new("SecretInvalid", message).of(reference.parts.clone()));
        }
    }
    if spec.gateway.is_some() && !observed.kinds.contains("HTTPRoute") {
        let message = "spec.gateway needs the Gateway API (gateway.networking.k8s.io/v1), which this Kubernetes does not have: \
                       install it, or declare spec.ingress instead"
            .to_owned();
        problems.push(Problem::new("GatewayApiMissing", message));
    }
    let monitoring = &spec.monitoring;
    for (field, part, kind) in [
        ("podMonitor", &monitoring.pod_monitor, "PodMonitor"),
        ("prometheusRule", &monitoring.prometheus_rule, "PrometheusRule"),
    ] {
        if part.enabled && !observed.kinds.contains(kind) {
            let message = format!(
                "spec.monitoring.{field} needs the Prometheus operator (monitoring.coreos.com/v1), which this Kubernetes does not have: \
                 install it, or leave that out"
            );
            problems.push(Problem::new("PrometheusOperatorMissing", message));
        }
    }
    problems
}

/// What works, but not as one might think.
pub(super) fn notes(spec: &ChatClusterSpec) -> Vec<String> {
    let mut notes = Vec::new();
    if let Some(translator) = &spec.translator
        && build::redis_is_left_out(&spec.redis)
    {
        let note = "translators do not use this Redis: they know neither sentinels nor clusters of it, nor certificates of their own. \
                    Each keeps its own translations";
        let paid = [
            translator.deepl.as_ref().map(|engine| &engine.usage),
            translator.google.as_ref().map(|engine| &engine.usage),
            translator.azure.as_ref().map(|engine| &engine.usage),
            translator.libre_translate.as_ref().map(|engine| &engine.usage),
        ];
        let paid = paid.into_iter().flatten().any(|usage| usage.day_characters > 0);
        let part = if paid { ", and may spend its part of dayCharacters alone" } else { "" };
        notes.push(format!("{note}{part}"));
    }
    if spec.mailer.is_some() && build::public_url(spec).is_none() {
        notes.push(
            "mails have no links: nothing says under which address people know the chat; set spec.publicUrl"
                .to_owned(),
        );
    }
    if !spec.network_policy.enabled {
        notes.push(
            "without NetworkPolicies everybody inside Kubernetes reaches the ports of nodes for each other, and etcd".to_owned(),
        );
    }
    notes
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::build::Reference;

    fn spec(more: &serde_json::Value) -> ChatClusterSpec {
        let mut spec = json!({ "version": "1" });
        for (key, value) in more.as_object().unwrap() {
            spec[key] = value.clone();
        }
        serde_json::from_value(spec).unwrap()
    }

    fn set(words: &[&str]) -> BTreeSet<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn what_is_missing_is_named_and_keeps_its_readers_alone() {
        let reference = |keys: &[&str], part: &str| Reference {
            keys: set(keys),
            parts: set(&[part]),
            ..Reference::default()
        };
        let wanted: References = [
            (("ConfigMap", "templates".to_owned()), reference(&[], "mailer")),
            (("Secret", "gone".to_owned()), reference(&["a"], "node")),
            (("Secret", "part".to_owned()), reference(&["a", "b", "c"], "translator")),
            (("Secret", "whole".to_owned()), reference(&["a"], "node")),
        ]
        .into();
        let mut outside = Outside::default();
        outside.keys.insert(("Secret", "part".into()), set(&["a", "x"]));
        outside.keys.insert(("Secret", "whole".into()), set(&["a", "x"]));
        let problems = validate(&spec(&json!({})), &wanted, &outside, &Observed::default());
        let told: Vec<_> = problems.iter().map(|problem| (problem.reason, &*problem.message)).collect();
        assert_eq!(
            told,
            [
                (
                    "ConfigMapMissing",
                    "ConfigMap templates, which the spec names, is not in this namespace: make it"
                ),
                ("SecretMissing", "Secret gone, which the spec names, is not in this namespace: make it"),
                ("SecretMissing", "Secret part has no key b and no key c: add it"),
            ]
        );
        let parts: Vec<_> = problems.iter().map(|problem| problem.parts.clone()).collect();
        assert_eq!(parts, [set(&["mailer"]), set(&["node"]), set(&["translator"])]);
    }

    #[test]
    fn a_name_that_would_break_its_quotes_is_told() {
        let reference =
            Reference { keys: set(&["username"]), words: set(&["username"]), parts: set(&["node"]) };
        let wanted: References = [(("Secret", "user".to_owned()), reference)].into();
        let told = |name: &str| {
            let mut outside = Outside::default();
            let data = [("username".to_owned(), k8s_openapi::ByteString(name.into()))].into();
            outside.secret("user", &data, b"key");
            let problems = validate(&spec(&json!({})), &wanted, &outside, &Observed::default());
            problems.into_iter().map(|problem| problem.reason).collect::<Vec<_>>()
        };
        for name in ["rookery", "123", "true", "a b", "\"a\\"] {
            assert_eq!(told(name), Vec::<&str>::new(), "{name}");
        }
        for name in ["rookery\n", "o'hara", "", "a\u{0}"] {
            assert_eq!(told(name), ["SecretInvalid"], "{name:?}");
        }
    }

    #[test]
    fn what_is_not_as_one_might_think_is_noted() {
        assert_eq!(notes(&spec(&json!({}))), Vec::<String>::new());
        let engine =
            json!({ "url": "https://a", "keySecret": { "name": "a", "key": "b" }, "dayCharacters": 5 });
        let all = spec(&json!({
            "translator": { "deepl": engine },
            "redis": { "external": { "url": "redis+sentinel://a:1/m/0" } },
            "mailer": { "from": "a@b", "smtp": { "host": "c" } },
            "networkPolicy": { "enabled": false },
        }));
        let told = notes(&all);
        assert_eq!(told.len(), 3, "{told:?}");
        assert!(told[0].ends_with("may spend its part of dayCharacters alone"), "{told:?}");
    }

    #[test]
    fn a_gateway_needs_its_api() {
        let gateway = spec(&json!({ "gateway": { "parentRefs": [{ "name": "public" }] } }));
        let (wanted, outside) = (References::new(), Outside::default());
        let problems = validate(&gateway, &wanted, &outside, &Observed::default());
        assert_eq!((problems.len(), problems[0].reason), (1, "GatewayApiMissing"));
        assert!(problems[0].parts.is_empty());
        let there = Observed { kinds: ["HTTPRoute"].into(), ..Observed::default() };
        assert_eq!(validate(&gateway, &wanted, &outside, &there), []);
    }
}
