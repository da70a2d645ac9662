//! All WebSockets of this node: by login, by user, and one after another.

use std::{
    collections::HashMap,
    hash::BuildHasher,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use parking_lot::Mutex;
use rookery_protocol::id::{SessionId, UserId};

use crate::{
    accounts::Revocation,
    live::{IdHasher, link::Link},
};

/// Locks are spread over so many parts.
const SHARDS: usize = 16;

type Many = Vec<Arc<Link>>;

#[derive(Debug, Default)]
struct Shard {
    users: Mutex<HashMap<UserId, Many, IdHasher>>,
    sessions: Mutex<HashMap<SessionId, Many, IdHasher>>,
    all: Mutex<HashMap<usize, Arc<Link>, IdHasher>>,
}

/// See the module's text.
#[derive(Debug, Default)]
pub struct Registry {
    shards: [Shard; SHARDS],
    count: AtomicUsize,
}

fn shard(hash: u64) -> usize {
    (hash >> 40) as usize % SHARDS
}

fn address(link: &Arc<Link>) -> usize {
    Arc::as_ptr(link) as usize
}

fn add<K: Eq + std::hash::Hash>(map: &Mutex<HashMap<K, Many, IdHasher>>, key: K, link: &Arc<Link>) {
    // Nearly everybody has one connection.
    map.lock().entry(key).or_insert_with(|| Vec::with_capacity(1)).push(link.clone());
}

fn remove<K: Eq + std::hash::Hash>(map: &Mutex<HashMap<K, Many, IdHasher>>, key: &K, link: &Arc<Link>) {
    let mut map = map.lock();
    if let Some(links) = map.get_mut(key) {
        links.retain(|one| !Arc::ptr_eq(one, link));
        if links.is_empty() {
            map.remove(key);
        }
    }
}

impl Registry {
    fn of_user(&self, user: UserId) -> &Shard {
        &self.shards[shard(IdHasher.hash_one(user))]
    }

    fn of_session(&self, session: SessionId) -> &Shard {
        &self.shards[shard(IdHasher.hash_one(session))]
    }

    fn of_link(&self, link: &Arc<Link>) -> &Shard {
        &self.shards[shard(IdHasher.hash_one(address(link)))]
    }

    /// A WebSocket is open.
    pub(super) fn add(&self, link: &Arc<Link>) {
        self.count.fetch_add(1, Ordering::AcqRel);
        self.of_link(link).all.lock().insert(address(link), link.clone());
    }

    /// It has said who it is.
    pub(super) fn admit(&self, link: &Arc<Link>, user: UserId, session: SessionId) {
        link.set_session(session);
        add(&self.of_user(user).users, user, link);
        add(&self.of_session(session).sessions, session, link);
    }

    /// It goes on with a token of another login.
    pub(super) fn move_session(&self, link: &Arc<Link>, to: SessionId) {
        let from = link.set_session(to);
        if from != Some(to) {
            if let Some(from) = from {
                remove(&self.of_session(from).sessions, &from, link);
            }
            add(&self.of_session(to).sessions, to, link);
        }
    }

    /// It is gone.
    pub(super) fn remove(&self, link: &Arc<Link>) {
        if self.of_link(link).all.lock().remove(&address(link)).is_none() {
            return;
        }
        self.count.fetch_sub(1, Ordering::AcqRel);
        if let Some(user) = link.user() {
            remove(&self.of_user(user).users, &user, link);
        }
        if let Some(session) = link.session() {
            remove(&self.of_session(session).sessions, &session, link);
        }
    }

    /// A user's connections.
    pub(super) fn links(&self, user: UserId) -> Many {
        self.of_user(user).users.lock().get(&user).cloned().unwrap_or_default()
    }

    /// The connections that a revocation ends.
    pub(super) fn revoked(&self, revocation: Revocation) -> Many {
        match revocation {
            Revocation::User(user) | Revocation::Perhaps(user) => self.links(user),
            Revocation::Session(session) => {
                self.of_session(session).sessions.lock().get(&session).cloned().unwrap_or_default()
            }
            Revocation::PerhapsAny => {
                let mut all = Vec::with_capacity(self.count());
                self.for_each(|link| all.push(link.clone()));
                all
            }
        }
    }

    /// Looks at every connection, a part of them at a time.
    pub(crate) fn for_each(&self, mut look: impl FnMut(&Arc<Link>)) {
        for shard in &self.shards {
            for link in shard.all.lock().values() {
                look(link);
            }
        }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.count.load(Ordering::Acquire)
    }
}
