//! A WebSocket client for both subprotocols.
//!
//! Frames are JSON values here, whichever subprotocol carries them, so that each test can be run over both and
//! sees the JSON text itself over one of them. What maps Protobuf to those values is in `wire.rs`.

mod wire;

use std::{collections::VecDeque, fmt, net::SocketAddr};

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::{net::TcpSocket, time::timeout};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{
        self, Message,
        client::IntoClientRequest as _,
        http::{HeaderValue, StatusCode},
    },
};

use crate::{PATIENCE, history::Body};

/// How frames travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Subprotocol {
    /// Text frames.
    Json,
    /// Binary frames.
    Proto,
}

impl Subprotocol {
    /// Both of them.
    pub const BOTH: [Self; 2] = [Self::Json, Self::Proto];

    /// As in `Sec-WebSocket-Protocol`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Json => "rookery.v1.json",
            Self::Proto => "rookery.v1.proto",
        }
    }
}

/// How to connect.
#[derive(Debug, Clone)]
pub struct Connect {
    /// `http://host:port`.
    pub base: String,
    /// Subprotocol to ask for.
    pub subprotocol: Subprotocol,
    /// After `/v1/ws`, for instance `?ticket=...`; else empty.
    pub query: String,
    /// `Origin` header, as browsers send it.
    pub origin: Option<String>,
    /// Size of the socket's receive buffer in bytes, for readers that are to be slow.
    pub receive_buffer: Option<u32>,
}

impl Connect {
    /// A plain connection.
    pub fn to(base: &str, subprotocol: Subprotocol) -> Self {
        Self { base: base.to_owned(), subprotocol, query: String::new(), origin: None, receive_buffer: None }
    }

    /// Opens the WebSocket; says nothing on it yet.
    ///
    /// # Errors
    /// The node cannot be reached, or refuses the upgrade.
    pub async fn open(&self) -> Result<Ws, ConnectError> {
        let authority = self.base.trim_start_matches("http://").trim_end_matches('/');
        let address: SocketAddr = tokio::net::lookup_host(authority)
            .await?
            .next()
            .ok_or_else(|| std::io::Error::other("the name has no address"))?;
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        if let Some(bytes) = self.receive_buffer {
            socket.set_recv_buffer_size(bytes)?;
        }
        let stream =
            timeout(PATIENCE, socket.connect(address)).await.map_err(|_| ConnectError::Timeout)??;
        stream.set_nodelay(true)?;
        let mut request = format!("ws://{authority}/v1/ws{}", self.query).into_client_request()?;
        let headers = request.headers_mut();
        headers.insert("sec-websocket-protocol", HeaderValue::from_static(self.subprotocol.name()));
        if let Some(origin) = &self.origin {
            headers.insert("origin", HeaderValue::from_str(origin).expect("an origin is a header value"));
        }
        let upgrading = client_async(request, stream);
        let (stream, response) = timeout(PATIENCE, upgrading).await.map_err(|_| ConnectError::Timeout)??;
        let chosen = response.headers().get("sec-websocket-protocol");
        assert_eq!(
            chosen.and_then(|name| name.to_str().ok()),
            Some(self.subprotocol.name()),
            "the node names the subprotocol it chose"
        );
        Ok(Ws { stream, subprotocol: self.subprotocol, next_id: 1, waiting: VecDeque::new(), closed: None })
    }
}

/// Why there is no WebSocket.
#[derive(Debug)]
pub enum ConnectError {
    /// The node answered by HTTP instead.
    Refused(StatusCode, Value),
    /// The socket or the handshake failed.
    Failed(tungstenite::Error),
    /// Nothing happened for [`PATIENCE`].
    Timeout,
}

impl From<tungstenite::Error> for ConnectError {
    fn from(error: tungstenite::Error) -> Self {
        match error {
            tungstenite::Error::Http(response) => {
                let body = response.body().as_deref().unwrap_or_default();
                let body = serde_json::from_slice(body).unwrap_or(Value::Null);
                Self::Refused(response.status(), body)
            }
            other => Self::Failed(other),
        }
    }
}

impl From<std::io::Error> for ConnectError {
    fn from(error: std::io::Error) -> Self {
        Self::Failed(error.into())
    }
}

/// An open connection.
pub struct Ws {
    stream: WebSocketStream<tokio::net::TcpStream>,
    subprotocol: Subprotocol,
    next_id: u64,
    /// Frames that came while an answer was awaited.
    waiting: VecDeque<Value>,
    closed: Option<Closed>,
}

/// How a connection ended: the close frame's code and reason, or 1006 and the error if there was none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Closed {
    /// Close code.
    pub code: u16,
    /// Reason.
    pub reason: String,
}

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "closed with {} {:?}", self.code, self.reason)
    }
}

