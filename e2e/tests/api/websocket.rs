//! The WebSocket: hello, requests and their answers, what is heard live.

use std::time::Duration;

use rookery_e2e::{
    server::{Options, Server},
    service::{self, Service},
    time::assert_time,
    unique,
    user::{User, id_of, seq_of},
    ws::{Connect, Subprotocol},
};
use serde_json::{Value, json};

use crate::support::people;

/// hello → `welcome {session, user, node, heartbeat_ms, limits, rooms: [{room, last_seq, read_seq, unread}]}`.
#[tokio::test]
async fn hello_is_welcomed() {
    let [ada, bob] = people(["ada", "bob"]).await;
    let room = ada.room_with(&[&bob]).await;
    let said = seq_of(&bob.say(&room, "hello").await);
    for subprotocol in Subprotocol::BOTH {
        let mut ws = ada.connect(subprotocol).await;
        let hello = json!({"token": ada.token(), "rooms": "all", "client": "e2e/1"});
        let welcome = ws.hello(hello).await;
        assert_eq!(welcome["re"], 1);
        assert!(welcome["session"].is_string() && welcome["node"].is_string(), "{welcome}");
        assert!(welcome["heartbeat_ms"].as_u64().is_some_and(|ms| ms > 0), "{welcome}");
        assert!(welcome["limits"].is_object(), "{welcome}");
        let me = ada.api.get("/v1/users/me").await.is(200);
        for field in ["id", "username", "display_name", "language", "created_at"] {
            assert_eq!(welcome["user"][field], me[field], "{field}");
        }
        assert!(welcome["user"].get("email").is_none(), "{welcome}");
        let rooms = welcome["rooms"].as_array().expect("welcome lists rooms");
        let state = rooms.iter().find(|state| state["room"] == room.as_str()).expect("with hers");
        assert_eq!((&state["last_seq"], &state["unread"]), (&json!(said), &json!(1)), "{state}");
        assert!(state["read_seq"].is_u64(), "{state}");
    }
}

/// hello: `rooms` may name those that are followed. One that one is not in is left out.
#[tokio::test]
async fn hello_follows_the_rooms_that_it_names() {
    let [ada, bob] = people(["ada", "bob"]).await;
    let (named, other) = (ada.room_with(&[&bob]).await, ada.room_with(&[&bob]).await);
    let strange = ada.room_with(&[]).await;
    for subprotocol in Subprotocol::BOTH {
        let mut ws = bob.connect(subprotocol).await;
        let welcome = ws.hello(json!({"token": bob.token(), "rooms": [named, strange]})).await;
        let rooms = welcome["rooms"].as_array().expect("welcome lists rooms");
        assert_eq!(rooms.iter().map(|state| &state["room"]).collect::<Vec<_>>(), [&json!(named)]);
        ada.say(&other, "elsewhere").await;
        ada.say(&strange, "where he is not").await;
        let said = ada.say(&named, "here").await;
        let heard = ws.event("message").await;
        assert_eq!((heard["room"].as_str(), seq_of(&heard)), (Some(named.as_str()), seq_of(&said)));
        let more = ws.settle().await;
        assert!(more.iter().all(|event| event["t"] != "message"), "{more:?}");
    }
}

/// Credentials: the first frame (token or ticket); `?ticket=`; `?token=`.
#[tokio::test]
async fn credentials_may_come_in_four_ways() {
    let ada = User::register(Service::shared(), "ada").await;
    let ticket = async || {
        let answer = ada.api.post_empty("/v1/auth/ticket").await.is(200);
        answer["ticket"].as_str().expect("a ticket").to_owned()
    };
    for subprotocol in Subprotocol::BOTH {
        let in_url = [
            (String::new(), json!({"token": ada.token()})),
            (String::new(), json!({"ticket": ticket().await})),
            (format!("?ticket={}", ticket().await), json!({})),
            (format!("?token={}", ada.token()), json!({})),
        ];
        for (query, hello) in in_url {
            let mut connect = Connect::to(Service::shared().url(), subprotocol);
            connect.query = query;
            let mut ws = connect.open().await.expect("the upgrade needs no credentials");
            assert_eq!(id_of(&ws.hello(hello).await["user"]), ada.id);
        }
    }
}

