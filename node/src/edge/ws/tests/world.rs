//! A node on a real store in a directory of its own, without a socket.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use prometheus_client::registry::Registry;
use rookery_core::{
    ring::View,
    room::{Kind, Profile, Reply, Visibility, What},
};
use rookery_protocol::id::{RoomId, UserId};
use tempfile::TempDir;
use tokio::sync::watch;

use super::super::node::Edge;
use crate::{
    accounts::{Accounts, AccountsMetrics, AccountsSettings, LoggedIn, Registration},
    backend::{
        Append, Appended, CommitSink as _, Committed, Entry, Expect, Read, RoomLog, Row, Rows, Table,
        Unavailable, Written,
        embedded::{Mailbox, Store, StoreMetrics, StoreSettings, SystemClock, Ttl, for_tests::code},
    },
    edge::{App, EdgeMetrics, EdgeSettings, http::HttpSettings},
    live::{Hub, LiveMetrics, LiveSettings},
    rooms::{NewRoom, Rooms, RoomsMetrics, RoomsSettings},
};

pub(in crate::edge) struct World {
    pub(in crate::edge) app: Arc<App>,
    pub(in crate::edge) edge: Arc<Edge>,
    mailbox: Arc<Mailbox>,
    store: Arc<Store>,
    ttl: Arc<Ttl>,
    hubs: Arc<Hubs>,
    dir: Arc<TempDir>,
}

/// What several nodes share.
type Below = (Arc<Store>, Arc<Ttl>, Arc<Mailbox>, Arc<Hubs>, Arc<TempDir>);

/// The log and the rows of all nodes on one store: each hears what the others commit, as through `republish`. Reads can be held up.
struct Hubs {
    store: Arc<Store>,
    hubs: Mutex<Vec<Arc<Hub>>>,
    /// What a leader that stood still gives as the end of any log.
    old: Mutex<Option<Committed>>,
    tails: Gate<RoomId>,
    users: Gate<()>,
}

/// What is read of a store, and how.
pub(super) struct Gate<K> {
    held: watch::Sender<Option<K>>,
    waiting: watch::Sender<usize>,
    fails: AtomicBool,
}

impl<K> Default for Gate<K> {
    fn default() -> Self {
        let (held, waiting) = (watch::Sender::new(None), watch::Sender::new(0));
        Self { held, waiting, fails: AtomicBool::new(false) }
    }
}

impl<K: PartialEq> Gate<K> {
    /// Whoever reads this waits from now on.
    pub(super) fn hold(&self, key: K) {
        self.held.send_replace(Some(key));
    }

    /// Waits until somebody waits.
    pub(super) async fn somebody_waits(&self) {
        let mut waiting = self.waiting.subscribe();
        let waits = waiting.wait_for(|waiting| *waiting > 0);
        tokio::time::timeout(Duration::from_secs(60), waits).await.expect("somebody reads").unwrap();
    }

    /// Nobody waits any more.
    pub(super) fn open(&self) {
        self.held.send_replace(None);
    }

    /// Reading fails from now on.
    pub(super) fn fail(&self) {
        self.fails.store(true, Ordering::Release);
    }

    async fn pass(&self, key: K) -> Result<(), Unavailable> {
        if self.fails.load(Ordering::Acquire) {
            return Err(Unavailable("not now".into()));
        }
        self.waiting
            .send_modify(|waiting| *waiting += usize::from(self.held.borrow().as_ref() == Some(&key)));
        let mut held = self.held.subscribe();
        let _ = held.wait_for(|held| held.as_ref() != Some(&key)).await;
        Ok(())
    }
}

#[async_trait]
impl Rows for Hubs {
    async fn get(&self, table: Table, key: &[u8]) -> Result<Option<Entry>, Unavailable> {
        if table == Table::Users {
            self.users.pass(()).await?;
        }
        self.store.get(table, key).await
    }
    async fn scan(
        &self,
        table: Table,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Entry>, Unavailable> {
        self.store.scan(table, prefix, after, limit).await
    }
    async fn write(&self, writes: Vec<(Row, Expect)>) -> Result<Written, Unavailable> {
        self.store.write(writes).await
    }
}

#[async_trait]
impl RoomLog for Hubs {
    async fn append(&self, append: Append) -> Appended {
        let (room, record) = (append.room, append.record.clone());
        let appended = self.store.append(append).await;
        if let Appended::Committed(at) = appended {
            let committed = Committed { room, at, record };
            self.hubs.lock().iter().for_each(|hub| hub.committed(&committed));
        }
        appended
    }
    async fn tail(&self, room: RoomId) -> Result<Option<Committed>, Unavailable> {
        self.tails.pass(room).await?;
        let old = self.old.lock().clone();
        if old.is_some() { Ok(old) } else { self.store.tail(room).await }
    }
    async fn certain_tail(&self, room: RoomId) -> Result<Option<Committed>, Unavailable> {
        self.tails.pass(room).await?;
        self.store.tail(room).await
    }
    async fn read(&self, room: RoomId, read: Read) -> Result<Vec<Committed>, Unavailable> {
        self.store.read(room, read).await
    }
    async fn forget(&self, room: RoomId, before: u64) -> Result<(), Unavailable> {
        self.store.forget(room, before).await
    }
    fn follow(&self, _: RoomId, _: bool) {}
}

const PASSWORD: &str = "wrong-horse-7-battery-staple";

/// Somebody who is logged in.
pub(in crate::edge) struct User {
    pub(in crate::edge) profile: Arc<Profile>,
    pub(in crate::edge) token: String,
}

impl World {
    /// From now on a leader answers that stood still since the room's log ended as it does now, until `old` is false.
    pub(super) async fn answers_with_what_is_old(&self, room: RoomId, old: bool) {
        let tail = self.store.tail(room).await.unwrap();
        *self.hubs.old.lock() = tail.filter(|_| old);
    }

