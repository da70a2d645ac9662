//! The promises 1-6 of the client API, without anything failing. What holds when the node is killed is shown by
//! `tests/crash.rs`.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use rookery_e2e::{
    history::Body,
    service::Service,
    unique,
    user::{User, seq_of},
    ws::{Subprotocol, Ws},
};
use rookery_protocol::id::MessageId;
use serde_json::{Value, json};

use crate::support::people;

fn send(room: &str, text: &str, client_msg_id: &str) -> Value {
    json!({"t": "send", "room": room, "text": text, "client_msg_id": client_msg_id})
}

/// Sends so many messages without waiting for each, and returns the seqs in the order of sending.
async fn pipeline(ws: &mut Ws, room: &str, count: usize) -> Vec<u64> {
    let mut seqs = Vec::new();
    // Below any limit on requests under way, above one at a time.
    for chunk in (0..count).collect::<Vec<_>>().chunks(32) {
        let mut ids = Vec::new();
        for number in chunk {
            ids.push(ws.send(send(room, &format!("number {number}"), &unique("m"))).await);
        }
        for id in ids {
            let answer = ws.answer_to(id).await;
            assert_eq!(answer["t"], "ok", "{answer}");
            seqs.push(seq_of(&answer));
        }
    }
    seqs
}

/// Panics unless these are durable events with the numbers `first..`.
#[track_caller]
fn assert_dense(events: &[Value], first: u64) {
    for (expected, event) in (first..).zip(events) {
        assert_eq!(seq_of(event), expected, "{event}");
    }
}

/// Durable events among others.
fn durable(events: Vec<Value>) -> Vec<Value> {
    events.into_iter().filter(|event| Body::of(event).is_some()).collect()
}

/// 1: "Every room has one order. `seq` starts at 1 and has no gap; all members see the same event at the same `seq`."
#[tokio::test]
async fn all_see_one_order() {
    let [ada, bob, cy] = people(["ada", "bob", "cy"]).await;
    let room = ada.room_with(&[&bob, &cy]).await;
    let mut live = Vec::new();
    for (user, subprotocol) in
        [(&ada, Subprotocol::Json), (&bob, Subprotocol::Proto), (&cy, Subprotocol::Json)]
    {
        live.push(user.resume(subprotocol, &room, 0).await);
    }
    let over_http = async |user: &User| {
        for number in 0..20 {
            user.say(&room, &format!("http {number}")).await;
        }
    };
    let over_ws = async |user: &User, subprotocol: Subprotocol| {
        pipeline(&mut user.online(subprotocol).await, &room, 40).await;
    };
    tokio::join!(
        over_http(&ada),
        over_http(&bob),
        over_ws(&bob, Subprotocol::Json),
        over_ws(&cy, Subprotocol::Proto),
        over_ws(&ada, Subprotocol::Proto),
    );
    let last = seq_of(&ada.say(&room, "the last").await);
    let mut sights = Vec::new();
    for socket in &mut live {
        let events = socket.events_until("the last", |event| event["seq"] == last).await;
        let events = durable(events);
        assert_dense(&events, 1);
        assert_eq!(events.len() as u64, last);
        sights.push(
            events
                .into_iter()
                .map(|event| json!([event["t"], event["seq"], event["id"]]))
                .collect::<Vec<_>>(),
        );
    }
    assert_eq!(sights[0], sights[1]);
    assert_eq!(sights[0], sights[2]);
}

/// 2: an acknowledged message is in the history at once, for everybody.
#[tokio::test]
async fn what_is_acknowledged_is_stored() {
    let [ada, bob] = people(["ada", "bob"]).await;
    let room = ada.room_with(&[&bob]).await;
    for subprotocol in Subprotocol::BOTH {
        let mut ws = ada.online(subprotocol).await;
        for number in 0..10 {
            let ok = ws.ask(send(&room, &format!("number {number}"), &unique("m"))).await.ok();
            let page = bob.api.get(&format!("/v1/rooms/{room}/messages?limit=1")).await.is(200);
            assert_eq!(page["messages"][0]["seq"], ok["seq"]);
            assert_eq!(page["messages"][0]["id"], ok["msg_id"]);
        }
    }
}

