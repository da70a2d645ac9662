//! `resume` of a hello, with a limit on how many rooms it names.

use std::{collections::BTreeMap, fmt};

use serde::de::{Error, MapAccess, Unexpected, Visitor};

use crate::limits;

struct Resume;

impl<'de> Visitor<'de> for Resume {
    type Value = BTreeMap<String, u64>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an object of at most {} rooms' ids, each with a last seq", limits::MAX_ROOMS)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut rooms = BTreeMap::new();
        while let Some(room) = map.next_key::<String>()? {
            if rooms.len() == limits::MAX_ROOMS || !limits::is_room(&room) {
                return Err(A::Error::invalid_value(Unexpected::Map, &self));
            }
            rooms.insert(room, map.next_value()?);
        }
        Ok(rooms)
    }
}

pub(crate) fn resume<'de, D: serde::Deserializer<'de>>(from: D) -> Result<BTreeMap<String, u64>, D::Error> {
    from.deserialize_map(Resume)
}
