//! Calls between nodes, by gRPC: what a room is asked on one node reaches its owner on another. The operator's calls come
//! to the same port; they are in `admin/`.
//!
//! Here belongs how a request gets to another node and how its answer comes back. Which node is asked, and what is
//! asked again, is decided in `rooms/`; what a command means, in `rookery-core`.
//!
//! A node opens one stream to each other node (`link.rs`, `session.rs`) and serves those of the others (`server.rs`).
//! Three things make it safe to ask again:
//!
//! - **Nothing is begun late.** A request says until when it may be begun, by the receiver's clock, which the
//!   sender knows from pings. An owner begins a command only while it serves, that is after its epoch is in the
//!   log: so what another owner did since makes the log refuse it.
//! - **A lane is taken in order or not at all.** Requests of one lane follow each other on one stream; once one was not
//!   taken, no later one is.
//! - **A new stream ends the one before.** What came over the old one and is not begun is not begun any more.

mod caller;
mod clock;
mod codec;
mod link;
mod links;
mod metrics;
mod ring;
mod server;
mod session;
mod settings;
#[cfg(test)]
mod tests;
mod tls;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use rookery_core::ring::View;
use rookery_protocol::peer::calls_server::CallsServer;
use tokio::{net::TcpListener, sync::watch};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::service::Routes;

pub use metrics::PeerMetrics;
pub use ring::OnBehind;
pub use settings::PeerSettings;
pub use tls::TlsError;

pub(crate) use caller::Caller;
pub(crate) use codec::{members, of_command, of_page, reply};
pub(crate) use link::{Link, State};
pub(crate) use links::Links;
pub(crate) use server::lane_number;
pub(crate) use session::{Ended, Request, Session};

use crate::rooms::Rooms;

/// Version of what nodes say to each other.
const VERSION: u32 = 1;
/// Requests of one node under way to another, at most, whatever is set.
const MOST_IN_FLIGHT: usize = 16_384;
/// Windows of a stream: several rooms can be left at once without a pause, at up to 1 MiB each.
const STREAM_WINDOW: u32 = 4 << 20;
const CONNECTION_WINDOW: u32 = 4 << 20;
/// What a room is left with is cut into frames of this size, and not into as many of 16 KiB as that takes.
const FRAME: u32 = 256 << 10;

/// Why a node that speaks `theirs` is not let in by one that speaks `mine`, if it is not: versions that differ by more
/// than one never meet in a cluster whose upgrades skip none, and do not say what the other one would make of them.
fn stranger(mine: u32, theirs: u32) -> Option<String> {
    (theirs == 0 || theirs.abs_diff(mine) > 1).then(|| {
        format!("it speaks version {theirs} of what nodes say to each other, this node {mine}: upgrade by one at a time")
    })
}

/// Why nodes cannot reach this one.
#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    /// The address cannot be listened on.
    #[error("cannot listen on {address} for other nodes (peer.listen): {why}")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// Why.
        why: std::io::Error,
    },
    /// A file of the TLS settings.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Certificate and key cannot be used.
    #[error("peer.tls_cert, peer.tls_key and peer.tls_ca cannot be used: {0}")]
    Pair(tonic::transport::Error),
}

/// Listens, and does not answer yet: so a node knows its address before it joins the ring.
pub struct Bound {
    listener: TcpListener,
    address: SocketAddr,
    settings: PeerSettings,
    tls: Option<tls::Tls>,
    version: u32,
}

/// Name of this node, and of its cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names {
    /// The cluster's: nodes of another one are not let in.
    pub cluster: String,
    /// The node's, as in the ring.
    pub node: String,
}

/// The calls of this node to others, and of others to it. Dropping it ends all streams at once.
pub struct Peers {
    address: SocketAddr,
    closing: watch::Sender<bool>,
    tasks: Vec<tokio::task::AbortHandle>,
}

