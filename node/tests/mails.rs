//! `standalone` with an SMTP server: mails are sent, and wait on disk while they cannot be.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    path::Path,
    time::Duration,
};

use rookery_testbed::{Bed, Process, Smtp, SmtpOptions, eventually, free_port};
use serde_json::json;

/// An answer that takes longer is none.
const ANSWER: Duration = Duration::from_secs(10);

struct Node {
    process: Process,
    port: u16,
    management: u16,
}

impl Node {
    fn start(bed: &Bed, smtp: &Smtp) -> Self {
        let (port, management) = (free_port(), free_port());
        let data = bed.dir().join("data");
        let args = [
            "standalone".to_owned(),
            format!("--listen=127.0.0.1:{port}"),
            format!("--management=127.0.0.1:{management}"),
            format!("--data={}", data.display()),
        ];
        let process = bed
            .process("node", Path::new(env!("CARGO_BIN_EXE_rookery-node")), args.to_vec())
            .with_env("ROOKERY_LOG__LEVEL", "info,rookery_node=trace,rookery_mailer=trace")
            .with_env("ROOKERY_MAILER__SMTP__HOST", "localhost")
            .with_env("ROOKERY_MAILER__SMTP__PORT", &smtp.port().to_string())
            .with_env("ROOKERY_MAILER__SMTP__SECURITY", "plain")
            .with_env("ROOKERY_MAILER__SMTP__TIMEOUT_SECONDS", "3")
            .with_env("ROOKERY_MAILER__MAIL__FROM", "chat@example.org")
            .with_env("ROOKERY_MAILER__RETRY__TRIES", "2")
            .with_env("ROOKERY_MAILER__RETRY__FIRST_SECONDS", "1")
            .with_env("ROOKERY_MAILER__RETRY__LONGEST_SECONDS", "1");
        process.start();
        let node = Self { process, port, management };
        node.await_ready();
        node
    }

    fn await_ready(&self) {
        eventually(
            "the node serves",
            || self.process.log_tail(20),
            || self.ask("GET", "/", "").filter(|answer| answer.starts_with("HTTP/1.1 200")),
        );
    }

    fn ask(&self, method: &str, path: &str, body: &str) -> Option<String> {
        self.ask_at(self.port, method, path, body)
    }

    fn ask_at(&self, port: u16, method: &str, path: &str, body: &str) -> Option<String> {
        self.process.assert_running();
        let mut socket = TcpStream::connect(("127.0.0.1", port)).ok()?;
        socket.set_read_timeout(Some(ANSWER)).ok()?;
        socket.set_write_timeout(Some(ANSWER)).ok()?;
        let length = body.len();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\n"
        );
        socket.write_all(format!("{head}content-length: {length}\r\n\r\n{body}").as_bytes()).ok()?;
        let mut answer = String::new();
        socket.read_to_string(&mut answer).ok()?;
        Some(answer)
    }

    /// Waits until no mail is begun because the SMTP server cannot be used.
    fn await_smtp_away(&self) {
        self.await_metric("rookery_mailer_smtp_away", 1.0);
    }

    fn metric(&self, name: &str) -> f64 {
        let all = self.ask_at(self.management, "GET", "/metrics", "").unwrap_or_default();
        let value = all.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok());
        value.unwrap_or(-1.0)
    }

    fn await_metric(&self, name: &str, at_least: f64) {
        let tail = || format!("{name} is {}\n{}", self.metric(name), self.process.log_tail(20));
        eventually("a metric grows", tail, || (self.metric(name) >= at_least).then_some(()));
    }

    fn register(&self, name: &str) {
        let body = format!(
            "{{\"email\":\"{name}@example.org\",\"username\":\"{name}\",\"password\":\"correct horse {name}\",\"language\":\"de\"}}"
        );
        let answer = self.ask("POST", "/v1/auth/register", &body).expect("the node answers");
        assert!(answer.starts_with("HTTP/1.1 202"), "{answer}");
    }
}

