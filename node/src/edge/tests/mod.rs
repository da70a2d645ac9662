//! The public port over real sockets: who is let in, how TLS is spoken.

use std::{path::PathBuf, sync::Arc, time::Duration};

use axum::{Router, routing::get};
use futures_util::{SinkExt, StreamExt};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{
        ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
        client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature},
        pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject},
    },
};
use tokio_tungstenite::tungstenite::{Message, client::IntoClientRequest, http::HeaderValue};

use super::{EdgeMetrics, EdgeSettings, Server, Tls, TlsError, bind, serve, ws::tests::world::World};
use crate::live::LiveSettings;

async fn served(settings: EdgeSettings, tls: Option<Tls>) -> (World, Server) {
    let world = World::new(EdgeSettings::default(), LiveSettings::default()).await;
    let router = Router::new()
        .route("/", get(|| async { "here" }))
        .route("/large", get(|| async { vec![b'x'; LARGE] }));
    let listener = bind(([127, 0, 0, 1], 0).into(), 16).unwrap();
    let server = serve(listener, world.app.clone(), router, settings, EdgeMetrics::default(), tls).unwrap();
    (world, server)
}

/// More than what sockets hold by themselves.
const LARGE: usize = 64 << 20;
const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// The beginning of what is answered; empty if the connection ends instead.
async fn answer(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut buffer = [0; 1024];
    let read =
        tokio::time::timeout(Duration::from_secs(30), stream.read(&mut buffer)).await.expect("an answer");
    String::from_utf8_lossy(&buffer[..read.unwrap_or(0)]).into_owned()
}

async fn ask(server: &Server) -> (TcpStream, String) {
    let mut stream = TcpStream::connect(server.address()).await.unwrap();
    stream.write_all(REQUEST).await.unwrap();
    let answer = answer(&mut stream).await;
    (stream, answer)
}

/// Whether somebody is served over a connection that is open: he asks, and reads the answer to its end.
async fn is_served(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> bool {
    if stream.write_all(REQUEST).await.is_err() {
        return false;
    }
    let mut said = String::new();
    while !said.ends_with("\r\n\r\nhere") {
        let more = answer(stream).await;
        if more.is_empty() {
            return false;
        }
        said += &more;
    }
    said.starts_with("HTTP/1.1 200")
}

/// Whether it is the answer to one too many: a problem, and when to come again.
fn is_refused(answer: &str) -> bool {
    if !answer.starts_with("HTTP/1.1 503") {
        return false;
    }
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.contains("\r\ncontent-type: application/problem+json\r\n"), "{head}");
    assert!(head.contains("\r\nretry-after: 1\r\n"), "{head}");
    assert!(head.contains(&format!("\r\ncontent-length: {}\r\n", body.len())), "{head}");
    let problem: serde_json::Value = serde_json::from_str(body).unwrap();
    assert_eq!((&problem["code"], &problem["status"]), (&"overloaded".into(), &503.into()), "{body}");
    assert!(["type", "title", "detail"].iter().all(|field| problem[field].is_string()), "{body}");
    true
}

#[tokio::test]
async fn one_too_many_is_refused_until_another_goes() {
    for settings in [
        EdgeSettings { max_connections: 2, ..EdgeSettings::default() },
        EdgeSettings { max_connections_per_address: 2, ..EdgeSettings::default() },
    ] {
        let (_world, server) = served(settings, None).await;
        let (first, said) = ask(&server).await;
        assert!(said.starts_with("HTTP/1.1 200"), "{said}");
        let (_second, said) = ask(&server).await;
        assert!(said.starts_with("HTTP/1.1 200"), "{said}");
        let (_, said) = ask(&server).await;
        assert!(is_refused(&said), "{said}");
        drop(first);
        let admitted = async {
            while !ask(&server).await.1.starts_with("HTTP/1.1 200") {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), admitted).await.expect("there is room again");
    }
}