/// The answer to a request.
#[derive(Debug, Clone)]
pub struct Reply {
    asked: String,
    /// The frame.
    pub frame: Value,
}

impl Reply {
    /// The frame, if it is `ok`.
    #[track_caller]
    pub fn ok(self) -> Value {
        self.is("ok")
    }

    /// The frame, if its `t` is this one.
    #[track_caller]
    pub fn is(self, t: &str) -> Value {
        assert_eq!(self.frame["t"], t, "{} was answered {}", self.asked, self.frame);
        self.frame
    }

    /// The frame, if it is an `error` with this code.
    #[track_caller]
    pub fn refused(self, code: &str) -> Value {
        assert_eq!(self.frame["t"], "error", "{} was answered {}", self.asked, self.frame);
        assert_eq!(self.frame["code"], code, "{} was answered {}", self.asked, self.frame);
        assert!(self.frame["message"].is_string(), "an error has a message: {}", self.frame);
        self.frame
    }
}

impl Ws {
    /// Which subprotocol is spoken.
    pub fn subprotocol(&self) -> Subprotocol {
        self.subprotocol
    }

    /// Sends a request with the next id and returns that id.
    ///
    /// # Errors
    /// The connection has ended.
    pub async fn try_send(&mut self, mut frame: Value) -> Result<u64, Closed> {
        let id = self.next_id;
        self.next_id += 1;
        frame["id"] = json!(id);
        self.try_send_frame(&frame).await.map(|()| id)
    }

    /// Sends a frame as it is.
    ///
    /// # Errors
    /// The connection has ended.
    pub async fn try_send_frame(&mut self, frame: &Value) -> Result<(), Closed> {
        let message = match self.subprotocol {
            Subprotocol::Json => Message::text(frame.to_string()),
            Subprotocol::Proto => Message::binary(wire::encode(frame)),
        };
        self.try_send_raw(message).await
    }

    /// Sends any WebSocket message.
    ///
    /// # Errors
    /// The connection has ended.
    pub async fn try_send_raw(&mut self, message: Message) -> Result<(), Closed> {
        match timeout(PATIENCE, self.stream.send(message)).await {
            Ok(sent) => sent.map_err(|error| self.ended(&error)),
            Err(_) => panic!("the node does not read for {PATIENCE:?}"),
        }
    }

    /// Sends a request with the next id and returns that id.
    pub async fn send(&mut self, frame: Value) -> u64 {
        let shown = frame.to_string();
        self.try_send(frame).await.unwrap_or_else(|closed| panic!("cannot send {shown}: {closed}"))
    }

    /// Sends any WebSocket message.
    pub async fn send_raw(&mut self, message: Message) {
        self.try_send_raw(message).await.unwrap_or_else(|closed| panic!("cannot send: {closed}"));
    }

    /// Sends a request and returns its answer; what else comes meanwhile is kept for [`Self::event`].
    pub async fn ask(&mut self, frame: Value) -> Reply {
        let asked = frame.to_string();
        let id = self.send(frame).await;
        Reply { frame: self.answer_to(id).await, asked }
    }

    /// The answer to the request with this id.
    pub async fn answer_to(&mut self, id: u64) -> Value {
        if let Some(at) = self.waiting.iter().position(|frame| frame["re"] == id) {
            return self.waiting.remove(at).unwrap_or_default();
        }
        loop {
            let frame = self.read_or_panic(&format!("the answer to request {id}")).await;
            if frame["re"] == id {
                return frame;
            }
            self.waiting.push_back(frame);
        }
    }

    /// `hello` with these fields; returns `welcome`.
    pub async fn hello(&mut self, mut fields: Value) -> Value {
        fields["t"] = json!("hello");
        self.ask(fields).await.is("welcome")
    }

    /// The next frame that answers nothing.
    pub async fn next_event(&mut self) -> Value {
        self.event_where("any event", |_| true).await
    }

    /// The next durable event; others before it are dropped.
    pub async fn durable(&mut self) -> Value {
        self.event_where("a durable event", |frame| Body::of(frame).is_some()).await
    }

    /// The next frame with this `t`; those before it are dropped.
    pub async fn event(&mut self, t: &str) -> Value {
        self.event_where(t, |frame| frame["t"] == t).await
    }

    /// The next frame with this `t` about this room; those before it are dropped.
    pub async fn event_in(&mut self, t: &str, room: &str) -> Value {
        self.event_where(t, |frame| frame["t"] == t && frame["room"] == room).await
    }

