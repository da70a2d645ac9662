//! What only the operator can see: the API server has refused the rest.

use rookery_crds::ChatClusterSpec;

use super::{
    Observed,
    outside::{Outside, Wanted},
};

/// Something that cannot be as it is declared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// As one word.
    pub reason: &'static str,
    /// As a sentence that says what to do.
    pub message: String,
    /// Whether nothing at all is changed until it is solved.
    pub blocks: bool,
}

pub(super) fn validate(
    spec: &ChatClusterSpec,
    wanted: &Wanted,
    outside: &Outside,
    observed: &Observed,
) -> Vec<Problem> {
    let mut problems = Vec::new();
    for ((kind, name), keys) in wanted {
        let reason = if *kind == "Secret" { "SecretMissing" } else { "ConfigMapMissing" };
        let message = match outside.keys.get(&(*kind, name.clone())) {
            None => format!("{kind} {name}, which the spec names, is not in this namespace: make it"),
            Some(there) => {
                let missing: Vec<_> =
                    keys.iter().filter(|key| !there.contains(*key)).map(String::as_str).collect();
                if missing.is_empty() {
                    continue;
                }
                format!("{kind} {name} has no key {}: add it", missing.join(" and no key "))
            }
        };
        problems.push(Problem { reason, message, blocks: true });
    }
    if spec.gateway.is_some() && !observed.has_gateways {
        let message = "spec.gateway needs the Gateway API (gateway.networking.k8s.io/v1), which this Kubernetes does not have: \
                       install it, or take spec.ingress"
            .to_owned();
        problems.push(Problem { reason: "GatewayApiMissing", message, blocks: false });
    }
    problems
}
