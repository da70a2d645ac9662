//! Names and labels. Names are part of what is stored (volumes, members of etcd and NATS): they never change.

use serde_json::{Value, json};

/// Label with the name of the ChatCluster.
pub const CLUSTER: &str = "rookery.chat/cluster";
/// Label with the name of the shard.
pub const SHARD: &str = "rookery.chat/shard";
/// Label of nodes' pods with the version that they run.
pub const VERSION: &str = "app.kubernetes.io/version";
/// Label that says what part it is.
pub const COMPONENT: &str = "app.kubernetes.io/component";
/// Label that says whose it is.
pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// Its value; the field manager has the same name.
pub const OPERATOR: &str = "rookery-operator";

/// Key, in the Secret of our own making, of the token by which nodes know the operator.
pub const OPERATOR_TOKEN: &str = "operator-token";

/// Names of a cluster's parts.
#[derive(Debug, Clone, Copy)]
pub struct Names<'a> {
    /// Name of the ChatCluster.
    pub cluster: &'a str,
}

impl Names<'_> {
    /// A part.
    pub fn part(&self, part: &str) -> String {
        format!("{}-{part}", self.cluster)
    }

    /// The Service through which clients come.
    pub fn client(&self) -> String {
        self.part("client")
    }

    /// The headless Service by which nodes find each other.
    pub fn peers(&self) -> String {
        self.part("peers")
    }

    /// The Secret with passwords of our own making.
    pub fn internal(&self) -> String {
        self.part("internal")
    }

    /// Labels of a part.
    pub(super) fn labels(&self, component: &str) -> Value {
        json!({
            "app.kubernetes.io/name": format!("rookery-{component}"),
            "app.kubernetes.io/instance": self.cluster,
            "app.kubernetes.io/part-of": "rookery",
            (COMPONENT): component,
            (MANAGED_BY): OPERATOR,
            (CLUSTER): self.cluster,
        })
    }

    /// By which pods of a part are chosen. Never changes: StatefulSets do not allow it.
    pub(super) fn selector(&self, component: &str) -> Value {
        json!({ (CLUSTER): self.cluster, (COMPONENT): component })
    }
}
