//! On a real store: what is left of somebody, whenever the node stops.

use std::path::Path;

use rookery_core::{
    ring::View,
    room::{Reply, Visibility},
};
use tempfile::TempDir;

use super::*;
use crate::{
    accounts::{AccountsMetrics, AccountsSettings, Principal, Registration},
    backend::embedded::{
        Mailbox, StoreSettings, SystemClock, Ttl,
        for_tests::{code, open_when_free},
    },
    rooms::{NewRoom, RoomsMetrics, RoomsSettings},
};

struct Node {
    departures: Departures,
    mailbox: Arc<Mailbox>,
}

impl Node {
    /// Opens the store, once a former holder has let go of it.
    async fn on(dir: &Path) -> Self {
        let settings = StoreSettings::default();
        let store = open_when_free(dir, &settings).await;
        let ttl = Arc::new(Ttl::open(store.clone(), &settings, Arc::new(SystemClock)).await.unwrap());
        let mailbox = Arc::new(Mailbox::open(store.clone(), &settings, Arc::new(SystemClock)).await.unwrap());
        let (metrics, settings) = (AccountsMetrics::default(), AccountsSettings::default());
        let accounts = Accounts::start(settings, store.clone(), ttl, mailbox.clone(), metrics).await.unwrap();
        let (settings, metrics) = (RoomsSettings::default(), RoomsMetrics::default());
        let rooms = Rooms::start(settings, "node", &View::alone("node"), store.clone(), store, metrics);
        Self { departures: Departures { accounts, rooms }, mailbox }
    }

    async fn user(&self, name: &str) -> Principal {
        let (accounts, address) = (&self.departures.accounts, [127, 0, 0, 1].into());
        let registration = Registration {
            email: format!("{name}@example.org"),
            username: name.to_owned(),
            password: "correct horse battery".to_owned().into(),
            display_name: None,
            language: None,
        };
        accounts.register(&registration, address).await.unwrap();
        let code = code(&self.mailbox, &registration.email);
        let session = accounts.verify(&registration.email, &code.into(), address).await.unwrap();
        accounts.authenticate(&session.access_token).await.unwrap()
    }

    /// A room with these members, of whom the first has made it.
    async fn room(&self, members: &[&Principal]) -> RoomId {
        let rooms = &self.departures.rooms;
        let (name, visibility) = ("A room".to_owned(), Visibility::Public);
        let new = NewRoom { name, kind: Kind::Group, visibility, topic: None };
        let room = rooms.create(&members[0].profile, new).await.unwrap().id;
        for member in &members[1..] {
            rooms.join(room, &member.profile).await.unwrap();
        }
        room
    }

    async fn does(&self, room: RoomId, who: &Principal, what: What) -> Result<(), Problem> {
        self.departures.rooms.command(room, &who.profile, what).await.map(drop)
    }

    /// Usernames and roles, as a member sees them.
    async fn members(&self, room: RoomId, seen_by: &Principal) -> Vec<(String, Role)> {
        let page = self.departures.rooms.members(room, seen_by.profile.id, None, 100).await.unwrap();
        page.items.into_iter().map(|member| (member.user.username, member.role)).collect()
    }

    async fn noted(&self) -> usize {
        self.departures.accounts.departures(None, 100).await.unwrap().len()
    }
}

fn named(members: &[(&str, Role)]) -> Vec<(String, Role)> {
    members.iter().map(|(name, role)| ((*name).to_owned(), *role)).collect()
}

