//! Who is present in a room: at least one of a user's connections, on this node or another, follows it.
//!
//! Short absences are not told, and of large rooms only a number is. Other nodes are told once a second at most, of what has
//! changed; now and then, and when one asks, of all. What they say is forgotten when they fall silent.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use rookery_protocol::{client, id::RoomId, id::UserId};

use super::{LiveSettings, ids::IdHasher, link::Link};
use crate::backend::bus::{NodeRun, RoomNews, Status};

/// Other nodes are told of all who are here so often, in case that they missed something.
const REPEAT: Duration = Duration::from_secs(30);
/// What a node said is forgotten when it was not repeated for so long.
const FORGET: Duration = Duration::from_secs(100);
/// Nodes, and users of each, that are remembered.
const NODES: usize = 256;
const USERS: usize = 10_000;

fn word(status: Status) -> &'static str {
    match status {
        Status::Online => "online",
        Status::Away => "away",
        Status::Offline => "offline",
    }
}

#[derive(Debug, Clone, Copy)]
struct Present {
    connections: u32,
    away: u32,
    /// He has a connection to this node, or had one a moment ago.
    here: bool,
    /// By way of other nodes.
    elsewhere: Status,
    /// What the members here were told.
    told: Status,
    /// What other nodes were told.
    shared: Status,
}

impl Default for Present {
    fn default() -> Self {
        use Status::Offline;
        Self { connections: 0, away: 0, here: false, elsewhere: Offline, told: Offline, shared: Offline }
    }
}

impl Present {
    fn status_here(self) -> Status {
        match self.connections {
            0 => Status::Offline,
            all if all == self.away => Status::Away,
            _ => Status::Online,
        }
    }

    fn status(self) -> Status {
        self.status_here().max(self.elsewhere)
    }
}

/// What another node said.
#[derive(Debug)]
struct Elsewhere {
    users: HashMap<UserId, Status, IdHasher>,
    more: u32,
    at: Instant,
}

/// The users of one room.
#[derive(Debug, Default)]
pub(super) struct Attendance {
    users: HashMap<UserId, Present, IdHasher>,
    /// Without a connection since then.
    gone: Vec<(UserId, Instant)>,
    /// How many were told last, and when.
    told: Option<(usize, Instant)>,
    /// Users who are here.
    here: usize,
    /// What other nodes said.
    nodes: HashMap<NodeRun, Elsewhere>,
    /// There are other nodes.
    shares: bool,
    /// Users of whom they are to be told.
    unshared: Vec<UserId>,
    /// Other nodes are to be told of all.
    share_all: bool,
    /// When they were, last, and how many were too many to name then.
    shared: Option<(Instant, usize)>,
}

fn frame(presence: client::Presence) -> client::ServerFrame {
    client::ServerFrame { re: None, frame: Some(client::server_frame::Frame::Presence(presence)) }
}

fn of_user(room: RoomId, user: UserId, status: Status) -> client::ServerFrame {
    frame(client::Presence {
        room: room.to_string(),
        user: user.to_string(),
        status: word(status).to_owned(),
        online: None,
    })
}

fn of_many(room: RoomId, online: usize) -> client::ServerFrame {
    frame(client::Presence {
        room: room.to_string(),
        online: Some(u32::try_from(online).unwrap_or(u32::MAX)),
        ..Default::default()
    })
}

impl Attendance {
    /// Nobody yet. `shares`: there are other nodes.
    pub(super) fn new(shares: bool) -> Self {
        Self { shares, ..Self::default() }
    }

    /// One more connection of `user`. What the room is to be told, if anything.
    pub(super) fn enter(
        &mut self,
        room: RoomId,
        user: UserId,
        away: bool,
        settings: &LiveSettings,
    ) -> Option<client::ServerFrame> {
        let present = self.users.entry(user).or_default();
        if present.connections == 0 {
            self.gone.retain(|&(gone, _)| gone != user);
        }
        if !present.here {
            present.here = true;
            self.here += 1;
        }
        present.connections += 1;
        present.away += u32::from(away);
        self.changed_here(user);
        self.tell(room, user, settings)
    }

    /// One connection of `user` less. He is told to be offline later, by [`Self::tick`].
    pub(super) fn leave(
        &mut self,
        room: RoomId,
        user: UserId,
        away: bool,
        settings: &LiveSettings,
    ) -> Option<client::ServerFrame> {
        let present = self.users.get_mut(&user)?;
        present.connections -= 1;
        present.away -= u32::from(away);
        if present.connections == 0 {
            self.gone.push((user, Instant::now()));
            return None;
        }
        self.changed_here(user);
        self.tell(room, user, settings)
    }

