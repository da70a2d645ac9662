//! The shared Kubernetes, and a namespace of it.

use std::{
    future::Future,
    path::{Path, PathBuf},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use kube::{
    Api, Client, Config, ResourceExt,
    api::{DynamicObject, Patch, PatchParams, PostParams},
    client::ClientBuilder,
    config::{KubeConfigOptions, Kubeconfig},
};
use prometheus_client::registry::Registry;
use rookery_crds::{ChatCluster, yaml};
use rookery_operator::{
    build::{CLUSTER, KINDS, kind_of},
    cluster::{Context, reconcile},
    metrics::OperatorMetrics,
    settings::OperatorSettings,
};
use rookery_testbed::{ControlPlane, ControlPlaneOptions};
use serde_json::{Value, json};

use crate::meddler::{Calls, Fault, Meddled, Meddler};

pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// What the operator is there: the account that its chart makes.
const OPERATOR: &str = "system:serviceaccount:rookery-system:rookery-operator";

/// A Kubernetes, and the file by which an account reaches it that may do what the chart allows.
type Kubernetes = OnceLock<Option<(ControlPlane, PathBuf)>>;

/// The shared Kubernetes, with the definitions in it; or another one, with these as well.
fn kubernetes(more: Option<&str>) -> Option<&'static (ControlPlane, PathBuf)> {
    static PLAIN: Kubernetes = OnceLock::new();
    static MORE: Kubernetes = OnceLock::new();
    if more.is_some() { &MORE } else { &PLAIN }
        .get_or_init(|| {
            let kubernetes = ControlPlane::start(&ControlPlaneOptions::default())?;
            for (_, text) in yaml::files().unwrap() {
                kubernetes.define(&text);
            }
            if let Some(more) = more {
                kubernetes.define(more);
            }
            let role = json!({
                "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
                "metadata": { "name": "operator" }, "rules": rules(),
            });
            let binding = json!({
                "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
                "metadata": { "name": "operator" },
                "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "operator" },
                "subjects": [{ "kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": OPERATOR }],
            });
            for object in [role, binding] {
                kubernetes.kubectl(&["create", "-f", "-"], &object.to_string()).unwrap();
            }
            for command in ["create namespace rookery-system", "-n rookery-system create serviceaccount rookery-operator"] {
                kubernetes.kubectl(&command.split(' ').collect::<Vec<_>>(), "").unwrap();
            }
            let token = ["-n", "rookery-system", "create", "token", "rookery-operator", "--duration=1h"];
            let token = kubernetes.kubectl(&token, "").unwrap();
            let text = std::fs::read_to_string(kubernetes.kubeconfig()).unwrap();
            let mut access: Value = serde_json::from_str(&text).unwrap();
            access["users"][0]["user"] = json!({ "token": token.trim() });
            let file = kubernetes.kubeconfig().with_file_name("operator-access");
            std::fs::write(&file, access.to_string()).unwrap();
            Some((kubernetes, file))
        })
        .as_ref()
}

/// The chart's own rules, and the Lease.
fn rules() -> Value {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../charts/rookery-operator/templates/_rules.tpl");
    let text = std::fs::read_to_string(path).unwrap();
    let rules =
        text.split_once("rookery-operator.rules\" -}}").unwrap().1.split_once("{{- end }}").unwrap().0;
    let mut rules: Vec<Value> = serde_saphyr::from_str(rules).unwrap();
    rules.push(json!({
        "apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["get", "create", "update"],
    }));
    rules.into()
}

/// A namespace, and an operator that is called by hand.
pub(crate) struct World {
    pub(crate) kubernetes: &'static ControlPlane,
    /// The file by which the operator reaches it.
    pub(crate) operator: &'static Path,
    pub(crate) namespace: String,
    /// As admin.
    pub(crate) client: Client,
    /// As operator.
    pub(crate) context: Arc<Context>,
}

async fn config(kubeconfig: &Path) -> Config {
    let kubeconfig = Kubeconfig::read_from(kubeconfig).unwrap();
    Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap()
}