#[tokio::test]
async fn connects_over_the_rate_are_refused() {
    let (_world, server) =
        served(EdgeSettings { connects_per_second: 1, ..EdgeSettings::default() }, None).await;
    let mut other = TcpStream::connect(server.address()).await.unwrap();
    let mut refused = 0;
    for _ in 0..40 {
        refused += u32::from(is_refused(&ask(&server).await.1));
        assert!(is_served(&mut other).await, "who is here already is disturbed");
    }
    assert!(refused > 0, "40 at once are more than bursts of 10 and one per second");
}

#[tokio::test]
async fn a_head_that_never_ends_ends_the_connection() {
    let (_world, server) =
        served(EdgeSettings { header_timeout_ms: 100, ..EdgeSettings::default() }, None).await;
    for head in [&b""[..], b"GET / HTTP/1.1\r\nHost:"] {
        let mut stream = TcpStream::connect(server.address()).await.unwrap();
        stream.write_all(head).await.unwrap();
        let said = answer(&mut stream).await;
        assert!(said.is_empty() || said.starts_with("HTTP/1.1 408"), "{said}");
    }
}

/// Waits until no connection is open but that of somebody else, who is served all the while.
async fn alone(server: &Server, other: &mut (impl AsyncRead + AsyncWrite + Unpin)) {
    let gone = async {
        while server.edge().metrics.connections.get() > 1 {
            assert!(is_served(other).await, "somebody else is disturbed");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), gone).await.expect("the connection is let go of");
    assert!(is_served(other).await, "somebody else is let go of");
}

#[tokio::test]
async fn who_does_not_read_his_answer_is_given_up() {
    let settings = || EdgeSettings { write_timeout_ms: 200, ..with_tls("localhost.pem", "localhost.key") };
    let large = b"GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let (_world, plain) = served(settings(), None).await;
    let mut other = TcpStream::connect(plain.address()).await.unwrap();
    assert!(is_served(&mut other).await);
    let mut stream = TcpStream::connect(plain.address()).await.unwrap();
    stream.write_all(large).await.unwrap();
    assert!(answer(&mut stream).await.starts_with("HTTP/1.1 200"));
    alone(&plain, &mut other).await;
    drop(stream);

    let (_world, secure) = served(settings(), Tls::load(&settings()).unwrap()).await;
    let mut other = connect_tls(&secure).await;
    assert!(is_served(&mut other).await);
    let mut stream = connect_tls(&secure).await;
    stream.write_all(large).await.unwrap();
    assert!(answer(&mut stream).await.starts_with("HTTP/1.1 200"));
    alone(&secure, &mut other).await;
}

