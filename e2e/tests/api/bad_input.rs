//! Bad input: each has a defined answer, and nobody else is disturbed.

use std::time::{Duration, Instant};

use rookery_e2e::{
    history::Body,
    http::Api,
    server::{Options, Server},
    service::{self, Service},
    unique,
    user::{PASSWORD, User, seq_of},
    ws::{Connect, Subprotocol, Ws},
};
use serde_json::{Value, json};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
};
use tokio_tungstenite::tungstenite::Message;

use crate::raw::Raw;

/// A bystander says something about so often.
const OFTEN: Duration = Duration::from_millis(100);

/// Somebody who minds his own business on the same node, all the while: he talks to himself, and hears each word once.
struct Bystander {
    user: User,
    checks: mpsc::Sender<oneshot::Sender<()>>,
    _life: JoinHandle<()>,
}

impl Bystander {
    async fn at(service: &Service) -> Self {
        let user = User::register(service, "bystander").await;
        let room = user.room_with(&[]).await;
        let mut ws = user.online(Subprotocol::Json).await;
        let mut hears = user.online(Subprotocol::Proto).await;
        let (checks, mut asked) = mpsc::channel::<oneshot::Sender<()>>(1);
        let me = user.clone();
        let life = tokio::spawn(async move {
            let mut last = Self::chat(&me, &room, &mut ws, &mut hears, None).await;
            loop {
                let check = tokio::select! {
                    frame = ws.try_next() => {
                        frame.expect("a bystander's connection stays");
                        continue;
                    }
                    () = tokio::time::sleep(OFTEN) => None,
                    check = asked.recv() => match check {
                        Some(check) => Some(check),
                        None => return,
                    },
                };
                last = Self::chat(&me, &room, &mut ws, &mut hears, Some(last)).await;
                if let Some(check) = check {
                    let _ = check.send(());
                }
            }
        });
        Self { user, checks, _life: life }
    }

    /// Says something and hears it over both connections, right after what was said `last`; its seq.
    async fn chat(user: &User, room: &str, ws: &mut Ws, hears: &mut Ws, last: Option<u64>) -> u64 {
        let send = json!({"t": "send", "room": room, "text": "still here", "client_msg_id": unique("m")});
        let seq = seq_of(&ws.ask(send).await.ok());
        assert!(last.is_none_or(|last| seq == last + 1), "{seq} comes after {last:?}");
        for socket in [ws, hears] {
            let event = |event: &Value| event["room"] == room && Body::of(event).is_some();
            let heard = socket.event_where("what he said", event).await;
            assert_eq!(
                (&heard["t"], seq_of(&heard)),
                (&json!("message"), seq),
                "lost, or heard twice: {heard}"
            );
        }
        assert_eq!(user.message(room, seq).await["text"], "still here");
        seq
    }

    /// Panics unless his connection is open since the beginning and still does all that it should.
    async fn is_undisturbed(&self) {
        let (tell, told) = oneshot::channel();
        let asked = self.checks.send(tell).await;
        assert!(asked.is_ok() && told.await.is_ok(), "the bystander was disturbed; see above");
    }
}

fn strict(test: &str) -> Option<&'static Service> {
    let service = Service::strict();
    if service.is_none() {
        rookery_e2e::skipped(test, "the service's limits are not ours to choose");
    }
    service
}

// Malformed.

/// A body that is no JSON, of the wrong type, or nothing at all.
#[tokio::test]
async fn http_bodies_that_are_none() {
    let service = Service::shared();
    let bystander = Bystander::at(service).await;
    let api = &bystander.user.api;
    let more = r#"{"name": "a", "kind": "group", "visibility": "public"} more"#;
    for body in ["{", "{\"name\": }", "\u{0}", more] {
        let answer = api.post_raw("/v1/rooms", "application/json", body.into()).await;
        answer.refused(400);
    }
    for body in ["[]", "5", "null", "{\"name\": {}}"] {
        api.post_raw("/v1/rooms", "application/json", body.into()).await.refused(422);
    }
    api.post_raw("/v1/rooms", "application/json", vec![0xFF, 0xFE]).await.refused(400);
    let deep = format!("{{\"name\": {}", "[".repeat(50_000));
    let answer = api.post_raw("/v1/rooms", "application/json", deep.into()).await;
    assert!((400..500).contains(&answer.status), "{}", answer.status);
    bystander.is_undisturbed().await;
}

