//! Rooms that the operator declares, at whichever node it asks.

use std::sync::Arc;

use rookery_core::{
    ring::{Member, MemberState, View},
    room::{Role, Visibility, What},
};
use rookery_protocol::{
    id::RoomId,
    peer::{self, DeclaredMember, EnsureRoomRequest, RoomKey, RoomReply, room_admin_client::RoomAdminClient},
};
use tonic::{Code, Status, transport::Channel};

use super::town::{Town, as_operator, post, until, user};

fn key(name: &str) -> RoomKey {
    RoomKey { namespace: "team".into(), name: name.into() }
}

fn wanted(name: &str, members: &[(&str, peer::Role)]) -> EnsureRoomRequest {
    EnsureRoomRequest {
        key: Some(key(name)),
        kind: peer::Kind::Group.into(),
        display_name: "Tea".into(),
        topic: "Leaves".into(),
        visibility: peer::Visibility::Private.into(),
        members: members
            .iter()
            .map(|(username, role)| DeclaredMember { username: (*username).into(), role: (*role).into() })
            .collect(),
        translation: true,
        ..EnsureRoomRequest::default()
    }
}

struct Operator<'a>(&'a Town);

impl Operator<'_> {
    async fn at(&self, node: usize) -> RoomAdminClient<Channel> {
        RoomAdminClient::connect(format!("http://{}", self.0.nodes[node].address)).await.unwrap()
    }

    async fn ensure(&self, node: usize, wanted: &EnsureRoomRequest) -> Result<RoomReply, Status> {
        let reply = self.at(node).await.ensure_room(as_operator(wanted.clone())).await;
        reply.map(tonic::Response::into_inner)
    }

    async fn get(&self, node: usize, name: &str) -> RoomReply {
        self.at(node).await.get_room(as_operator(key(name))).await.unwrap().into_inner()
    }

    async fn remove(&self, node: usize, name: &str) -> bool {
        self.at(node).await.remove_room(as_operator(key(name))).await.unwrap().into_inner().removed
    }
}

fn room(reply: &RoomReply) -> RoomId {
    RoomId::from_bytes(reply.room.as_ref().try_into().unwrap())
}

const OWNER: peer::Role = peer::Role::Owner;
const MEMBER: peer::Role = peer::Role::Member;

#[tokio::test]
async fn a_room_is_made_changed_and_removed_by_way_of_any_node() {
    let town = Town::new(3).await;
    let operator = Operator(&town);
    assert_eq!(operator.get(0, "general").await, RoomReply::default());
    let first = wanted("general", &[("u1", OWNER), ("u2", MEMBER), ("nobody", MEMBER)]);
    let made = operator.ensure(0, &first).await.unwrap();
    assert!(made.changed && made.unknown_users == ["nobody"] && made.members == 2, "{made:?}");
    let (id, epoch) = (room(&made), made.epoch);
    assert_eq!(made.owner, format!("node-{}", town.owner(id)));
    assert_eq!(made.shard, "main");
    let rooms = |node: usize| &town.nodes[node].rooms;
    let shown = rooms(1).view(id, user(1).id).await.unwrap();
    assert_eq!((shown.name.as_str(), shown.role, shown.declared), ("Tea", Some(Role::Owner), true));

    // Asked again, at whatever node, nothing is done.
    for node in 0..3 {
        let again = operator.ensure(node, &first).await.unwrap();
        assert_eq!(again, RoomReply { changed: false, ..made.clone() });
        assert_eq!(operator.get(node, "general").await, RoomReply { unknown_users: vec![], ..again });
    }
    assert_eq!(town.records(id).await.len(), 1, "all of it in one");

    let mut second = wanted("general", &[("U2", OWNER), ("u3", MEMBER)]);
    (second.slow_mode_seconds, second.max_members) = (5, Some(10));
    second.visibility = peer::Visibility::Public.into();
    let changed = operator.ensure(2, &second).await.unwrap();
    assert!(changed.changed && room(&changed) == id && changed.epoch == epoch, "{changed:?}");
    let shown = rooms(0).view(id, user(2).id).await.unwrap();
    assert_eq!((shown.role, shown.visibility), (Some(Role::Owner), Visibility::Public));
    assert_eq!((shown.slow_mode_seconds, shown.max_members, shown.member_count), (5, Some(10), 2));
    let refused = rooms(1).command(id, &user(2), What::Remove).await.unwrap_err();
    assert!(refused.detail.contains("ChatRoom manifest"), "{refused}");
    rooms(1).command(id, &user(3), post("hello")).await.unwrap();
    assert_eq!(operator.get(0, "general").await.last_seq, changed.last_seq + 1);

    assert!(operator.remove(1, "general").await);
    assert!(!operator.remove(1, "general").await, "again: it is done");
    assert!(!operator.remove(0, "never").await);
    assert_eq!(operator.get(2, "general").await, RoomReply::default());
    assert!(rooms(0).view(id, user(2).id).await.is_err());
    // Declared anew under the same name it is another room.
    let anew = operator.ensure(0, &first).await.unwrap();
    assert!(anew.changed && room(&anew) != id && anew.last_seq == 2, "{anew:?}");
    assert_eq!(operator.get(1, "general").await, RoomReply { changed: false, unknown_users: vec![], ..anew });
}

