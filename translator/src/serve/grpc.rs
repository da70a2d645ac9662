//! Over gRPC, with the standard health service, and reflection if it is wanted.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use rookery_protocol::translator::{
    TranslateReply, TranslateRequest,
    translator_server::{Translator as Service, TranslatorServer},
};
use tokio::{net::TcpListener, sync::oneshot, task::JoinHandle};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status, server::NamedService as _, transport::Server};
use tonic_health::{ServingStatus, server::HealthReporter};

use crate::{router::Translator, wire};

/// Streams of one connection.
const STREAMS: u32 = 256;
/// A request is at most so long, in bytes.
const REQUEST: usize = 128 * 1024;
/// The longest a request may take: engines have their own limits.
const TIMEOUT: Duration = Duration::from_secs(60);

struct Answers(Arc<Translator>);

#[tonic::async_trait]
impl Service for Answers {
    async fn translate(
        &self,
        request: Request<TranslateRequest>,
    ) -> Result<Response<TranslateReply>, Status> {
        let reply = wire::answer(&self.0, request.get_ref()).await;
        reply.map(Response::new).map_err(|why| Status::invalid_argument(why.to_string()))
    }
}

/// Serves until it is stopped.
pub struct GrpcServer {
    /// Where it listens.
    pub address: SocketAddr,
    health: HealthReporter,
    stop: oneshot::Sender<()>,
    served: JoinHandle<Result<(), tonic::transport::Error>>,
}

/// Begins to serve.
///
/// # Errors
/// The system's.
pub async fn listen(
    listener: TcpListener,
    translator: Arc<Translator>,
    reflection: bool,
) -> std::io::Result<GrpcServer> {
    let address = listener.local_addr()?;
    let (health, health_service) = tonic_health::server::health_reporter();
    let service = TranslatorServer::new(Answers(translator)).max_decoding_message_size(REQUEST);
    health.set_serving::<TranslatorServer<Answers>>().await;
    let reflection = reflection.then(|| {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(rookery_protocol::SERVICES)
            .with_service_name("rookery.translator.v1.Translator")
            .build_v1()
    });
    let reflection = reflection.transpose().map_err(std::io::Error::other)?;
    let (stop, stopped) = oneshot::channel();
    let server = Server::builder()
        .timeout(TIMEOUT)
        .max_concurrent_streams(STREAMS)
        .http2_keepalive_interval(Some(Duration::from_secs(30)))
        .add_service(service)
        .add_service(health_service)
        .add_optional_service(reflection)
        .serve_with_incoming_shutdown(TcpListenerStream::new(listener), async {
            let _ = stopped.await;
        });
    Ok(GrpcServer { address, health, stop, served: tokio::spawn(server) })
}

impl GrpcServer {
    /// Takes no more requests, and waits for those under way.
    pub async fn stop(mut self) {
        for service in ["", TranslatorServer::<Answers>::NAME] {
            self.health.set_service_status(service, ServingStatus::NotServing).await;
            // Whoever watches it is told that, and then that there is no more to come: a watch that never ended would be waited for.
            self.health.clear_service_status(service).await;
        }
        let _ = self.stop.send(());
        let _ = self.served.await;
    }
}
