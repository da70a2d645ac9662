//! A `rookery-node standalone` of the test's own.
//!
//! Here belongs starting, stopping, killing and restarting one; no HTTP.

mod guard;
mod options;

use std::{
    fs::{self, File},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal};
use serde_json::Value;

use crate::PATIENCE;
use guard::Guard;
pub use options::Options;

/// A running server. It ends with this value, or at the latest with the test's process.
pub struct Server {
    child: Child,
    guard: Option<Guard>,
    dir: PathBuf,
    options: Options,
    listen: SocketAddr,
    management: SocketAddr,
}

impl Server {
    /// Starts one on an empty data directory and returns when it is ready.
    pub fn start(options: Options) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("rookery-e2e-{}-{number}", std::process::id()));
        fs::create_dir_all(&dir).expect("a directory for the test can be made");
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let (child, guard) = spawn(&dir, &options);
        let mut server =
            Self { child, guard: Some(guard), dir, options, listen: nowhere, management: nowhere };
        server.await_ready();
        server
    }

    /// `http://host:port` for clients.
    pub fn url(&self) -> String {
        format!("http://{}", self.listen)
    }

    /// `http://host:port` of the management port.
    pub fn management_url(&self) -> String {
        format!("http://{}", self.management)
    }

    /// Where clients connect.
    pub fn listen(&self) -> SocketAddr {
        self.listen
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// SIGTERM: drain and end.
    pub fn terminate(&self) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).expect("a pid is positive");
        rustix::process::kill_process(pid, Signal::TERM).expect("our child can be signalled");
    }

    /// SIGKILL, and waits until it is gone.
    pub fn kill(&mut self) {
        // Fails only if it is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.guard.take();
    }

    /// Waits until it ends by itself.
    pub fn wait(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("our child can be waited for") {
                self.guard.take();
                return status;
            }
            assert!(Instant::now() < deadline, "the server does not end\n{}", self.log_tail(60));
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Starts the program again on the same data, without waiting until it is ready. It must have ended.
    pub fn spawn_again(&mut self) {
        assert!(self.guard.is_none(), "kill it first");
        let (child, guard) = spawn(&self.dir, &self.options);
        (self.child, self.guard) = (child, Some(guard));
    }

    /// Waits until it is ready.
    pub fn await_ready(&mut self) {
        let told = data_of(&self.dir).join("listen.json");
        let deadline = Instant::now() + PATIENCE;
        loop {
            let ready: Option<Value> =
                fs::read(&told).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
            if let Some(ready) = ready {
                let address = |key: &str| ready[key].as_str().and_then(|text| text.parse().ok());
                self.listen = address("listen").expect("listen.json says where clients connect");
                self.management = address("management").expect("listen.json says the management port");
                return;
            }
            if let Some(status) = self.child.try_wait().expect("our child can be waited for") {
                panic!("the server ended at start: {status}\n{}", self.log_tail(60));
            }
            assert!(
                Instant::now() < deadline,
                "the server is not ready after {PATIENCE:?}\n{}",
                self.log_tail(60)
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Kills it and starts it again on the same data; returns when it is ready.
    pub fn restart(&mut self) {
        self.kill();
        self.spawn_again();
        self.await_ready();
    }

    /// Its data directory.
    pub fn data(&self) -> PathBuf {
        data_of(&self.dir)
    }

    /// The last lines that it wrote.
    pub fn log_tail(&self, lines: usize) -> String {
        log_tail(&self.log(), lines)
    }

    /// The file with all that it wrote.
    pub fn log(&self) -> PathBuf {
        log_of(&self.dir)
    }
}

impl Drop for Server {
    #[allow(clippy::print_stderr)]
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!(
                "--- the server's last lines; all of {} is kept\n{}",
                self.dir.display(),
                self.log_tail(60)
            );
        } else if !guard::keep() {
            let _ = fs::remove_dir_all(&self.dir);
        }
    }
}

/// The last lines of a log file.
pub fn log_tail(log: &Path, lines: usize) -> String {
    let text = fs::read(log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

fn data_of(dir: &Path) -> PathBuf {
    dir.join("data")
}

fn log_of(dir: &Path) -> PathBuf {
    dir.join("node.log")
}

/// The node's program: `$ROOKERY_NODE`, or the one of the test's own target directory.
pub(crate) fn program() -> PathBuf {
    if let Some(program) = std::env::var_os("ROOKERY_NODE") {
        return program.into();
    }
    let mut path = std::env::current_exe().expect("a test knows its own program");
    // target/PROFILE/deps/TEST → target/PROFILE/rookery-node
    path.pop();
    if path.ends_with("deps") {
        path.pop();
    }
    path.push("rookery-node");
    assert!(path.exists(), "{} is missing: cargo build -p rookery-node", path.display());
    path
}

fn spawn(dir: &Path, options: &Options) -> (Child, Guard) {
    let data = data_of(dir);
    let _ = fs::remove_file(data.join("listen.json"));
    let open = || File::options().create(true).append(true).open(log_of(dir)).expect("a log can be written");
    let mut command = Command::new(program());
    for (name, _) in std::env::vars_os() {
        // What the developer has set for his own node must not reach the tests'.
        if name.to_string_lossy().starts_with("ROOKERY_") {
            command.env_remove(name);
        }
    }
    command
        .arg("standalone")
        .args(["--listen", &format!("127.0.0.1:{}", options.port)])
        .args(["--management", "127.0.0.1:0"])
        .arg("--data")
        .arg(&data)
        .envs(options.environment.iter().map(|(key, value)| (key, value)))
        .stdin(Stdio::null())
        .stdout(open())
        .stderr(open());
    let child = command.spawn().unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
    let guard = Guard::over(child.id(), dir);
    (child, guard)
}
