//! Where things lie: names of streams and subjects, and the way from a row's key to its subject and back.
//!
//! Nothing of this may change for a cluster that has data; `VERSION` is written on each stream.

use bytes::{BufMut as _, Bytes, BytesMut};
use rookery_core::ring::slot_of;
use rookery_protocol::id::{RoomId, UserId};

use crate::backend::Table;

/// Version of the names below.
pub(super) const VERSION: &str = "1";
/// Events that share a subject: those of a page lie in one or two.
pub(super) const CHUNK: u64 = 256;

/// Names of one cluster's streams and subjects.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    pub(super) cluster: String,
    pub(super) log_streams: u16,
}

/// Where a row lies.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Place {
    pub(super) stream: String,
    pub(super) subject: String,
}

/// Which subject holds the record whose first event is this.
pub(super) fn chunk_of(first_seq: u64) -> u64 {
    first_seq.saturating_sub(1) / CHUNK
}

fn id(bytes: &[u8]) -> Option<u128> {
    Some(u128::from_be_bytes(bytes.try_into().ok()?))
}

fn hex(key: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut text = String::with_capacity(1 + 2 * key.len());
    // A token must not be empty.
    text.push('x');
    for byte in key {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

fn unhex(token: &str) -> Option<Bytes> {
    let digits = token.strip_prefix('x')?.as_bytes();
    let mut key = BytesMut::with_capacity(digits.len() / 2);
    for pair in digits.chunks(2) {
        key.put_u8(u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?);
    }
    Some(key.freeze())
}

/// Tables of accounts, with their tokens.
fn account_token(table: Table) -> Option<&'static str> {
    match table {
        Table::Users => Some("user"),
        Table::UsersByEmail => Some("email"),
        Table::UsersByName => Some("name"),
        Table::Secrets => Some("secret"),
        Table::Departures => Some("departure"),
        Table::Identities => Some("identity"),
        _ => None,
    }
}

impl Layout {
    pub(super) fn part(&self, room: RoomId) -> u16 {
        slot_of(room).number() % self.log_streams
    }

    /// Which part of the log a place lies in, if it lies in one.
    pub(super) fn part_of(&self, place: &Place) -> Option<u16> {
        place.stream.strip_prefix(&*self.cluster)?.strip_prefix("-log-")?.parse().ok()
    }

    pub(super) fn log_stream(&self, part: u16) -> String {
        format!("{}-log-{part}", self.cluster)
    }

    pub(super) fn accounts_stream(&self) -> String {
        format!("{}-accounts", self.cluster)
    }

    pub(super) fn outbox_stream(&self) -> String {
        rookery_protocol::outbox::stream(&self.cluster)
    }

    pub(super) fn outbox_subject(&self) -> String {
        rookery_protocol::outbox::subject(&self.cluster)
    }

    pub(super) fn reminders_stream(&self) -> String {
        format!("{}-reminders", self.cluster)
    }

    /// Where a reminder waits for its time.
    pub(super) fn later_reminder(&self, user: UserId) -> String {
        format!("{}.reminder.later.{user}", self.cluster)
    }

    /// Where it is when the time has come.
    pub(super) fn due_reminder(&self, user: UserId) -> String {
        format!("{}.reminder.due.{user}", self.cluster)
    }

    pub(super) fn due_reminders(&self) -> String {
        format!("{}.reminder.due.*", self.cluster)
    }

    /// The subject of a record, from its first event's seq.
    pub(super) fn record(&self, room: RoomId, first_seq: u64) -> String {
        self.chunk(room, chunk_of(first_seq))
    }

    pub(super) fn chunk(&self, room: RoomId, chunk: u64) -> String {
        format!("{}.log.{}.{room}.{chunk}", self.cluster, self.part(room))
    }

    /// All of a room's records. Conditions of appends always name exactly this: the server compares it as text.
    pub(super) fn records(&self, room: RoomId) -> String {
        format!("{}.log.{}.{room}.*", self.cluster, self.part(room))
    }

    /// What became of the messages of some seqs: those that give `part` when divided by 256.
    pub(super) fn amendments(&self, room: RoomId, part: u64) -> String {
        format!("{}.row.{}.a.{room}.{part}.*", self.cluster, self.part(room))
    }

    /// Of messages that mean nothing, and prove what was read: see `proof`.
    pub(super) fn proof(&self, part: u16) -> String {
        format!("{}.row.{part}.proof", self.cluster)
    }

    pub(super) fn live(&self, room: RoomId) -> String {
        format!("{}.live.{room}", self.cluster)
    }

    /// Where a row lies; `None`: the table is not kept here, or the key has another form.
    pub(super) fn row(&self, table: Table, key: &[u8]) -> Option<Place> {
        if let Some(token) = account_token(table) {
            let subject = format!("{}.account.{token}.{}", self.cluster, hex(key));
            return Some(Place { stream: self.accounts_stream(), subject });
        }
        let (room, tail) = match (table, key.len()) {
            (Table::Memberships, 32) => {
                let room = RoomId(id(&key[16..])?);
                (room, format!("m.{}.{room}", UserId(id(&key[..16])?)))
            }
            (Table::ReadMarks, 32) => {
                let room = RoomId(id(&key[16..])?);
                (room, format!("r.{}.{room}.mark", UserId(id(&key[..16])?)))
            }
            (Table::ReadMarks, 40) => {
                let room = RoomId(id(&key[16..32])?);
                let seq = u64::from_be_bytes(*key.last_chunk()?);
                (room, format!("r.{}.{room}.{seq}", UserId(id(&key[..16])?)))
            }
            (Table::PublicRooms, 16) => {
                let room = RoomId(id(key)?);
                (room, format!("p.{room}"))
            }
            (Table::Amendments, 24) => {
                let room = RoomId(id(&key[..16])?);
                let seq = u64::from_be_bytes(*key.last_chunk()?);
                (room, format!("a.{room}.{}.{seq}", seq >> 8))
            }
            (Table::Snapshots, 16) => {
                let room = RoomId(id(key)?);
                (room, format!("s.{room}.state"))
            }
            (Table::Snapshots, 20) if key.ends_with(b"info") => {
                let room = RoomId(id(&key[..16])?);
                (room, format!("s.{room}.info"))
            }
            _ => return None,
        };
        let part = self.part(room);
        let subject = format!("{}.row.{part}.{tail}", self.cluster);
        Some(Place { stream: self.log_stream(part), subject })
    }

    /// The key of the row that lies at a subject.
    pub(super) fn key(&self, table: Table, subject: &str) -> Option<Bytes> {
        let rest = subject.strip_prefix(self.cluster.as_str())?.strip_prefix('.')?;
        let mut tokens = rest.split('.');
        if let Some(token) = account_token(table) {
            let found = (tokens.next()?, tokens.next()?, tokens.next()?);
            return if found.0 == "account" && found.1 == token { unhex(found.2) } else { None };
        }
        // "row", part, table.
        let mut tokens = tokens.skip(3);
        let mut key = BytesMut::with_capacity(40);
        match table {
            Table::Memberships | Table::ReadMarks => {
                key.put_u128(tokens.next()?.parse::<UserId>().ok()?.0);
                key.put_u128(tokens.next()?.parse::<RoomId>().ok()?.0);
                if let Some(seq) = tokens.next().filter(|token| *token != "mark") {
                    key.put_u64(seq.parse().ok()?);
                }
            }
            Table::PublicRooms => key.put_u128(tokens.next()?.parse::<RoomId>().ok()?.0),
            Table::Amendments => {
                key.put_u128(tokens.next()?.parse::<RoomId>().ok()?.0);
                key.put_u64(tokens.nth(1)?.parse().ok()?);
            }
            Table::Snapshots => {
                key.put_u128(tokens.next()?.parse::<RoomId>().ok()?.0);
                match tokens.next()? {
                    "state" => {}
                    "info" => key.put_slice(b"info"),
                    _ => return None,
                }
            }
            _ => return None,
        }
        Some(key.freeze())
    }

    /// Filters that together match all rows of a table whose keys start with `prefix`, and as few others as may be;
    /// `None`: such lists are not kept here.
    pub(super) fn filters(&self, table: Table, prefix: &[u8]) -> Option<Vec<Place>> {
        let cluster = &self.cluster;
        if let Some(token) = account_token(table) {
            let subject = format!("{cluster}.account.{token}.*");
            return Some(vec![Place { stream: self.accounts_stream(), subject }]);
        }
        let user = prefix.get(..16).and_then(id).map(UserId);
        let room = match table {
            Table::Memberships | Table::ReadMarks => prefix.get(16..32),
            Table::Amendments | Table::PublicRooms => prefix.get(..16),
            _ => return None,
        };
        let room = room.and_then(id).map(RoomId);
        let user_token = user.map_or_else(|| "*".to_owned(), |user| user.to_string());
        let room_token = room.map_or_else(|| "*".to_owned(), |room| room.to_string());
        let tail = match table {
            Table::Memberships => format!("m.{user_token}.{room_token}"),
            Table::ReadMarks => format!("r.{user_token}.{room_token}.*"),
            Table::PublicRooms => format!("p.{room_token}"),
            // A chunk of messages: the first seven bytes of their seqs.
            Table::Amendments => match prefix.get(16..23) {
                Some(high) => {
                    let mut chunk = [0; 8];
                    chunk[1..].copy_from_slice(high);
                    format!("a.{room_token}.{}.*", u64::from_be_bytes(chunk))
                }
                None => format!("a.{room_token}.>"),
            },
            _ => return None,
        };
        let parts = match room {
            Some(room) => self.part(room)..self.part(room) + 1,
            None => 0..self.log_streams,
        };
        Some(
            parts
                .map(|part| Place {
                    stream: self.log_stream(part),
                    subject: format!("{cluster}.row.{part}.{tail}"),
                })
                .collect(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_become_subjects_and_back() {
        let layout = Layout { cluster: "c".into(), log_streams: 8 };
        let (user, room) = (UserId(7 << 90 | 1), RoomId(9 << 100 | 2));
        let join = |parts: &[&[u8]]| parts.concat();
        let (u, r, s) = (user.to_bytes(), room.to_bytes(), 0x1234_u64.to_be_bytes());
        for (table, key, wanted) in [
            (Table::Memberships, join(&[&u, &r]), format!("m.{user}.{room}")),
            (Table::ReadMarks, join(&[&u, &r]), format!("r.{user}.{room}.mark")),
            (Table::ReadMarks, join(&[&u, &r, &s]), format!("r.{user}.{room}.4660")),
            (Table::PublicRooms, r.to_vec(), format!("p.{room}")),
            (Table::Amendments, join(&[&r, &s]), format!("a.{room}.18.4660")),
            (Table::Snapshots, r.to_vec(), format!("s.{room}.state")),
            (Table::Snapshots, join(&[&r, b"info"]), format!("s.{room}.info")),
        ] {
            let place = layout.row(table, &key).unwrap();
            let part = layout.part(room);
            assert_eq!(place.subject, format!("c.row.{part}.{wanted}"));
            assert_eq!(place.stream, format!("c-log-{part}"));
            assert_eq!(layout.key(table, &place.subject).unwrap(), key);
        }
        for key in [&b""[..], b"a.b*", &[0xFF; 40]] {
            let place = layout.row(Table::UsersByEmail, key).unwrap();
            assert_eq!(layout.key(Table::UsersByEmail, &place.subject).unwrap(), key);
        }
        assert_eq!(layout.row(Table::Memberships, b"short"), None);
        assert_eq!(layout.row(Table::Ephemeral, b"x"), None);
        let filters = layout.filters(Table::Memberships, &u).unwrap();
        assert_eq!(filters.len(), 8);
        assert_eq!(filters[3].subject, format!("c.row.3.m.{user}.*"));
        let chunk = layout.filters(Table::Amendments, &join(&[&r, &s[..7]])).unwrap();
        assert_eq!(chunk[0].subject, format!("c.row.{}.a.{room}.18.*", layout.part(room)));
        assert_eq!(chunk_of(1), 0);
        assert_eq!((chunk_of(256), chunk_of(257)), (0, 1));
    }
}
