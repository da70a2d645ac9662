//! Messages over HTTP: posting, paging, editing, deleting, reacting, reading.

use rookery_e2e::{
    service::Service,
    time::assert_time,
    unique,
    user::{User, id_of, seq_of},
    ws::Subprotocol,
};
use serde_json::{Value, json};

use crate::support::people;

fn seqs(page: &Value) -> Vec<u64> {
    page["messages"]
        .as_array()
        .unwrap_or_else(|| panic!("no messages in {page}"))
        .iter()
        .map(seq_of)
        .collect()
}

/// POST .../messages → 201 message `{room, seq, id, sender, text, client_msg_id, ts, reactions, mentions}`.
#[tokio::test]
async fn posts_a_message() {
    let ada = User::register(Service::shared(), "ada").await;
    let room = ada.room_with(&[]).await;
    let name = unique("m");
    let request = json!({"text": "hello", "client_msg_id": name, "unknown": {"field": 1}});
    let message = ada.api.post(&format!("/v1/rooms/{room}/messages"), request).await.is(201);
    assert_eq!(message["room"], room.as_str());
    assert!(message["seq"].is_u64() && message["id"].is_string(), "{message}");
    let sender = json!({"id": ada.id, "username": ada.username, "display_name": "ada"});
    assert_eq!(message["sender"], sender);
    assert_eq!((&message["text"], &message["client_msg_id"]), (&json!("hello"), &json!(name)));
    assert_eq!((&message["reactions"], &message["mentions"]), (&json!({}), &json!([])));
    assert_time(&message["ts"]);
    for absent in ["reply_to", "edited_at", "deleted"] {
        assert!(message.get(absent).is_none(), "{absent} in {message}");
    }
    assert_eq!(ada.message(&room, seq_of(&message)).await, message);
}

/// "Text is 1-4000 characters by default; it is never interpreted by the server."
#[tokio::test]
async fn text_comes_back_as_it_went() {
    let ada = User::register(Service::shared(), "ada").await;
    let room = ada.room_with(&[]).await;
    for text in [
        "<script>alert(1)</script> & \"quotes\" 'n \\ /slash",
        "  leading, trailing and \t inner \n\n white space \r\n ",
        "👩‍👩‍👧‍👦 e\u{301} \u{202e}right to left עברית 中文 \u{7}bell",
        "{\"t\":\"message\"}",
        &"🐦".repeat(4000),
        "x",
    ] {
        let said = ada.say(&room, text).await;
        assert_eq!(said["text"], text);
        assert_eq!(ada.message(&room, seq_of(&said)).await["text"], text);
    }
    let path = format!("/v1/rooms/{room}/messages");
    for text in [json!(""), json!("a".repeat(4001)), json!("🐦".repeat(4001)), json!(5), Value::Null] {
        let request = json!({"text": text, "client_msg_id": unique("m")});
        ada.api.post(&path, request).await.wrong_field("text");
    }
}

/// `client_msg_id` has 1-64 characters.
#[tokio::test]
async fn client_msg_ids_have_a_size() {
    let ada = User::register(Service::shared(), "ada").await;
    let room = ada.room_with(&[]).await;
    let path = format!("/v1/rooms/{room}/messages");
    for id in [json!(""), json!("a".repeat(65)), json!(5), Value::Null] {
        ada.api.post(&path, json!({"text": "hi", "client_msg_id": id})).await.wrong_field("client_msg_id");
    }
    for id in ["a".repeat(64), "ü 🐦 / ?".to_owned()] {
        let message = ada.api.post(&path, json!({"text": "hi", "client_msg_id": id})).await.is(201);
        assert_eq!(message["client_msg_id"], id);
    }
}

/// "the same `client_msg_id` of the same user again → 200, the same message".
#[tokio::test]
async fn a_repeat_is_answered_with_the_first() {
    let [ada, bob] = people(["ada", "bob"]).await;
    let room = ada.room_with(&[&bob]).await;
    let path = format!("/v1/rooms/{room}/messages");
    let request = json!({"text": "once", "client_msg_id": unique("m")});
    let first = ada.api.post(&path, request.clone()).await.is(201);
    for _ in 0..3 {
        assert_eq!(ada.api.post(&path, request.clone()).await.is(200), first);
    }
    let other = json!({"text": "twice", "client_msg_id": request["client_msg_id"]});
    ada.api.post(&path, other).await.problem(409, "client_msg_id_conflict");
    // Another user's id is another id.
    let his = bob.api.post(&path, request).await.is(201);
    assert_eq!(seq_of(&his), seq_of(&first) + 1);
}

