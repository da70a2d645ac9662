//! What the tests share: nodes over one log, a proxy in front of each, and views that each of them gets by itself.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use parking_lot::Mutex;
use prometheus_client::registry::Registry;
use rookery_core::{
    record::Record,
    ring::{self, Member, MemberState, View},
    room::{Kind, Profile, Visibility, What},
};
use rookery_protocol::id::{RoomId, UserId};
use rookery_testbed::Proxy;
use tokio::sync::watch;

use crate::{
    admin::{Admin, Control, Directory, OperatorToken, Pins},
    backend::{
        Append, Appended, Committed, Read, RoomLog, Unavailable,
        embedded::{Store, StoreMetrics, StoreSettings},
    },
    membership::PinError,
    peer::{Bound, Names, PeerMetrics, PeerSettings, Peers, VERSION},
    problem::Problem,
    rooms::{NewRoom, Rooms, RoomsMetrics, RoomsSettings},
};

/// What a node's way to the log is like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    Open,
    /// What is stored is stored, and what is read never comes.
    Unread,
    /// Whoever goes it waits, as a stopped process does.
    Held,
    /// Nothing gets through any more.
    Gone,
}

/// The log as one node reaches it.
struct Gate {
    store: Arc<Store>,
    way: watch::Receiver<Way>,
    /// How often the end of a log was read.
    tails: Arc<AtomicU64>,
}

impl Gate {
    async fn pass(&self) -> bool {
        let mut way = self.way.clone();
        let known = way.wait_for(|way| *way != Way::Held).await.map(|way| *way);
        matches!(known, Ok(Way::Open | Way::Unread))
    }

    async fn shows(&self) -> bool {
        let mut way = self.way.clone();
        let known = way.wait_for(|way| matches!(way, Way::Open | Way::Gone)).await.map(|way| *way);
        matches!(known, Ok(Way::Open))
    }
}

#[async_trait]
impl RoomLog for Gate {
    async fn append(&self, append: Append) -> Appended {
        if self.pass().await { self.store.append(append).await } else { Appended::Unknown }
    }
    async fn tail(&self, room: RoomId) -> Result<Option<Committed>, Unavailable> {
        self.tails.fetch_add(1, Ordering::Relaxed);
        if self.shows().await { self.store.tail(room).await } else { Err(Unavailable("gone".into())) }
    }
    async fn read(&self, room: RoomId, read: Read) -> Result<Vec<Committed>, Unavailable> {
        if self.shows().await { self.store.read(room, read).await } else { Err(Unavailable("gone".into())) }
    }
    async fn forget(&self, room: RoomId, before: u64) -> Result<(), Unavailable> {
        self.store.forget(room, before).await
    }
    fn follow(&self, room: RoomId, on: bool) {
        self.store.follow(room, on);
    }
}

/// The wiring of a node, as far as the operator sees it.
#[derive(Default)]
pub(super) struct Wiring(AtomicU64);

impl Control for Wiring {
    fn drain(&self, _: Option<Duration>, _: Duration) -> bool {
        self.0.fetch_add(1, Ordering::Relaxed) == 0
    }
    fn state(&self) -> &'static str {
        if self.0.load(Ordering::Relaxed) > 0 { "draining" } else { "active" }
    }
    fn is_ready(&self) -> bool {
        true
    }
    fn connections(&self) -> u64 {
        7
    }
}

pub(super) struct Node {
    pub(super) rooms: Arc<Rooms>,
    peers: Option<Peers>,
    /// Where others find it; `None`: nobody listens there any more.
    pub(super) proxy: Option<Proxy>,
    reached_by: SocketAddr,
    pub(super) address: SocketAddr,
    pub(super) metrics: PeerMetrics,
    /// How often it has read the end of a log.
    pub(super) tails: Arc<AtomicU64>,
    /// Revisions that others had seen before it.
    pub(super) behind: Arc<Mutex<Vec<u64>>>,
    way: watch::Sender<Way>,
    views: watch::Sender<Arc<View>>,
}

pub(super) struct Town {
    pub(super) nodes: Vec<Node>,
    pub(super) store: Arc<Store>,
    revision: u64,
    /// By node: whether it is a member that owns rooms.
    active: Vec<bool>,
    /// By node: how often it was started.
    starts: Vec<u64>,
    settings: PeerSettings,
    nowhere: Proxy,
    /// What each node speaks, by its number.
    versions: fn(usize) -> u32,
    pub(super) pins: Arc<Board>,
    /// By node.
    pub(super) shards: Vec<&'static str>,
    token: Option<Arc<OperatorToken>>,
    _dir: tempfile::TempDir,
}

/// What the operator says to be let in.
pub(super) const TOKEN: &str = "the-operators-own-token";

/// A call as the operator makes it.
pub(super) fn as_operator<T>(call: T) -> tonic::Request<T> {
    let mut request = tonic::Request::new(call);
    request.metadata_mut().insert("authorization", format!("Bearer {TOKEN}").parse().unwrap());
    request
}

