//! The public port: accepting connections, serving HTTP on them, and letting go of them.
//!
//! An own accept loop, since axum's sets no time limit on the head of a request and knows nothing of upgraded
//! connections.

use std::{
    collections::HashMap,
    convert::Infallible,
    io,
    net::{IpAddr, SocketAddr},
    pin::pin,
    sync::{Arc, Weak},
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::Body,
    extract::ConnectInfo,
    http::{Request, Response},
};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use socket2::{SockRef, TcpKeepalive};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream},
    sync::{Semaphore, watch},
};
use tower::ServiceExt;

use super::{
    App, EdgeMetrics, EdgeSettings, Tls,
    http::ClientAddress,
    patient::Patient,
    ws::{Edge, handshake},
};
use crate::live::link::Signal;

/// Where WebSockets are opened.
const WEBSOCKET: &str = "/v1/ws";
/// After an error of `accept` that will pass (no file descriptors, say).
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// A connection whose other end says nothing, and acknowledges none of three questions, 15 s apart, after a minute of silence, is
/// gone. WebSockets have heartbeats besides.
const KEEPALIVE: TcpKeepalive = TcpKeepalive::new()
    .with_time(Duration::from_secs(60))
    .with_interval(Duration::from_secs(15))
    .with_retries(3);
/// Connections that are told at the same time why they are refused; more are closed without a word.
const REFUSALS: usize = 64;
/// Time for that.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(1);
/// What is said to one connection too many: a problem like any other.
const FULL: &[u8] = concat!(
    "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/problem+json\r\nretry-after: 1\r\n\
     cache-control: no-store\r\ncontent-length: 162\r\nconnection: close\r\n\r\n",
    r#"{"type":"/docs#overloaded","title":"Service Unavailable","status":503,"#,
    r#""detail":"This node has as many connections as it may have; try again.","code":"overloaded"}"#,
)
.as_bytes();

/// Listens on `address`.
///
/// # Errors
/// The system's: the address is in use or not ours.
pub fn bind(address: SocketAddr, backlog: u32) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    // What is accepted has it from here.
    SockRef::from(&socket).set_tcp_keepalive(&KEEPALIVE)?;
    socket.bind(address)?;
    socket.listen(backlog)
}

/// The public port, being served.
pub struct Server {
    edge: Arc<Edge>,
    address: SocketAddr,
    stop: watch::Sender<Stop>,
    open: Weak<Open>,
}

/// How far the end has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stop {
    Serve,
    /// Accept nobody; end connections between two requests.
    Drain,
}

/// Serves the public port with `router` and the WebSocket. In a Tokio runtime.
///
/// # Errors
/// The listener's, when it does not know its own address.
pub fn serve(
    listener: TcpListener,
    app: Arc<App>,
    router: Router,
    settings: EdgeSettings,
    metrics: EdgeMetrics,
    tls: Option<Tls>,
) -> io::Result<Server> {
    let address = listener.local_addr()?;
    let edge = Edge::start(app, settings, metrics);
    let (stop, stopped) = watch::channel(Stop::Serve);
    let open = Arc::new(Open { edge: edge.clone(), by_address: Mutex::default() });
    if let Some(tls) = &tls {
        tls.watch();
    }
    let server = Server { edge, address, stop, open: Arc::downgrade(&open) };
    tokio::spawn(accept(listener, Port { open, router, tls, stopped }));
    Ok(server)
}

impl Server {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What its connections share.
    pub fn edge(&self) -> &Arc<Edge> {
        &self.edge
    }

    /// Lets go of everybody: accepts nobody any more, tells WebSockets to go, spread over `window`, and waits
    /// at most `deadline` more for them and for requests under way. Ends as soon as nobody is there.
    pub async fn drain(self, window: Duration, deadline: Duration) {
        self.edge.set_draining();
        self.stop.send_replace(Stop::Drain);
        let mut links = Vec::new();
        self.edge.registry.for_each(|link| links.push(link.clone()));
        let begun = Instant::now();
        let count = u32::try_from(links.len().max(1)).unwrap_or(u32::MAX);
        for (number, link) in (0u32..).zip(links) {
            let due = window.mul_f64(f64::from(number) / f64::from(count));
            tokio::time::sleep(due.saturating_sub(begun.elapsed())).await;
            link.signal(Signal::Drain);
        }
        // Who came while they were told.
        self.edge.registry.for_each(|link| link.signal(Signal::Drain));
        let end = begun.elapsed() + deadline;
        while self.open.strong_count() > 0 && begun.elapsed() < end {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let left = self.open.upgrade().map_or(0, |open| Arc::strong_count(&open) - 1);
        if left > 0 {
            tracing::warn!(left, "connections were still open at the end of the drain");
        }
    }
}

/// Held by every connection: when all are gone, so is this.
struct Open {
    edge: Arc<Edge>,
    by_address: Mutex<HashMap<IpAddr, usize>>,
}

/// One connection, counted as long as it lives.
struct Guard {
    open: Arc<Open>,
    /// Set where connections per address are limited.
    address: Option<IpAddr>,
}

impl Guard {
    /// Counts a connection, if there is room for it.
    fn new(open: &Arc<Open>, peer: IpAddr) -> Result<Self, &'static str> {
        let edge = &open.edge;
        let settings = edge.settings();
        let proxies = edge.trusted_proxies();
        if edge.metrics.connections.get() >= i64::try_from(settings.max_connections).unwrap_or(i64::MAX) {
            return Err("max_connections");
        }
        let limited =
            settings.max_connections_per_address > 0 && !proxies.iter().any(|network| network.contains(peer));
        let address = limited.then(|| ClientAddress(peer.to_canonical()).bucket());
        if let Some(address) = address {
            let mut by_address = open.by_address.lock();
            let count = by_address.entry(address).or_default();
            if *count >= settings.max_connections_per_address {
                return Err("max_connections_per_address");
            }
            *count += 1;
        }
        edge.metrics.connections.inc();
        Ok(Self { open: open.clone(), address })
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.open.edge.metrics.connections.dec();
        if let Some(address) = self.address {
            let mut by_address = self.open.by_address.lock();
            if let Some(count) = by_address.get_mut(&address) {
                *count -= 1;
                if *count == 0 {
                    by_address.remove(&address);
                }
            }
        }
    }
}