/// GET .../messages: newest first without `after`, oldest first with it; `{messages, has_more}`.
#[tokio::test]
async fn pages_through_history() {
    let ada = User::register(Service::shared(), "ada").await;
    let room = ada.room_with(&[]).await;
    let mut said = Vec::new();
    for number in 0..7 {
        said.push(seq_of(&ada.say(&room, &format!("number {number}")).await));
    }
    let page = async |query: &str| ada.api.get(&format!("/v1/rooms/{room}/messages?{query}")).await.is(200);
    let newest: Vec<u64> = said.iter().rev().copied().collect();

    let all = page("").await;
    assert_eq!((seqs(&all), &all["has_more"]), (newest.clone(), &json!(false)));
    let mut found = Vec::new();
    let mut query = "limit=3".to_owned();
    // Each page has one at least.
    for _ in 0..=said.len() {
        let some = page(&query).await;
        found.extend(seqs(&some));
        assert!(seqs(&some).len() <= 3);
        if some["has_more"] == false {
            break;
        }
        query = format!("limit=3&before={}", found.last().expect("a page that has more is not empty"));
    }
    assert_eq!(found, newest);

    let mut found = Vec::new();
    let mut query = "limit=3&after=0".to_owned();
    for _ in 0..=said.len() {
        let some = page(&query).await;
        found.extend(seqs(&some));
        if some["has_more"] == false {
            break;
        }
        query = format!("limit=3&after={}", found.last().expect("a page that has more is not empty"));
    }
    assert_eq!(found, said);

    // Both ends are exclusive; beyond them is nothing.
    assert_eq!(seqs(&page(&format!("before={}", said[1])).await), [said[0]]);
    assert_eq!(seqs(&page(&format!("after={}", said[5])).await), [said[6]]);
    assert_eq!(page(&format!("after={}", said[6])).await, json!({"messages": [], "has_more": false}));
    assert_eq!(page(&format!("before={}", said[0])).await, json!({"messages": [], "has_more": false}));
}

/// GET .../messages: `limit` 1-200, default 50.
#[tokio::test]
async fn pages_have_a_size() {
    let ada = User::register(Service::shared(), "ada").await;
    let room = ada.room_with(&[]).await;
    for number in 0..52 {
        ada.say(&room, &format!("number {number}")).await;
    }
    let path = format!("/v1/rooms/{room}/messages");
    let page = ada.api.get(&path).await.is(200);
    assert_eq!((seqs(&page).len(), &page["has_more"]), (50, &json!(true)));
    let page = ada.api.get(&format!("{path}?limit=200")).await.is(200);
    assert_eq!((seqs(&page).len(), &page["has_more"]), (52, &json!(false)));
    for limit in ["0", "201", "-1", "many", "99999999999999999999"] {
        ada.api.get(&format!("{path}?limit={limit}")).await.wrong_field("limit");
    }
    ada.api.get(&format!("{path}?before=x")).await.wrong_field("before");
    ada.api.get(&format!("{path}?after=-1")).await.wrong_field("after");
}

/// Events that are no messages have numbers of their own but are no part of the pages.
#[tokio::test]
async fn pages_hold_messages_alone() {
    let [ada, bob] = people(["ada", "bob"]).await;
    let room = ada.room_with(&[]).await;
    let first = seq_of(&ada.say(&room, "first").await);
    bob.join(&room).await;
    ada.api.put_empty(&format!("/v1/rooms/{room}/messages/{first}/reactions/🐦")).await.success();
    let second = seq_of(&ada.say(&room, "second").await);
    assert_eq!(second, first + 3);
    let page = ada.api.get(&format!("/v1/rooms/{room}/messages?limit=2")).await.is(200);
    assert_eq!(seqs(&page), [second, first]);
    let between = first + 1;
    ada.api.get(&format!("/v1/rooms/{room}/messages/{between}")).await.problem(404, "message_not_found");
    for nothing in ["0", "1", "999999"] {
        let path = format!("/v1/rooms/{room}/messages/{nothing}");
        ada.api.get(&path).await.problem(404, "message_not_found");
        ada.api.patch(&path, json!({"text": "x"})).await.problem(404, "message_not_found");
        ada.api.delete(&path).await.problem(404, "message_not_found");
        ada.api.put_empty(&format!("{path}/reactions/👍")).await.problem(404, "message_not_found");
    }
}

/// `reply_to`.
#[tokio::test]
async fn replies_name_their_message() {
    let ada = User::register(Service::shared(), "ada").await;
    let room = ada.room_with(&[]).await;
    let first = seq_of(&ada.say(&room, "a question").await);
    let path = format!("/v1/rooms/{room}/messages");
    let reply = json!({"text": "an answer", "client_msg_id": unique("m"), "reply_to": first});
    let reply = ada.api.post(&path, reply).await.is(201);
    assert_eq!(reply["reply_to"], first);
    assert_eq!(ada.message(&room, seq_of(&reply)).await["reply_to"], first);
    let astray = json!({"text": "what?", "client_msg_id": unique("m"), "reply_to": 9999});
    let answer = ada.api.post(&path, astray).await;
    assert!(matches!(answer.status, 404 | 422), "{}: {}", answer.status, answer.body);
}