    /// One of a user's connections is away now, or back.
    pub(super) fn change(
        &mut self,
        room: RoomId,
        user: UserId,
        away: bool,
        settings: &LiveSettings,
    ) -> Option<client::ServerFrame> {
        let present = self.users.get_mut(&user)?;
        if away {
            present.away += 1;
        } else {
            present.away -= 1;
        }
        self.changed_here(user);
        self.tell(room, user, settings)
    }

    /// Few enough to be told one by one.
    fn is_small(&self, settings: &LiveSettings) -> bool {
        self.users.len() <= settings.presence_members && self.nodes.values().all(|node| node.more == 0)
    }

    /// All of them. Whoever is in a large room by way of two nodes is counted twice.
    fn online(&self) -> usize {
        self.users.len() + self.nodes.values().map(|node| node.more as usize).sum::<usize>()
    }

    /// What the room is to be told of a user, if that has changed. Who is nowhere is forgotten.
    fn tell(&mut self, room: RoomId, user: UserId, settings: &LiveSettings) -> Option<client::ServerFrame> {
        let small = self.is_small(settings);
        let present = self.users.get_mut(&user)?;
        let status = present.status();
        if status == Status::Offline {
            // Who left a moment ago is told to be gone later.
            if present.here {
                return None;
            }
            let told = self.users.remove(&user)?.told;
            return (small && told != Status::Offline).then(|| of_user(room, user, status));
        }
        if present.told == status {
            return None;
        }
        present.told = status;
        small.then(|| of_user(room, user, status))
    }

    /// Once a second: who stayed away, and how many are in a large room.
    pub(super) fn tick(
        &mut self,
        room: RoomId,
        now: Instant,
        settings: &LiveSettings,
    ) -> Vec<client::ServerFrame> {
        let mut frames = Vec::new();
        if !self.gone.is_empty() {
            let grace = settings.presence_grace();
            let is_over = |since: Instant| now.saturating_duration_since(since) >= grace;
            let mut ended: Vec<UserId> = Vec::new();
            self.gone.retain(|&(user, since)| {
                if is_over(since) {
                    ended.push(user);
                }
                !is_over(since)
            });
            for user in ended {
                if let Some(present) = self.users.get_mut(&user) {
                    present.here = false;
                    self.here -= 1;
                    self.changed_here(user);
                    frames.extend(self.tell(room, user, settings));
                }
            }
        }
        let forgotten = |node: &Elsewhere| now.saturating_duration_since(node.at) >= FORGET;
        let silent: Vec<_> =
            self.nodes.iter().filter(|(_, node)| forgotten(node)).map(|(&run, _)| run).collect();
        for node in silent {
            frames.extend(self.forget(room, node, settings));
        }
        let online = self.online();
        let due = match self.told {
            _ if self.is_small(settings) => false,
            None => true,
            Some((told, at)) => told != online && now.duration_since(at) >= settings.presence_count_every(),
        };
        if due {
            self.told = Some((online, now));
            frames.push(of_many(room, online));
        }
        frames
    }

    /// Tells a newcomer, `user`, who else is there.
    pub(super) fn greet(&self, room: RoomId, user: UserId, link: &Link, settings: &LiveSettings) {
        if self.users.is_empty() {
            return;
        }
        if !self.is_small(settings) {
            link.post(&of_many(room, self.online()));
            return;
        }
        for (&other, present) in &self.users {
            if present.status() != Status::Offline && other != user {
                link.post(&of_user(room, other, present.status()));
            }
        }
    }

    /// Nobody is here, nor was a moment ago.
    pub(super) fn is_empty(&self) -> bool {
        self.users.is_empty() && self.nodes.is_empty()
    }
}

/// What nodes tell each other.
impl Attendance {
    fn changed_here(&mut self, user: UserId) {
        if !self.shares {
            return;
        }
        // As many as there are; then all are told of.
        if self.unshared.len() < USERS {
            self.unshared.push(user);
        } else {
            self.share_all = true;
        }
    }

    /// Another node asks, or may have missed something.
    pub(super) fn share_all(&mut self) {
        self.share_all = true;
    }

