//! What a cluster brings for Prometheus and Grafana.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a cluster brings for Prometheus and Grafana. Where the operator's chart does so for all chats (`chats.podMonitor`,
/// `prometheusRule`, `dashboards`), it is not needed here as well.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MonitoringSpec {
    /// A PodMonitor, by which the Prometheus operator reads the metrics of all pods that have any.
    #[serde(default)]
    pub pod_monitor: MonitoringPart,
    /// A PrometheusRule with the alerts of this chat.
    #[serde(default)]
    pub prometheus_rule: MonitoringPart,
    /// Dashboards of this chat, as ConfigMaps for Grafana's sidecar.
    #[serde(default)]
    pub dashboards: MonitoringPart,
}

/// One of them.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MonitoringPart {
    /// Whether there is one. PodMonitors and PrometheusRules need the Prometheus operator.
    #[serde(default)]
    pub enabled: bool,
    /// Labels by which Prometheus or Grafana chooses it; by default of dashboards: grafana_dashboard: "1".
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32))]
    pub labels: BTreeMap<String, String>,
}
