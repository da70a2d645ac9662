//! TLS: both sides show certificates.

use rookery_testbed::{NatsOptions, certificates};

use super::*;

#[test]
fn nodes_and_servers_know_each_other_by_certificates() {
    let dir = tempfile::tempdir().unwrap();
    if !certificates(dir.path(), "DNS:localhost,IP:127.0.0.1") {
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
