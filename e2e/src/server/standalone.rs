//! A `rookery-node standalone` in a directory of its own.

use std::{fs, net::SocketAddr, path::PathBuf, time::Instant};

use rookery_testbed::{Bed, Process};
use serde_json::Value;

use super::{Options, program};
use crate::PATIENCE;

pub(super) struct Standalone {
    process: Process,
    data: PathBuf,
    listen: SocketAddr,
    management: SocketAddr,
}

impl Standalone {
    /// One on an empty directory, not started yet.
    pub(super) fn new(options: Options) -> Self {
        let bed = Bed::temporary();
        let data = bed.dir().join("data");
        let arguments = [
            "standalone".to_owned(),
            format!("--listen=127.0.0.1:{}", options.port),
            "--management=127.0.0.1:0".to_owned(),
            format!("--data={}", data.display()),
        ];
        let process = bed.process("node", &program(), arguments.to_vec());
        let set = options.environment.into_iter();
        let process = set.fold(process, |process, (name, value)| process.with_env(&name, &value));
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        Self { process, data, listen: nowhere, management: nowhere }
    }

    pub(super) fn process(&self) -> &Process {
        &self.process
    }

    pub(super) fn listen(&self) -> SocketAddr {
        self.listen
    }

    pub(super) fn management(&self) -> SocketAddr {
        self.management
    }

    /// Starts the program, without waiting until it is ready.
    pub(super) fn spawn(&mut self) {
        let _ = fs::remove_file(self.told());
        self.process.start();
    }

    pub(super) fn await_ready(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let told = fs::read(self.told()).ok();
            let ready: Option<Value> = told.and_then(|bytes| serde_json::from_slice(&bytes).ok());
            if let Some(ready) = ready {
                let address = |key: &str| ready[key].as_str().and_then(|text| text.parse().ok());
                self.listen = address("listen").expect("listen.json says where clients connect");
                self.management = address("management").expect("listen.json says the management port");
                return;
            }
            self.process.assert_running();
            assert!(
                Instant::now() < deadline,
                "the server is not ready after {PATIENCE:?}\n{}",
                self.process.log_tail(60)
            );
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }

    fn told(&self) -> PathBuf {
        self.data.join("listen.json")
    }
}