/// Those who have an account: `u1` to `u999`.
struct Villagers;

#[async_trait]
impl Directory for Villagers {
    async fn user(&self, username: &str) -> Result<Option<Arc<Profile>>, Problem> {
        let number = username.strip_prefix(['u', 'U']).and_then(|number| number.parse().ok());
        Ok(number.filter(|number| (1..1000).contains(number)).map(user))
    }
}

/// Where pins are put up; the views show them after the next change.
#[derive(Default)]
pub(super) struct Board(pub(super) Mutex<ring::Pins>);

#[async_trait]
impl Pins for Board {
    async fn pin(&self, room: RoomId, shard: Option<&str>, _: Duration) -> Result<(), PinError> {
        let mut pins = self.0.lock();
        match shard {
            Some("full") => return Err(PinError::TooMany),
            Some(shard) => drop(pins.insert(room, shard.to_owned())),
            None => drop(pins.remove(&room)),
        }
        Ok(())
    }
}

pub(super) fn name(node: usize) -> String {
    format!("node-{node}")
}

pub(super) fn user(number: u64) -> Arc<Profile> {
    Arc::new(Profile {
        id: UserId::from_parts(1_700_000_000_000 + number, number.into()),
        username: format!("u{number}"),
        display_name: format!("U{number}"),
    })
}

pub(super) fn post(id: &str) -> What {
    What::Post { text: format!("text of {id}"), client_msg_id: id.into(), reply_to: None }
}

/// Waits until it is so, for so many seconds at most.
pub(super) async fn until(what: &str, seconds: u64, is_so: impl Fn() -> bool) {
    let becomes_so = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let in_time = tokio::time::timeout(Duration::from_secs(seconds), becomes_so).await;
    assert!(in_time.is_ok(), "not within {seconds} s: {what}");
}

impl Town {
    pub(super) async fn new(nodes: usize) -> Self {
        Self::with(nodes, PeerSettings::default(), RoomsSettings::default()).await
    }

    pub(super) async fn with(nodes: usize, settings: PeerSettings, rooms: RoomsSettings) -> Self {
        Self::speaking(nodes, settings, rooms, |_| VERSION).await
    }

