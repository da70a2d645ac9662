//! An operator as it works by itself, in a namespace.

use std::{sync::Arc, time::Duration};

use prometheus_client::registry::Registry;
use rookery_operator::{
    client::client,
    cluster::Context,
    metrics::{OperatorMetrics, Request},
    program::work,
    settings::OperatorSettings,
};
use tokio::sync::watch;

use crate::world::{PATIENCE, World};

/// The least of the Gateway API and of the Prometheus operator: kinds that not every Kubernetes has.
pub(crate) const MORE: &str = r#"
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata:
  name: httproutes.gateway.networking.k8s.io
  annotations: { api-approved.kubernetes.io: "https://github.com/kubernetes-sigs/gateway-api" }
spec:
  group: gateway.networking.k8s.io
  scope: Namespaced
  names: { kind: HTTPRoute, plural: httproutes, singular: httproute }
  versions:
  - name: v1
    served: true
    storage: true
    schema: { openAPIV3Schema: { type: object, x-kubernetes-preserve-unknown-fields: true } }
---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: { name: podmonitors.monitoring.coreos.com }
spec:
  group: monitoring.coreos.com
  scope: Namespaced
  names: { kind: PodMonitor, plural: podmonitors, singular: podmonitor }
  versions:
  - name: v1
    served: true
    storage: true
    schema: { openAPIV3Schema: { type: object, x-kubernetes-preserve-unknown-fields: true } }
---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: { name: prometheusrules.monitoring.coreos.com }
spec:
  group: monitoring.coreos.com
  scope: Namespaced
  names: { kind: PrometheusRule, plural: prometheusrules, singular: prometheusrule }
  versions:
  - name: v1
    served: true
    storage: true
    schema: { openAPIV3Schema: { type: object, x-kubernetes-preserve-unknown-fields: true } }
"#;

/// An operator that works in a namespace until it is dropped. It would look again by itself after an hour.
pub(crate) struct Working {
    metrics: OperatorMetrics,
    registry: Registry,
    task: tokio::task::JoinHandle<()>,
    _stop: watch::Sender<bool>,
}

impl Drop for Working {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Working {
    pub(crate) async fn start(world: &World) -> Self {
        let mut registry = Registry::default();
        let metrics = OperatorMetrics::register(&mut registry);
        let settings = OperatorSettings {
            namespaces: world.namespace.clone(),
            resync_seconds: 3600,
            ..OperatorSettings::default()
        };
        let client = client(world.operator_config().await, &metrics).unwrap();
        let context = Arc::new(Context::new(client, settings, metrics.clone()));
        let (stop, stopped) = watch::channel(false);
        Self { metrics, registry, task: tokio::spawn(work(context, stopped)), _stop: stop }
    }

    /// Requests but those of watches.
    pub(crate) fn asked(&self) -> u64 {
        let count = |verb| self.metrics.requests.get_or_create(&Request { verb }).get();
        ["read", "create", "write", "delete"].into_iter().map(count).sum()
    }

    pub(crate) fn looks(&self) -> u64 {
        let count = |outcome| {
            let outcome = rookery_operator::metrics::Outcome { outcome };
            self.metrics.reconciles.get_or_create(&outcome).get()
        };
        ["done", "waiting", "failed"].into_iter().map(count).sum()
    }

    /// A metric of the operator, by its name and labels.
    fn metric(&self, metric: &str) -> Option<f64> {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry).unwrap();
        let of =
            |line: &str| line.strip_prefix("rookery_operator_")?.strip_prefix(metric)?.trim().parse().ok();
        text.lines().find_map(of)
    }

    /// Seconds that all looks took together.
    pub(crate) fn seconds(&self) -> f64 {
        self.metric("reconcile_seconds_sum").unwrap()
    }

    /// The same of ChatRooms.
    pub(crate) fn room_seconds(&self) -> f64 {
        self.metric("room_reconcile_seconds_sum").unwrap()
    }

    /// Whether a chat needs a person; `None`: nothing is known of it.
    pub(crate) fn is_degraded(&self, world: &World, name: &str) -> Option<bool> {
        let of = format!("degraded{{chat_namespace=\"{}\",chat=\"{name}\"}}", world.namespace);
        self.metric(&of).map(|value| value == 1.0)
    }

    /// Waits until nothing is asked any more for a while. Looks that ask nothing go on: at what is waited for, now and then.
    pub(crate) async fn rests(&self) {
        let deadline = std::time::Instant::now() + 2 * PATIENCE;
        let (mut before, mut still) = (u64::MAX, 0);
        while still < 2 {
            let now = self.asked();
            still = if now == before { still + 1 } else { 0 };
            before = now;
            assert!(std::time::Instant::now() < deadline, "it does not come to rest: {now}");
            tokio::time::sleep(Duration::from_secs(3)).await;
        }
    }
}

pub(crate) async fn eventually<T>(world: &World, what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = std::time::Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(
            std::time::Instant::now() < deadline,
            "waited in vain: {what}\n{}",
            world.kubectl(&["get", "cc", "-o", "yaml"])
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
