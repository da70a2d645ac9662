//! A Kubernetes without machines: its API server, on an etcd of its own, and its controllers. No pod ever runs.
//!
//! What the API server checks, defaults, merges, refuses and collects as garbage is real; what a kubelet would say of pods a test
//! has to say itself, by their status.

use std::{
    env,
    ffi::OsStr,
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use rand::RngExt as _;
use serde_json::{Value, json};

use crate::{
    bed::Bed,
    certificates,
    etcd::{EtcdCluster, EtcdOptions},
    eventually, ports,
    process::Process,
    programs,
};

/// Where the API's own test tools put the programs: <https://book.kubebuilder.io/reference/envtest>.
const USUAL_PLACE: &str = "/usr/local/kubebuilder/bin";

/// How it is started.
#[derive(Clone)]
pub struct ControlPlaneOptions {
    /// Whether controllers run: with them StatefulSets make pods, owners take what they own along, and each namespace has its
    /// ServiceAccount. Without them only what a test writes is there.
    pub controllers: bool,
    /// Where data and logs go; else into a temporary directory.
    pub bed: Option<Bed>,
}

impl Default for ControlPlaneOptions {
    fn default() -> Self {
        Self { controllers: true, bed: None }
    }
}

/// A running control plane.
pub struct ControlPlane {
    kubectl: PathBuf,
    kubeconfig: PathBuf,
    api_server: Process,
    // Before what they need is taken away.
    _controllers: Option<Process>,
    _etcd: EtcdCluster,
    bed: Bed,
}

impl ControlPlane {
    /// Starts it and returns when it serves. `None`, said loudly, when one of its programs is not there: they are looked for in
    /// `$KUBEBUILDER_ASSETS`, in `/usr/local/kubebuilder/bin`, and where all the others are.
    pub fn start(options: &ControlPlaneOptions) -> Option<Self> {
        let api_server = find("kube-apiserver")?;
        let kubectl = find("kubectl")?;
        let controllers = if options.controllers { Some(find("kube-controller-manager")?) } else { None };
        let bed = options.bed.clone().unwrap_or_else(Bed::temporary);
        if !certificates(bed.dir(), "DNS:localhost,DNS:kubernetes.default.svc,IP:127.0.0.1") {
            return None;
        }
        // It is made anew for each test: what a crash of the machine would leave of it is nobody's concern.
        let etcd = EtcdOptions {
            members: 1,
            bed: Some(bed.clone()),
            extra: vec!["--unsafe-no-fsync".to_owned()],
            ..EtcdOptions::default()
        };
        let etcd = EtcdCluster::start(&etcd)?;

        let port = ports::free_port();
        let kubeconfig = write_access(bed.dir(), port);
        let mut args = api_server_args(bed.dir(), port, &etcd.endpoints().join(","));
        if controllers.is_none() {
            // Nobody would make the ServiceAccount that it asks for.
            args.push("--disable-admission-plugins=ServiceAccount".to_owned());
        }
        let api_server = bed.process("kube-apiserver", &api_server, args);
        api_server.start();
        let controllers = controllers.map(|program| {
            let args = controller_args(bed.dir(), &kubeconfig);
            bed.process("kube-controller-manager", &program, args)
        });
        let plane = Self { kubectl, kubeconfig, api_server, _controllers: controllers, _etcd: etcd, bed };
        plane.await_ready();
        if let Some(controllers) = &plane._controllers {
            controllers.start();
            plane.await_answer(&["get", "serviceaccount", "default", "--namespace", "default"]);
        }
        Some(plane)
    }

    /// A file by which clients reach it as its administrator.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// A file by which clients reach it as somebody else, `system:serviceaccount:NAMESPACE:NAME` for instance.
    pub fn kubeconfig_as(&self, user: &str) -> PathBuf {
        let text = fs::read_to_string(&self.kubeconfig).expect("it was written");
        let mut config: Value = serde_json::from_str(&text).expect("it was written");
        config["users"][0]["user"]["as"] = user.into();
        let file = self.bed.dir().join(format!("kubeconfig-{}", user.replace([':', '/'], "-")));
        write(&file, &config.to_string());
        file
    }

    /// Applies definitions of custom resources, and waits until they are served.
    pub fn define(&self, definitions: &str) {
        self.kubectl(&["apply", "--server-side", "-f", "-"], definitions).expect("the definitions are taken");
        let established = ["wait", "--for=condition=Established", "crd", "--all", "--timeout=5s"];
        // It refuses to wait for one that has no conditions at all yet.
        let wait = || self.kubectl(&established, "");
        eventually("the definitions are served", || wait().err().unwrap_or_default(), || wait().ok());
    }

    /// What `kubectl` says with these arguments and this input.
    ///
    /// # Errors
    /// What it says when it fails.
    pub fn kubectl<A: AsRef<OsStr>>(&self, args: &[A], input: &str) -> Result<String, String> {
        let output = self.run_kubectl(args, input).map_err(|error| format!("kubectl: {error}"))?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if output.status.success() {
            Ok(text(&output.stdout))
        } else {
            Err(text(&output.stdout) + &text(&output.stderr))
        }
    }

    /// What was asked of the API server and answered so far: events of its audit log, of level `Metadata`, in the order in which they
    /// were answered. An answer is in here before its client has it.
    /// See <https://kubernetes.io/docs/reference/config-api/apiserver-audit.v1/>.
    pub fn audit(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.bed.dir().join("audit.log")).unwrap_or_default();
        // The last line may be half written.
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// SIGKILL of the API server: nobody answers.
    pub fn kill_api_server(&self) {
        self.api_server.kill();
    }

    /// Starts it again if it was killed; returns when it serves.
    pub fn start_api_server(&self) {
        self.api_server.start();
        self.await_ready();
    }

    /// The API server's process, to be paused for instance.
    pub fn api_server(&self) -> &Process {
        &self.api_server
    }

    fn await_ready(&self) {
        self.await_answer(&["get", "--raw", "/readyz"]);
    }

    fn await_answer(&self, args: &[&str]) {
        eventually(
            &format!("the API server answers kubectl {}", args.join(" ")),
            || self.api_server.log_tail(15),
            || {
                self.api_server.assert_running();
                self.kubectl(args, "").ok()
            },
        );
    }

    fn run_kubectl<A: AsRef<OsStr>>(&self, args: &[A], input: &str) -> io::Result<Output> {
        let mut child = Command::new(&self.kubectl)
            .arg("--kubeconfig")
            .arg(&self.kubeconfig)
            // What it found out about another server on this port must not count.
            .arg("--cache-dir")
            .arg(self.bed.dir().join("kubectl-cache"))
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let stdin = child.stdin.take();
        // In a thread of its own: it may answer before it has read all.
        std::thread::scope(|scope| {
            scope.spawn(move || stdin.map(|mut stdin| stdin.write_all(input.as_bytes())));
            child.wait_with_output()
        })
    }
}

fn find(name: &str) -> Option<PathBuf> {
    let set = env::var_os("KUBEBUILDER_ASSETS").map(PathBuf::from);
    set.into_iter()
        .chain([PathBuf::from(USUAL_PLACE)])
        .map(|dir| dir.join(name))
        .find(|file| programs::is_program(file))
        .or_else(|| programs::find_or_say(name))
}

/// Writes what the API server and its clients know each other by; gives the administrator's file.
fn write_access(dir: &Path, port: u16) -> PathBuf {
    let token: String = rand::rng().sample_iter(rand::distr::Alphanumeric).take(32).map(char::from).collect();
    write(&dir.join("tokens.csv"), &format!("{token},admin,admin,\"system:masters\"\n"));
    write(
        &dir.join("audit.yaml"),
        "apiVersion: audit.k8s.io/v1\nkind: Policy\nomitStages: [RequestReceived]\nrules:\n  - level: Metadata\n",
    );
    // JSON is YAML.
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "test", "cluster": {
            "server": format!("https://127.0.0.1:{port}"), "certificate-authority": dir.join("ca.pem"),
        }}],
        "users": [{"name": "admin", "user": {"token": token}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "admin"}}],
        "current-context": "test",
    });
    let file = dir.join("kubeconfig");
    write(&file, &config.to_string());
    file
}