impl Drop for Peers {
    fn drop(&mut self) {
        self.closing.send_replace(true);
        for task in &self.tasks {
            task.abort();
        }
    }
}

impl Bound {
    /// Reads the certificates and listens. In a Tokio runtime.
    ///
    /// # Errors
    /// [`PeerError`], naming the setting.
    pub async fn new(settings: PeerSettings) -> Result<Self, PeerError> {
        let tls = tls::load(&settings)?;
        let address = settings.listen;
        let listen = |why| PeerError::Listen { address, why };
        let listener = TcpListener::bind(address).await.map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        Ok(Self { listener, address, settings, tls, version: VERSION })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// As a node of another version would.
    #[cfg(test)]
    pub(crate) fn speaking(self, version: u32) -> Self {
        Self { version, ..self }
    }

    /// Serves other nodes, and the operator by `admin`, and connects to them. `rooms` follow the views from now on, and send
    /// what is not theirs to its owner. `on_behind` hears of views that others have seen first.
    ///
    /// # Errors
    /// [`PeerError::Pair`].
    pub fn start(
        self,
        names: Names,
        mut views: watch::Receiver<Arc<View>>,
        on_behind: OnBehind,
        rooms: Arc<Rooms>,
        admin: Routes,
        metrics: PeerMetrics,
    ) -> Result<Peers, PeerError> {
        let Self { listener, address, settings, tls, version } = self;
        let Names { cluster, node } = names;
        let process = rand::random();
        let (closing, closed) = watch::channel(false);
        let (server_tls, client_tls) = tls.map(|tls| (tls.server, tls.client)).unzip();
        let ring = Arc::new(ring::Ring::new(views.clone(), on_behind));

        let shared = server::Shared::new(
            cluster.clone(),
            node.clone(),
            (process, version),
            rooms.clone(),
            ring.clone(),
            metrics.clone(),
            closed.clone(),
        );
        let mut builder = tonic::transport::Server::builder()
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_frame_size(FRAME)
            .http2_keepalive_interval(Some(settings.silent()))
            .http2_keepalive_timeout(Some(settings.silent() * 2))
            .max_concurrent_streams(64);
        if let Some(tls) = server_tls {
            builder = builder.tls_config(tls).map_err(PeerError::Pair)?;
        }
        let calls = CallsServer::new(server::Server(Arc::new(shared)))
            .max_decoding_message_size(session::MESSAGE_BYTES);
        let router = builder.add_routes(admin).add_service(calls);
        let mut ending = closed;
        let until = async move {
            let _ = ending.wait_for(|closing| *closing).await;
        };
        let incoming = tokio_stream::StreamExt::map(TcpListenerStream::new(listener), |accepted| {
            if let Ok(stream) = &accepted {
                let _ = stream.set_nodelay(true);
            }
            accepted
        });
        let serving = tokio::spawn(async move {
            if let Err(error) = router.serve_with_incoming_shutdown(incoming, until).await {
                tracing::error!(%error, "other nodes are not served any more");
            }
        });

        let common = link::Common {
            settings,
            metrics,
            cluster,
            me: node,
            process,
            version,
            tls: client_tls,
            pauses: link::PAUSES,
            ring,
        };
        let links = Arc::new(Links::new(common));
        rooms.connect(links.clone());
        let following = tokio::spawn(async move {
            loop {
                let view = views.borrow_and_update().clone();
                links.change(&view);
                rooms.change_view(&view);
                if views.changed().await.is_err() {
                    return;
                }
            }
        });
        Ok(Peers { address, closing, tasks: vec![serving.abort_handle(), following.abort_handle()] })
    }
}

impl Peers {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends the streams of other nodes: they ask the next ones from now on. Those of this node to others stay until
    /// its rooms are dropped, so that what it forwarded is still answered.
    pub async fn stop(&self, within: Duration) {
        self.closing.send_replace(true);
        let ended = async {
            while !self.tasks[0].is_finished() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let _ = tokio::time::timeout(within, ended).await;
    }
}
