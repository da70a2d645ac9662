//! One proxied connection: two directions, each read into a short queue and written from it when the rules allow.

use std::{io, net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{ReadHalf, WriteHalf},
    },
    sync::{mpsc, watch},
    time::Instant,
};

use super::{
    rules::{Flow, Rules},
    source::Source,
};

/// Bytes read at once.
const CHUNK: usize = 64 << 10;
/// Chunks of one direction that wait; then the sender is made to wait, as by a full TCP window.
const WAITING: usize = 16;
/// What was lost comes so much later, in milliseconds.
const RETRANSMISSION_MS: std::ops::Range<u64> = 200..400;

/// What was read, and when it may be written; `None`: at once. No bytes: the sender has ended its side. An error: it is gone.
struct Piece {
    due: Option<Instant>,
    bytes: io::Result<Vec<u8>>,
}

/// Accepts until the proxy is dropped. While it refuses nobody listens: the system answers, as it does for a dead process.
pub(super) async fn serve(
    listener: std::net::TcpListener,
    target: SocketAddr,
    mut rules: watch::Receiver<Rules>,
) {
    let address = listener.local_addr().expect("a listener has an address");
    let mut listener = Some(TcpListener::from_std(listener).expect("the runtime takes a listener"));
    loop {
        let accept = async {
            match &listener {
                Some(listener) => listener.accept().await,
                None => std::future::pending().await,
            }
        };
        let accepted = tokio::select! {
            accepted = accept => accepted,
            alive = rules.changed() => {
                if alive.is_err() {
                    return;
                }
                if rules.borrow_and_update().refusing {
                    listener = None;
                } else if listener.is_none() {
                    listener = Some(TcpListener::bind(address).await.expect("the port was ours"));
                }
                continue;
            }
        };
        if let Ok((client, address)) = accepted {
            tokio::spawn(carry(client, Source::new(address), target, rules.clone()));
        }
    }
}

/// Both ends are reset, unless both have ended in peace: what was not delivered must not look as if it were.
async fn carry(mut client: TcpStream, source: Source, target: SocketAddr, rules: watch::Receiver<Rules>) {
    let resets = rules.borrow().resets;
    let mut server = None;
    let peaceful = tokio::select! {
        done = relay(&mut client, &source, &mut server, target, rules.clone()) => done.is_ok(),
        () = until(rules, |now| now.refusing || now.resets != resets) => false,
    };
    if !peaceful {
        for socket in [Some(client), server].into_iter().flatten() {
            let _ = socket.set_zero_linger();
        }
    }
}

async fn relay(
    client: &mut TcpStream,
    source: &Source,
    server: &mut Option<TcpStream>,
    target: SocketAddr,
    rules: watch::Receiver<Rules>,
) -> Result<(), ()> {
    // A handshake needs both directions.
    until(rules.clone(), |now| !Flow::BOTH.iter().any(|&flow| now.holds(flow, source))).await;
    let server = server.insert(TcpStream::connect(target).await.map_err(drop)?);
    let _ = client.set_nodelay(true);
    let _ = server.set_nodelay(true);
    let (from_client, to_client) = client.split();
    let (from_server, to_server) = server.split();
    // An error in one direction ends both; a peaceful end of one leaves the other.
    tokio::try_join!(
        pump(from_client, to_server, Flow::ToServer, source, rules.clone()),
        pump(from_server, to_client, Flow::ToClient, source, rules),
    )
    .map(drop)
}

async fn pump(
    from: ReadHalf<'_>,
    to: WriteHalf<'_>,
    flow: Flow,
    source: &Source,
    rules: watch::Receiver<Rules>,
) -> Result<(), ()> {
    let (queue, pieces) = mpsc::channel(WAITING);
    tokio::try_join!(read(from, queue, flow, rules.clone()), write(to, pieces, flow, source, rules)).map(drop)
}

async fn read(
    mut from: ReadHalf<'_>,
    queue: mpsc::Sender<Piece>,
    flow: Flow,
    rules: watch::Receiver<Rules>,
) -> Result<(), ()> {
    loop {
        let mut bytes = Vec::with_capacity(CHUNK);
        let bytes = from.read_buf(&mut bytes).await.map(|_| bytes);
        let last = bytes.as_ref().map_or(true, Vec::is_empty);
        let side = rules.borrow().side(flow);
        let mut delay = side.delay;
        if side.loss > 0 && rand::random_range(0..1_000) < side.loss {
            delay += Duration::from_millis(rand::random_range(RETRANSMISSION_MS));
        }
        let due = (!delay.is_zero()).then(|| Instant::now() + delay);
        if queue.send(Piece { due, bytes }).await.is_err() || last {
            return Ok(());
        }
    }
}

async fn write(
    mut to: WriteHalf<'_>,
    mut pieces: mpsc::Receiver<Piece>,
    flow: Flow,
    source: &Source,
    rules: watch::Receiver<Rules>,
) -> Result<(), ()> {
    while let Some(piece) = pieces.recv().await {
        // Timers count whole milliseconds, rounded up: a moment that has come would be waited for, too.
        if let Some(due) = piece.due {
            tokio::time::sleep_until(due).await;
        }
        until(rules.clone(), |now| !now.holds(flow, source)).await;
        let written = match piece.bytes {
            // News of the sender's death travels the same way as its bytes.
            Err(_) => return Err(()),
            Ok(bytes) if bytes.is_empty() => to.shutdown().await,
            Ok(bytes) => to.write_all(&bytes).await,
        };
        if written.is_err() {
            // The receiver is gone, which the sender learns by what comes back.
            until(rules.clone(), |now| !now.holds(flow.back(), source)).await;
            return Err(());
        }
    }
    Ok(())
}

/// Waits until the rules are so, or the proxy is gone.
async fn until(mut rules: watch::Receiver<Rules>, so: impl FnMut(&Rules) -> bool) {
    let _ = rules.wait_for(so).await;
}