    /// The next frame that answers nothing and is as wanted; those before it are dropped.
    pub async fn event_where(&mut self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        while let Some(at) = self.waiting.iter().position(|frame| frame.get("re").is_none()) {
            let frame = self.waiting.remove(at).unwrap_or_default();
            if wanted(&frame) {
                return frame;
            }
        }
        loop {
            let frame = self.read_or_panic(what).await;
            if frame.get("re").is_some() {
                self.waiting.push_back(frame);
            } else if wanted(&frame) {
                return frame;
            }
        }
    }

    /// Frames that answer nothing, up to and with the first one that is as wanted.
    pub async fn events_until(&mut self, what: &str, last: impl Fn(&Value) -> bool) -> Vec<Value> {
        let mut all = Vec::new();
        loop {
            let event = self.event_where(what, |_| true).await;
            let found = last(&event);
            all.push(event);
            if found {
                return all;
            }
        }
    }

    /// Frames up to `caught_up` of the room, without it; then that frame.
    pub async fn replay(&mut self, room: &str) -> (Vec<Value>, Value) {
        let mut events =
            self.events_until("caught_up", |frame| frame["t"] == "caught_up" && frame["room"] == room).await;
        let caught_up = events.pop().unwrap_or_default();
        (events, caught_up)
    }

    /// All that the node has sent before it answers a `ping`: what it has to say by now.
    pub async fn settle(&mut self) -> Vec<Value> {
        self.ask(json!({"t": "ping"})).await.is("pong");
        let (events, answers) = self.waiting.drain(..).partition(|frame| frame.get("re").is_none());
        self.waiting = answers;
        Vec::from_iter::<VecDeque<_>>(events)
    }

    /// The next frame, or how the connection ended; panics when neither comes.
    ///
    /// # Errors
    /// The connection has ended.
    pub async fn next(&mut self) -> Result<Value, Closed> {
        let next = timeout(PATIENCE, self.try_next()).await;
        next.unwrap_or_else(|_| panic!("nothing comes for {PATIENCE:?}"))
    }

    /// The next frame, or how the connection ended, however long that takes. Cancel-safe.
    ///
    /// # Errors
    /// The connection has ended.
    pub async fn try_next(&mut self) -> Result<Value, Closed> {
        match self.waiting.pop_front() {
            Some(frame) => Ok(frame),
            None => self.try_read().await,
        }
    }

    /// Reads until the connection ends, and says how.
    pub async fn closed(&mut self) -> Closed {
        let reading = async {
            loop {
                if let Err(closed) = self.try_read().await {
                    return closed;
                }
            }
        };
        match timeout(PATIENCE, reading).await {
            Ok(closed) => closed,
            Err(_) => panic!("the node does not close the connection within {PATIENCE:?}"),
        }
    }

    /// Closes the connection as a client should.
    pub async fn close(mut self) {
        let _ = self.stream.close(None).await;
    }

    async fn read_or_panic(&mut self, what: &str) -> Value {
        match timeout(PATIENCE, self.try_read()).await {
            Ok(Ok(frame)) => frame,
            Ok(Err(closed)) => panic!("waited for {what}: {closed}"),
            Err(_) => panic!("waited {PATIENCE:?} for {what}; kept: {:?}", self.waiting),
        }
    }

    async fn try_read(&mut self) -> Result<Value, Closed> {
        loop {
            if let Some(closed) = &self.closed {
                return Err(closed.clone());
            }
            match self.stream.next().await {
                Some(Ok(Message::Text(text))) => {
                    assert_eq!(self.subprotocol, Subprotocol::Json, "a text frame: {text}");
                    let frame: Value = serde_json::from_str(&text)
                        .unwrap_or_else(|error| panic!("not JSON ({error}): {text}"));
                    assert!(frame["t"].is_string(), "a frame without t: {text}");
                    return Ok(frame);
                }
                Some(Ok(Message::Binary(bytes))) => {
                    assert_eq!(self.subprotocol, Subprotocol::Proto, "a binary frame of {}", bytes.len());
                    return Ok(wire::decode(bytes));
                }
                Some(Ok(Message::Close(frame))) => {
                    self.closed = Some(frame.map_or(Closed { code: 1005, reason: String::new() }, |frame| {
                        Closed { code: frame.code.into(), reason: frame.reason.to_string() }
                    }));
                    // Lets the library send its part of the closing handshake.
                    let _ = self.stream.next().await;
                }
                Some(Ok(_)) => {}
                Some(Err(error)) => {
                    self.ended(&error);
                }
                None => {
                    self.closed = Some(Closed { code: 1006, reason: "end of stream".to_owned() });
                }
            }
        }
    }

    fn ended(&mut self, error: &tungstenite::Error) -> Closed {
        self.closed.get_or_insert_with(|| Closed { code: 1006, reason: error.to_string() }).clone()
    }
}
