//! TLS: both sides show certificates.

use std::path::Path;

use rookery_testbed::NatsOptions;

use super::*;

/// An authority, and a certificate of it for `localhost` that servers and nodes share. False, and a word about it,
/// where there is no openssl.
fn certificates(dir: &Path) -> bool {
    let openssl = |line: &str| {
        let done = std::process::Command::new("openssl").args(line.split(' ')).current_dir(dir).output();
        done.is_ok_and(|done| done.status.success())
    };
    if !openssl("version") {
        eprintln!("SKIPPED: openssl is not installed");
        return false;
    }
    std::fs::write(
        dir.join("names"),
        "subjectAltName=DNS:localhost,IP:127.0.0.1\nextendedKeyUsage=serverAuth,clientAuth\n",
    )
    .unwrap();
    for line in [
        "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=authority -keyout ca.key -out ca.pem",
        "req -newkey rsa:2048 -nodes -subj /CN=localhost -keyout key.pem -out request.pem",
        "x509 -req -in request.pem -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile names -out cert.pem",
    ] {
        assert!(openssl(line), "openssl {line}");
    }
    true
}

#[test]
fn nodes_and_servers_know_each_other_by_certificates() {
    let dir = tempfile::tempdir().unwrap();
    if !certificates(dir.path()) {
        return;
    }
    let file = |name: &str| dir.path().join(name);
    let extra = format!(
        "tls {{ cert_file: {:?}, key_file: {:?}, ca_file: {:?}, verify: true }}\n",
        file("cert.pem"),
        file("key.pem"),
        file("ca.pem")
    );
    let options = NatsOptions { servers: 1, extra, ..NatsOptions::default() };
    let Some(servers) = NatsCluster::start(&options) else { return };
    run(async {
        let known = NatsSettings {
            tls_ca: Some(file("ca.pem")),
            tls_cert: Some(file("cert.pem")),
            tls_key: Some(file("key.pem")),
            connect_seconds: 2,
            ..settings(&servers)
        };
        let log = open_with(&known, "tls").await;
        stored(&log, record(1, 0, 1..=1, "in private")).await;
        // Without its own certificate, or trusting another authority, a node does not get in.
        let metrics = || NatsMetrics::register(&mut Registry::default());
        let stranger = NatsSettings { tls_cert: None, tls_key: None, ..known.clone() };
        assert!(JetStream::connect(&stranger, "tls", metrics()).await.is_err());
        let careful = NatsSettings { tls_ca: None, ..known.clone() };
        assert!(JetStream::connect(&careful, "tls", metrics()).await.is_err());
        let missing = NatsSettings { tls_ca: Some(file("nowhere.pem")), ..known };
        let why = JetStream::connect(&missing, "tls", metrics()).await.err().unwrap().to_string();
        assert!(why.starts_with("nats.tls_ca: cannot use") && why.contains("nowhere.pem"), "{why}");
    });
}
