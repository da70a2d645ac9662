//! Kubernetes as its administrators use it: by `kubectl`. Nothing here knows of chats.

use std::{
    io::Write as _,
    net::{TcpStream, UdpSocket},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use rookery_testbed::{find_program_or_say, free_port};
use serde_json::Value;

/// Nothing takes longer, or it hangs. Images may have to be fetched.
pub(crate) const PATIENCE: Duration = Duration::from_secs(300);
/// Between two looks.
const PACE: Duration = Duration::from_millis(300);

/// A namespace of the Kubernetes that `KUBECONFIG` names.
#[derive(Clone)]
pub(crate) struct Kubernetes {
    kubectl: PathBuf,
    namespace: String,
}

impl Kubernetes {
    /// `None`, said loudly: there is no `kubectl`.
    pub(crate) fn find(namespace: &str) -> Option<Self> {
        Some(Self { kubectl: find_program_or_say("kubectl")?, namespace: namespace.to_owned() })
    }

    /// The same, in another namespace.
    pub(crate) fn in_namespace(&self, namespace: &str) -> Self {
        Self { namespace: namespace.to_owned(), ..self.clone() }
    }

    /// The namespace.
    pub(crate) fn namespace(&self) -> &str {
        &self.namespace
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.kubectl);
        command.arg("--namespace").arg(&self.namespace).args(args);
        command
    }

    /// What `kubectl` writes.
    ///
    /// # Errors
    /// What it complains of.
    pub(crate) fn try_kubectl(&self, args: &[&str], input: &str) -> Result<String, String> {
        let mut command = self.command(args);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| error.to_string())?;
        let stdin = child.stdin.take();
        // In a thread of its own: it may answer before it has read all.
        let done = std::thread::scope(|scope| {
            scope.spawn(move || stdin.map(|mut stdin| stdin.write_all(input.as_bytes())));
            child.wait_with_output()
        });
        let done = done.map_err(|error| error.to_string())?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if done.status.success() { Ok(text(&done.stdout)) } else { Err(text(&done.stderr)) }
    }

    /// What `kubectl` writes; it must succeed.
    #[track_caller]
    pub(crate) fn kubectl(&self, args: &[&str]) -> String {
        self.try_kubectl(args, "").unwrap_or_else(|error| panic!("kubectl {}: {error}", args.join(" ")))
    }

    /// Applies an object.
    #[track_caller]
    pub(crate) fn apply(&self, object: &Value) {
        let done = self
            .try_kubectl(&["apply", "--server-side", "--validate=strict", "-f", "-"], &object.to_string());
        done.unwrap_or_else(|error| panic!("kubectl apply: {error}\n{object:#}"));
    }

    /// Objects, `KIND` or `KIND/NAME`, with further options; `None`: there is none of that name.
    pub(crate) fn get(&self, what: &str, options: &[&str]) -> Option<Value> {
        let args = [&["get", what, "--ignore-not-found", "--output", "json"], options].concat();
        let text = self.kubectl(&args);
        (!text.trim().is_empty()).then(|| serde_json::from_str(&text).expect("kubectl writes JSON"))
    }

    /// Objects of a kind with these labels.
    pub(crate) fn list(&self, kind: &str, selector: &str) -> Vec<Value> {
        let list = self.get(kind, &["--selector", selector]);
        list.and_then(|list| list["items"].as_array().cloned()).unwrap_or_default()
    }

    /// Makes the namespace.
    pub(crate) fn make(&self) {
        self.kubectl(&["create", "namespace", &self.namespace]);
        // The operator's pods must be let in also where that is enforced.
        let label = "pod-security.kubernetes.io/enforce=restricted";
        self.kubectl(&["label", "namespace", &self.namespace, label]);
    }

    /// A port of this machine that leads to a port of a pod or Service, `pod/NAME`.
    pub(crate) fn forward(&self, target: &str, port: u16) -> Forward {
        let local = free_port();
        let child = self
            .command(&["port-forward", target, &format!("{local}:{port}")])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("kubectl can be started");
        let forward = Forward { child, port: local };
        until(&format!("port {port} of {target} can be reached"), || {
            TcpStream::connect(("127.0.0.1", local)).is_ok().then_some(())
        });
        forward
    }

    /// The address of this machine by which Kubernetes' machines, and pods on them, reach it.
    pub(crate) fn address_of_this_machine(&self) -> std::net::IpAddr {
        let path = r#"jsonpath={.items[0].status.addresses[?(@.type=="InternalIP")].address}"#;
        let node = self.kubectl(&["get", "nodes", "--output", path]);
        let socket = UdpSocket::bind("0.0.0.0:0").expect("a socket can be made");
        // Nothing is sent: it is only looked up where it would go from.
        socket.connect((node.trim(), 9)).unwrap_or_else(|error| panic!("no way to {node}: {error}"));
        socket.local_addr().expect("it has an address").ip()
    }

    /// All that may say why something went wrong, as files of a directory of the build.
    pub(crate) fn keep_evidence(&self) -> PathBuf {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("pods-{}-{number}", self.namespace);
        let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(&dir).expect("a directory can be made");
        let keep = |file: &str, args: &[&str]| {
            let text = self.try_kubectl(args, "").unwrap_or_else(|error| error);
            let _ = std::fs::write(dir.join(file), text);
        };
        keep("objects", &["get", "cc,all,pvc,ingress", "--output", "wide"]);
        keep("chatclusters.yaml", &["get", "cc", "--output", "yaml"]);
        keep("pods", &["describe", "pods"]);
        keep("events", &["get", "events", "--sort-by", ".lastTimestamp"]);
        let logs = ["logs", "--prefix", "--tail=2000", "--max-log-requests=50"];
        keep("nodes.log", &[&logs[..], &["--selector", "app.kubernetes.io/component=node"]].concat());
        keep("mailer.log", &[&logs[..], &["--selector", "app.kubernetes.io/component=mailer"]].concat());
        keep("nats.log", &[&logs[..], &["--selector", "app.kubernetes.io/component=nats"]].concat());
        let operator = ["--namespace", "rookery", "--selector", "app.kubernetes.io/component=operator"];
        keep("operator.log", &[&logs[..], &operator].concat());
        dir
    }
}

/// A port that is forwarded as long as this lives.
pub(crate) struct Forward {
    child: Child,
    port: u16,
}

impl Forward {
    /// `127.0.0.1:PORT`.
    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// `http://127.0.0.1:PORT`.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address())
    }
}

impl Drop for Forward {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Asks until there is an answer; how long that took. Panics with `what` after [`PATIENCE`].
#[track_caller]
pub(crate) fn until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(began.elapsed() < PATIENCE, "waited {PATIENCE:?} in vain: {what}");
        std::thread::sleep(PACE);
    }
}