#[tokio::test]
async fn only_the_operator_declares_rooms() {
    let town = Town::new(1).await;
    let mut client = Operator(&town).at(0).await;
    for token in [None, Some("Bearer wrong"), Some("Bearer the-operators-own-toke")] {
        let with = |mut request: tonic::Request<EnsureRoomRequest>| {
            if let Some(token) = token {
                request.metadata_mut().insert("authorization", token.parse().unwrap());
            }
            request
        };
        let request = with(tonic::Request::new(wanted("general", &[("u1", OWNER)])));
        assert_eq!(client.ensure_room(request).await.unwrap_err().code(), Code::Unauthenticated);
    }
    assert_eq!(client.get_room(key("general")).await.unwrap_err().code(), Code::Unauthenticated);
    assert_eq!(client.remove_room(key("general")).await.unwrap_err().code(), Code::Unauthenticated);
    assert_eq!(Operator(&town).get(0, "general").await, RoomReply::default(), "nothing was made");
}

#[tokio::test]
async fn what_cannot_be_is_refused_with_a_sentence() {
    let town = Town::new(1).await;
    let operator = Operator(&town);
    let good = || wanted("general", &[("u1", OWNER)]);
    let many: Vec<_> = (0..501).map(|n| format!("u{n}")).collect();
    let many: Vec<_> = many.iter().map(|name| (name.as_str(), MEMBER)).collect();
    let cases = [
        (EnsureRoomRequest { key: None, ..good() }, "key.namespace: must have 1 to 253 characters"),
        (EnsureRoomRequest { key: Some(key(&"n".repeat(254))), ..good() }, "key.name: must have 1 to 253"),
        (EnsureRoomRequest { display_name: String::new(), ..good() }, "name: must have 1 to 100 characters"),
        (EnsureRoomRequest { topic: "t".repeat(501), ..good() }, "topic: must have at most 500 characters"),
        (EnsureRoomRequest { kind: peer::Kind::Direct.into(), ..good() }, "kind: must be group or channel"),
        (EnsureRoomRequest { visibility: 7, ..good() }, "visibility: must be public or private"),
        (EnsureRoomRequest { max_members: Some(10_001), ..good() }, "max_members: must not be more than"),
        (EnsureRoomRequest { slow_mode_seconds: 21_601, ..good() }, "slow_mode_seconds: must be at most"),
        (wanted("general", &many), "members: must be at most 500"),
        (wanted("general", &[("u1", OWNER), ("U1", MEMBER)]), "members: must name each user once"),
        (wanted("general", &[("u1", peer::Role::Unknown)]), "members: a role that this node does not know"),
    ];
    for (case, why) in cases {
        let refused = operator.ensure(0, &case).await.unwrap_err();
        assert!(refused.code() == Code::InvalidArgument && refused.message().contains(why), "{refused}");
    }
    operator.ensure(0, &good()).await.unwrap();
    let channel = EnsureRoomRequest { kind: peer::Kind::Channel.into(), ..good() };
    let refused = operator.ensure(0, &channel).await.unwrap_err();
    assert!(
        refused.code() == Code::InvalidArgument && refused.message().contains("another kind"),
        "{refused}"
    );
    let full = EnsureRoomRequest { shard: "full".into(), ..wanted("other", &[]) };
    let refused = operator.ensure(0, &full).await.unwrap_err();
    assert!(
        refused.code() == Code::ResourceExhausted && refused.message().contains("unpin others"),
        "{refused}"
    );
}