    /// Each node as one of its version.
    pub(super) async fn speaking(
        nodes: usize,
        settings: PeerSettings,
        rooms: RoomsSettings,
        versions: fn(usize) -> u32,
    ) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let metrics = StoreMetrics::register(&mut Registry::default());
        let store = Store::open(dir.path(), &StoreSettings::default(), metrics).unwrap();
        let settings = PeerSettings { listen: SocketAddr::from(([127, 0, 0, 1], 0)), ..settings };
        let file = dir.path().join("operator-token");
        std::fs::write(&file, TOKEN).unwrap();
        let mut town = Self {
            nodes: Vec::new(),
            store,
            revision: 0,
            active: Vec::new(),
            starts: vec![1; nodes],
            settings,
            nowhere: Proxy::to(SocketAddr::from(([127, 0, 0, 1], 9))),
            versions,
            pins: Arc::default(),
            shards: vec!["main"; nodes],
            token: Some(Arc::new(OperatorToken::new(&file).await.unwrap())),
            _dir: dir,
        };
        for _ in 0..nodes {
            town.add(rooms.clone()).await;
        }
        town.nowhere.cut();
        town.active = vec![true; nodes];
        town.change(|_| {});
        town
    }

    async fn add(&mut self, settings: RoomsSettings) {
        let node = self.nodes.len();
        let (way, passing) = watch::channel(Way::Open);
        let (views, view) = watch::channel(Arc::new(View::default()));
        let tails = Arc::<AtomicU64>::default();
        let log = Arc::new(Gate { store: self.store.clone(), way: passing, tails: tails.clone() });
        let metrics = RoomsMetrics::default();
        let rooms = Rooms::start(settings, &name(node), &View::default(), log, self.store.clone(), metrics);
        let bound = Bound::new(self.settings.clone()).await.unwrap().speaking((self.versions)(node));
        let address = bound.address();
        let proxy = Proxy::to(address);
        let names = Names { cluster: "test".into(), node: name(node) };
        let metrics = PeerMetrics::default();
        let wiring = Arc::new(Wiring::default());
        let admin = Admin {
            node: name(node),
            cluster: "test".into(),
            rooms: rooms.clone(),
            control: wiring,
            users: Arc::new(Villagers),
            pins: self.pins.clone(),
            token: self.token.clone(),
        };
        let behind = Arc::<Mutex<Vec<u64>>>::default();
        let hearing = behind.clone();
        let on_behind = Box::new(move |revision| hearing.lock().push(revision));
        let peers =
            bound.start(names, view, on_behind, rooms.clone(), admin.routes(), metrics.clone()).unwrap();
        let reached_by = proxy.address();
        let (proxy, peers) = (Some(proxy), Some(peers));
        self.nodes.push(Node {
            rooms,
            peers,
            proxy,
            reached_by,
            address,
            metrics,
            tails,
            behind,
            way,
            views,
        });
    }

    fn view(&self) -> Arc<View> {
        let member = |(node, active): (usize, &bool)| Member {
            name: name(node),
            address: self.nodes[node].reached_by.to_string(),
            shard: self.shards[node].into(),
            weight: 1,
            shard_weight: 1,
            level: ring::LEVEL,
            state: if *active { MemberState::Active } else { MemberState::Draining },
            incarnation: self.starts[node],
        };
        let members = self.active.iter().enumerate().map(member).collect();
        Arc::new(View::new(self.revision, members).with_pins(Arc::new(self.pins.0.lock().clone())))
    }

    /// Makes a new view, of which `tell` lets nodes hear later than others: all hear of it in the end.
    pub(super) fn change(&mut self, before: impl FnOnce(&mut Vec<bool>)) {
        let view = self.next_view(before);
        (0..self.nodes.len()).for_each(|node| self.tell(node, &view));
    }

    /// Views count from the beginning again, as those of an etcd do that was made anew.
    pub(super) fn forget_history(&mut self) {
        self.revision = 0;
    }

    /// The next view shows a node as one that was started anew.
    pub(super) fn started_anew(&mut self, node: usize) {
        self.starts[node] += 1;
    }

    /// A new view that nobody has heard of yet.
    pub(super) fn next_view(&mut self, before: impl FnOnce(&mut Vec<bool>)) -> Arc<View> {
        before(&mut self.active);
        self.revision += 1;
        self.view()
    }

    pub(super) fn tell(&self, node: usize, view: &Arc<View>) {
        self.nodes[node].views.send_replace(view.clone());
    }

    /// Cuts one node off from another, which the others still reach: it is told an address where nobody answers.
    pub(super) fn part(&mut self, node: usize, from: usize) {
        let view = self.next_view(|_| {});
        (0..self.nodes.len()).filter(|other| *other != node).for_each(|other| self.tell(other, &view));
        let mut members = view.members().to_vec();
        members[from].address = self.nowhere.address().to_string();
        self.tell(node, &Arc::new(View::new(view.revision(), members)));
    }

    /// Whose the room is by the newest view.
    pub(super) fn owner(&self, room: RoomId) -> usize {
        let view = self.view();
        let owner = view.owner(ring::slot_of(room), view.pin(room)).unwrap();
        owner.name.strip_prefix("node-").unwrap().parse().unwrap()
    }

    /// Who is asked next for the room.
    pub(super) fn next(&self, room: RoomId) -> usize {
        let view = self.view();
        let order = view.order(ring::slot_of(room), view.pin(room));
        order[1].name.strip_prefix("node-").unwrap().parse().unwrap()
    }

    pub(super) fn way(&self, node: usize, way: Way) {
        self.nodes[node].way.send_replace(way);
    }

    /// The process of a node is gone at once: nothing it has begun gets any further.
    pub(super) fn kill(&mut self, node: usize) {
        self.way(node, Way::Gone);
        self.nodes[node].peers = None;
        self.nodes[node].proxy = None;
    }

    /// A node stands still.
    pub(super) fn pause(&self, node: usize) {
        self.way(node, Way::Held);
        self.proxy(node).cut();
    }

    pub(super) fn resume(&self, node: usize) {
        self.way(node, Way::Open);
        self.proxy(node).heal();
    }

    pub(super) fn proxy(&self, node: usize) -> &Proxy {
        self.nodes[node].proxy.as_ref().unwrap()
    }

    /// A room of a node's, made by a user over another one, with members.
    pub(super) async fn room(&self, owner: usize, by: &Arc<Profile>, others: &[Arc<Profile>]) -> RoomId {
        loop {
            let edge = &self.nodes[(owner + 1) % self.nodes.len()].rooms;
            let new = NewRoom {
                name: "Room".into(),
                kind: Kind::Group,
                visibility: Visibility::Public,
                topic: None,
            };
            let room = edge.create(by, new).await.unwrap().id;
            if self.owner(room) == owner {
                for other in others {
                    edge.join(room, other).await.unwrap();
                }
                return room;
            }
        }
    }

    /// All records of a room.
    pub(super) async fn records(&self, room: RoomId) -> Vec<Record> {
        let mut all: Vec<Record> = Vec::new();
        loop {
            let from = all.last().map_or(1, |record| record.last_seq() + 1);
            let read = Read { from, to: u64::MAX, backwards: false, max_records: 1000, max_bytes: 1 << 20 };
            let found = self.store.read(room, read).await.unwrap();
            let opened = found.iter().map(|found| Record::open(&found.record, room).unwrap().record);
            let before = all.len();
            all.extend(opened.filter(|record| !record.events.is_empty()));
            if all.len() == before {
                return all;
            }
        }
    }
}