/// 3: "A `client_msg_id` is stored at most once, however often it is sent, over any connection to any node".
#[tokio::test]
async fn a_repeat_over_any_way_is_the_first() {
    let ada = User::register(Service::shared(), "ada").await;
    let room = ada.room_with(&[]).await;
    let elsewhere = ada.login(Service::shared()).await;
    let path = format!("/v1/rooms/{room}/messages");
    let mut json_ws = ada.online(Subprotocol::Json).await;
    let mut proto_ws = elsewhere.online(Subprotocol::Proto).await;
    for first in 0..3 {
        let name = unique("m");
        let mut answers = Vec::new();
        for turn in 0..6 {
            let answer = match (first + turn) % 3 {
                0 => {
                    let request = json!({"text": "once", "client_msg_id": name});
                    let answer = elsewhere.api.post(&path, request).await;
                    assert_eq!(answer.status, if turn == 0 { 201 } else { 200 });
                    json!([answer.body["seq"], answer.body["id"], answer.body["ts"]])
                }
                way => {
                    let ws = if way == 1 { &mut json_ws } else { &mut proto_ws };
                    let ok = ws.ask(send(&room, "once", &name)).await.ok();
                    json!([ok["seq"], ok["msg_id"], ok["ts"]])
                }
            };
            answers.push(answer);
        }
        assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    }
    let page = ada.api.get(&path).await.is(200);
    assert_eq!(page["messages"].as_array().map(Vec::len), Some(3));
}

/// 3: repeats at the same moment are stored once, too.
#[tokio::test]
async fn repeats_at_once_are_stored_once() {
    let ada = User::register(Service::shared(), "ada").await;
    let room = ada.room_with(&[]).await;
    let path = format!("/v1/rooms/{room}/messages");
    for _ in 0..5 {
        let name = unique("m");
        let request = json!({"text": "once", "client_msg_id": name});
        let mut ws = ada.online(Subprotocol::Json).await;
        let over_http = (0..8).map(|_| ada.api.post(&path, request.clone()));
        let (answers, over_ws) =
            tokio::join!(futures_util::future::join_all(over_http), ws.ask(send(&room, "once", &name)));
        let mut seqs: Vec<u64> = answers.iter().map(|answer| seq_of(&answer.body)).collect();
        seqs.push(seq_of(&over_ws.ok()));
        assert!(seqs.iter().all(|seq| *seq == seqs[0]), "{seqs:?}");
        let fresh = answers.iter().filter(|answer| answer.status == 201).count();
        assert!(fresh <= 1, "{fresh} answers say that they stored it");
    }
    let page = ada.api.get(&path).await.is(200);
    assert_eq!(page["messages"].as_array().map(Vec::len), Some(5));
}

/// 3: "the same id with other content is refused (`client_msg_id_conflict`)".
#[tokio::test]
async fn other_content_under_one_id_is_refused() {
    let ada = User::register(Service::shared(), "ada").await;
    let room = ada.room_with(&[]).await;
    let path = format!("/v1/rooms/{room}/messages");
    let name = unique("m");
    let seq = seq_of(&ada.api.post(&path, json!({"text": "one", "client_msg_id": name})).await.is(201));
    for subprotocol in Subprotocol::BOTH {
        let mut ws = ada.online(subprotocol).await;
        ws.ask(send(&room, "two", &name)).await.refused("client_msg_id_conflict");
        let mut reply = send(&room, "one", &name);
        reply["reply_to"] = json!(seq);
        ws.ask(reply).await.refused("client_msg_id_conflict");
        assert_eq!(seq_of(&ws.ask(send(&room, "one", &name)).await.ok()), seq);
    }
    ada.api
        .post(&path, json!({"text": "two", "client_msg_id": name}))
        .await
        .problem(409, "client_msg_id_conflict");
}

