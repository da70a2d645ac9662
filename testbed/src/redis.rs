//! A Redis server.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use crate::{bed::Bed, eventually, ports, process::Process, programs};

/// How the server is started.
#[derive(Clone, Default)]
pub struct RedisOptions {
    /// Whether it keeps its data over a restart; otherwise it forgets all of it, which is a fault to test with.
    pub durable: bool,
    /// Lines added to its configuration: users, limits.
    pub extra: Vec<String>,
    /// Its port; else a free one.
    pub port: Option<u16>,
    /// Where data and log go; else into a temporary directory.
    pub bed: Option<Bed>,
}

/// A running server.
pub struct Redis {
    process: Process,
    port: u16,
}

impl Redis {
    /// Starts it and returns when it serves. `None`, said loudly, when `redis-server` is not installed.
    pub fn start(options: &RedisOptions) -> Option<Self> {
        let redis = Self::spawn(options)?;
        redis.await_ready();
        Some(redis)
    }

    /// Starts it without waiting; [`Redis::await_ready`] waits.
    pub fn spawn(options: &RedisOptions) -> Option<Self> {
        let program = programs::find_or_say("redis-server")?;
        let bed = options.bed.clone().unwrap_or_else(Bed::temporary);
        let port = options.port.unwrap_or_else(ports::free_port);
        let name = format!("redis-{port}");
        let data = bed.dir().join(&name);
        std::fs::create_dir_all(&data).expect("a directory can be made");
        let durable = if options.durable { "appendonly yes" } else { "appendonly no" };
        let mut lines = vec![
            format!("port {port}"),
            "bind 127.0.0.1".to_owned(),
            format!("dir {:?}", data.to_string_lossy()),
            "save \"\"".to_owned(),
            durable.to_owned(),
        ];
        lines.extend(options.extra.iter().cloned());
        let config = data.join("redis.conf");
        std::fs::write(&config, lines.join("\n") + "\n").expect("a configuration can be written");
        let process = bed.process(&name, &program, vec![config.to_string_lossy().into_owned()]);
        process.start();
        Some(Self { process, port })
    }

    /// Waits until it serves.
    pub fn await_ready(&self) {
        eventually(
            "Redis serves",
            || self.process.log_tail(15),
            || {
                self.process.assert_running();
                self.is_serving().then_some(())
            },
        );
    }

    /// Where clients connect: `redis://127.0.0.1:6379`.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    /// SIGKILL, and waits until it is gone.
    pub fn kill(&self) {
        self.process.kill();
    }

    /// SIGSTOP.
    pub fn pause(&self) {
        self.process.pause();
    }

    /// SIGCONT.
    pub fn resume(&self) {
        self.process.resume();
    }

    /// SIGKILL if it still runs, then starts it again on the same port; unless it is durable, all data is lost.
    pub fn restart(&self) {
        self.process.kill();
        self.process.start();
        self.await_ready();
    }

    /// Its process.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Whether it answers, be it that it wants a password. While it loads its data it says so instead.
    pub fn is_serving(&self) -> bool {
        let ask = || -> std::io::Result<bool> {
            let mut socket = TcpStream::connect(self.address())?;
            socket.set_read_timeout(Some(Duration::from_secs(1)))?;
            socket.write_all(b"PING\r\n")?;
            let mut answer = [0; 7];
            socket.read_exact(&mut answer)?;
            Ok(answer.starts_with(b"+PONG") || answer.starts_with(b"-NOAUTH"))
        };
        ask().unwrap_or(false)
    }
}