#[tokio::test]
async fn who_deletes_his_account_leaves_his_rooms_also_after_a_crash() {
    let dir = TempDir::new().unwrap();
    let node = Node::on(dir.path()).await;
    let (ada, bob, cara) = (node.user("ada").await, node.user("bob").await, node.user("cara").await);
    let moderated = node.room(&[&ada, &bob, &cara]).await;
    let promote = What::SetRole { user: cara.profile.id, role: Role::Moderator };
    node.does(moderated, &ada, promote.clone()).await.unwrap();
    let plain = node.room(&[&ada, &bob, &cara]).await;
    let halfway = node.room(&[&ada, &cara]).await;
    let alone = node.room(&[&ada]).await;
    let visited = node.room(&[&bob, &ada]).await;
    let (direct, _) = node.departures.rooms.direct(&ada.profile, &bob.profile).await.unwrap();

    // A crash right after the deletion, and one in the middle: ownership is passed on already.
    node.departures.accounts.delete_account(&ada).await.unwrap();
    node.does(halfway, &ada, What::SetRole { user: cara.profile.id, role: Role::Owner }).await.unwrap();
    assert_eq!(node.noted().await, 1);
    assert_eq!(node.members(plain, &bob).await.len(), 3);
    drop(node);

    let node = Node::on(dir.path()).await;
    let running = start(node.departures.accounts.clone(), node.departures.rooms.clone());
    let rooms_of_ada = async || node.departures.rooms.rooms_of(ada.profile.id).await.unwrap();
    let left = async {
        while rooms_of_ada().await != [direct.id] {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), left).await.expect("she leaves her rooms");
    drop(running);
    let (member, owner) = (Role::Member, Role::Owner);
    assert_eq!(node.members(moderated, &bob).await, named(&[("bob", member), ("cara", owner)]));
    assert_eq!(node.members(plain, &bob).await, named(&[("bob", owner), ("cara", member)]));
    assert_eq!(node.members(halfway, &cara).await, named(&[("cara", owner)]));
    assert_eq!(node.members(visited, &bob).await, named(&[("bob", owner)]));
    assert_eq!(node.departures.rooms.view(plain, bob.profile.id).await.unwrap().member_count, 2);
    assert_eq!(node.departures.rooms.view(alone, bob.profile.id).await.unwrap_err().code, "room_not_found");
    // It is his as well.
    assert_eq!(node.departures.rooms.view(direct.id, bob.profile.id).await.unwrap().member_count, 2);

    // Who takes the free name is who is meant by it.
    let new = node.user("ada").await;
    node.departures.rooms.join(plain, &new.profile).await.unwrap();
    let post = What::Post { text: "@ada".into(), client_msg_id: "1".into(), reply_to: None };
    let Reply::Posted { seq, .. } = node.departures.rooms.command(plain, &bob.profile, post).await.unwrap()
    else {
        panic!("a post is answered as posted");
    };
    let message = node.departures.rooms.message(plain, bob.profile.id, seq).await.unwrap();
    assert_eq!(message.mentions, [new.profile.id.to_string()]);
}

#[tokio::test]
async fn a_note_stays_while_somebody_may_still_add_him() {
    let dir = TempDir::new().unwrap();
    let node = Node::on(dir.path()).await;
    let (ada, bob) = (node.user("ada").await, node.user("bob").await);
    let room = node.room(&[&bob, &ada]).await;
    node.departures.accounts.delete_account(&ada).await.unwrap();
    node.departures.see_to_all(now()).await.unwrap();
    assert_eq!(node.noted().await, 1);
    // A node that has not heard of it yet.
    let add = What::Add { user: (*ada.profile).clone(), role: Role::Member };
    node.does(room, &bob, add).await.unwrap();
    let later =
        now() + i64::try_from(node.departures.accounts.remembered_for().as_millis()).unwrap() + SPARE_MS;
    node.departures.see_to_all(later).await.unwrap();
    assert_eq!(node.members(room, &bob).await, named(&[("bob", Role::Owner)]));
    assert_eq!(node.noted().await, 0);
}

#[tokio::test]
async fn the_task_sees_to_it_at_once() {
    let dir = TempDir::new().unwrap();
    let node = Node::on(dir.path()).await;
    let (ada, bob) = (node.user("ada").await, node.user("bob").await);
    let room = node.room(&[&bob, &ada]).await;
    let _running = start(node.departures.accounts.clone(), node.departures.rooms.clone());
    node.departures.accounts.delete_account(&ada).await.unwrap();
    let left = async {
        while node.members(room, &bob).await.len() > 1 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    // Sooner than it would look for what others have left to do.
    tokio::time::timeout(EVERY / 2, left).await.expect("she leaves");
}
