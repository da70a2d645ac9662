//! Mutual TLS: nodes of the authority let each other in, and nobody else.

use std::path::Path;

use rookery_core::room::Reply;
use rookery_protocol::peer::{StatusRequest, node_admin_client::NodeAdminClient};

use super::town::{Town, post, user};
use crate::{peer::PeerSettings, rooms::RoomsSettings};

/// An authority, and a certificate of it that all nodes share. False, and a word about it, where there is no openssl.
fn certificates(dir: &Path) -> bool {
    let openssl = |line: &str| {
        let done = std::process::Command::new("openssl").args(line.split(' ')).current_dir(dir).output();
        done.is_ok_and(|done| done.status.success())
    };
    if !openssl("version") {
        eprintln!("SKIPPED: openssl is not installed");
        return false;
    }
    std::fs::write(dir.join("names"), "subjectAltName=IP:127.0.0.1\n").unwrap();
    let lines = [
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout ca.key -out ca.pem -days 2 -subj /CN=ca",
        "req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout node.key -out node.csr -subj /CN=node",
        "x509 -req -in node.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out node.pem -days 2 -extfile names",
    ];
    for line in lines {
        assert!(openssl(line), "openssl {line}");
    }
    true
}

#[tokio::test]
async fn nodes_show_each_other_certificates() {
    let dir = tempfile::tempdir().unwrap();
    if !certificates(dir.path()) {
        return;
    }
    let file = |name: &str| Some(dir.path().join(name));
    let settings = PeerSettings {
        tls_cert: file("node.pem"),
        tls_key: file("node.key"),
        tls_ca: file("ca.pem"),
        ..PeerSettings::default()
    };
    let town = Town::with(2, settings, RoomsSettings::default()).await;
    let ada = user(1);
    let room = town.room(0, &ada, &[]).await;
    let posted = town.nodes[1].rooms.command(room, &ada, post("a")).await.unwrap();
    assert!(matches!(posted, Reply::Posted { .. }));
    assert!(town.nodes[1].metrics.forwarded.get() > 0);
    // Without a certificate, or without TLS, nobody gets anywhere.
    let ca = tonic::transport::Certificate::from_pem(std::fs::read(dir.path().join("ca.pem")).unwrap());
    let tls = tonic::transport::ClientTlsConfig::new().ca_certificate(ca);
    for (scheme, tls) in [("https", Some(tls)), ("http", None)] {
        let address = format!("{scheme}://{}", town.nodes[0].address);
        let mut endpoint = tonic::transport::Endpoint::from_shared(address).unwrap();
        if let Some(tls) = tls {
            endpoint = endpoint.tls_config(tls).unwrap();
        }
        let channel = endpoint.connect_lazy();
        assert!(NodeAdminClient::new(channel).status(StatusRequest {}).await.is_err(), "{scheme}");
    }
}