    /// Once a second, if there are other nodes: what to tell them.
    pub(super) fn share(&mut self, now: Instant, settings: &LiveSettings) -> Option<RoomNews> {
        let (at, counted) = self.shared.map_or((None, 0), |(at, counted)| (Some(at), counted));
        let since = at.map(|at| now.saturating_duration_since(at));
        let repeat = since.is_none_or(|since| since >= REPEAT);
        if self.here > settings.presence_members {
            self.unshared = Vec::new();
            let moved =
                counted != self.here && since.is_none_or(|since| since >= settings.presence_count_every());
            if !std::mem::take(&mut self.share_all) && !repeat && !moved && counted > 0 {
                return None;
            }
            self.shared = Some((now, self.here));
            // All that can be told of them by name before is void.
            self.users.values_mut().for_each(|present| present.shared = Status::Offline);
            let more = u32::try_from(self.here).unwrap_or(u32::MAX);
            return Some(RoomNews::Present { all: true, more, users: Vec::new() });
        }
        let asked = std::mem::take(&mut self.share_all);
        if counted > 0 || (self.here > 0 && (asked || repeat)) {
            self.unshared = Vec::new();
            self.shared = Some((now, 0));
            let here = self.users.iter_mut().filter(|(_, present)| present.here);
            let users = here.map(|(&user, present)| {
                // Who left a moment ago is as he was.
                if present.connections > 0 {
                    present.shared = present.status_here();
                }
                (user, present.shared)
            });
            let users = users.filter(|(_, status)| *status != Status::Offline).collect();
            return Some(RoomNews::Present { all: true, more: 0, users });
        }
        let mut users: Vec<(UserId, Status)> = Vec::new();
        let mut unshared = std::mem::take(&mut self.unshared);
        unshared.sort_unstable();
        unshared.dedup();
        for user in unshared {
            let status = match self.users.get_mut(&user) {
                Some(present) if present.here => {
                    if present.connections == 0 || present.shared == present.status_here() {
                        continue;
                    }
                    present.shared = present.status_here();
                    present.shared
                }
                Some(present) => {
                    present.shared = Status::Offline;
                    Status::Offline
                }
                None => Status::Offline,
            };
            users.push((user, status));
        }
        (!users.is_empty()).then_some(RoomNews::Present { all: false, more: 0, users })
    }

    /// What another node says of those who are there by way of it. What the room here is to be told.
    pub(super) fn heard(
        &mut self,
        room: RoomId,
        from: NodeRun,
        (all, more, users): (bool, u32, Vec<(UserId, Status)>),
        settings: &LiveSettings,
    ) -> Vec<client::ServerFrame> {
        if !self.nodes.contains_key(&from) && self.nodes.len() >= NODES {
            return Vec::new();
        }
        let node = self.nodes.entry(from).or_insert_with(|| Elsewhere {
            users: HashMap::default(),
            more: 0,
            at: Instant::now(),
        });
        let mut touched: Vec<UserId> = Vec::new();
        if all {
            node.at = Instant::now();
            node.more = more;
            touched.extend(node.users.drain().map(|(user, _)| user));
        }
        for (user, status) in users.into_iter().take(USERS) {
            touched.push(user);
            if status == Status::Offline {
                node.users.remove(&user);
            } else if node.users.len() < USERS {
                node.users.insert(user, status);
            }
        }
        self.look_again(room, touched, settings)
    }

    /// A node is silent: nobody is there by way of it.
    pub(super) fn forget(
        &mut self,
        room: RoomId,
        node: NodeRun,
        settings: &LiveSettings,
    ) -> Vec<client::ServerFrame> {
        let Some(node) = self.nodes.remove(&node) else { return Vec::new() };
        self.look_again(room, node.users.into_keys().collect(), settings)
    }

    /// Finds out how users are by way of other nodes.
    fn look_again(
        &mut self,
        room: RoomId,
        users: Vec<UserId>,
        settings: &LiveSettings,
    ) -> Vec<client::ServerFrame> {
        let mut frames = Vec::new();
        for user in users {
            let of_nodes = self.nodes.values().filter_map(|node| node.users.get(&user).copied());
            let elsewhere = of_nodes.max().unwrap_or(Status::Offline);
            if elsewhere != Status::Offline || self.users.contains_key(&user) {
                self.users.entry(user).or_default().elsewhere = elsewhere;
                frames.extend(self.tell(room, user, settings));
            }
        }
        frames
    }
}
