//! `rooms` of a hello: the string `"all"`, or a list of rooms' ids.

use std::fmt;

use serde::de::{Error, SeqAccess, Unexpected, Visitor};

use crate::{client::RoomSelection, limits};

const ALL: &str = "all";

impl serde::Serialize for RoomSelection {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        if self.all { to.serialize_str(ALL) } else { self.rooms.serialize(to) }
    }
}

struct Selection;

impl<'de> Visitor<'de> for Selection {
    type Value = RoomSelection;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"all\" or a list of at most {} rooms' ids", limits::MAX_ROOMS)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<RoomSelection, E> {
        match text {
            ALL => Ok(RoomSelection { all: true, rooms: Vec::new() }),
            _ => Err(E::invalid_value(Unexpected::Str("text"), &self)),
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<RoomSelection, A::Error> {
        let mut rooms = Vec::new();
        while let Some(room) = list.next_element::<String>()? {
            if rooms.len() == limits::MAX_ROOMS || !limits::is_room(&room) {
                return Err(A::Error::invalid_value(Unexpected::Seq, &self));
            }
            rooms.push(room);
        }
        Ok(RoomSelection { all: false, rooms })
    }
}

impl<'de> serde::Deserialize<'de> for RoomSelection {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Selection)
    }
}