/// 3: "An id that is a ULID or UUIDv7 older than that is refused (`client_msg_id_stale`)".
#[tokio::test]
async fn an_old_id_is_refused() {
    let ada = User::register(Service::shared(), "ada").await;
    let room = ada.room_with(&[]).await;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
    let ulid = |age: Duration, random: u128| {
        let millis = u64::try_from((now - age).as_millis()).expect("48 bits");
        MessageId::from_parts(millis, random).to_string()
    };
    let uuid = |age: Duration, random: u64| {
        let millis = (now - age).as_millis();
        let (high, low) = (millis >> 16, millis & 0xFFFF);
        format!("{high:08x}-{low:04x}-7abc-8def-{random:012x}")
    };
    let (minute, days) = (Duration::from_secs(60), Duration::from_secs(3 * 86_400));
    for subprotocol in Subprotocol::BOTH {
        let mut ws = ada.online(subprotocol).await;
        for stale in [
            ulid(days, 1),
            ulid(days, 2).to_lowercase(),
            ulid(now, 3),
            uuid(days, 4),
            uuid(days, 5).to_uppercase(),
            uuid(now, 6),
        ] {
            ws.ask(send(&room, "old", &stale)).await.refused("client_msg_id_stale");
            let answer = ada
                .api
                .post(&format!("/v1/rooms/{room}/messages"), json!({"text": "old", "client_msg_id": stale}))
                .await;
            assert_eq!(answer.body["code"], "client_msg_id_stale", "{} {}", answer.status, answer.body);
            assert!((400..500).contains(&answer.status), "{}", answer.status);
        }
        let salt = u64::from(subprotocol == Subprotocol::Json);
        for fresh in
            [ulid(minute, 7 + u128::from(salt)), uuid(minute, 9 + salt), unique("no id of either kind")]
        {
            ws.ask(send(&room, "new", &fresh)).await.ok();
        }
    }
}

/// 4: "A connection that subscribes `after: n` gets every later durable event exactly once and in order, then
/// `caught_up`, then live ones".
#[tokio::test]
async fn a_subscription_replays_then_goes_live() {
    let [ada, bob] = people(["ada", "bob"]).await;
    let room = ada.room_with(&[&bob]).await;
    let first = seq_of(&ada.say(&room, "first").await);
    let path = format!("/v1/rooms/{room}/messages/{first}");
    ada.api.patch(&path, json!({"text": "first, edited"})).await.success();
    bob.api.put_empty(&format!("{path}/reactions/👍")).await.success();
    let gone = seq_of(&ada.say(&room, "to be deleted").await);
    ada.api.delete(&format!("/v1/rooms/{room}/messages/{gone}")).await.success();
    let last = seq_of(&ada.say(&room, "last").await);
    for subprotocol in Subprotocol::BOTH {
        for after in [0, 1, first, last - 1, last] {
            for by_subscribing in [true, false] {
                let mut ws = if by_subscribing {
                    let mut ws = bob.connect(subprotocol).await;
                    ws.hello(json!({"token": bob.token()})).await;
                    let request = json!({"t": "subscribe", "room": room, "after": after});
                    let ok = ws.ask(request).await.ok();
                    assert!(ok["last_seq"].as_u64().is_some_and(|seq| seq >= last), "{ok}");
                    ws
                } else {
                    bob.resume(subprotocol, &room, after).await
                };
                let (events, caught_up) = ws.replay(&room).await;
                let events = durable(events);
                assert_dense(&events, after + 1);
                assert_eq!(events.len() as u64, caught_up["last_seq"].as_u64().expect("a number") - after);
                let shown = Value::Array(events).to_string();
                assert!(!shown.contains("to be deleted"), "a deleted text is replayed: {shown}");
                let live = ada.say(&room, "live").await;
                let heard = ws.durable().await;
                assert_eq!((&heard["t"], seq_of(&heard)), (&json!("message"), seq_of(&live)));
            }
        }
    }
}