async fn client(kubeconfig: &Path) -> Client {
    Client::try_from(config(kubeconfig).await).unwrap()
}

/// Runs a test in a new namespace; not at all where there is no Kubernetes.
pub(crate) fn run<F: Future<Output = ()>>(test: impl FnOnce(World) -> F) {
    run_on(None, test);
}

/// The same on a Kubernetes that has these definitions as well: the same ones in all tests.
pub(crate) fn run_with<F: Future<Output = ()>>(more: &str, test: impl FnOnce(World) -> F) {
    run_on(Some(more), test);
}

fn run_on<F: Future<Output = ()>>(more: Option<&str>, test: impl FnOnce(World) -> F) {
    let Some((kubernetes, operator)) = kubernetes(more) else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        test(World::new(kubernetes, operator).await).await;
    });
}

impl World {
    async fn new(kubernetes: &'static ControlPlane, operator: &'static Path) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let namespace = format!("test-{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let admin = client(kubernetes.kubeconfig()).await;
        let spaces: Api<DynamicObject> = Api::all_with(
            admin.clone(),
            &kube::core::ApiResource {
                group: String::new(),
                version: "v1".into(),
                api_version: "v1".into(),
                kind: "Namespace".into(),
                plural: "namespaces".into(),
            },
        );
        // Pods that ask for more than `restricted` allows are refused.
        let space = json!({
            "apiVersion": "v1", "kind": "Namespace",
            "metadata": { "name": namespace, "labels": { "pod-security.kubernetes.io/enforce": "restricted" } },
        });
        spaces.create(&PostParams::default(), &serde_json::from_value(space).unwrap()).await.unwrap();
        let settings = OperatorSettings { poll_ms: 100, ..OperatorSettings::default() };
        let metrics = OperatorMetrics::register(&mut Registry::default());
        let context = Arc::new(Context::new(client(operator).await, settings, metrics));
        Self { kubernetes, operator, namespace, client: admin, context }
    }

    /// How the operator reaches the API server.
    pub(crate) async fn operator_config(&self) -> Config {
        config(self.operator).await
    }

    /// An operator whose calls are meddled with.
    pub(crate) async fn operator_through(&self, meddler: Arc<Meddler>) -> Arc<Context> {
        let builder = ClientBuilder::try_from(config(self.operator).await).unwrap();
        let layer = tower::layer::layer_fn(|inner| Meddled { inner, meddler: meddler.clone() });
        let metrics = OperatorMetrics::register(&mut Registry::default());
        Arc::new(Context::new(builder.with_layer(&layer).build(), self.context.settings.clone(), metrics))
    }

    /// One look of an operator that is killed after its first write. `false`: it had nothing to write.
    pub(crate) async fn look_and_be_killed(&self, name: &str) -> bool {
        let meddler = Meddler::new(Calls::Writes, 1, Fault::Killed);
        let context = self.operator_through(meddler.clone()).await;
        let cluster = Arc::new(self.clusters().get(name).await.unwrap());
        tokio::select! {
            done = reconcile(cluster, context) => {
                done.unwrap();
                false
            }
            () = meddler.killed.notified() => true,
        }
    }

    /// An operator that has the rights of somebody else.
    pub(crate) async fn operator_as(&self, user: &str) -> Arc<Context> {
        let client = client(&self.kubernetes.kubeconfig_as(user)).await;
        let metrics = OperatorMetrics::register(&mut Registry::default());
        Arc::new(Context::new(client, self.context.settings.clone(), metrics))
    }

    /// Objects of a kind that the operator has nothing to do with.
    pub(crate) fn any(&self, api_version: &str, kind: &str, plural: &str) -> Api<DynamicObject> {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let resource = kube::core::ApiResource {
            group: group.into(),
            version: version.into(),
            api_version: api_version.into(),
            kind: kind.into(),
            plural: plural.into(),
        };
        Api::namespaced_with(self.client.clone(), &self.namespace, &resource)
    }

