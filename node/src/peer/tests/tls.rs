//! Mutual TLS: nodes of the authority let each other in, and nobody else.

use rookery_core::room::Reply;
use rookery_protocol::peer::{StatusRequest, node_admin_client::NodeAdminClient};
use rookery_testbed::certificates;
use tonic::{Code, transport::ClientTlsConfig};

use super::town::{Town, as_operator, post, user};
use crate::{
    peer::{PeerSettings, tls},
    rooms::RoomsSettings,
};

#[tokio::test]
async fn nodes_show_each_other_certificates() {
    let (dir, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    if !certificates(dir.path(), "IP:127.0.0.1") {
        return;
    }
    assert!(certificates(elsewhere.path(), "IP:127.0.0.1"));
    let settings = PeerSettings {
        tls_cert: Some(dir.path().join("cert.pem")),
        tls_key: Some(dir.path().join("key.pem")),
        tls_ca: Some(dir.path().join("ca.pem")),
        ..PeerSettings::default()
    };
    let town = Town::with(2, settings.clone(), RoomsSettings::default()).await;
    let ada = user(1);
    let room = town.room(0, &ada, &[]).await;
    let posted = town.nodes[1].rooms.command(room, &ada, post("a")).await.unwrap();
    assert!(matches!(posted, Reply::Posted { .. }));
    assert!(town.nodes[1].metrics.forwarded.get() > 0);

    // Who has the operator's token and a certificate is let in: it is for the certificate alone that the others are not.
    let shown = |settings: &PeerSettings| tls::load(settings).unwrap().unwrap().client;
    status(&town, "https", Some(shown(&settings))).await.unwrap();
    let without = tonic::transport::Certificate::from_pem(std::fs::read(dir.path().join("ca.pem")).unwrap());
    let without = ClientTlsConfig::new().ca_certificate(without);
    let file = |name: &str| Some(elsewhere.path().join(name));
    let stranger = PeerSettings { tls_cert: file("cert.pem"), tls_key: file("key.pem"), ..settings.clone() };
    let astray = PeerSettings { tls_ca: file("ca.pem"), ..settings };
    for (who, scheme, tls) in [
        ("no certificate", "https", Some(without)),
        ("a certificate of another authority", "https", Some(shown(&stranger))),
        ("the node's certificate is of another authority", "https", Some(shown(&astray))),
        ("no TLS", "http", None),
    ] {
        let refused = status(&town, scheme, tls).await.expect_err(who);
        assert_ne!(refused.code(), Code::Unauthenticated, "{who}: {refused}");
    }
}

/// Asks the first node how it is, as the operator.
async fn status(town: &Town, scheme: &str, tls: Option<ClientTlsConfig>) -> Result<(), tonic::Status> {
    let address = format!("{scheme}://{}", town.nodes[0].address);
    let mut endpoint = tonic::transport::Endpoint::from_shared(address).unwrap();
    if let Some(tls) = tls {
        endpoint = endpoint.tls_config(tls).unwrap();
    }
    let mut admin = NodeAdminClient::new(endpoint.connect_lazy());
    admin.status(as_operator(StatusRequest {})).await.map(drop)
}