/// A ticket is single-use.
#[tokio::test]
async fn a_ticket_opens_one_socket() {
    let ada = User::register(Service::shared(), "ada").await;
    let ticket = ada.api.post_empty("/v1/auth/ticket").await.is(200)["ticket"].clone();
    ada.connect(Subprotocol::Json).await.hello(json!({"ticket": ticket})).await;
    let mut again = ada.connect(Subprotocol::Json).await;
    again.send(json!({"t": "hello", "ticket": ticket})).await;
    assert_eq!(again.closed().await.code, 4401);
}

/// subscribe/unsubscribe: ok `{last_seq}`, then live events; none after unsubscribing.
#[tokio::test]
async fn subscribes_and_unsubscribes() {
    let [ada, bob] = people(["ada", "bob"]).await;
    let (room, other) = (ada.room_with(&[&bob]).await, ada.room_with(&[&bob]).await);
    for subprotocol in Subprotocol::BOTH {
        let mut ws = bob.connect(subprotocol).await;
        ws.hello(json!({"token": bob.token(), "rooms": []})).await;
        let last = seq_of(&ada.say(&room, "before").await);
        let ok = ws.ask(json!({"t": "subscribe", "room": room})).await.ok();
        assert_eq!(ok["last_seq"], last);
        ada.say(&other, "elsewhere").await;
        let said = ada.say(&room, "now").await;
        let heard = ws.event("message").await;
        assert_eq!((heard["room"].as_str(), seq_of(&heard)), (Some(room.as_str()), seq_of(&said)));
        ws.ask(json!({"t": "unsubscribe", "room": room})).await.ok();
        ada.say(&room, "unheard").await;
        let heard = ws.settle().await;
        assert!(heard.iter().all(|event| event["t"] != "message"), "{heard:?}");
    }
}

/// subscribe: codes as in HTTP.
#[tokio::test]
async fn subscribing_needs_membership() {
    let [ada, bob] = people(["ada", "bob"]).await;
    let public = ada.room_with(&[]).await;
    let private = id_of(&ada.make_room("group", "private").await);
    for subprotocol in Subprotocol::BOTH {
        let mut ws = bob.online(subprotocol).await;
        for t in ["subscribe", "send"] {
            let request =
                |room: &str| json!({"t": t, "room": room, "text": "hi", "client_msg_id": unique("m")});
            ws.ask(request(&public)).await.refused("not_a_member");
            ws.ask(request(&private)).await.refused("room_not_found");
            ws.ask(request("01AAAAAAAAAAAAAAAAAAAAAAAA")).await.refused("room_not_found");
        }
    }
}

/// `rooms: "all"` follows also a room that one comes into later.
#[tokio::test]
async fn all_rooms_include_later_ones() {
    let [ada, bob] = people(["ada", "bob"]).await;
    for subprotocol in Subprotocol::BOTH {
        let mut ws = bob.online(subprotocol).await;
        let room = ada.room_with(&[]).await;
        bob.join(&room).await;
        let said = ada.say(&room, "welcome").await;
        let heard = ws.event_in("message", &room).await;
        assert_eq!(seq_of(&heard), seq_of(&said));
        let added = id_of(&ada.make_room("group", "private").await);
        ada.api.put(&format!("/v1/rooms/{added}/members/{}", bob.id), json!({})).await.success();
        let said = ada.say(&added, "welcome here too").await;
        assert_eq!(seq_of(&ws.event_in("message", &added).await), seq_of(&said));
    }
}

/// send: ok `{seq, msg_id, ts}`; `message` goes to all, also to the sender's other connections and to itself.
#[tokio::test]
async fn a_message_reaches_everybody() {
    let [ada, bob] = people(["ada", "bob"]).await;
    let room = ada.room_with(&[&bob]).await;
    for subprotocol in Subprotocol::BOTH {
        let mut sender = ada.online(subprotocol).await;
        let mut sockets = Vec::new();
        for other in Subprotocol::BOTH {
            sockets.extend([ada.online(other).await, bob.online(other).await]);
        }
        let name = unique("m");
        let send = json!({"t": "send", "room": room, "text": "hello 🐦", "client_msg_id": name});
        let ok = sender.ask(send).await.ok();
        assert_time(&ok["ts"]);
        sockets.push(sender);
        let stored = bob.message(&room, seq_of(&ok)).await;
        assert_eq!((&stored["id"], &stored["ts"]), (&ok["msg_id"], &ok["ts"]));
        for socket in &mut sockets {
            let mut heard = socket.event_in("message", &room).await;
            heard.as_object_mut().expect("a frame is an object").remove("t");
            assert_eq!(heard, stored, "over {:?}", socket.subprotocol());
        }
    }
}