/// PATCH .../messages/{seq}: edit own text.
#[tokio::test]
async fn edits_his_own_text() {
    let [ada, bob] = people(["ada", "bob"]).await;
    let room = ada.room_with(&[&bob]).await;
    let said = ada.say(&room, "helo").await;
    let path = format!("/v1/rooms/{room}/messages/{}", seq_of(&said));
    ada.api.patch(&path, json!({"text": "hello"})).await.success();
    let edited = bob.message(&room, seq_of(&said)).await;
    assert_eq!(edited["text"], "hello");
    assert_time(&edited["edited_at"]);
    for same in ["seq", "id", "ts", "client_msg_id", "sender"] {
        assert_eq!(edited[same], said[same], "{same}");
    }
    let page = bob.api.get(&format!("/v1/rooms/{room}/messages")).await.is(200);
    assert_eq!(page["messages"][0], edited);
    bob.api.patch(&path, json!({"text": "mine"})).await.problem(403, "forbidden");
    ada.api.patch(&path, json!({"text": ""})).await.wrong_field("text");
    ada.api.patch(&path, json!({"text": "a".repeat(4001)})).await.wrong_field("text");
    assert_eq!(bob.message(&room, seq_of(&said)).await, edited);
}

/// A repeat of a message that was edited since is still that message, not a conflict.
#[tokio::test]
async fn a_repeat_after_an_edit_is_the_edited_message() {
    let ada = User::register(Service::shared(), "ada").await;
    let room = ada.room_with(&[]).await;
    let path = format!("/v1/rooms/{room}/messages");
    let request = json!({"text": "helo", "client_msg_id": unique("m")});
    let seq = seq_of(&ada.api.post(&path, request.clone()).await.is(201));
    ada.api.patch(&format!("{path}/{seq}"), json!({"text": "hello"})).await.success();
    let again = ada.api.post(&path, request).await.is(200);
    assert_eq!((seq_of(&again), &again["text"]), (seq, &json!("hello")));
}

/// DELETE .../messages/{seq}: a tombstone stays.
#[tokio::test]
async fn a_deleted_message_leaves_a_tombstone() {
    let [ada, bob] = people(["ada", "bob"]).await;
    let room = ada.room_with(&[&bob]).await;
    let said = ada.say(&room, "forget this").await;
    let path = format!("/v1/rooms/{room}/messages/{}", seq_of(&said));
    bob.api.put_empty(&format!("{path}/reactions/👍")).await.success();
    bob.api.delete(&path).await.problem(403, "forbidden");
    ada.api.delete(&path).await.success();
    ada.api.delete(&path).await.success();
    let tombstone = bob.message(&room, seq_of(&said)).await;
    assert_eq!((&tombstone["deleted"], &tombstone["text"]), (&json!(true), &json!("")));
    for same in ["seq", "id", "ts", "sender"] {
        assert_eq!(tombstone[same], said[same], "{same}");
    }
    let page = bob.api.get(&format!("/v1/rooms/{room}/messages")).await.is(200);
    assert_eq!(page["messages"][0], tombstone);
    assert!(!page.to_string().contains("forget this"), "{page}");
    for answer in [
        ada.api.patch(&path, json!({"text": "remember"})).await,
        bob.api.put_empty(&format!("{path}/reactions/👎")).await,
    ] {
        assert_eq!(answer.body["code"], "message_deleted", "{}", answer.body);
    }
}

/// PUT/DELETE .../reactions/{emoji}: `reactions: {"👍": {count, mine}}`.
#[tokio::test]
async fn reacts_and_takes_it_back() {
    let [ada, bob] = people(["ada", "bob"]).await;
    let room = ada.room_with(&[&bob]).await;
    let said = seq_of(&ada.say(&room, "look").await);
    let path = |emoji: &str| format!("/v1/rooms/{room}/messages/{said}/reactions/{emoji}");
    for user in [&ada, &bob, &bob] {
        user.api.put_empty(&path("👍")).await.success();
    }
    ada.api.put_empty(&path("🏳️‍🌈")).await.success();
    let seen = |message: Value| message["reactions"].clone();
    assert_eq!(
        seen(bob.message(&room, said).await),
        json!({"👍": {"count": 2, "mine": true}, "🏳️‍🌈": {"count": 1, "mine": false}})
    );
    bob.api.delete(&path("👍")).await.success();
    bob.api.delete(&path("👍")).await.success();
    assert_eq!(
        seen(bob.message(&room, said).await),
        json!({"👍": {"count": 1, "mine": false}, "🏳️‍🌈": {"count": 1, "mine": false}})
    );
    ada.api.delete(&path("👍")).await.success();
    ada.api.delete(&path("🏳️‍🌈")).await.success();
    assert_eq!(seen(ada.message(&room, said).await), json!({}));
    // The repeats made no events: 4 reactions minus one, 4 taken back minus one.
    assert_eq!(seq_of(&ada.say(&room, "next").await), said + 7);
    ada.api.put_empty(&path(&"x".repeat(100))).await.refused(422);
}

