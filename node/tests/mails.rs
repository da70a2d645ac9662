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
        let metrics = || self.ask_at(self.management, "GET", "/metrics", "").unwrap_or_default();
        let is_away = || metrics().lines().any(|line| line == "rookery_mailer_smtp_away 1");
        eventually("the SMTP server is found away", || self.process.log_tail(20), || is_away().then_some(()));
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
    for _ in 0..2 {
        node.process.kill();
        node.process.start();
        node.await_ready();
        node.await_smtp_away();
    }
    smtp.process().start();
    await_mail(&smtp, &node, "bob@example.org");
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

    node.process.terminate();
    let status = node.process.wait(rookery_testbed::PATIENCE).unwrap();
    assert!(status.success(), "{}", node.process.log_tail(20));
}