/// send: refusals have the codes of HTTP.
#[tokio::test]
async fn a_send_is_checked() {
    let ada = User::register(Service::shared(), "ada").await;
    let room = ada.room_with(&[]).await;
    for subprotocol in Subprotocol::BOTH {
        let mut ws = ada.online(subprotocol).await;
        let send =
            |text: &str, id: &str| json!({"t": "send", "room": room, "text": text, "client_msg_id": id});
        ws.ask(send("", &unique("m"))).await.refused("invalid");
        ws.ask(send(&"a".repeat(4001), &unique("m"))).await.refused("invalid");
        ws.ask(send("hi", "")).await.refused("invalid");
        ws.ask(send("hi", &"a".repeat(65))).await.refused("invalid");
        let ok = ws.ask(send("reply", &unique("m"))).await.ok();
        let mut reply = send("to that", &unique("m"));
        reply["reply_to"] = ok["seq"].clone();
        let ok = ws.ask(reply).await.ok();
        assert!(ada.message(&room, seq_of(&ok)).await["reply_to"].is_u64());
    }
}

/// edit, react, unreact, delete: ok, and `edited`, `reaction`, `deleted` with numbers of their own.
#[tokio::test]
async fn changes_are_heard() {
    let [ada, bob] = people(["ada", "bob"]).await;
    let room = ada.room_with(&[&bob]).await;
    for subprotocol in Subprotocol::BOTH {
        let (mut hers, mut his) = (ada.online(subprotocol).await, bob.online(subprotocol).await);
        let send = json!({"t": "send", "room": room, "text": "helo", "client_msg_id": unique("m")});
        let seq = seq_of(&hers.ask(send).await.ok());
        let about = |t: &str| json!({"t": t, "room": room, "seq": seq});
        let with = |t: &str, field: &str, value: &str| {
            let mut request = about(t);
            request[field] = json!(value);
            request
        };
        his.ask(with("edit", "text", "mine")).await.refused("forbidden");
        hers.ask(with("edit", "text", &format!("hello @{}", bob.username))).await.ok();
        hers.ask(with("react", "emoji", "👍")).await.ok();
        his.ask(with("react", "emoji", "👍")).await.ok();
        his.ask(with("react", "emoji", "👍")).await.ok();
        his.ask(with("unreact", "emoji", "👍")).await.ok();
        hers.ask(about("delete")).await.ok();
        hers.ask(with("edit", "text", "again")).await.refused("message_deleted");

        for socket in [&mut hers, &mut his] {
            let message = socket.event_in("message", &room).await;
            assert_eq!(seq_of(&message), seq);
            let mut next = async |t: &str, number: u64, user: &User| -> Value {
                let event = socket.durable().await;
                assert_eq!(event["t"], t, "{event}");
                assert_eq!(seq_of(&event), seq + number, "{event}");
                assert_eq!(event["message_seq"], seq, "{event}");
                assert_eq!(event["room"], room.as_str());
                assert_eq!(event["user"], user.id.as_str(), "{event}");
                event
            };
            let edited = next("edited", 1, &ada).await;
            assert_eq!(edited["text"], format!("hello @{}", bob.username));
            assert_eq!(edited["mentions"], json!([bob.id]));
            for (number, user, op, count) in
                [(2, &ada, "add", 1), (3, &bob, "add", 2), (4, &bob, "remove", 1)]
            {
                let reaction = next("reaction", number, user).await;
                let said = ["emoji", "op", "count"].map(|field| reaction[field].clone());
                assert_eq!(said, [json!("👍"), json!(op), json!(count)], "{reaction}");
            }
            next("deleted", 5, &ada).await;
        }
    }
}

