//! A bus between the parts of several nodes in one process.

use std::{
    collections::HashSet,
    sync::{Arc, OnceLock, Weak},
};

use parking_lot::Mutex;
use rookery_protocol::id::RoomId;

use super::{Bus, Listener, News, NodeRun, RoomNews};

/// What the nodes of one process share.
#[derive(Default)]
pub(crate) struct Wire(Mutex<Vec<Weak<LocalBus>>>);

/// One node's end of it.
pub(crate) struct LocalBus {
    pub(crate) me: NodeRun,
    wire: Arc<Wire>,
    followed: Mutex<HashSet<RoomId>>,
    listener: OnceLock<Arc<dyn Listener>>,
    /// What it tells is lost.
    pub(crate) cut: std::sync::atomic::AtomicBool,
}

impl LocalBus {
    /// One more node.
    pub(crate) fn join(wire: &Arc<Wire>) -> Arc<Self> {
        let this = Arc::new(Self {
            me: NodeRun::draw(),
            wire: wire.clone(),
            followed: Mutex::default(),
            listener: OnceLock::new(),
            cut: false.into(),
        });
        wire.0.lock().push(Arc::downgrade(&this));
        this
    }

    /// In tasks of their own: who tells may hold locks.
    fn others(&self, then: impl Fn(&Arc<dyn Listener>, &HashSet<RoomId>) + Send + Sync + 'static) {
        if self.cut.load(std::sync::atomic::Ordering::Relaxed) {
            return;
        }
        let others: Vec<_> = self.wire.0.lock().iter().filter_map(Weak::upgrade).collect();
        let me = self.me;
        tokio::spawn(async move {
            for other in others.iter().filter(|other| other.me != me) {
                if let Some(listener) = other.listener.get() {
                    let followed = other.followed.lock().clone();
                    then(listener, &followed);
                }
            }
        });
    }
}

impl Bus for LocalBus {
    fn tell(&self, news: News) {
        self.others(move |listener, _| listener.heard(news.clone()));
    }

    fn tell_room(&self, room: RoomId, news: RoomNews) {
        let me = self.me;
        self.others(move |listener, followed| {
            if followed.contains(&room) {
                listener.heard_in(room, me, news.clone());
            }
        });
    }

    fn follow(&self, room: RoomId, on: bool) {
        let mut followed = self.followed.lock();
        if on {
            followed.insert(room);
        } else {
            followed.remove(&room);
        }
    }

    fn listen(&self, listener: Arc<dyn Listener>) {
        let _ = self.listener.set(listener);
    }
}