/// 4: "exactly once ... so does one that reconnects": a reader that comes and goes while others write.
#[tokio::test]
async fn reconnecting_misses_nothing() {
    let [ada, bob, cy] = people(["ada", "bob", "cy"]).await;
    let rooms = [ada.room_with(&[&bob, &cy]).await, ada.room_with(&[&bob, &cy]).await];
    let writing = async {
        let mut ws = ada.online(Subprotocol::Json).await;
        let mut last = BTreeMap::new();
        for _ in 0..15 {
            for room in &rooms {
                cy.say(room, "from another node perhaps").await;
                last.insert(room.clone(), *pipeline(&mut ws, room, 20).await.last().expect("some"));
            }
        }
        last
    };
    let reading = async |mut last: tokio::sync::watch::Receiver<Option<BTreeMap<String, u64>>>,
                         salt: usize| {
        let mut seen: BTreeMap<String, u64> = rooms.iter().map(|room| (room.clone(), 0)).collect();
        for turn in 0.. {
            let subprotocol = Subprotocol::BOTH[(turn + salt) % 2];
            let mut ws = bob.login(Service::shared()).await.connect(subprotocol).await;
            ws.hello(json!({"token": bob.token(), "resume": seen})).await;
            // Leaves after some events, in the middle of a replay or live, with or without a close frame.
            for _ in 0..(17 * (turn + 1 + salt) % 90) {
                if last.borrow_and_update().as_ref().is_some_and(|last| *last == seen) {
                    return;
                }
                let event = tokio::select! {
                    event = ws.next_event() => event,
                    // Perhaps that was all.
                    Ok(()) = last.changed() => continue,
                };
                if let Some((seq, _)) = Body::of(&event) {
                    let expected =
                        seen.get_mut(event["room"].as_str().expect("a room")).expect("one of both");
                    assert_eq!(seq, *expected + 1, "{event}");
                    *expected = seq;
                }
                assert_ne!(event["t"], "resync", "{event}");
            }
            if turn % 2 == 0 {
                ws.close().await;
            }
        }
    };
    let (tell, told) = tokio::sync::watch::channel(None);
    let writing = async { tell.send(Some(writing.await)).expect("readers wait") };
    let all = Box::pin(async { tokio::join!(writing, reading(told.clone(), 0), reading(told.clone(), 1)) });
    tokio::time::timeout(rookery_e2e::PATIENCE * 2, all).await.expect("the readers arrive at the end");
}

/// 4: "If more was missed than is replayed it is told so by `resync`, never silently."
#[tokio::test]
async fn who_missed_too_much_is_told() {
    // The one with a short replay, if we may choose.
    let service = Service::strict().unwrap_or_else(|| Service::shared());
    let ada = User::register(service, "ada").await;
    let room = ada.room_with(&[]).await;
    let mut writer = ada.connect(Subprotocol::Proto).await;
    let welcome = writer.hello(json!({"token": ada.token()})).await;
    let replayed = welcome["limits"]["replay_events"].as_u64().expect("welcome says how much is replayed");
    if replayed > 20_000 {
        return rookery_e2e::skipped(
            "who_missed_too_much_is_told",
            &format!("{replayed} events are replayed"),
        );
    }
    let count = usize::try_from(replayed).expect("few") + 10;
    let last = *pipeline(&mut writer, &room, count).await.last().expect("some");
    for subprotocol in Subprotocol::BOTH {
        let mut ws = ada.resume(subprotocol, &room, 1).await;
        let told = ws.event_where("resync", |event| event["room"] == room.as_str()).await;
        assert_eq!(told["t"], "resync", "{told}");
        assert!(told["last_seq"].as_u64().is_some_and(|seq| seq >= last), "{told}");
        assert_eq!(told["from"], 2, "right after what it has: {told}");
        // From there on it hears everything.
        let said = ada.say(&room, "live").await;
        let heard = ws.event_where("a message", |event| event["t"] == "message").await;
        assert!(seq_of(&heard) > last, "older than what it was told to page: {heard}");
        assert_eq!(seq_of(&heard), seq_of(&said));
        // What it missed is in the history, and a place within reach is replayed.
        let page = ada.api.get(&format!("/v1/rooms/{room}/messages?after=1&limit=200")).await.is(200);
        let first = seq_of(&page["messages"][0]);
        let messages = usize::try_from(seq_of(&said) + 1 - first).expect("few");
        assert_eq!(page["messages"].as_array().map(Vec::len), Some(messages.min(200)));
        let near = seq_of(&said) - replayed / 2;
        let mut ws = ada.resume(subprotocol, &room, near).await;
        let (events, _) = ws.replay(&room).await;
        assert_eq!(durable(events).len() as u64, seq_of(&said) - near);
    }
}

