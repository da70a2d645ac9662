//! An SMTP server that takes mails, or misbehaves as it is told; what it took can be read.

use std::{
    io::Read as _,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream},
    path::PathBuf,
    time::Duration,
};

use serde_json::{Value, json};

use crate::{bed::Bed, certificates::certificates_for, eventually, ports, process::Process, programs};

/// What scripts/servers calls a Python that has aiosmtpd.
const PYTHON: &str = "python-aiosmtpd";

/// How the server is started.
#[derive(Clone, Default)]
pub struct SmtpOptions {
    /// Whether it has a certificate: then it wants STARTTLS on its first port, and speaks TLS from the start on a second one.
    pub tls: bool,
    /// Names that the certificate is good for, as openssl writes them; empty: `DNS:localhost`.
    pub names: String,
    /// Whether the certificate has just expired.
    pub expired: bool,
    /// Ways to log in that it does not offer, as `PLAIN`.
    pub without: Vec<String>,
    /// Users with their passwords; with any, everybody must log in.
    pub users: Vec<(String, String)>,
    /// Users with their tokens, for XOAUTH2.
    pub tokens: Vec<(String, String)>,
    /// The address of this machine on which it listens; else 127.0.0.1.
    pub host: Option<IpAddr>,
    /// Its first port; else a free one.
    pub port: Option<u16>,
    /// Where mails and logs go; else into a temporary directory.
    pub bed: Option<Bed>,
}

/// A running server.
pub struct Smtp {
    process: Process,
    host: IpAddr,
    port: u16,
    tls_port: u16,
    dir: PathBuf,
    _bed: Bed,
}

impl Smtp {
    /// Starts it and returns when it serves. `None`, said loudly, when aiosmtpd or openssl is not installed.
    pub fn start(options: &SmtpOptions) -> Option<Self> {
        let python = programs::find_or_say(PYTHON)?;
        let bed = options.bed.clone().unwrap_or_else(Bed::temporary);
        let host = options.host.unwrap_or(Ipv4Addr::LOCALHOST.into());
        let port = options.port.unwrap_or_else(ports::free_port);
        let tls_port = if options.tls { ports::free_port() } else { 0 };
        let dir = bed.dir().join(format!("smtp-{port}"));
        std::fs::create_dir_all(&dir).expect("a directory can be made");
        let names = if options.names.is_empty() { "DNS:localhost" } else { &options.names };
        if options.tls && !certificates_for(&dir, names, if options.expired { 0 } else { 2 }) {
            return None;
        }
        let program = dir.join("server.py");
        std::fs::write(&program, include_str!("server.py")).expect("a program can be written");
        let file = |name: &str| dir.join(name).to_string_lossy().into_owned();
        let table =
            |pairs: &[(String, String)]| pairs.iter().cloned().collect::<std::collections::BTreeMap<_, _>>();
        let told = json!({
            "host": host,
            "port": port,
            "tls_port": tls_port,
            "starttls": options.tls,
            "cert": options.tls.then(|| file("cert.pem")),
            "key": options.tls.then(|| file("key.pem")),
            "users": table(&options.users),
            "tokens": table(&options.tokens),
            "without": options.without,
            "rules": file("rules.json"),
            "mails": file("mails.jsonl"),
        });
        let args = vec![program.to_string_lossy().into_owned(), told.to_string()];
        let process = bed.process(&format!("smtp-{port}"), &python, args);
        process.start();
        let smtp = Self { process, host, port, tls_port, dir, _bed: bed };
        smtp.await_ready();
        Some(smtp)
    }

    /// Waits until it serves.
    pub fn await_ready(&self) {
        eventually(
            "the SMTP server serves",
            || self.process.log_tail(15),
            || {
                self.process.assert_running();
                let mut socket = TcpStream::connect(SocketAddr::from((self.host, self.port))).ok()?;
                socket.set_read_timeout(Some(Duration::from_secs(1))).ok()?;
                let mut greeting = [0; 4];
                socket.read_exact(&mut greeting).ok()?;
                greeting.starts_with(b"220").then_some(())
            },
        );
    }

    /// The port that begins in the clear.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The port that speaks TLS from the start; 0: there is none.
    pub fn tls_port(&self) -> u16 {
        self.tls_port
    }

    /// Certificate of the authority that signed the server's.
    pub fn ca(&self) -> PathBuf {
        self.dir.join("ca.pem")
    }

    /// From now on it does as these rules say; see `server.py`.
    pub fn obey(&self, rules: &Value) {
        let new = self.dir.join("rules.new");
        std::fs::write(&new, rules.to_string()).expect("rules can be written");
        std::fs::rename(new, self.dir.join("rules.json")).expect("rules can be put in force");
    }

    /// All mails that it took, in order: `from`, `to`, `headers` (lower case), `text`, `html`, `tls`, `user`, and `login`, how
    /// he showed who he is.
    pub fn mails(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.dir.join("mails.jsonl")).unwrap_or_default();
        // The last line may be being written.
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// Its process.
    pub fn process(&self) -> &Process {
        &self.process
    }
}
