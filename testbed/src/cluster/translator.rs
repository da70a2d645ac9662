//! One translator: its configuration and its process.

use std::{fmt::Write as _, fs, net::SocketAddr};

use super::node::{Wiring, await_ready, is_ready, urls};
use super::options::ClusterOptions;
use crate::{bed::Bed, process::Process, programs};

/// A `rookery-translator serve`. It keeps its address when it is started again.
pub struct Translator {
    process: Process,
    management: SocketAddr,
}

impl Translator {
    pub(super) fn new(bed: &Bed, options: &ClusterOptions, index: usize, wiring: &Wiring) -> Self {
        let name = format!("translator-{index}");
        let port = super::TRANSLATORS + u16::try_from(index).expect("few translators");
        let management = SocketAddr::from(([127, 0, 0, 1], options.ports.choose(port)));
        let config = bed.dir().join(format!("{name}.toml"));
        let mut text = String::from("# Written at each start of the cluster.\n[server]\n");
        let _ = writeln!(text, "cluster = {:?}\nmanagement = \"{management}\"\n", options.name);
        let _ = writeln!(text, "[nats]\nurls = {:?}\n", urls("nats", &wiring.nats).join(","));
        let _ = writeln!(text, "[redis]\nurl = \"redis://{}\"\n", wiring.redis);
        if let Some(models) = programs::find_models() {
            let _ = writeln!(text, "[translator.firefox]\nmodels = {models:?}");
        }
        fs::write(&config, text).expect("a configuration can be written");
        let args = ["serve".to_owned(), "--config".to_owned(), config.to_string_lossy().into_owned()];
        let process = bed.process(&name, &options.translator_program(), args.to_vec());
        let settings = &options.translator_settings;
        let process = settings.iter().fold(process, |process, (name, value)| process.with_env(name, value));
        Self { process, management }
    }

    /// Starts it, without waiting until it is ready. Does nothing if it runs.
    pub fn start(&self) {
        self.process.start();
    }

    /// Waits until it is ready for requests.
    pub fn await_ready(&self) {
        await_ready(&self.process, self.management);
    }

    /// Whether it says that it is ready.
    pub fn is_ready(&self) -> bool {
        is_ready(&self.process, self.management)
    }

    /// SIGKILL if it runs, then starts it again; returns when it is ready.
    pub fn restart(&self) {
        self.process.kill();
        self.process.start();
        self.await_ready();
    }

    /// Its process.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// `http://host:port` of the management port.
    pub fn management_url(&self) -> String {
        format!("http://{}", self.management)
    }
}