    pub(crate) fn clusters(&self) -> Api<ChatCluster> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    pub(crate) fn objects(&self, kind: &str) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), &self.namespace, &kind_of(kind).unwrap().resource())
    }

    /// Declares something, as `kubectl apply --server-side` does.
    pub(crate) async fn declare(&self, name: &str, spec: Value) -> Result<ChatCluster, kube::Error> {
        let object = json!({
            "apiVersion": "rookery.chat/v1alpha1", "kind": "ChatCluster", "metadata": { "name": name }, "spec": spec,
        });
        let params = PatchParams::apply("somebody").force().validation_strict();
        self.clusters().patch(name, &params, &Patch::Apply(&object)).await
    }

    /// One look of the operator.
    pub(crate) async fn look(&self, name: &str) {
        let cluster = self.clusters().get(name).await.unwrap();
        reconcile(Arc::new(cluster), self.context.clone()).await.unwrap();
    }

    /// Looks until something is so.
    pub(crate) async fn look_until<T>(
        &self,
        name: &str,
        what: &str,
        mut ask: impl AsyncFnMut(&Self) -> Option<T>,
    ) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            self.look(name).await;
            if let Some(answer) = ask(self).await {
                return answer;
            }
            let status = || self.kubectl(&["get", "cc,sts,pods", "-o", "wide"]);
            assert!(Instant::now() < deadline, "waited in vain: {what}\n{}", status());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// A condition of a cluster: status, reason, message.
    pub(crate) async fn condition(&self, name: &str, kind: &str) -> (String, String, String) {
        let cluster = self.clusters().get(name).await.unwrap();
        let conditions = cluster.status.unwrap_or_default().conditions;
        let found = conditions.into_iter().find(|condition| condition.kind == kind);
        found.map_or_else(Default::default, |found| (found.status, found.reason, found.message))
    }

    /// All objects of the operator's kinds: kind/name and the resource version.
    pub(crate) async fn all(&self) -> Vec<(String, String)> {
        let mut all = Vec::new();
        for kind in KINDS.iter().filter(|kind| kind.built_in) {
            for object in self.objects(kind.kind).list(&kube::api::ListParams::default()).await.unwrap() {
                let version = object.resource_version().unwrap_or_default();
                // Kubernetes puts some into every namespace.
                if object.labels().contains_key(CLUSTER) {
                    all.push((format!("{}/{}", kind.kind, object.name_any()), version));
                }
            }
        }
        all.sort();
        all
    }

    /// What the operator wrote in this namespace, by the audit log: `patch statefulsets/chat-main 200`. Events are not counted.
    pub(crate) fn writes(&self) -> Vec<String> {
        let part = |event: &Value, path: &str| {
            event.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned()
        };
        self.kubernetes
            .audit()
            .into_iter()
            .filter(|event| {
                event["user"]["username"] == OPERATOR
                    && event["objectRef"]["namespace"] == self.namespace
                    && event["objectRef"]["resource"] != "events"
                    && !["get", "list", "watch"].contains(&&*part(event, "/verb"))
            })
            .map(|event| {
                let sub = part(&event, "/objectRef/subresource");
                let sub = if sub.is_empty() { sub } else { format!("/{sub}") };
                let (verb, resource) = (part(&event, "/verb"), part(&event, "/objectRef/resource"));
                let (name, code) = (part(&event, "/objectRef/name"), &event["responseStatus"]["code"]);
                format!("{verb} {resource}/{name}{sub} {code}")
            })
            .collect()
    }

    /// What `kubectl` prints in this namespace.
    pub(crate) fn kubectl(&self, args: &[&str]) -> String {
        self.kubernetes.kubectl(&[&["-n", &self.namespace], args].concat(), "").unwrap()
    }

    /// Gives the operator's password Secret of an SMTP server.
    pub(crate) async fn secret(&self, name: &str, keys: &[&str]) {
        let data: serde_json::Map<_, _> =
            keys.iter().map(|key| ((*key).to_owned(), json!("secret"))).collect();
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": { "name": name }, "stringData": data,
        });
        let params = PatchParams::apply("somebody").force();
        self.objects("Secret").patch(name, &params, &Patch::Apply(&secret)).await.unwrap();
    }
}
