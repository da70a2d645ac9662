//! A redis-server of a test's own, on free ports, gone with the test.

use std::{
    net::{TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// Time for a server to answer, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// See the module's text.
pub(super) struct Server {
    child: Child,
    pub(super) port: u16,
    dir: tempfile::TempDir,
    arguments: Vec<String>,
}

/// A port that nobody uses now. The bus of a Redis Cluster needs another one, 10,000 above.
pub(super) fn free_port() -> u16 {
    loop {
        let port = rookery_testbed::free_port();
        if TcpListener::bind(("127.0.0.1", port + 10_000)).is_ok() {
            return port;
        }
    }
}

impl Server {
    /// Starts a server with more arguments; `None`, and a word about it, where there is no redis-server.
    pub(super) fn start(arguments: &[&str]) -> Option<Self> {
        Self::start_on(arguments, None)
    }

    /// Starts a sentinel that watches a server as `main`.
    pub(super) fn sentinel(master: u16) -> Option<Self> {
        let text = format!(
            "sentinel monitor main 127.0.0.1 {master} 1\nsentinel down-after-milliseconds main 500\n\
             sentinel failover-timeout main 3000\n"
        );
        Self::start_on(&["--sentinel"], Some(&text))
    }

    fn start_on(arguments: &[&str], config: Option<&str>) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let mut all = Vec::new();
        if let Some(config) = config {
            std::fs::write(dir.path().join("own.conf"), config).unwrap();
            all.push("own.conf".to_owned());
        } else {
            all.extend(["--save", ""].map(str::to_owned));
        }
        let tls = arguments.iter().skip_while(|argument| **argument != "--tls-port").nth(1);
        let port = tls.map_or_else(free_port, |port| port.parse().unwrap());
        if tls.is_none() {
            all.extend(["--port".to_owned(), port.to_string()]);
        }
        all.extend(["--bind", "127.0.0.1"].map(str::to_owned));
        all.extend(arguments.iter().map(|argument| (*argument).to_owned()));
        let child = spawn(&all, dir.path())?;
        let mut server = Self { child, port, dir, arguments: all };
        server.wait();
        Some(server)
    }

    fn wait(&mut self) {
        let started = Instant::now();
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(started.elapsed() < PATIENCE, "redis-server does not listen");
            assert!(self.child.try_wait().unwrap().is_none(), "redis-server has ended");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub(super) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub(super) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts it again, empty, where it was.
    pub(super) fn restart(&mut self) {
        self.child = spawn(&self.arguments, self.dir.path()).unwrap();
        self.wait();
    }

    /// Its answer to a command, as text.
    pub(super) fn ask(&self, command: &[&str]) -> String {
        let mut connection = redis::Client::open(self.url()).unwrap().get_connection().unwrap();
        let value: redis::Value = redis::cmd(command[0]).arg(&command[1..]).query(&mut connection).unwrap();
        redis::from_redis_value::<String>(value.clone()).unwrap_or_else(|_| format!("{value:?}"))
    }

    /// Asks until the answer is as it should be.
    pub(super) async fn until(&self, command: &[&str], wanted: impl Fn(&str) -> bool) {
        let asked = async {
            while !wanted(&self.ask(command)) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(PATIENCE, asked).await.expect("the server gets there");
    }

    pub(super) fn pause(&self) {
        self.signal(rustix::process::Signal::STOP);
    }

    pub(super) fn resume(&self) {
        self.signal(rustix::process::Signal::CONT);
    }

    fn signal(&self, signal: rustix::process::Signal) {
        rustix::process::kill_process(rustix::process::Pid::from_child(&self.child), signal).unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(arguments: &[String], dir: &std::path::Path) -> Option<Child> {
    let mut command = Command::new(rookery_testbed::find_program_or_say("redis-server")?);
    command.args(arguments).current_dir(dir).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    Some(command.spawn().unwrap_or_else(|error| panic!("redis-server: {error}")))
}
