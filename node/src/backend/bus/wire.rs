//! Messages as they travel: JSON, so that nodes of different versions understand what they can.

use bytes::Bytes;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{News, NodeRun, RoomNews};

/// Longest message that is looked at.
const LONGEST: usize = 1 << 20;

/// To all nodes. Also sent without news, once a second: so each node knows who lives, and whether it missed something.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ToAll {
    pub(super) from: NodeRun,
    /// Grows by one with each message of a run.
    pub(super) number: u64,
    #[serde(default)]
    pub(super) news: Vec<News>,
}

/// To the nodes that follow a room.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ToRoom {
    pub(super) from: NodeRun,
    pub(super) news: RoomNews,
}

pub(super) fn encode(message: &impl Serialize) -> Bytes {
    // Text, numbers, ids: this cannot fail.
    serde_json::to_vec(message).unwrap_or_default().into()
}

pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    if bytes.len() > LONGEST {
        return None;
    }
    serde_json::from_slice(bytes).ok()
}

#[cfg(test)]
mod tests {
    use rookery_protocol::id::{RoomId, UserId};

    use super::*;
    use crate::backend::bus::Status;

    #[test]
    fn what_a_later_version_says_is_passed_over() {
        let text = br#"{"from":7,"number":3,"more":1,"news":[{"kind":"keys_changed","why":"x"},{"kind":"later","x":[1]}]}"#;
        let message: ToAll = decode(text).unwrap();
        assert_eq!(
            message,
            ToAll { from: NodeRun(7), number: 3, news: vec![News::KeysChanged, News::Unknown] }
        );
        let text = br#"{"from":7,"news":{"kind":"later","x":{}}}"#;
        assert_eq!(decode::<ToRoom>(text).unwrap().news, RoomNews::Unknown);
        assert!(decode::<ToAll>(b"{").is_none() && decode::<ToAll>(b"").is_none());
    }

    #[test]
    fn and_back() {
        let news = vec![
            News::Newcomer { user: UserId(1), room: RoomId(u128::MAX), seq: u64::MAX },
            News::Read { user: UserId(1), room: RoomId(2), seq: 3, messages: 4 },
            News::UserChanged { user: UserId(9) },
        ];
        let message = ToAll { from: NodeRun(u64::MAX), number: 1, news };
        assert_eq!(decode::<ToAll>(&encode(&message)), Some(message));
        let news = RoomNews::Present { all: true, more: 0, users: vec![(UserId(1), Status::Away)] };
        let message = ToRoom { from: NodeRun(1), news };
        assert_eq!(decode::<ToRoom>(&encode(&message)), Some(message));
    }
}