/// Unknown paths and methods are problems, too.
#[tokio::test]
async fn paths_and_methods_that_are_none() {
    let bystander = Bystander::at(Service::shared()).await;
    let ada = bystander.user.clone();
    for path in ["/v1/nothing", "/v2/rooms", "/v1/rooms/x/y/z", "/v1/%00"] {
        ada.api.get(path).await.refused(404);
    }
    ada.api.delete("/v1/auth/login").await.refused(405);
    ada.api.patch("/v1/rooms", json!({})).await.refused(405);
    bystander.is_undisturbed().await;
}

/// Frames that are no requests: an `error` without closing, or a close with a policy code; never silence.
#[tokio::test]
async fn frames_that_are_none() {
    let service = Service::shared();
    let bystander = Bystander::at(service).await;
    let user = bystander.user.clone();
    let json_frames =
        ["", "{", "null", "[]", "5", "{}", "{\"t\":5}", "{\"t\":\"send\",\"id\":1,\"room\":5}", "\u{0}"];
    for text in json_frames {
        is_answered_or_closed(user.online(Subprotocol::Json).await, Message::text(text)).await;
    }
    let proto_frames: [&[u8]; 4] = [&[0xFF; 20], &[0x0A], &[0x12, 0xFF, 0xFF, 0xFF, 0xFF, 0x0F], &[]];
    for bytes in proto_frames {
        is_answered_or_closed(user.online(Subprotocol::Proto).await, Message::binary(bytes.to_vec())).await;
    }
    // The other kind of frame than was agreed.
    is_answered_or_closed(user.online(Subprotocol::Json).await, Message::binary(vec![1, 2, 3])).await;
    is_answered_or_closed(user.online(Subprotocol::Proto).await, Message::text("{\"t\":\"ping\",\"id\":1}"))
        .await;
    bystander.is_undisturbed().await;
}

async fn is_answered_or_closed(mut ws: Ws, message: Message) {
    let shown = format!("{message:?}");
    ws.send_raw(message).await;
    let frame = loop {
        match tokio::time::timeout(rookery_e2e::PATIENCE, ws.try_next()).await {
            Ok(Ok(frame)) if frame["t"] == "error" => break frame,
            Ok(Ok(_)) => {}
            Ok(Err(closed)) => {
                assert!(matches!(closed.code, 1002 | 1003 | 1007 | 1008), "{shown}: {closed}");
                return;
            }
            Err(_) => panic!("{shown} is met with silence"),
        }
    };
    assert!(frame["code"].is_string() && frame["message"].is_string(), "{shown}: {frame}");
    ws.ask(json!({"t": "ping"})).await.is("pong");
}

/// Who sends malformed frames again and again is told so each time, and then closed with 1008.
#[tokio::test]
async fn frames_that_are_none_again_and_again() {
    let service = Service::shared();
    let bystander = Bystander::at(service).await;
    let ada = User::register(service, "ada").await;
    for (subprotocol, malformed) in
        [(Subprotocol::Json, Message::text("{")), (Subprotocol::Proto, Message::binary(vec![0xFF; 20]))]
    {
        let mut ws = ada.online(subprotocol).await;
        let mut told = 0;
        let closed = loop {
            ws.send_raw(malformed.clone()).await;
            match ws.next().await {
                Ok(frame) => assert_eq!(frame["code"], "malformed", "{frame}"),
                Err(closed) => break closed,
            }
            told += 1;
            assert!(told < 100, "100 malformed frames at once are not too many");
        };
        assert_eq!(closed.code, 1008, "{closed}");
        assert!(told > 1, "one is no reason to close");
    }
    bystander.is_undisturbed().await;
}

/// What breaks RFC 6455: the connection is closed with 1002 or 1007.
#[tokio::test]
async fn bytes_that_are_no_frames() {
    let service = Service::shared();
    let bystander = Bystander::at(service).await;
    let hello = json!({"t": "hello", "id": 1, "token": bystander.user.token()}).to_string();
    for (what, first, payload) in [
        ("reserved bits", 0xF1_u8, &b"{}"[..]),
        ("a reserved opcode", 0x83, b"{}"),
        ("a continuation of nothing", 0x80, b"{}"),
        ("a ping in fragments", 0x09, b"{}"),
        ("text that is not UTF-8", 0x81, b"\xFF\xFF"),
        ("a close frame of one byte", 0x88, b"\x03"),
    ] {
        let mut raw = Raw::upgraded(service.url(), Subprotocol::Json).await;
        raw.frame(0x81, hello.as_bytes()).await;
        raw.frame(first, payload).await;
        let code = raw.close_code().await;
        assert!(matches!(code, Some(1002 | 1007)), "{what}: {code:?}");
    }
    // Not masked.
    let mut raw = Raw::upgraded(service.url(), Subprotocol::Json).await;
    raw.write(&[0x81, 2, b'{', b'}']).await;
    assert_eq!(raw.close_code().await, Some(1002));
    // A ping of more than 125 bytes.
    let mut raw = Raw::upgraded(service.url(), Subprotocol::Json).await;
    raw.frame(0x89, &[b'x'; 200]).await;
    assert_eq!(raw.close_code().await, Some(1002));
    bystander.is_undisturbed().await;
}