fn await_mail(smtp: &Smtp, node: &Node, to: &str) -> serde_json::Value {
    eventually(
        "a mail comes",
        || node.process.log_tail(20),
        || smtp.mails().into_iter().find(|mail| mail["to"][0] == to),
    )
}

/// Whether a log has a code, and not only as a part of a longer number, of which it is full.
fn says(log: &str, code: &str) -> bool {
    log.split(|c: char| !c.is_ascii_alphanumeric()).any(|word| word == code)
}

#[test]
fn mails_are_sent_and_outlive_the_node_while_they_wait() {
    let bed = Bed::temporary();
    let Some(smtp) = Smtp::start(&SmtpOptions { bed: Some(bed.clone()), ..SmtpOptions::default() }) else {
        return;
    };
    let node = Node::start(&bed, &smtp);
    let page = node.ask("GET", "/dev/mailbox", "").unwrap();
    assert!(page.starts_with("HTTP/1.1 404"), "{page}");
    node.register("ada");
    let mail = await_mail(&smtp, &node, "ada@example.org");
    assert_eq!(mail["headers"]["subject"], "Bestätige deine E-Mail-Adresse");

    smtp.process().kill();
    node.register("bob");
    // No try of his mail is used up by that, however often it is begun.
    node.await_smtp_away();
    node.await_metric("rookery_mailer_oldest_job_seconds", 1.0);
    assert!(node.metric("rookery_mailer_jobs") >= 1.0);
    let report = node.ask_at(node.management, "GET", "/readyz", "").unwrap();
    assert!(report.contains("200 OK") && report.contains("smtp: not ok: "), "{report}");
    for _ in 0..2 {
        node.process.kill();
        node.process.start();
        node.await_ready();
        node.await_smtp_away();
    }
    smtp.process().start();
    await_mail(&smtp, &node, "bob@example.org");
    let report = || node.ask_at(node.management, "GET", "/readyz", "").unwrap_or_default();
    eventually("the SMTP server is well", report, || report().contains("smtp: ok: ").then_some(()));
    eventually("no job waits", String::new, || (node.metric("rookery_mailer_jobs") < 0.5).then_some(()));
    let of_bob = smtp.mails().iter().filter(|mail| mail["to"][0] == "bob@example.org").count();
    assert_eq!((of_bob, smtp.mails().len()), (1, 2));

    // What is refused for good is kept, and put back.
    smtp.obey(&json!([{"to": "cleo@", "at": "rcpt", "reply": "550 5.1.1 no such user"}]));
    node.register("cleo");
    let dead = || node.ask_at(node.management, "GET", "/mails/dead", "").unwrap_or_default();
    eventually(
        "a mail is given up",
        || node.process.log_tail(20),
        || dead().contains("\tcleo@example.org\t").then_some(()),
    );
    assert!(dead().contains("550 5.1.1 no such user"), "{}", dead());
    smtp.obey(&json!([]));
    let done = node.ask_at(node.management, "POST", "/mails/dead", "").unwrap();
    assert!(done.ends_with("1 put back\n"), "{done}");
    await_mail(&smtp, &node, "cleo@example.org");
    assert!(!dead().contains("cleo"), "{}", dead());
    let none = node.ask_at(node.management, "POST", "/mails/dead?job=none", "").unwrap();
    assert!(none.starts_with("HTTP/1.1 404"), "{none}");

    // Nobody reads a code in the log.
    let code = |mail: &serde_json::Value| {
        let text = mail["text"].as_str().unwrap();
        let digits = text.split(|c: char| !c.is_ascii_digit()).find(|part| part.len() == 6);
        digits.unwrap_or_else(|| panic!("no code: {text}")).to_owned()
    };
    let codes: Vec<_> = smtp.mails().iter().map(code).collect();
    assert!(codes.len() >= 3, "{codes:?}");
    let log = std::fs::read_to_string(node.process.log()).unwrap();
    assert!(log.contains("rookery_mailer") && codes.iter().all(|code| !says(&log, code)), "{codes:?}\n{log}");

    node.process.terminate();
    let status = node.process.wait(rookery_testbed::PATIENCE).unwrap();
    assert!(status.success(), "{}", node.process.log_tail(20));
}
