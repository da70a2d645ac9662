//! The servers that the operator brings, started as it declares them: real NATS and etcd, with the command, the settings and the variables of
//! its manifests. What Kubernetes would put in, names and paths, is put in here.
//!
//! Skipped, loudly, where the servers are not installed.

// What is not as it must be ends a test, in helpers, too.
#![allow(clippy::unwrap_used)]

mod etcd;
mod nats;

use std::{
    collections::BTreeMap,
    fs,
    io::{Read as _, Write as _},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use rookery_operator::build::{Inputs, build, declared};
use rookery_testbed::{Bed, Process};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(60);

/// Addresses of this machine that no other run has: servers of a StatefulSet all have the same ports.
fn address(number: u8) -> Ipv4Addr {
    let [low, high, ..] = std::process::id().to_le_bytes();
    Ipv4Addr::new(127, 64 + high % 64, low, number)
}

/// What is made of a cluster with three of each.
fn manifests() -> Vec<Value> {
    let spec = serde_json::from_value(json!({ "version": "1.0.0" })).unwrap();
    let shards = declared(&spec);
    let manifests = build(&Inputs {
        name: "tea",
        namespace: "chats",
        uid: "u",
        spec: &spec,
        shards: &shards,
        stamps: &BTreeMap::new(),
        etcd_formed: false,
        operator_namespace: "o",
    });
    manifests.into_iter().map(|manifest| manifest.value).collect()
}

/// One server of a StatefulSet.
struct Server {
    address: Ipv4Addr,
    command: Vec<String>,
    variables: BTreeMap<String, String>,
    dir: PathBuf,
}

impl Server {
    /// The server of this number. Its address is one of `first` and those after it.
    fn new(bed: &Bed, part: &str, number: u8, first: u8, from_outside: &BTreeMap<&str, &str>) -> Self {
        let manifests = manifests();
        let set = format!("tea-{part}");
        let find = |kind: &str, name: &str| {
            manifests.iter().find(|value| value["kind"] == kind && value["metadata"]["name"] == name).unwrap()
        };
        let pod = &find("StatefulSet", &set)["spec"]["template"]["spec"];
        let container = &pod["containers"][0];
        let dir = bed.dir().join(format!("{set}-{number}"));
        let own = address(first + number);

        let mut variables: BTreeMap<String, String> = BTreeMap::new();
        for variable in container["env"].as_array().unwrap() {
            let from = &variable["valueFrom"];
            let value = if let Some(value) = variable["value"].as_str() {
                value.to_owned()
            } else if from["fieldRef"]["fieldPath"] == "metadata.name" {
                format!("{set}-{number}")
            } else {
                let key = from["secretKeyRef"]["key"].as_str().or(from["configMapKeyRef"]["key"].as_str());
                from_outside[key.unwrap()].to_owned()
            };
            let value = Self::expand(&value, &variables);
            variables.insert(variable["name"].as_str().unwrap().to_owned(), value);
        }
        // Files of its ConfigMaps.
        for volume in pod["volumes"].as_array().unwrap() {
            let Some(map) = volume["configMap"]["name"].as_str() else { continue };
            let mounts = container["volumeMounts"].as_array().unwrap();
            let mount = mounts.iter().find(|mount| mount["name"] == volume["name"]).unwrap();
            let folder = dir.join(mount["mountPath"].as_str().unwrap().trim_start_matches('/'));
            fs::create_dir_all(&folder).unwrap();
            for (file, text) in find("ConfigMap", map)["data"].as_object().unwrap() {
                let text = Self::place(text.as_str().unwrap(), &set, own, first, &dir);
                fs::write(folder.join(file), text).unwrap();
            }
        }
        for folder in ["data", "run/nats"] {
            fs::create_dir_all(dir.join(folder)).unwrap();
        }
        let command = container["command"].as_array().unwrap().iter().map(|word| {
            Self::place(&Self::expand(word.as_str().unwrap(), &variables), &set, own, first, &dir)
        });
        let command = command.collect();
        for value in variables.values_mut() {
            *value = Self::place(value, &set, own, first, &dir);
        }
        Self { address: own, command, variables, dir }
    }

    /// As Kubernetes does.
    fn expand(text: &str, variables: &BTreeMap<String, String>) -> String {
        variables
            .iter()
            .fold(text.to_owned(), |text, (name, value)| text.replace(&format!("$({name})"), value))
    }

    /// Addresses and paths of this machine in place of a pod's.
    fn place(text: &str, set: &str, own: Ipv4Addr, first: u8, dir: &Path) -> String {
        let mut text = text.replace("0.0.0.0", &own.to_string());
        for number in 0..3u8 {
            text = text
                .replace(&format!("{set}-{number}.{set}.chats.svc"), &address(first + number).to_string());
        }
        for folder in ["/data", "/run/nats", "/etc/nats"] {
            text = text.replace(folder, &dir.join(&folder[1..]).to_string_lossy());
        }
        text
    }

    fn start(&self, bed: &Bed, program: &Path, name: &str) -> Process {
        let mut process = bed.process(name, program, self.command[1..].to_vec());
        for (name, value) in &self.variables {
            process = process.with_env(name, value);
        }
        process.start();
        process
    }
}

/// What a server answers to `GET path`.
fn get(address: Ipv4Addr, port: u16, path: &str) -> Option<String> {
    let limit = Duration::from_secs(2);
    let mut socket = TcpStream::connect_timeout(&SocketAddr::new(IpAddr::V4(address), port), limit).ok()?;
    socket.set_read_timeout(Some(limit)).ok()?;
    socket.write_all(format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n").as_bytes()).ok()?;
    let mut answer = String::new();
    socket.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    head.split(' ').nth(1).is_some_and(|status| status == "200").then(|| body.to_owned())
}

fn eventually<T>(what: &str, process: &Process, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < deadline, "waited in vain: {what}\n{}", process.log_tail(20));
        std::thread::sleep(Duration::from_millis(100));
    }
}