/// Over HTTP or WebSocket: the same events.
#[tokio::test]
async fn changes_over_http_are_heard() {
    let [ada, bob] = people(["ada", "bob"]).await;
    let room = ada.room_with(&[&bob]).await;
    let mut ws = bob.online(Subprotocol::Json).await;
    let seq = seq_of(&ada.say(&room, "helo").await);
    let path = format!("/v1/rooms/{room}/messages/{seq}");
    ada.api.patch(&path, json!({"text": "hello"})).await.success();
    ada.api.put_empty(&format!("{path}/reactions/👍")).await.success();
    ada.api.delete(&format!("{path}/reactions/👍")).await.success();
    ada.api.delete(&path).await.success();
    ada.api.patch(&format!("/v1/rooms/{room}"), json!({"topic": "new topic"})).await.success();
    for (number, t) in (0..).zip(["message", "edited", "reaction", "reaction", "deleted", "room"]) {
        let event = ws.durable().await;
        assert_eq!((&event["t"], seq_of(&event)), (&json!(t), seq + number), "{event}");
        if t == "room" {
            assert_eq!(event["topic"], "new topic", "{event}");
        }
    }
}

/// typing: no answer; the others hear it, it is not durable.
#[tokio::test]
async fn typing_is_heard_and_not_stored() {
    let [ada, bob] = people(["ada", "bob"]).await;
    let room = ada.room_with(&[&bob]).await;
    for subprotocol in Subprotocol::BOTH {
        let (mut hers, mut his) = (ada.online(subprotocol).await, bob.online(subprotocol).await);
        let before = ada.listed(&room).await.expect("her room")["last_seq"].clone();
        // It may be dropped: she types until he hears it.
        let heard = async {
            loop {
                hers.try_send_frame(&json!({"t": "typing", "room": room})).await.expect("open");
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        };
        let event = tokio::select! {
            event = his.event_in("typing", &room) => event,
            () = heard => unreachable!("it types for ever"),
        };
        assert_eq!(event["user"], ada.id.as_str());
        assert_eq!(ada.listed(&room).await.expect("her room")["last_seq"], before);
        // No answer, not even to one with an id.
        hers.send(json!({"t": "typing", "room": room})).await;
        let answers = hers.settle().await;
        assert!(answers.iter().all(|frame| frame["t"] != "ok"), "{answers:?}");
    }
}

/// presence: ok; the others in the room hear it, and when one goes.
#[tokio::test]
async fn presence_is_heard() {
    let [ada, bob] = people(["ada", "bob"]).await;
    let room = ada.room_with(&[&bob]).await;
    for subprotocol in Subprotocol::BOTH {
        let mut his = bob.online(subprotocol).await;
        let mut hers = ada.online(subprotocol).await;
        let about_her = |status: &str| {
            let (id, status, room) = (ada.id.clone(), status.to_owned(), room.clone());
            move |frame: &Value| {
                frame["t"] == "presence"
                    && frame["user"] == id.as_str()
                    && frame["status"] == status.as_str()
                    && frame["room"] == room.as_str()
            }
        };
        hers.ask(json!({"t": "presence", "status": "away"})).await.ok();
        his.event_where("ada is away", about_her("away")).await;
        hers.ask(json!({"t": "presence", "status": "online"})).await.ok();
        his.event_where("ada is online", about_her("online")).await;
        hers.ask(json!({"t": "presence", "status": "invisible"})).await.refused("invalid");
        hers.close().await;
        his.event_where("ada is offline", about_her("offline")).await;
    }
}

/// read: ok; one's other connections hear it.
#[tokio::test]
async fn reading_is_heard_by_ones_other_connections() {
    let [ada, bob] = people(["ada", "bob"]).await;
    let room = ada.room_with(&[&bob]).await;
    for subprotocol in Subprotocol::BOTH {
        let seq = seq_of(&ada.say(&room, "read this").await);
        let (mut one, mut two) = (bob.online(subprotocol).await, bob.online(subprotocol).await);
        one.ask(json!({"t": "read", "room": room, "seq": seq})).await.ok();
        let event = two.event_in("read", &room).await;
        assert_eq!((event["user"].as_str(), seq_of(&event)), (Some(bob.id.as_str()), seq));
        assert_eq!(bob.listed(&room).await.expect("his room")["read_seq"], seq);
        one.ask(json!({"t": "read", "room": room, "seq": seq + 1000})).await.refused("invalid");
    }
}

/// refresh: ok, the connection lives on with the new token; one of somebody else is refused.
#[tokio::test]
async fn a_connection_takes_a_new_token() {
    let [ada, bob] = people(["ada", "bob"]).await;
    for subprotocol in Subprotocol::BOTH {
        let ada = ada.login(Service::shared()).await;
        let mut ws = ada.online(subprotocol).await;
        let refresh = json!({"refresh_token": ada.refresh_token()});
        let session = ada.api.post("/v1/auth/refresh", refresh).await.is(200);
        ws.ask(json!({"t": "refresh", "token": session["access_token"]})).await.ok();
        ws.ask(json!({"t": "ping"})).await.is("pong");
        let refused = ws.ask(json!({"t": "refresh", "token": bob.token()})).await;
        assert_eq!(refused.frame["t"], "error", "{}", refused.frame);
        ws.ask(json!({"t": "refresh", "token": "nonsense"})).await.refused("token_invalid");
        ws.ask(json!({"t": "ping"})).await.is("pong");
    }
}

/// ping → `pong`, with the id as `re`. Requests may be sent without waiting: each gets exactly one answer.
#[tokio::test]
async fn each_request_gets_one_answer() {
    let ada = User::register(Service::shared(), "ada").await;
    let room = ada.room_with(&[]).await;
    for subprotocol in Subprotocol::BOTH {
        let mut ws = ada.online(subprotocol).await;
        let mut expected = Vec::new();
        for number in 0..50 {
            let id = ws
                .send(json!({"t": "send", "room": room, "text": format!("{number}"), "client_msg_id": unique("m")}))
                .await;
            expected.push((id, "ok"));
            expected.push((ws.send(json!({"t": "ping"})).await, "pong"));
            expected.push((ws.send(json!({"t": "delete", "room": room, "seq": 1_000_000})).await, "error"));
        }
        let mut answered = std::collections::BTreeMap::new();
        while answered.len() < expected.len() {
            let frame = ws.next().await.expect("the connection stays");
            if let Some(re) = frame["re"].as_u64() {
                let t = frame["t"].as_str().unwrap_or_default().to_owned();
                assert!(answered.insert(re, t).is_none(), "answered twice: {frame}");
            }
        }
        for (id, t) in expected {
            assert_eq!(answered[&id], t);
        }
    }
}

/// "Unknown fields are ignored; an unknown `t` is answered `error` with code `unknown_type`."
#[tokio::test]
async fn what_is_new_does_no_harm() {
    let ada = User::register(Service::shared(), "ada").await;
    let mut ws = ada.online(Subprotocol::Json).await;
    let strange = json!({"t": "fly", "where": "south"});
    ws.ask(strange).await.refused("unknown_type");
    let extra = json!({"t": "ping", "colour": {"of": ["money"]}, "id2": 7});
    ws.ask(extra).await.is("pong");
}

/// The node's name for itself is the same over all its connections, sessions differ by login.
#[tokio::test]
async fn welcome_names_the_session() {
    let ada = User::register(Service::shared(), "ada").await;
    let again = ada.login(Service::shared()).await;
    let mut sessions = std::collections::BTreeSet::new();
    for user in [&ada, &again] {
        let mut ws = user.connect(Subprotocol::Json).await;
        let welcome = ws.hello(json!({"token": user.token()})).await;
        sessions.insert(welcome["session"].as_str().expect("a session").to_owned());
    }
    assert_eq!(sessions.len(), 2);
}

/// refresh: "without one it is closed (4401) when the old one expires".
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_ends_with_its_token() {
    if service::is_external() {
        return rookery_e2e::skipped("a_connection_ends_with_its_token", "its tokens live too long");
    }
    let options = Options::generous().set("accounts.access_token_seconds", 5);
    let server = tokio::task::block_in_place(|| Server::start(options));
    let service = Service::of(&server);
    let ada = User::register(&service, "ada").await;
    for subprotocol in Subprotocol::BOTH {
        let ada = ada.login(&service).await;
        let mut ending = ada.connect(subprotocol).await;
        ending.hello(json!({"token": ada.token()})).await;
        let mut lasting = ada.connect(subprotocol).await;
        lasting.hello(json!({"token": ada.token()})).await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        let refresh = json!({"refresh_token": ada.refresh_token()});
        let session = service.api().post("/v1/auth/refresh", refresh).await.is(200);
        lasting.ask(json!({"t": "refresh", "token": session["access_token"]})).await.ok();
        assert_eq!(ending.closed().await.code, 4401);
        ada.api.get("/v1/users/me").await.problem(401, "token_expired");
        lasting.ask(json!({"t": "ping"})).await.is("pong");
        assert_eq!(lasting.closed().await.code, 4401);
    }
}

/// subscribe twice: both are answered, and nothing is heard twice from then on.
#[tokio::test]
async fn subscribing_again_doubles_nothing() {
    let [ada, bob] = people(["ada", "bob"]).await;
    let room = ada.room_with(&[&bob]).await;
    for subprotocol in Subprotocol::BOTH {
        let mut ws = bob.online(subprotocol).await;
        for _ in 0..3 {
            let again = ws.ask(json!({"t": "subscribe", "room": room})).await;
            assert!(again.frame["t"] == "ok" || again.frame["t"] == "error", "{}", again.frame);
        }
        let one = seq_of(&ada.say(&room, "one").await);
        let two = seq_of(&ada.say(&room, "two").await);
        assert_eq!(seq_of(&ws.durable().await), one);
        assert_eq!(seq_of(&ws.durable().await), two);
        ws.ask(json!({"t": "unsubscribe", "room": room})).await.ok();
        ada.say(&room, "unheard").await;
        let heard = ws.settle().await;
        assert!(heard.iter().all(|event| event["t"] != "message"), "{heard:?}");
        // From a place of one's own choice, after having left it.
        ws.ask(json!({"t": "subscribe", "room": room, "after": one})).await.ok();
        assert_eq!(seq_of(&ws.durable().await), two);
    }
}

/// room: members hear that the room is gone, and nothing about it afterwards.
#[tokio::test]
async fn the_end_of_a_room_is_heard() {
    let [ada, bob] = people(["ada", "bob"]).await;
    for subprotocol in Subprotocol::BOTH {
        let room = ada.room_with(&[&bob]).await;
        let mut ws = bob.online(subprotocol).await;
        ada.api.delete(&format!("/v1/rooms/{room}")).await.is(204);
        let event = ws.event_in("room", &room).await;
        assert_eq!(event["change"], "deleted", "{event}");
        let send = json!({"t": "send", "room": room, "text": "anybody?", "client_msg_id": unique("m")});
        ws.ask(send).await.refused("room_not_found");
        ws.ask(json!({"t": "subscribe", "room": room})).await.refused("room_not_found");
        let mut again = bob.connect(subprotocol).await;
        let welcome =
            again.hello(json!({"token": bob.token(), "rooms": "all", "resume": {room.clone(): 0}})).await;
        let rooms = welcome["rooms"].as_array().expect("welcome lists rooms");
        assert!(rooms.iter().all(|state| state["room"] != room.as_str()), "{welcome}");
    }
}

/// Who leaves hears nothing more; who comes back hears what he missed if he asks for it.
#[tokio::test]
async fn leaving_ends_what_is_heard() {
    let [ada, bob] = people(["ada", "bob"]).await;
    let room = ada.room_with(&[&bob]).await;
    for subprotocol in Subprotocol::BOTH {
        let mut ws = bob.online(subprotocol).await;
        bob.api.delete(&format!("/v1/rooms/{room}/members/me")).await.is(204);
        let missed = seq_of(&ada.say(&room, "while he is away").await);
        let heard = ws.settle().await;
        assert!(heard.iter().all(|event| event["t"] != "message"), "{heard:?}");
        ws.ask(json!({"t": "subscribe", "room": room})).await.refused("not_a_member");
        bob.join(&room).await;
        let mut again = bob.resume(subprotocol, &room, missed - 1).await;
        assert_eq!(seq_of(&again.durable().await), missed);
    }
}
