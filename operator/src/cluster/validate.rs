//! What only the operator can see: the API server has refused the rest.

use std::collections::BTreeSet;

use rookery_crds::ChatClusterSpec;

use super::{Observed, outside::Outside};
use crate::build::References;

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
    if spec.gateway.is_some() && !observed.kinds.contains("HTTPRoute") {
        let message = "spec.gateway needs the Gateway API (gateway.networking.k8s.io/v1), which this Kubernetes does not have: \
                       install it, or take spec.ingress"
            .to_owned();
        problems.push(Problem::new("GatewayApiMissing", message));
    }
    problems
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
        let reference = |keys: &[&str], part: &str| Reference { keys: set(keys), parts: set(&[part]) };
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
