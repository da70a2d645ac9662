//! Who is present in a room: at least one of a user's connections on this node follows it.
//!
//! Short absences are not told, and of large rooms only a number is.

use std::{collections::HashMap, time::Instant};

use rookery_protocol::{client, id::RoomId, id::UserId};

use super::{LiveSettings, ids::IdHasher, link::Link};

/// What the members of a room are told of a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    Online,
    Away,
    Offline,
}

impl Status {
    fn word(self) -> &'static str {
        match self {
            Self::Online => "online",
            Self::Away => "away",
            Self::Offline => "offline",
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Present {
    connections: u32,
    away: u32,
    told: Status,
}

impl Present {
    fn status(self) -> Status {
        match self.connections {
            0 => Status::Offline,
            all if all == self.away => Status::Away,
            _ => Status::Online,
        }
    }
}

/// The users of one room.
#[derive(Debug, Default)]
pub(super) struct Attendance {
    users: HashMap<UserId, Present, IdHasher>,
    /// Without a connection since then.
    gone: Vec<(UserId, Instant)>,
    /// How many were told last, and when.
    told: Option<(usize, Instant)>,
}

fn frame(presence: client::Presence) -> client::ServerFrame {
    client::ServerFrame { re: None, frame: Some(client::server_frame::Frame::Presence(presence)) }
}

fn of_user(room: RoomId, user: UserId, status: Status) -> client::ServerFrame {
    frame(client::Presence {
        room: room.to_string(),
        user: user.to_string(),
        status: status.word().to_owned(),
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
    /// One more connection of `user`. What the room is to be told, if anything.
    pub(super) fn enter(
        &mut self,
        room: RoomId,
        user: UserId,
        away: bool,
        settings: &LiveSettings,
    ) -> Option<client::ServerFrame> {
        let present =
            self.users.entry(user).or_insert(Present { connections: 0, away: 0, told: Status::Offline });
        if present.connections == 0 {
            self.gone.retain(|&(gone, _)| gone != user);
        }
        present.connections += 1;
        present.away += u32::from(away);
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
        self.tell(room, user, settings)
    }

    fn tell(&mut self, room: RoomId, user: UserId, settings: &LiveSettings) -> Option<client::ServerFrame> {
        let small = self.users.len() <= settings.presence_members;
        let present = self.users.get_mut(&user)?;
        let status = present.status();
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
        let small = self.users.len() <= settings.presence_members;
        if !self.gone.is_empty() {
            let grace = settings.presence_grace();
            let users = &mut self.users;
            self.gone.retain(|&(user, since)| {
                if now.duration_since(since) < grace {
                    return true;
                }
                users.remove(&user);
                if small {
                    frames.push(of_user(room, user, Status::Offline));
                }
                false
            });
        }
        let online = self.users.len();
        let due = match self.told {
            _ if small => false,
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
        if self.users.len() > settings.presence_members {
            link.post(&of_many(room, self.users.len()));
            return;
        }
        for (&other, present) in &self.users {
            if present.connections > 0 && other != user {
                link.post(&of_user(room, other, present.status()));
            }
        }
    }

    /// Nobody is here, nor was a moment ago.
    pub(super) fn is_empty(&self) -> bool {
        self.users.is_empty()
    }
}