/// 5: "A durable event is delivered only if it is stored": what is heard is in the history already.
#[tokio::test]
async fn what_is_heard_is_stored() {
    let [ada, bob] = people(["ada", "bob"]).await;
    let room = ada.room_with(&[&bob]).await;
    for subprotocol in Subprotocol::BOTH {
        let mut listener = bob.online(subprotocol).await;
        let mut writer = ada.online(subprotocol).await;
        let listening = async {
            for _ in 0..30 {
                let heard = listener.event_in("message", &room).await;
                let stored = bob.message(&room, seq_of(&heard)).await;
                assert_eq!(stored["id"], heard["id"]);
            }
        };
        tokio::join!(pipeline(&mut writer, &room, 30), listening);
    }
}

/// 6: "One sender's messages to a room keep the order in which it sent them on one connection."
#[tokio::test]
async fn a_senders_messages_keep_their_order() {
    let [ada, bob] = people(["ada", "bob"]).await;
    let room = ada.room_with(&[&bob]).await;
    let sending = async |user: &User, subprotocol: Subprotocol| {
        let mut ws = user.online(subprotocol).await;
        let seqs = pipeline(&mut ws, &room, 200).await;
        assert!(seqs.is_sorted_by(|a, b| a < b), "{seqs:?}");
    };
    tokio::join!(
        sending(&ada, Subprotocol::Json),
        sending(&ada, Subprotocol::Proto),
        sending(&bob, Subprotocol::Json),
        sending(&bob, Subprotocol::Proto),
    );
}

/// A send and a change of it that follow each other without waiting keep their order, too.
#[tokio::test]
async fn answers_come_in_the_order_of_a_room() {
    let ada = User::register(Service::shared(), "ada").await;
    let room = ada.room_with(&[]).await;
    ada.say(&room, "so far").await;
    for subprotocol in Subprotocol::BOTH {
        let mut ws = ada.online(subprotocol).await;
        let last = ada.listed(&room).await.expect("her room")["last_seq"].as_u64().expect("a number");
        let one = ws.send(send(&room, "helo", &unique("m"))).await;
        let two = ws.send(json!({"t": "edit", "room": room, "seq": last + 1, "text": "hello"})).await;
        assert_eq!(seq_of(&ws.answer_to(one).await), last + 1);
        let edited = ws.answer_to(two).await;
        assert_eq!(edited["t"], "ok", "{edited}");
        assert_eq!(ada.message(&room, last + 1).await["text"], "hello");
    }
}

/// `welcome` says the last seq of each room, `ok` of a subscription too: what is live begins right after it.
#[tokio::test]
async fn what_is_live_begins_where_the_answer_says() {
    let [ada, bob] = people(["ada", "bob"]).await;
    let room = ada.room_with(&[&bob]).await;
    let mut writer = ada.online(Subprotocol::Proto).await;
    let writing = async {
        loop {
            pipeline(&mut writer, &room, 8).await;
        }
    };
    let reading = async {
        for turn in 0..40 {
            let mut ws = bob.connect(Subprotocol::BOTH[turn % 2]).await;
            let last = if turn % 4 < 2 {
                let welcome = ws.hello(json!({"token": bob.token(), "rooms": "all"})).await;
                welcome["rooms"][0]["last_seq"].as_u64()
            } else {
                ws.hello(json!({"token": bob.token()})).await;
                ws.ask(json!({"t": "subscribe", "room": room})).await.ok()["last_seq"].as_u64()
            };
            let first = ws.durable().await;
            assert_eq!(Some(seq_of(&first) - 1), last, "turn {turn}");
        }
    };
    tokio::select! {
        () = reading => {}
        () = writing => unreachable!("it writes for ever"),
    }
}
