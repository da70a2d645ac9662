//! Roles: who may add, promote, kick, ban, mute and delete.

use rookery_e2e::{
    service::Service,
    unique,
    user::{User, id_of, seq_of},
    ws::Subprotocol,
};
use serde_json::json;

use crate::support::{member_ids, people, roles};

/// A room of an owner, a moderator and two members.
struct House {
    room: String,
    owner: User,
    moderator: User,
    member: User,
    other: User,
}

impl House {
    async fn new() -> Self {
        let [owner, moderator, member, other] = people(["owner", "moderator", "member", "other"]).await;
        let room = owner.room_with(&[&moderator, &member, &other]).await;
        let house = Self { room, owner, moderator, member, other };
        house.set_role(&house.owner, &house.moderator, "moderator").await.success();
        house
    }

    fn path(&self, rest: &str) -> String {
        format!("/v1/rooms/{}/{rest}", self.room)
    }

    async fn set_role(&self, by: &User, whose: &User, role: &str) -> rookery_e2e::http::Answer {
        by.api.patch(&self.path(&format!("members/{}", whose.id)), json!({"role": role})).await
    }

    async fn try_say(&self, user: &User) -> rookery_e2e::http::Answer {
        user.api.post(&self.path("messages"), json!({"text": "hi", "client_msg_id": unique("m")})).await
    }
}

/// PUT .../members/{user_id} `{role?}`: moderators add, owners also above member.
#[tokio::test]
async fn adds_people_by_role() {
    let house = House::new().await;
    let [cy, dot, eve] = people(["cy", "dot", "eve"]).await;
    let add = |user: &User| house.path(&format!("members/{}", user.id));
    house.member.api.put(&add(&cy), json!({})).await.problem(403, "forbidden");
    house.moderator.api.put(&add(&cy), json!({})).await.success();
    house.moderator.api.put(&add(&dot), json!({"role": "moderator"})).await.problem(403, "forbidden");
    house.owner.api.put(&add(&dot), json!({"role": "moderator"})).await.success();
    house.owner.api.put(&add(&eve), json!({"role": "emperor"})).await.refused(422);
    house.owner.api.put(&house.path("members/01AAAAAAAAAAAAAAAAAAAAAAAA"), json!({})).await.refused(404);
    let roles = roles(&house.member, &house.room).await;
    assert_eq!((roles[&cy.id].as_str(), roles[&dot.id].as_str()), ("member", "moderator"));
    assert!(!roles.contains_key(&eve.id));
    assert!(cy.listed(&house.room).await.is_some());
    house.try_say(&cy).await.is(201);
}

/// PUT .../members/{user_id}: the way into a private room.
#[tokio::test]
async fn adds_people_to_a_private_room() {
    let [ada, bob] = people(["ada", "bob"]).await;
    let room = id_of(&ada.make_room("group", "private").await);
    ada.api.put(&format!("/v1/rooms/{room}/members/{}", bob.id), json!({})).await.success();
    bob.say(&room, "thank you").await;
    assert_eq!(bob.listed(&room).await.expect("it is listed")["role"], "member");
}

/// PATCH .../members/{user_id}: owners change roles.
#[tokio::test]
async fn owners_change_roles() {
    let house = House::new().await;
    for user in [&house.member, &house.moderator] {
        house.set_role(user, &house.member, "moderator").await.problem(403, "forbidden");
    }
    house.set_role(&house.owner, &house.member, "moderator").await.success();
    house.set_role(&house.owner, &house.moderator, "member").await.success();
    house.set_role(&house.owner, &house.other, "emperor").await.refused(422);
    let outsider = User::register(Service::shared(), "out").await;
    house.set_role(&house.owner, &outsider, "member").await.problem(404, "member_not_found");
    let roles = roles(&house.owner, &house.room).await;
    assert_eq!(roles[&house.member.id], "moderator");
    assert_eq!(roles[&house.moderator.id], "member");
}

/// DELETE .../members/{user_id}: moderators kick those below them; the kicked hear nothing any more.
#[tokio::test]
async fn kicks_members_below() {
    let house = House::new().await;
    let kick = |user: &User| house.path(&format!("members/{}", user.id));
    house.member.api.delete(&kick(&house.other)).await.problem(403, "forbidden");
    house.moderator.api.delete(&kick(&house.owner)).await.problem(403, "forbidden");
    let mut socket = house.member.online(Subprotocol::Json).await;
    house.moderator.api.delete(&kick(&house.member)).await.success();
    assert!(!member_ids(&house.owner, &house.room).await.contains(&house.member.id));
    house.try_say(&house.member).await.problem(403, "not_a_member");
    // He may be told that he was kicked; what is said afterwards is not for him.
    house.owner.say(&house.room, "now that he is gone").await;
    let heard = socket.settle().await;
    assert!(heard.iter().all(|event| event["t"] != "message"), "{heard:?}");
    house.moderator.api.delete(&kick(&house.member)).await.problem(404, "member_not_found");
    // Kicked is not banned.
    house.member.join(&house.room).await;
}