#[derive(Clone)]
struct Port {
    open: Arc<Open>,
    router: Router,
    tls: Option<Tls>,
    stopped: watch::Receiver<Stop>,
}

async fn accept(listener: TcpListener, port: Port) {
    let mut stopped = port.stopped.clone();
    let per_second = port.open.edge.settings().connects_per_second;
    let mut rate = super::ws::Bucket::default();
    let refusals = Arc::new(Semaphore::new(REFUSALS));
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = until_drain(&mut stopped) => return,
        };
        let edge = &port.open.edge;
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            // The client is gone already; nothing is wrong here.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::ConnectionAborted
                        | io::ErrorKind::ConnectionReset
                        | io::ErrorKind::Interrupted
                ) =>
            {
                continue;
            }
            Err(error) => {
                edge.metrics.refused("accept_error");
                tracing::error!(%error, "cannot accept connections; trying again");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        edge.metrics.accepted.inc();
        let admitted = match rate.take(edge.now_ms(), per_second) {
            Ok(()) => Guard::new(&port.open, peer.ip()),
            Err(_) => Err("connects_per_second"),
        };
        match admitted {
            Ok(guard) => {
                let _ = stream.set_nodelay(true);
                tokio::spawn(greet(stream, peer, port.clone(), Arc::new(guard)));
            }
            Err(reason) => {
                edge.metrics.refused(reason);
                if let Ok(permit) = refusals.clone().try_acquire_owned() {
                    let tls = port.tls.clone();
                    tokio::spawn(async move {
                        let _ = tokio::time::timeout(REFUSAL_TIMEOUT, refuse(stream, tls)).await;
                        drop(permit);
                    });
                }
            }
        }
    }
}

/// Tells one connection too many that it is one.
async fn refuse(stream: TcpStream, tls: Option<Tls>) -> io::Result<()> {
    match tls {
        None => say_full(stream).await,
        Some(tls) => say_full(tls.acceptor().accept(stream).await?).await,
    }
}

async fn say_full<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S) -> io::Result<()> {
    // After its request: some clients take nothing that comes before. Who says nothing need not be told anything.
    let mut asked = [0; 1024];
    if stream.read(&mut asked).await? == 0 {
        return Ok(());
    }
    stream.write_all(FULL).await?;
    stream.shutdown().await?;
    // A socket that is closed with something unread may take the answer with it.
    while stream.read(&mut asked).await? > 0 {}
    Ok(())
}

async fn until_drain(stopped: &mut watch::Receiver<Stop>) {
    // That the server is gone without a drain means the same.
    let _ = stopped.wait_for(|stop| *stop == Stop::Drain).await;
}

async fn greet(stream: TcpStream, peer: SocketAddr, port: Port, guard: Arc<Guard>) {
    let Some(tls) = &port.tls else { return http(stream, peer, port, guard).await };
    let within = port.open.edge.settings().tls_handshake_timeout();
    match tokio::time::timeout(within, tls.acceptor().accept(stream)).await {
        Ok(Ok(stream)) => http(stream, peer, port, guard).await,
        Ok(Err(error)) => tracing::debug!(%peer, %error, "a TLS handshake failed"),
        Err(_) => tracing::debug!(%peer, "a TLS handshake took too long"),
    }
}

async fn http<S>(stream: S, peer: SocketAddr, port: Port, guard: Arc<Guard>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let Port { open, router, mut stopped, .. } = port;
    let header_timeout = open.edge.settings().header_timeout();
    let stream = Patient::new(stream, open.edge.settings().write_timeout());
    let service = service_fn(move |request: Request<Incoming>| {
        let (edge, router, guard) = (open.edge.clone(), router.clone(), guard.clone());
        answer(edge, router, guard, peer, request)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(header_timeout)
        .max_buf_size(64 * 1024)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = until_drain(&mut stopped) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%peer, %error, "a connection ended early");
    }
}

async fn answer(
    edge: Arc<Edge>,
    router: Router,
    guard: Arc<Guard>,
    peer: SocketAddr,
    request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    let mut request = request.map(Body::new);
    if request.uri().path() == WEBSOCKET {
        let (answer, upgrading) = handshake(&edge, &mut request);
        if let Some(upgrading) = upgrading {
            tokio::spawn(upgrading.run(edge, guard));
        }
        return Ok(answer);
    }
    request.extensions_mut().insert(ConnectInfo(peer));
    router.oneshot(request).await
}