/// PUT .../read `{seq}`: only moves forward. `unread` counts the messages after it.
#[tokio::test]
async fn reading_moves_forward() {
    let [ada, bob] = people(["ada", "bob"]).await;
    let room = ada.room_with(&[&bob]).await;
    let mut said = Vec::new();
    for number in 0..4 {
        said.push(seq_of(&ada.say(&room, &format!("number {number}")).await));
    }
    let read = async |seq: u64| bob.api.put(&format!("/v1/rooms/{room}/read"), json!({"seq": seq})).await;
    let standing = async || {
        let listed = bob.listed(&room).await.expect("his room");
        (listed["read_seq"].as_u64(), listed["unread"].as_u64())
    };
    assert_eq!(standing().await.1, Some(4));
    read(said[1]).await.success();
    assert_eq!(standing().await, (Some(said[1]), Some(2)));
    read(said[0]).await.success();
    assert_eq!(standing().await, (Some(said[1]), Some(2)));
    read(said[3]).await.success();
    assert_eq!(standing().await, (Some(said[3]), Some(0)));
    read(said[3] + 100).await.refused(422);
    bob.api.put(&format!("/v1/rooms/{room}/read"), json!({"seq": "x"})).await.wrong_field("seq");
    // Events that are no messages are not unread.
    ada.api.put_empty(&format!("/v1/rooms/{room}/messages/{}/reactions/👍", said[0])).await.success();
    assert_eq!(standing().await.1, Some(0));
    ada.say(&room, "one more").await;
    assert_eq!(standing().await.1, Some(1));
    // What one says oneself is read.
    assert_eq!(ada.listed(&room).await.expect("her room")["unread"], 0);
}

/// `mentions: [user_id]`, and how many of them are unread.
#[tokio::test]
async fn mentions_are_found_and_counted() {
    let [ada, bob, cy] = people(["ada", "bob", "cy"]).await;
    let room = ada.room_with(&[&bob]).await;
    let text =
        format!("@{} and @{} and @nobody-at-all, mail a@{}.com", bob.username, cy.username, bob.username);
    let said = ada.say(&room, &text).await;
    // Members alone; an address is no mention.
    assert_eq!(said["mentions"], json!([bob.id]));
    ada.say(&room, "no mention").await;
    let listed = bob.listed(&room).await.expect("his room");
    assert_eq!((&listed["unread"], &listed["mentions"]), (&json!(2), &json!(1)));
    bob.api.put(&format!("/v1/rooms/{room}/read"), json!({"seq": seq_of(&said)})).await.success();
    let listed = bob.listed(&room).await.expect("his room");
    assert_eq!((&listed["unread"], &listed["mentions"]), (&json!(1), &json!(0)));
}

/// Ids of messages are unique over rooms.
#[tokio::test]
async fn messages_have_ids_of_their_own() {
    let ada = User::register(Service::shared(), "ada").await;
    let mut ids = std::collections::BTreeSet::new();
    for _ in 0..2 {
        let room = ada.room_with(&[]).await;
        for _ in 0..3 {
            assert!(ids.insert(id_of(&ada.say(&room, "hi").await)));
        }
    }
}

/// A message that is deleted, or edited so, mentions nobody any more; it stays an unread one.
#[tokio::test]
async fn mentions_that_are_taken_back_do_not_count() {
    let [ada, bob] = people(["ada", "bob"]).await;
    let room = ada.room_with(&[&bob]).await;
    let mut said = Vec::new();
    for _ in 0..3 {
        said.push(seq_of(&ada.say(&room, &format!("hey @{}", bob.username)).await));
    }
    let counts = async |unread: u64, mentions: u64| {
        rookery_e2e::eventually(&format!("{unread} unread, {mentions} mentions"), async || {
            let listed = bob.listed(&room).await.expect("his room");
            (listed["unread"] == unread && listed["mentions"] == mentions).then_some(())
        })
        .await;
    };
    counts(3, 3).await;
    let path = |seq: u64| format!("/v1/rooms/{room}/messages/{seq}");
    ada.api.patch(&path(said[0]), json!({"text": "hey"})).await.is(200);
    counts(3, 2).await;
    ada.api.delete(&path(said[1])).await.is(204);
    counts(3, 1).await;
    let mut ws = ada.online(Subprotocol::Json).await;
    ws.ask(json!({"t": "delete", "room": room, "seq": said[2]})).await.ok();
    counts(3, 0).await;
}
