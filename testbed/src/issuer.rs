//! An OpenID provider: keys that it publishes, ID tokens that it signs, and what it can do wrong. No page to log in at: a test
//! says who has.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use aws_lc_rs::{
    encoding::{AsDer, Pkcs8V1Der},
    rand::SystemRandom,
    rsa::{KeyPair, KeySize},
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode, jwk::Jwk};
use rustls::{
    ServerConfig, ServerConnection, StreamOwned,
    crypto::aws_lc_rs::default_provider,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use serde_json::{Value, json};

/// A key that signs ID tokens.
#[derive(Clone)]
pub struct IssuerKey {
    id: &'static str,
    algorithm: Algorithm,
    signer: EncodingKey,
}

/// What kind of key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyKind {
    /// RS256, 2048 bits.
    Rsa,
    /// ES256.
    P256,
    /// `EdDSA`.
    Ed25519,
}

impl IssuerKey {
    /// Makes one that is published with this `kid`.
    pub fn new(id: &'static str, kind: KeyKind) -> Self {
        const MADE: &str = "keys can be made";
        let (algorithm, signer) = match kind {
            KeyKind::Rsa => {
                let made = KeyPair::generate(KeySize::Rsa2048).expect(MADE);
                let made: Pkcs8V1Der<'_> = made.as_der().expect(MADE);
                let body = STANDARD.encode(made.as_ref());
                let pem = format!("-----BEGIN PRIVATE KEY-----\n{body}\n-----END PRIVATE KEY-----\n");
                (Algorithm::RS256, EncodingKey::from_rsa_pem(pem.as_bytes()).expect(MADE))
            }
            KeyKind::P256 => {
                let random = SystemRandom::new();
                let made = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random);
                (Algorithm::ES256, EncodingKey::from_ec_der(made.expect(MADE).as_ref()))
            }
            KeyKind::Ed25519 => {
                let made = Ed25519KeyPair::generate().and_then(|pair| pair.to_pkcs8v1()).expect(MADE);
                (Algorithm::EdDSA, EncodingKey::from_ed_der(made.as_ref()))
            }
        };
        Self { id, algorithm, signer }
    }

    /// A token with these claims.
    pub fn sign(&self, claims: &Value) -> String {
        let header = Header { kid: Some(self.id.to_owned()), ..Header::new(self.algorithm) };
        encode(&header, claims, &self.signer).expect("claims can be signed")
    }

    /// One that does not name its key.
    pub fn sign_nameless(&self, claims: &Value) -> String {
        encode(&Header::new(self.algorithm), claims, &self.signer).expect("claims can be signed")
    }

    fn published(&self) -> Value {
        let mut jwk = Jwk::from_encoding_key(&self.signer, self.algorithm).expect("a key has a public part");
        jwk.common.key_id = Some(self.id.to_owned());
        serde_json::to_value(jwk).expect("a key is JSON")
    }
}

/// What an [`Issuer`] answers.
#[derive(Debug, Clone, Default)]
pub enum Mood {
    /// What it has to.
    #[default]
    Well,
    /// Nothing.
    Silent,
    /// This status and body, whatever it is asked.
    Says(&'static str, String),
}

#[derive(Default)]
struct Shared {
    url: String,
    keys: Mutex<Vec<Value>>,
    mood: Mutex<Mood>,
    asked: AtomicUsize,
    ended: AtomicBool,
}

/// A running provider, on a port of its own of this machine.
pub struct Issuer {
    at: SocketAddr,
    shared: Arc<Shared>,
    server: Option<JoinHandle<()>>,
}

impl Drop for Issuer {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Release);
        // So that it looks.
        drop(TcpStream::connect(self.at));
        if let Some(server) = self.server.take() {
            let _ = server.join();
        }
    }
}

impl Issuer {
    /// Starts one that publishes these keys.
    pub fn start(keys: &[&IssuerKey]) -> Self {
        Self::serve(None, keys)
    }

