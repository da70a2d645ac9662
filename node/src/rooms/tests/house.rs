//! What the tests share: a store, rooms on it, people.

use std::{path::Path, sync::Arc, time::Duration};

use prometheus_client::registry::Registry;
use rookery_core::{
    ring::View,
    room::{Kind, Profile, Reply, Visibility, What},
};
use rookery_protocol::{
    client,
    id::{RoomId, UserId},
};

use crate::{
    backend::{
        RoomLog,
        embedded::{Store, StoreMetrics, StoreSettings},
    },
    problem::Problem,
    rooms::{NewRoom, Rooms, RoomsMetrics, RoomsSettings},
};

pub(in crate::rooms) struct House {
    pub(in crate::rooms) rooms: Arc<Rooms>,
    pub(in crate::rooms) store: Arc<Store>,
    pub(in crate::rooms) dir: Arc<tempfile::TempDir>,
}

pub(in crate::rooms) fn open(dir: &Path) -> Arc<Store> {
    let metrics = StoreMetrics::register(&mut Registry::default());
    Store::open(dir, &StoreSettings::default(), metrics).unwrap()
}

pub(in crate::rooms) fn on(store: &Arc<Store>, log: Arc<dyn RoomLog>, settings: RoomsSettings) -> Arc<Rooms> {
    Rooms::start(settings, "test", &View::alone("test"), log, store.clone(), RoomsMetrics::default())
}

impl House {
    pub(in crate::rooms) fn new() -> Self {
        Self::with(RoomsSettings::default())
    }

    pub(in crate::rooms) fn with(settings: RoomsSettings) -> Self {
        let dir = Arc::new(tempfile::tempdir().unwrap());
        let store = open(dir.path());
        Self { rooms: on(&store, store.clone(), settings), store, dir }
    }

    /// Stops everything, and serves the same directory again.
    pub(in crate::rooms) async fn again(self) -> Self {
        self.rooms.stop(Duration::from_secs(10)).await;
        self.crash().await
    }

    /// The same without a stop: what is only in memory is gone.
    pub(in crate::rooms) async fn crash(self) -> Self {
        let Self { rooms, store, dir } = self;
        let weak = Arc::downgrade(&store);
        drop((rooms, store));
        // Tasks end when their mailboxes close; then nobody holds the store any more.
        let closed = async {
            while weak.strong_count() > 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), closed).await.expect("nobody holds the store");
        let store = open(dir.path());
        Self { rooms: on(&store, store.clone(), RoomsSettings::default()), store, dir }
    }

    pub(in crate::rooms) async fn room(&self, by: &Arc<Profile>, others: &[&Arc<Profile>]) -> RoomId {
        let new =
            NewRoom { name: "Room".into(), kind: Kind::Group, visibility: Visibility::Public, topic: None };
        let room = self.rooms.create(by, new).await.unwrap().id;
        for other in others {
            self.rooms.join(room, other).await.unwrap();
        }
        room
    }

    pub(in crate::rooms) async fn say(&self, room: RoomId, by: &Arc<Profile>, text: &str, id: &str) -> u64 {
        match self.rooms.command(room, by, post(text, id)).await.unwrap() {
            Reply::Posted { seq, .. } => seq,
            Reply::Edited { .. } | Reply::Done { .. } => panic!("no message"),
        }
    }

    pub(in crate::rooms) async fn does(
        &self,
        room: RoomId,
        by: &Arc<Profile>,
        what: What,
    ) -> Result<Reply, Problem> {
        self.rooms.command(room, by, what).await
    }

    pub(in crate::rooms) async fn message(
        &self,
        room: RoomId,
        by: &Arc<Profile>,
        seq: u64,
    ) -> client::Message {
        self.rooms.message(room, by.id, seq).await.unwrap()
    }
}

pub(in crate::rooms) fn post(text: &str, id: &str) -> What {
    What::Post { text: text.into(), client_msg_id: id.into(), reply_to: None }
}

pub(in crate::rooms) fn user(number: u64, name: &str) -> Arc<Profile> {
    Arc::new(Profile {
        id: UserId::from_parts(1_700_000_000_000 + number, number.into()),
        username: name.into(),
        display_name: name.to_uppercase(),
    })
}

pub(in crate::rooms) fn code<T: std::fmt::Debug>(outcome: Result<T, Problem>) -> (u16, &'static str) {
    let problem = outcome.unwrap_err();
    (problem.status, problem.code)
}