/// PUT/DELETE .../bans/{user_id}: who is banned is out and cannot come back, until it is lifted.
#[tokio::test]
async fn bans_and_lifts_bans() {
    let house = House::new().await;
    let ban = |user: &User| house.path(&format!("bans/{}", user.id));
    house.member.api.put(&ban(&house.other), json!({})).await.problem(403, "forbidden");
    house.moderator.api.put(&ban(&house.owner), json!({})).await.problem(403, "forbidden");
    house.moderator.api.put(&ban(&house.member), json!({})).await.success();
    assert!(!member_ids(&house.owner, &house.room).await.contains(&house.member.id));
    house.member.api.post_empty(&house.path("join")).await.problem(403, "banned");
    let status = house.try_say(&house.member).await.status;
    assert_eq!(status, 403);
    // Also one who never was a member.
    let stranger = User::register(Service::shared(), "stranger").await;
    house.moderator.api.put(&ban(&stranger), json!({})).await.success();
    stranger.api.post_empty(&house.path("join")).await.problem(403, "banned");

    house.other.api.delete(&ban(&house.member)).await.problem(403, "forbidden");
    house.moderator.api.delete(&ban(&house.member)).await.success();
    house.member.join(&house.room).await;
    house.try_say(&house.member).await.is(201);
}

/// PUT/DELETE .../mutes/{user_id}: who is muted reads and does not write, until it is lifted.
#[tokio::test]
async fn mutes_and_lifts_mutes() {
    let house = House::new().await;
    let mute = |user: &User| house.path(&format!("mutes/{}", user.id));
    house.member.api.put(&mute(&house.other), json!({})).await.problem(403, "forbidden");
    house.moderator.api.put(&mute(&house.owner), json!({})).await.problem(403, "forbidden");
    house.moderator.api.put(&mute(&house.member), json!({})).await.success();
    house.try_say(&house.member).await.problem(403, "muted");
    let mut socket = house.member.online(Subprotocol::Proto).await;
    let send = json!({"t": "send", "room": house.room, "text": "hi", "client_msg_id": unique("m")});
    socket.ask(send.clone()).await.refused("muted");
    house.owner.say(&house.room, "peace").await;
    assert_eq!(socket.event_in("message", &house.room).await["text"], "peace");
    house.moderator.api.delete(&mute(&house.member)).await.success();
    socket.ask(send).await.ok();
}

/// DELETE .../messages/{seq}: own, or as moderator: a tombstone stays.
#[tokio::test]
async fn moderators_delete_messages_of_others() {
    let house = House::new().await;
    let said = house.member.say(&house.room, "something rude").await;
    let path = house.path(&format!("messages/{}", seq_of(&said)));
    house.other.api.delete(&path).await.problem(403, "forbidden");
    house.moderator.api.delete(&path).await.success();
    let tombstone = house.other.message(&house.room, seq_of(&said)).await;
    assert_eq!((&tombstone["deleted"], &tombstone["text"]), (&json!(true), &json!("")));
    // Not even a moderator edits what others wrote.
    let said = house.member.say(&house.room, "something else").await;
    let path = house.path(&format!("messages/{}", seq_of(&said)));
    house.moderator.api.patch(&path, json!({"text": "something nice"})).await.problem(403, "forbidden");
}

/// Changes of membership are durable events, seen by all members at the same seq.
#[tokio::test]
async fn members_see_changes_of_membership() {
    let house = House::new().await;
    for subprotocol in Subprotocol::BOTH {
        let newcomer = User::register(Service::shared(), "newcomer").await;
        let mut socket = house.other.online(subprotocol).await;
        newcomer.join(&house.room).await;
        let id = &newcomer.id;
        let path = |what: &str| house.path(&format!("{what}/{id}"));
        house.set_role(&house.owner, &newcomer, "moderator").await.success();
        house.set_role(&house.owner, &newcomer, "member").await.success();
        house.moderator.api.put(&path("mutes"), json!({})).await.success();
        house.moderator.api.delete(&path("mutes")).await.success();
        house.moderator.api.delete(&path("members")).await.success();
        house.moderator.api.put(&path("bans"), json!({})).await.success();
        house.moderator.api.delete(&path("bans")).await.success();
        let mut before = None;
        for change in ["joined", "role", "role", "muted", "unmuted", "kicked", "banned", "unbanned"] {
            let event = socket.event_in("member", &house.room).await;
            assert_eq!(
                (&event["change"], event["user"].as_str()),
                (&json!(change), Some(id.as_str())),
                "{event}"
            );
            let seq = seq_of(&event);
            assert!(before.is_none_or(|before| seq == before + 1), "{event} after {before:?}");
            before = Some(seq);
        }
    }
}