fn api_server_args(dir: &Path, port: u16, etcd: &str) -> Vec<String> {
    let file = |name: &str| dir.join(name).to_string_lossy().into_owned();
    [
        ("etcd-servers", etcd),
        ("bind-address", "127.0.0.1"),
        ("secure-port", &port.to_string()),
        // Its own address is not for pods: there are none.
        ("endpoint-reconciler-type", "none"),
        ("service-cluster-ip-range", "10.96.0.0/16"),
        ("tls-cert-file", &file("cert.pem")),
        ("tls-private-key-file", &file("key.pem")),
        ("token-auth-file", &file("tokens.csv")),
        ("authorization-mode", "RBAC"),
        ("service-account-issuer", "https://kubernetes.default.svc"),
        ("service-account-key-file", &file("cert.pem")),
        ("service-account-signing-key-file", &file("key.pem")),
        ("audit-policy-file", &file("audit.yaml")),
        ("audit-log-path", &file("audit.log")),
        ("audit-log-mode", "blocking"),
        // A test may write as fast as it can.
        ("max-requests-inflight", "2000"),
        ("max-mutating-requests-inflight", "1000"),
    ]
    .iter()
    .map(|(flag, value)| format!("--{flag}={value}"))
    .collect()
}

fn controller_args(dir: &Path, kubeconfig: &Path) -> Vec<String> {
    let file = |name: &str| dir.join(name).to_string_lossy().into_owned();
    [
        ("kubeconfig", &*kubeconfig.to_string_lossy()),
        ("leader-elect", "false"),
        // It need not serve anything.
        ("secure-port", "0"),
        ("service-account-private-key-file", &file("key.pem")),
        ("root-ca-file", &file("ca.pem")),
        ("use-service-account-credentials", "true"),
    ]
    .iter()
    .map(|(flag, value)| format!("--{flag}={value}"))
    .collect()
}

fn write(file: &Path, text: &str) {
    fs::write(file, text).unwrap_or_else(|error| panic!("cannot write {}: {error}", file.display()));
}