/// What is no HTTP at all.
#[tokio::test]
async fn bytes_that_are_no_http() {
    let service = Service::shared();
    let bystander = Bystander::at(service).await;
    for bytes in
        [&b"\x16\x03\x01\x02\x00\x01\x00"[..], b"nonsense\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", &[0; 100]]
    {
        let mut raw = Raw::connect(service.url()).await;
        raw.write(bytes).await;
        raw.write(b"\r\n\r\n").await;
        let answer = String::from_utf8_lossy(&raw.read_to_end().await).into_owned();
        assert!(
            answer.is_empty() || answer.starts_with("HTTP/1.1 4") || answer.starts_with("HTTP/1.1 5"),
            "{answer}"
        );
    }
    bystander.is_undisturbed().await;
}

/// An upgrade without a subprotocol that the node speaks, or that is no upgrade.
#[tokio::test]
async fn upgrades_that_are_none() {
    let bystander = Bystander::at(Service::shared()).await;
    let api = Service::shared().api();
    let answer = api.get("/v1/ws").await;
    assert!((400..500).contains(&answer.status), "{}", answer.status);
    let mut raw = Raw::connect(Service::shared().url()).await;
    raw.write(
        b"GET /v1/ws HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade, close\r\nUpgrade: websocket\r\n\
          Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
          Sec-WebSocket-Protocol: soap\r\n\r\n",
    )
    .await;
    raw.write(&[0x88, 0x80, 0, 0, 0, 0]).await;
    let answer = String::from_utf8_lossy(&raw.read_to_end().await).into_owned();
    assert!(!answer.contains("soap"), "{answer}");
    bystander.is_undisturbed().await;
}

// Oversized.