#[tokio::test]
async fn a_pinned_room_is_where_it_is_pinned_and_moves_with_its_pin() {
    let mut town = Town::new(3).await;
    town.shards = vec!["main", "main", "quiet"];
    town.change(|_| {});
    let pinned = EnsureRoomRequest { shard: "quiet".into(), ..wanted("general", &[("u1", OWNER)]) };
    let id = room(&Operator(&town).ensure(0, &pinned).await.unwrap());
    assert_eq!(town.pins.0.lock().get(&id).map(String::as_str), Some("quiet"));
    town.change(|_| {});
    let seen = Operator(&town).get(1, "general").await;
    assert_eq!((seen.owner.as_str(), seen.shard.as_str()), ("node-2", "quiet"));
    town.nodes[0].rooms.command(id, &user(1), post("there")).await.unwrap();
    let owner = |records: Vec<rookery_core::record::Record>| records.last().unwrap().owner.clone();
    assert_eq!(owner(town.records(id).await), "node-2");

    // Its shard is away: it is somewhere else, and everybody finds it; and it comes back with its shard.
    for (active, there) in [(false, false), (true, true)] {
        town.change(|all| all[2] = active);
        town.nodes[1].rooms.command(id, &user(1), post(&format!("{active}"))).await.unwrap();
        assert_eq!(owner(town.records(id).await) == "node-2", there);
    }
    let unpinned = EnsureRoomRequest { shard: String::new(), ..pinned };
    let reply = Operator(&town).ensure(1, &unpinned).await.unwrap();
    assert!(!reply.changed && town.pins.0.lock().is_empty(), "{reply:?}");
    // A pin that is lost is written again by whoever asks next.
    Operator(&town).ensure(1, &EnsureRoomRequest { shard: "quiet".into(), ..unpinned }).await.unwrap();
    assert_eq!(town.pins.0.lock().len(), 1);
    assert!(Operator(&town).remove(0, "general").await);
    assert!(town.pins.0.lock().is_empty());
}

#[tokio::test]
async fn rooms_are_declared_when_all_nodes_know_what_that_is() {
    let town = Town::new(1).await;
    let operator = Operator(&town);
    let hears = async |revision, members| {
        town.tell(0, &Arc::new(View::new(revision, members)));
        until("it hears of the view", 60, || town.nodes[0].rooms.revision() == revision).await;
    };
    let me = View::alone("node-0").members()[0].clone();
    let older = Member { name: "older".into(), level: 0, state: MemberState::Draining, ..me.clone() };
    hears(100, vec![me.clone(), older]).await;
    let refused = operator.ensure(0, &wanted("general", &[("u1", OWNER)])).await.unwrap_err();
    assert!(refused.code() == Code::FailedPrecondition && refused.message().contains("older"), "{refused}");
    hears(101, vec![me]).await;
    assert!(operator.ensure(0, &wanted("general", &[("u1", OWNER)])).await.unwrap().changed);
}

#[tokio::test]
async fn five_hundred_members_come_in_one_call() {
    let town = Town::new(2).await;
    let names: Vec<_> = (1..=500).map(|number| format!("u{number}")).collect();
    let members: Vec<_> = names.iter().map(|name| (name.as_str(), MEMBER)).collect();
    let made = Operator(&town).ensure(0, &wanted("general", &members)).await.unwrap();
    assert_eq!((made.members, made.changed, made.unknown_users.len()), (500, true, 0));
    let fewer = Operator(&town).ensure(1, &wanted("general", &members[..3])).await.unwrap();
    assert_eq!((fewer.members, fewer.changed), (3, true));
}