#[tokio::test]
async fn who_reads_slowly_gets_his_answer() {
    let (_world, server) =
        served(EdgeSettings { write_timeout_ms: 20_000, ..EdgeSettings::default() }, None).await;
    let mut stream = TcpStream::connect(server.address()).await.unwrap();
    stream.write_all(b"GET /large HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await.unwrap();
    let (mut buffer, mut got) = (vec![0; 1 << 20], 0);
    let reading = async {
        loop {
            let read = stream.read(&mut buffer).await.unwrap();
            if read == 0 {
                return;
            }
            got += read;
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(120), reading).await.expect("all of it comes");
    assert!(got > LARGE);
}

#[tokio::test]
async fn who_never_ends_a_tls_handshake_is_given_up() {
    // Enough for one who does end his, on a busy machine.
    let settings =
        EdgeSettings { tls_handshake_timeout_ms: 1_000, ..with_tls("localhost.pem", "localhost.key") };
    let tls = Tls::load(&settings).unwrap();
    let (_world, server) = served(settings, tls).await;
    let mut other = connect_tls(&server).await;
    assert!(is_served(&mut other).await);
    // Nothing; and the beginning of a record.
    for said in [&b""[..], b"\x16\x03\x01\x02\x00\x01"] {
        let mut stream = TcpStream::connect(server.address()).await.unwrap();
        stream.write_all(said).await.unwrap();
        // Nobody waits for him meanwhile.
        assert!(is_served(&mut other).await, "somebody else is disturbed");
        assert_eq!(answer(&mut stream).await, "");
        alone(&server, &mut other).await;
    }
}

#[tokio::test]
async fn accepted_connections_are_asked_whether_they_are_there() {
    let listener = bind(([127, 0, 0, 1], 0).into(), 16).unwrap();
    let connecting = TcpStream::connect(listener.local_addr().unwrap());
    let (accepted, _client) = tokio::join!(listener.accept(), connecting);
    let (stream, _) = accepted.unwrap();
    let socket = socket2::SockRef::from(&stream);
    assert!(socket.keepalive().unwrap());
    assert_eq!(socket.tcp_keepalive_time().unwrap(), Duration::from_secs(60));
    assert_eq!(socket.tcp_keepalive_retries().unwrap(), 3);
}

#[tokio::test]
async fn drains_at_once_without_anybody_and_refuses_afterwards() {
    let (_world, server) = served(EdgeSettings::default(), None).await;
    let address = server.address();
    // Between two requests: ended by the drain.
    let (mut idle, _) = ask(&server).await;
    server.drain(Duration::from_secs(600), Duration::from_secs(600)).await;
    assert_eq!(answer(&mut idle).await, "");
    assert!(TcpStream::connect(address).await.is_err());
}

fn file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/edge/tests/tls").join(name)
}

fn with_tls(certificate: &str, key: &str) -> EdgeSettings {
    EdgeSettings {
        tls_certificate: Some(file(certificate)),
        tls_key: Some(file(key)),
        ..EdgeSettings::default()
    }
}

/// A client that trusts the test's certificate.
fn connector() -> TlsConnector {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(file("localhost.pem")).unwrap()).unwrap();
    let provider = Arc::new(tokio_rustls::rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    TlsConnector::from(Arc::new(config))
}

async fn connect_tls(server: &Server) -> TlsStream<TcpStream> {
    let stream = TcpStream::connect(server.address()).await.unwrap();
    connector().connect(ServerName::try_from("localhost").unwrap(), stream).await.unwrap()
}

#[tokio::test]
async fn one_too_many_is_told_so_by_tls() {
    let settings = EdgeSettings { max_connections: 1, ..with_tls("localhost.pem", "localhost.key") };
    let tls = Tls::load(&settings).unwrap();
    let (_world, server) = served(settings, tls).await;
    let mut first = connect_tls(&server).await;
    first.write_all(REQUEST).await.unwrap();
    let said = answer(&mut first).await;
    assert!(said.starts_with("HTTP/1.1 200"), "{said}");
    let mut second = connect_tls(&server).await;
    second.write_all(REQUEST).await.unwrap();
    let said = answer(&mut second).await;
    assert!(is_refused(&said), "{said}");
}

#[tokio::test]
async fn speaks_tls() {
    let settings = with_tls("localhost.pem", "localhost.key");
    let tls = Tls::load(&settings).unwrap();
    let (_world, server) = served(settings, tls).await;
    let stream = connect_tls(&server).await;
    let mut request = "wss://localhost/v1/ws".into_client_request().unwrap();
    request.headers_mut().insert("sec-websocket-protocol", HeaderValue::from_static("rookery.v1.json"));
    let (mut socket, _) = tokio_tungstenite::client_async(request, stream).await.unwrap();
    socket.send(Message::text(r#"{"t":"ping","id":7}"#)).await.unwrap();
    let said = socket.next().await.unwrap().unwrap().into_text().unwrap();
    assert!(said.contains("hello_required") && said.contains('7'), "{said}");
    // Longer than one record of TLS.
    socket.send(Message::text("x".repeat(60_000))).await.unwrap();
    let said = socket.next().await.unwrap().unwrap().into_text().unwrap();
    assert!(said.contains("malformed"), "{said}");
    socket.close(None).await.unwrap();
    while let Some(Ok(_)) = socket.next().await {}

    // Without TLS nothing is served.
    let (_, said) = ask(&server).await;
    assert!(!said.starts_with("HTTP"), "{said}");
}

/// The certificate that a client is shown.
async fn shown(server: &Server) -> Vec<u8> {
    /// Takes any.
    #[derive(Debug)]
    struct Any(Arc<CryptoProvider>);
    impl ServerCertVerifier for Any {
        fn verify_server_cert(
            &self,
            _: &CertificateDer<'_>,
            _: &[CertificateDer<'_>],
            _: &ServerName<'_>,
            _: &[u8],
            _: UnixTime,
        ) -> Result<ServerCertVerified, tokio_rustls::rustls::Error> {
            Ok(ServerCertVerified::assertion())
        }
        fn verify_tls12_signature(
            &self,
            message: &[u8],
            certificate: &CertificateDer<'_>,
            signature: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, tokio_rustls::rustls::Error> {
            verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
        }
        fn verify_tls13_signature(
            &self,
            message: &[u8],
            certificate: &CertificateDer<'_>,
            signature: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, tokio_rustls::rustls::Error> {
            verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
        }
        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            self.0.signature_verification_algorithms.supported_schemes()
        }
    }
    let provider = Arc::new(tokio_rustls::rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Any(provider)))
        .with_no_client_auth();
    let stream = TcpStream::connect(server.address()).await.unwrap();
    let connector = TlsConnector::from(Arc::new(config));
    let stream = connector.connect(ServerName::try_from("localhost").unwrap(), stream).await.unwrap();
    stream.get_ref().1.peer_certificates().unwrap()[0].to_vec()
}

#[tokio::test]
async fn a_new_certificate_is_shown_without_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let new = tempfile::tempdir().unwrap();
    if !rookery_testbed::certificates(new.path(), "DNS:localhost") {
        return;
    }
    let (certificate, key) = (dir.path().join("tls.crt"), dir.path().join("tls.key"));
    std::fs::copy(file("localhost.pem"), &certificate).unwrap();
    std::fs::copy(file("localhost.key"), &key).unwrap();
    let settings = EdgeSettings {
        tls_certificate: Some(certificate.clone()),
        tls_key: Some(key.clone()),
        ..EdgeSettings::default()
    };
    let tls = Tls::load_and_look(&settings, Duration::from_millis(10)).unwrap();
    let (_world, server) = served(settings, tls).await;
    let first = shown(&server).await;
    // One that does not go with the key changes nothing; when its key has come, it does.
    std::fs::copy(new.path().join("cert.pem"), &certificate).unwrap();
    for _ in 0..10 {
        assert_eq!(shown(&server).await, first);
    }
    std::fs::copy(new.path().join("key.pem"), &key).unwrap();
    let changed = async {
        while shown(&server).await == first {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), changed).await.expect("the new one is shown");
    let new = CertificateDer::from_pem_file(new.path().join("cert.pem")).unwrap();
    assert_eq!(shown(&server).await, new.to_vec());
}

#[test]
fn wrong_files_of_tls_are_named() {
    let wrong = |certificate, key| match Tls::load(&with_tls(certificate, key)) {
        Err(error) => error,
        Ok(_) => panic!("{certificate} with {key} is accepted"),
    };
    assert!(matches!(
        wrong("absent.pem", "localhost.key"),
        TlsError::File { key: "edge.tls_certificate", .. }
    ));
    assert!(matches!(wrong("localhost.pem", "absent.key"), TlsError::File { key: "edge.tls_key", .. }));
    let swapped = wrong("localhost.key", "localhost.key");
    assert!(matches!(swapped, TlsError::File { key: "edge.tls_certificate", .. }));
    let wrong = wrong("localhost.pem", "absent.key");
    assert!(wrong.key() == "edge.tls_key" && wrong.to_string().contains("absent.key"), "{wrong}");
}
