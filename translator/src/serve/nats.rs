//! Over NATS, by its service protocol: one queue group, so that each request goes to one translator; discovery and
//! statistics as `nats micro` shows them.

use std::{sync::Arc, time::Duration};

use async_nats::{
    Client, ConnectOptions,
    service::{Request, Service, ServiceExt as _, error::Error},
};
use bytes::Bytes;
use futures_util::StreamExt as _;
use prost::Message as _;
use rookery_protocol::translator::TranslateRequest;
use tokio::{sync::Semaphore, task::JoinHandle};

use crate::{program::NatsSettings, router::Translator, wire};

const NAME: &str = "rookery-translator";
/// Requests under way.
const CONCURRENT: u32 = 1024;
/// Between two tries to connect, at most.
const PAUSE: Duration = Duration::from_secs(2);
/// For a server to answer that it has read what was sent; when it takes longer it is not waited for.
const ROUND_TRIP: Duration = Duration::from_secs(2);

/// Where a cluster's requests go.
pub fn subject(cluster: &str) -> String {
    format!("{cluster}.translate")
}

/// Connects; while the servers are away it goes on trying.
///
/// # Errors
/// A sentence: the servers refuse us, or a file cannot be used.
pub async fn connect(settings: &NatsSettings) -> Result<Client, String> {
    let mut options = ConnectOptions::new()
        .name(NAME)
        .connection_timeout(Duration::from_secs(2))
        .ping_interval(Duration::from_secs(5))
        .retry_on_initial_connect()
        .reconnect_delay_callback(|attempts| {
            let longest = Duration::from_millis(20 << attempts.min(7)).min(PAUSE);
            longest.mul_f64(rand::random_range(0.25..=1.0))
        });
    if let Some(user) = &settings.user {
        let password = settings.password.or_file(settings.password_file.as_deref());
        let password = password.map_err(|why| format!("nats.password_file: {why}"))?;
        options = options.user_and_password(user.clone(), password.expose().to_owned());
    }
    if let Some(path) = &settings.credentials_file {
        let read = options.credentials_file(path).await;
        options =
            read.map_err(|error| format!("nats.credentials_file: cannot use {}: {error}", path.display()))?;
    }
    if let Some(path) = &settings.tls_ca {
        options = options.add_root_certificates(path.clone()).require_tls(true);
    }
    if let (Some(cert), Some(key)) = (&settings.tls_cert, &settings.tls_key) {
        options = options.add_client_certificate(cert.clone(), key.clone());
    }
    options
        .connect(settings.urls.split([',', ' ']).filter(|url| !url.is_empty()).collect::<Vec<_>>())
        .await
        .map_err(|error| format!("cannot use NATS: {error}"))
}

/// Serves until it is stopped.
pub struct NatsServer {
    service: Service,
    places: Arc<Semaphore>,
    takes: JoinHandle<()>,
}

/// Until the server has done all that was sent to it over this connection. A flush says only that it was written to the
/// socket; the server answers a request to a subject that nobody listens on when it has come to it.
async fn settled(client: &Client) {
    let nobody = client.new_inbox();
    let _ = tokio::time::timeout(ROUND_TRIP, client.request(nobody, Bytes::new())).await;
}

/// Begins to serve: requests that are made once this has returned are answered.
///
/// # Errors
/// A sentence.
pub async fn listen(
    client: &Client,
    cluster: &str,
    translator: Arc<Translator>,
) -> Result<NatsServer, String> {
    let failed = |error: async_nats::Error| format!("cannot serve over NATS: {error}");
    let service = client
        .service_builder()
        .description("Translates texts for Rookery")
        .queue_group("translator")
        .start(NAME, env!("CARGO_PKG_VERSION"))
        .await
        .map_err(failed)?;
    let endpoint =
        service.endpoint_builder().name("translate").add(subject(cluster)).await.map_err(failed)?;
    settled(client).await;
    let places = Arc::new(Semaphore::new(CONCURRENT as usize));
    let free = places.clone();
    let takes = tokio::spawn(async move {
        let mut endpoint = endpoint;
        while let Some(request) = endpoint.next().await {
            let Ok(place) = free.clone().try_acquire_owned() else {
                respond(&request, Err(Error { status: "too many requests".to_owned(), code: 503 })).await;
                continue;
            };
            let translator = translator.clone();
            tokio::spawn(async move {
                let answer = answer(&translator, &request.message.payload).await;
                respond(&request, answer).await;
                drop(place);
            });
        }
    });
    Ok(NatsServer { service, places, takes })
}

async fn answer(translator: &Arc<Translator>, payload: &[u8]) -> Result<Bytes, Error> {
    let bad = |why: String| Error { status: why, code: 400 };
    let request = TranslateRequest::decode(payload).map_err(|_| bad("not a TranslateRequest".to_owned()))?;
    let reply = wire::answer(translator, &request).await.map_err(|why| bad(why.to_string()))?;
    Ok(reply.encode_to_vec().into())
}

async fn respond(request: &Request, answer: Result<Bytes, Error>) {
    if let Err(error) = request.respond(answer).await {
        tracing::debug!(%error, "an answer could not be sent");
    }
}

impl NatsServer {
    /// Takes no more requests, and waits for those under way. What the server had sent here before it read that this one
    /// leaves is not answered; who asked does so again.
    pub async fn stop(self, client: &Client) {
        if let Err(error) = self.service.stop().await {
            tracing::debug!(%error, "the service could not be stopped in order");
        }
        let _ = self.takes.await;
        settled(client).await;
        let _ = self.places.acquire_many(CONCURRENT).await;
        let _ = client.flush().await;
    }
}