    /// The same by TLS, as `localhost`, with this certificate and its key (PEM).
    pub fn start_tls(certificate: &Path, key: &Path, keys: &[&IssuerKey]) -> Self {
        const READ: &str = "certificates can be read";
        let chain = CertificateDer::pem_file_iter(certificate).expect(READ).map(|one| one.expect(READ));
        let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .expect("there are versions of TLS")
            .with_no_client_auth()
            .with_single_cert(chain.collect(), PrivateKeyDer::from_pem_file(key).expect(READ))
            .expect("the certificate is the key's");
        Self::serve(Some(Arc::new(config)), keys)
    }

    fn serve(tls: Option<Arc<ServerConfig>>, keys: &[&IssuerKey]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("there are free ports");
        let at = listener.local_addr().expect("it has an address");
        let scheme = if tls.is_some() { "https" } else { "http" };
        let shared =
            Arc::new(Shared { url: format!("{scheme}://localhost:{}", at.port()), ..Shared::default() });
        let answering = shared.clone();
        let server = thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if answering.ended.load(Ordering::Acquire) {
                    return;
                }
                let (shared, tls) = (answering.clone(), tls.clone());
                // A client that goes away ends it; one that says nothing does too.
                let _ = stream.set_read_timeout(Some(Duration::from_secs(30)));
                thread::spawn(move || match tls.map(ServerConnection::new) {
                    None => answer(stream, &shared),
                    Some(Ok(session)) => answer(StreamOwned::new(session, stream), &shared),
                    Some(Err(_)) => {}
                });
            }
        });
        let issuer = Self { at, shared, server: Some(server) };
        issuer.publish(keys);
        issuer
    }

    /// Its address, as in `iss`.
    pub fn url(&self) -> &str {
        &self.shared.url
    }

    /// From now on its keys are these.
    pub fn publish(&self, keys: &[&IssuerKey]) {
        *lock(&self.shared.keys) = keys.iter().map(|key| key.published()).collect();
    }

    /// Before its keys stands something else.
    pub fn publish_also(&self, odd: Value) {
        lock(&self.shared.keys).insert(0, odd);
    }

    /// From now on it answers so.
    pub fn is(&self, mood: Mood) {
        *lock(&self.shared.mood) = mood;
    }

    /// How often its keys were asked for.
    pub fn asked(&self) -> usize {
        self.shared.asked.load(Ordering::SeqCst)
    }

    /// Claims of somebody who has just logged in by the client `chat-web`: no two are the same.
    pub fn claims(&self, subject: &str) -> Value {
        let at = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        json!({
            "iss": self.url(), "aud": "chat-web", "sub": subject, "iat": at, "exp": at + 300,
            "email": format!("{subject}@example.org"), "email_verified": true, "preferred_username": subject,
            "name": format!("{subject} of old"), "locale": "de_AT", "jti": rand::random::<u64>().to_string(),
        })
    }
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

fn answer(mut stream: impl Read + Write, shared: &Shared) {
    let (mut request, mut byte) = (Vec::new(), [0]);
    while !request.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte) {
            Ok(1) if request.len() < 16 << 10 => request.push(byte[0]),
            _ => return,
        }
    }
    let mood = lock(&shared.mood).clone();
    let (status, body) = match mood {
        Mood::Silent => {
            // Until the client goes.
            let _ = stream.read(&mut byte);
            return;
        }
        Mood::Says(status, body) => (status, body),
        Mood::Well if request.starts_with(b"GET /.well-known/openid-configuration ") => {
            let keys = format!("{}/keys", shared.url);
            ("200 OK", json!({ "issuer": shared.url, "jwks_uri": keys }).to_string())
        }
        Mood::Well if request.starts_with(b"GET /keys ") => {
            shared.asked.fetch_add(1, Ordering::SeqCst);
            ("200 OK", json!({ "keys": *lock(&shared.keys) }).to_string())
        }
        Mood::Well => ("404 Not Found", String::new()),
    };
    let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
    let _ = stream.write_all(format!("{head}{body}").as_bytes()).and_then(|()| stream.flush());
}
