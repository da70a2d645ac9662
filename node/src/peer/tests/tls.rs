//! Mutual TLS: nodes of the authority let each other in, and nobody else.

use rookery_core::room::Reply;
use rookery_protocol::peer::{StatusRequest, node_admin_client::NodeAdminClient};
use rookery_testbed::certificates;

use super::town::{Town, post, user};
use crate::{peer::PeerSettings, rooms::RoomsSettings};

#[tokio::test]
async fn nodes_show_each_other_certificates() {
    let dir = tempfile::tempdir().unwrap();
    if !certificates(dir.path(), "IP:127.0.0.1") {
        return;
    }
    let file = |name: &str| Some(dir.path().join(name));
    let settings = PeerSettings {
        tls_cert: file("cert.pem"),
        tls_key: file("key.pem"),
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
