//! An etcd of one member or more.

use std::{net::SocketAddr, path::PathBuf};

use crate::{bed::Bed, eventually, http, ports, process::Process, programs};

/// How the members are started.
#[derive(Clone)]
pub struct EtcdOptions {
    /// How many.
    pub members: usize,
    /// Arguments added to each member's.
    pub extra: Vec<String>,
    /// A directory with `ca.pem`, `cert.pem` and `key.pem`, as `certificates` makes them: clients are served by TLS alone, and
    /// show a certificate themselves.
    pub tls: Option<PathBuf>,
    /// Ports for clients from this one on, 10 further those for members, 20 further the monitors; else free ones.
    pub first_port: Option<u16>,
    /// Where data and logs go; else into a temporary directory.
    pub bed: Option<Bed>,
}

impl Default for EtcdOptions {
    fn default() -> Self {
        Self { members: 3, extra: Vec::new(), tls: None, first_port: None, bed: None }
    }
}

/// Running members, numbered from 0.
pub struct EtcdCluster {
    members: Vec<Member>,
    scheme: &'static str,
}

struct Member {
    process: Process,
    client: u16,
    monitor: u16,
}

impl EtcdCluster {
    /// Starts them and returns when each of them can read and write. `None`, said loudly, when `etcd` is not
    /// installed.
    pub fn start(options: &EtcdOptions) -> Option<Self> {
        let cluster = Self::spawn(options)?;
        cluster.await_ready();
        Some(cluster)
    }

    /// Starts them without waiting; [`EtcdCluster::await_ready`] waits.
    pub fn spawn(options: &EtcdOptions) -> Option<Self> {
        let program = programs::find_or_say("etcd")?;
        let bed = options.bed.clone().unwrap_or_else(Bed::temporary);
        let port = |index: usize, block: u16| match options.first_port {
            Some(first) => first + block + u16::try_from(index).expect("few members"),
            None => ports::free_port(),
        };
        let peers: Vec<String> = (0..options.members).map(|index| local(port(index, 10))).collect();
        let all: Vec<String> =
            peers.iter().enumerate().map(|(index, url)| format!("etcd-{index}={url}")).collect();
        let all = all.join(",");
        let scheme = if options.tls.is_some() { "https" } else { "http" };
        let members = (0..options.members).map(|index| {
            let (client, monitor) = (port(index, 0), port(index, 20));
            let name = format!("etcd-{index}");
            let data = bed.dir().join(&name);
            let mut args: Vec<String> = [
                ("--name", &*name),
                ("--data-dir", &data.to_string_lossy()),
                ("--listen-client-urls", &at(scheme, client)),
                ("--advertise-client-urls", &at(scheme, client)),
                ("--listen-peer-urls", &peers[index]),
                ("--initial-advertise-peer-urls", &peers[index]),
                ("--initial-cluster", &all),
                ("--initial-cluster-token", "rookery-testbed"),
                // Health without TLS and users, whatever clients need.
                ("--listen-metrics-urls", &local(monitor)),
                ("--log-level", "warn"),
            ]
            .iter()
            .map(|(flag, value)| format!("{flag}={value}"))
            .collect();
            if let Some(dir) = &options.tls {
                let file = |name: &str| dir.join(name).to_string_lossy().into_owned();
                args.push("--client-cert-auth".to_owned());
                args.push(format!("--trusted-ca-file={}", file("ca.pem")));
                args.push(format!("--cert-file={}", file("cert.pem")));
                args.push(format!("--key-file={}", file("key.pem")));
            }
            args.extend(options.extra.iter().cloned());
            let process = bed.process(&name, &program, args);
            process.start();
            Member { process, client, monitor }
        });
        Some(Self { members: members.collect(), scheme })
    }

    /// Waits until all that run can read and write.
    pub fn await_ready(&self) {
        for index in 0..self.members.len() {
            self.await_serving(index);
        }
    }

    /// How many members, running or not.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether there is none; there always is one.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Where clients connect: `http://127.0.0.1:2379`, or with `https`, one per member.
    pub fn endpoints(&self) -> Vec<String> {
        self.members.iter().map(|member| at(self.scheme, member.client)).collect()
    }

    /// Where clients connect to one member.
    pub fn address(&self, index: usize) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.members[index].client))
    }

    /// SIGKILL, and waits until it is gone.
    pub fn kill(&self, index: usize) {
        self.members[index].process.kill();
    }

    /// SIGSTOP.
    pub fn pause(&self, index: usize) {
        self.members[index].process.pause();
    }

    /// SIGCONT.
    pub fn resume(&self, index: usize) {
        self.members[index].process.resume();
    }

    /// SIGKILL if it still runs, then starts it again on the same ports and data; returns when it serves.
    pub fn restart(&self, index: usize) {
        self.members[index].process.kill();
        self.members[index].process.start();
        self.await_serving(index);
    }

    /// Its process.
    pub fn process(&self, index: usize) -> &Process {
        &self.members[index].process
    }

    /// Which member leads, in its own opinion; `None` while none does.
    pub fn leader(&self) -> Option<usize> {
        (0..self.members.len()).find(|&index| {
            let member = &self.members[index];
            member.process.pid().is_some()
                && http::get(member.monitor, "/metrics")
                    .is_some_and(|text| text.lines().any(|line| line == "etcd_server_is_leader 1"))
        })
    }

    fn await_serving(&self, index: usize) {
        let member = &self.members[index];
        if member.process.pid().is_none() {
            return;
        }
        eventually(
            &format!("{} serves", member.process.name()),
            || self.members.iter().map(|member| member.process.log_tail(15) + "\n").collect(),
            || {
                member.process.assert_running();
                self.is_serving(index).then_some(())
            },
        );
    }

    /// Whether it can read and write, which takes a majority of members.
    pub fn is_serving(&self, index: usize) -> bool {
        http::json(self.members[index].monitor, "/health").is_some_and(|told| told["health"] == "true")
    }
}

fn local(port: u16) -> String {
    at("http", port)
}

fn at(scheme: &str, port: u16) -> String {
    format!("{scheme}://127.0.0.1:{port}")
}