/// "bodies over the limit 413".
#[tokio::test]
async fn http_bodies_that_are_too_large() {
    let service = Service::shared();
    let bystander = Bystander::at(service).await;
    let body = json!({"name": "x".repeat(2 << 20), "kind": "group", "visibility": "public"});
    bystander.user.api.post("/v1/rooms", body).await.refused(413);
    // Said beforehand, and never sent.
    let mut raw = Raw::connect(service.url()).await;
    raw.write(
        b"POST /v1/auth/login HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
          Content-Type: application/json\r\nContent-Length: 99999999999\r\n\r\n{",
    )
    .await;
    let answer = String::from_utf8_lossy(&raw.read_to_end().await).into_owned();
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    bystander.is_undisturbed().await;
}

/// Headers have a limit: 431, or the connection ends.
#[tokio::test]
async fn http_headers_that_are_too_large() {
    let service = Service::shared();
    let bystander = Bystander::at(service).await;
    let mut raw = Raw::connect(service.url()).await;
    raw.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n").await;
    for number in 0..2_000 {
        raw.write(format!("X-Header-{number}: {}\r\n", "x".repeat(1_000)).as_bytes()).await;
    }
    raw.write(b"\r\n").await;
    let answer = String::from_utf8_lossy(&raw.read_to_end().await).into_owned();
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
    bystander.is_undisturbed().await;
}

/// "1009 frame too large", by the length alone, before the content comes.
#[tokio::test]
async fn frames_that_are_too_large() {
    let service = Service::shared();
    let bystander = Bystander::at(service).await;
    for subprotocol in Subprotocol::BOTH {
        let mut ws = bystander.user.connect(subprotocol).await;
        let welcome = ws.hello(json!({"token": bystander.user.token()})).await;
        let limit = welcome["limits"]["frame_bytes"].as_u64().expect("welcome says the limit");
        let size = usize::try_from(limit).expect("not that large") + 1;
        let message = match subprotocol {
            Subprotocol::Json => Message::text("x".repeat(size)),
            Subprotocol::Proto => Message::binary(vec![0; size]),
        };
        // The node may close while it is still being sent.
        let _ = ws.try_send_raw(message).await;
        assert_eq!(ws.closed().await.code, 1009);
    }
    // Eight exabytes are announced, none comes.
    let mut raw = Raw::upgraded(service.url(), Subprotocol::Json).await;
    raw.write(&[0x81, 0xFF, 0x7F, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0, 0]).await;
    assert_eq!(raw.close_code().await, Some(1009));
    // Small fragments of one message without end.
    let mut raw = Raw::upgraded(service.url(), Subprotocol::Json).await;
    raw.frame(0x01, &[b' '; 1000]).await;
    for _ in 0..2_000 {
        raw.frame(0x00, &[b' '; 1000]).await;
    }
    assert_eq!(raw.close_code().await, Some(1009));
    bystander.is_undisturbed().await;
}

// Out of order.

/// Requests before hello, and hello twice.
#[tokio::test]
async fn requests_out_of_order() {
    let service = Service::shared();
    let bystander = Bystander::at(service).await;
    let user = bystander.user.clone();
    let room = user.room_with(&[]).await;
    for subprotocol in Subprotocol::BOTH {
        let send = json!({"t": "send", "room": room, "text": "too early", "client_msg_id": unique("m")});
        let mut ws = user.connect(subprotocol).await;
        ws.ask(send).await.refused("hello_required");
        let mut ws = user.online(subprotocol).await;
        ws.ask(json!({"t": "hello", "token": user.token()})).await.refused("already_welcome");
        ws.ask(json!({"t": "ping"})).await.is("pong");
        ws.ask(json!({"t": "unsubscribe", "room": room})).await;
        ws.ask(json!({"t": "unsubscribe", "room": room})).await;
        ws.ask(json!({"t": "ping"})).await.is("pong");
    }
    let page = user.api.get(&format!("/v1/rooms/{room}/messages")).await.is(200);
    assert!(!page.to_string().contains("too early"), "{page}");
    bystander.is_undisturbed().await;
}

// Unauthenticated.

/// "bad credentials: 4401".
#[tokio::test]
async fn hello_with_bad_credentials() {
    let service = Service::shared();
    let bystander = Bystander::at(service).await;
    for subprotocol in Subprotocol::BOTH {
        for hello in [
            json!({"token": "nonsense"}),
            json!({"token": ""}),
            json!({"ticket": "nonsense"}),
            json!({"token": bystander.user.refresh_token()}),
            json!({}),
        ] {
            let mut ws = Connect::to(service.url(), subprotocol).open().await.expect("anybody may connect");
            let mut frame = hello.clone();
            frame["t"] = json!("hello");
            ws.send(frame).await;
            assert_eq!(ws.closed().await.code, 4401, "{hello}");
        }
        for query in ["?token=nonsense", "?ticket=nonsense"] {
            let mut connect = Connect::to(service.url(), subprotocol);
            connect.query = query.to_owned();
            match connect.open().await {
                Ok(mut ws) => {
                    let _ = ws.try_send(json!({"t": "hello"})).await;
                    assert_eq!(ws.closed().await.code, 4401, "{query}");
                }
                Err(error) => panic!("{query}: browsers cannot see why: {error:?}"),
            }
        }
    }
    bystander.is_undisturbed().await;
}

/// "forbidden origin: 4403"; its own origin is allowed.
#[tokio::test]
async fn pages_of_other_origins() {
    let service = Service::shared();
    let bystander = Bystander::at(service).await;
    let ada = User::register(service, "ada").await;
    for subprotocol in Subprotocol::BOTH {
        for origin in ["https://evil.example", "null"] {
            let mut connect = Connect::to(ada.api.base(), subprotocol);
            connect.origin = Some(origin.to_owned());
            let mut ws = connect.open().await.expect("refused by a close code that pages can read");
            let _ = ws.try_send(json!({"t": "hello", "token": ada.token()})).await;
            assert_eq!(ws.closed().await.code, 4403, "{origin}");
        }
        let mut connect = Connect::to(ada.api.base(), subprotocol);
        connect.origin = Some(ada.api.base().to_owned());
        connect.open().await.expect("its own pages").hello(json!({"token": ada.token()})).await;
    }
    bystander.is_undisturbed().await;
}

/// "No valid `hello` within 10 s closes the socket": 4408.
#[tokio::test]
async fn connections_that_say_nothing() {
    let Some(service) = strict("connections_that_say_nothing") else { return };
    let bystander = Bystander::at(service).await;
    for subprotocol in Subprotocol::BOTH {
        let mut ws = Connect::to(service.url(), subprotocol).open().await.expect("anybody may connect");
        assert_eq!(ws.closed().await.code, 4408);
    }
    bystander.is_undisturbed().await;
}

// Flooded.

/// "Rate limits answer 429 with `Retry-After`": somebody who tries passwords, and who registers in bulk.
#[tokio::test(flavor = "multi_thread")]
async fn calls_that_are_too_many() {
    if service::is_external() {
        return rookery_e2e::skipped("calls_that_are_too_many", "it would lock out the other tests");
    }
    let options = Options::default().set("accounts.limits.register_per_address", "20/3600s");
    let server = tokio::task::block_in_place(|| Server::start(options));
    let service = Service::of(&server);
    let bystander = Bystander::at(&service).await;
    let api = Api::new(&server.url());
    until_429("logins", async || {
        let request = json!({"login": "nobody", "password": "wrong-horse-7-battery-staple"});
        api.post("/v1/auth/login", request).await
    })
    .await;
    until_429("registrations", async || {
        let name = unique("flood");
        let request = json!({"email": format!("{name}@example.com"), "username": name, "password": PASSWORD});
        api.post("/v1/auth/register", request).await
    })
    .await;
    let email = bystander.user.email.clone();
    until_429("resets", async || api.post("/v1/auth/password/forgot", json!({"email": email})).await).await;
    bystander.is_undisturbed().await;
}

async fn until_429(what: &str, mut call: impl AsyncFnMut() -> rookery_e2e::http::Answer) {
    for _ in 0..500 {
        let answer = call().await;
        if answer.status == 429 {
            answer.refused(429);
            return;
        }
    }
    panic!("500 {what} from one address within seconds are not too many");
}

/// One connection that sends without measure is told `rate_limited` with `retry_after_ms`, or closed; others go on.
#[tokio::test]
async fn frames_that_are_too_many() {
    let Some(service) = strict("frames_that_are_too_many") else { return };
    let bystander = Bystander::at(service).await;
    let ada = User::register(service, "ada").await;
    let room = ada.room_with(&[]).await;
    for subprotocol in Subprotocol::BOTH {
        let mut ws = ada.online(subprotocol).await;
        let mut limited = None;
        for _ in 0..2_000 {
            let send = json!({"t": "send", "room": room, "text": "flood", "client_msg_id": unique("m")});
            if ws.try_send(send).await.is_err() {
                break;
            }
        }
        for _ in 0..10_000 {
            match tokio::time::timeout(rookery_e2e::PATIENCE, ws.try_next()).await.expect("no silence") {
                Ok(frame) if frame["code"] == "rate_limited" => {
                    assert!(frame["retry_after_ms"].as_u64().is_some_and(|ms| ms > 0), "{frame}");
                    limited = Some(frame);
                    break;
                }
                Ok(_) => {}
                Err(closed) => {
                    assert_eq!(closed.code, 1008, "{closed}");
                    limited = Some(Value::Null);
                    break;
                }
            }
        }
        assert!(limited.is_some(), "2,000 messages at once are not too many");
        bystander.is_undisturbed().await;
    }
}

// Half-open.

/// A head or body that never ends: the connection does.
#[tokio::test]
async fn requests_that_never_end() {
    let Some(service) = strict("requests_that_never_end") else { return };
    let bystander = Bystander::at(service).await;
    for bytes in [
        &b""[..],
        b"GET / HT",
        b"GET / HTTP/1.1\r\nHost: localhost\r\n",
        b"POST /v1/auth/login HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 50\r\n\r\n{",
    ] {
        let mut raw = Raw::connect(service.url()).await;
        raw.write(bytes).await;
        let ended = raw.ends_within(rookery_e2e::PATIENCE).await;
        assert!(ended, "{:?} holds a connection for ever", String::from_utf8_lossy(bytes));
    }
    bystander.is_undisturbed().await;
}

/// A connection over which everything is answered, and nothing more is asked: it ends, too, but not at once.
#[tokio::test]
async fn connections_that_ask_nothing_more() {
    let Some(service) = strict("connections_that_ask_nothing_more") else { return };
    let bystander = Bystander::at(service).await;
    let mut raw = Raw::connect(service.url()).await;
    let began = Instant::now();
    raw.write("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(2).as_bytes()).await;
    let said = String::from_utf8_lossy(&raw.read_to_end().await).into_owned();
    let took = began.elapsed();
    assert_eq!(said.matches("HTTP/1.1 200 ").count(), 2, "{said}");
    // `Options::strict` gives it two.
    assert!(took >= Duration::from_secs(1), "who asks again after {took:?} finds it closed");
    bystander.is_undisturbed().await;
}

/// A peer that is gone without a word does not answer the node's heartbeats, and its connection is closed.
#[tokio::test]
async fn peers_that_are_gone() {
    let Some(service) = strict("peers_that_are_gone") else { return };
    let bystander = Bystander::at(service).await;
    let mut raw = Raw::upgraded(service.url(), Subprotocol::Json).await;
    let hello = json!({"t": "hello", "id": 1, "token": bystander.user.token()}).to_string();
    raw.frame(0x81, hello.as_bytes()).await;
    raw.read_to_end().await;
    // One that answers them stays.
    bystander.is_undisturbed().await;
}

/// A peer that vanishes in the middle of everything leaves nothing behind for others to notice.
#[tokio::test]
async fn peers_that_vanish() {
    let service = Service::shared();
    let bystander = Bystander::at(service).await;
    let room = bystander.user.room_with(&[]).await;
    for number in 0..20 {
        let mut ws = bystander.user.online(Subprotocol::BOTH[number % 2]).await;
        for _ in 0..5 {
            ws.send(json!({"t": "send", "room": room, "text": "gone", "client_msg_id": unique("m")})).await;
        }
        drop(ws);
    }
    bystander.is_undisturbed().await;
}

// Slow.

/// "4409 too slow a reader: its queue was full; it resumes without loss", and nobody waits for it.
#[tokio::test(flavor = "multi_thread")]
async fn readers_that_are_too_slow() {
    // The close frame waits behind all that the reader has not read; on a busy machine that takes a while.
    let patient = Options::generous().set("edge.close_timeout_ms", 60_000);
    let server = (!service::is_external()).then(|| tokio::task::block_in_place(|| Server::start(patient)));
    let own = server.as_ref().map(Service::of);
    let service = own.as_ref().unwrap_or_else(|| Service::shared());
    let bystander = Bystander::at(service).await;
    let ada = User::register(service, "ada").await;
    let room = ada.room_with(&[]).await;
    for subprotocol in Subprotocol::BOTH {
        let mut connect = Connect::to(ada.api.base(), subprotocol);
        connect.receive_buffer = Some(8 * 1024);
        let mut slow = connect.open().await.expect("a connection");
        slow.hello(json!({"token": ada.token()})).await;
        slow.ask(json!({"t": "subscribe", "room": room})).await.ok();
        // It reads no more. Four bytes per character: 16 kB a message.
        let mut writer = ada.online(subprotocol).await;
        let text = "🐦".repeat(4000);
        let mut last = 0;
        for _ in 0..75 {
            let mut ids = Vec::new();
            for _ in 0..16 {
                let send = json!({"t": "send", "room": room, "text": text, "client_msg_id": unique("m")});
                ids.push(writer.send(send).await);
            }
            for id in ids {
                let answer = writer.answer_to(id).await;
                assert_eq!(answer["t"], "ok", "{answer}");
                last = seq_of(&answer);
            }
            // The writer is a member, too, and reads what it wrote.
            writer.settle().await;
        }
        bystander.is_undisturbed().await;

        let mut seen = None;
        let closed = loop {
            match tokio::time::timeout(rookery_e2e::PATIENCE, slow.try_next()).await.expect("an end") {
                Ok(event) => {
                    if let Some((seq, _)) = Body::of(&event) {
                        assert!(seen.is_none_or(|seen| seq == seen + 1), "{seq} after {seen:?}");
                        seen = Some(seq);
                    }
                }
                Err(closed) => break closed,
            }
        };
        assert_eq!(closed.code, 4409, "{closed}");
        let seen = seen.expect("it got some");
        assert!(seen < last, "nothing was too slow");
        let mut again = ada.resume(subprotocol, &room, seen).await;
        let (events, caught_up) = again.replay(&room).await;
        let seqs: Vec<u64> = events.iter().filter_map(Body::of).map(|(seq, _)| seq).collect();
        assert_eq!(seqs, (seen + 1..=last).collect::<Vec<_>>());
        assert_eq!(caught_up["last_seq"], last);
    }
}