    /// Removes events of a room that are before this seq.
    pub(super) async fn forget(&self, room: RoomId, before: u64) {
        self.store.forget(room, before).await.unwrap();
    }

    /// Makes what is stored of a user unreadable.
    pub(super) async fn spoil(&self, user: UserId) {
        let key = Bytes::copy_from_slice(&user.to_bytes());
        let row = Row { table: Table::Users, key, value: Some(Bytes::from_static(b"?")) };
        assert_eq!(self.store.write(vec![(row, Expect::Any)]).await.unwrap(), Written::Done);
    }

    pub(in crate::edge) async fn new(settings: EdgeSettings, live: LiveSettings) -> Self {
        let dir = TempDir::new().unwrap();
        let stored = StoreSettings::default();
        let metrics = StoreMetrics::register(&mut Registry::default());
        let store = Store::open(dir.path(), &stored, metrics).unwrap();
        let ttl = Arc::new(Ttl::open(store.clone(), &stored, Arc::new(SystemClock)).await.unwrap());
        let mailbox = Arc::new(Mailbox::open(store.clone(), &stored, Arc::new(SystemClock)).await.unwrap());
        let hubs = Arc::new(Hubs {
            store: store.clone(),
            hubs: Mutex::default(),
            old: Mutex::default(),
            tails: Gate::default(),
            users: Gate::default(),
        });
        Self::on((store, ttl, mailbox, hubs, Arc::new(dir)), "node", settings, live).await
    }

    /// Where readers of a room's end can be held up.
    pub(super) fn tails(&self) -> &Gate<RoomId> {
        &self.hubs.tails
    }

    /// Where readers of users can be held up.
    pub(super) fn users(&self) -> &Gate<()> {
        &self.hubs.users
    }

    /// One more node on the same store.
    pub(in crate::edge) async fn beside(
        &self,
        node: &str,
        settings: EdgeSettings,
        live: LiveSettings,
    ) -> Self {
        let (store, ttl, mailbox) = (self.store.clone(), self.ttl.clone(), self.mailbox.clone());
        Self::on((store, ttl, mailbox, self.hubs.clone(), self.dir.clone()), node, settings, live).await
    }

    async fn on(
        (store, ttl, mailbox, hubs, dir): Below,
        node: &str,
        settings: EdgeSettings,
        live: LiveSettings,
    ) -> Self {
        let hub = Arc::new(Hub::new(live, LiveMetrics::default()));
        hubs.hubs.lock().push(hub.clone());
        hub.start(hubs.clone());
        let app = Arc::new(App {
            node: node.to_owned(),
            accounts: Accounts::start(
                AccountsSettings::default(),
                hubs.clone(),
                ttl.clone(),
                mailbox.clone(),
                AccountsMetrics::default(),
            )
            .await
            .unwrap(),
            rooms: Rooms::start(
                RoomsSettings::default(),
                node,
                &View::alone(node),
                hubs.clone(),
                store.clone(),
                RoomsMetrics::default(),
            ),
            hub,
            http: HttpSettings::default(),
            mailbox: None,
            translation: None,
        });
        let edge = Edge::start(app.clone(), settings, EdgeMetrics::default());
        Self { app, edge, mailbox, store, ttl, hubs, dir }
    }

    pub(in crate::edge) async fn user(&self, name: &str) -> User {
        let email = format!("{name}@example.com");
        let address = [127, 0, 0, 1].into();
        let registration = Registration {
            email: email.clone(),
            username: name.to_owned(),
            password: PASSWORD.to_owned().into(),
            display_name: None,
            language: None,
        };
        self.app.accounts.register(&registration, address).await.unwrap();
        let code = code(&self.mailbox, &email);
        let session = self.app.accounts.verify(&email, &code.into(), address).await.unwrap();
        let token = session.access_token;
        let profile = self.app.accounts.authenticate(&token).await.unwrap().profile;
        User { profile, token }
    }

    /// The access token of one more login.
    pub(super) async fn log_in(&self, name: &str) -> String {
        let password = PASSWORD.to_owned().into();
        match self.app.accounts.log_in(name, &password, [127, 0, 0, 1].into()).await.unwrap() {
            LoggedIn::Session(session) => session.access_token,
            LoggedIn::Challenge { .. } => unreachable!("no code was asked for"),
        }
    }

    pub(in crate::edge) async fn room(&self, owner: &User) -> RoomId {
        let new = NewRoom {
            name: "a room".to_owned(),
            kind: Kind::Group,
            visibility: Visibility::Public,
            topic: None,
        };
        self.app.rooms.create(&owner.profile, new).await.unwrap().id
    }

    /// Posts a message; its seq.
    pub(in crate::edge) async fn post(&self, user: &User, room: RoomId, text: String) -> u64 {
        static COUNT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let what = What::Post { text, client_msg_id: format!("m{number}"), reply_to: None };
        match self.app.rooms.command(room, &user.profile, what).await.unwrap() {
            Reply::Posted { seq, .. } => seq,
            Reply::Edited { .. } | Reply::Done { .. } => unreachable!("a post is answered as posted"),
        }
    }
}
