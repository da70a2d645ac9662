//! What is stored in the end.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::{
    history::{Body, Truth, fold},
    user::User,
    ws::Subprotocol,
};

/// All durable events of the rooms, by replay from the beginning.
pub async fn read(user: &User, rooms: &[String]) -> Truth {
    let mut truth = Truth::new();
    for room in rooms {
        let mut ws = user.resume(Subprotocol::Proto, room, 0).await;
        let (events, caught_up) = ws.replay(room).await;
        assert!(events.iter().all(|event| event["t"] != "resync"), "{room} is too long to be replayed");
        let events: Vec<_> = events.iter().filter_map(Body::of).collect();
        assert_eq!(Some(events.len() as u64), caught_up["last_seq"].as_u64());
        truth.insert(room.clone(), events);
    }
    truth
}

/// The history pages say of each message what its events have made of it.
pub async fn compare_with_pages(user: &User, truth: &Truth) {
    for (room, events) in truth {
        let expected = fold(events);
        let mut seen = BTreeSet::new();
        let mut after = 0;
        loop {
            let page =
                user.api.get(&format!("/v1/rooms/{room}/messages?after={after}&limit=200")).await.is(200);
            for message in page["messages"].as_array().expect("messages") {
                let seq = message["seq"].as_u64().expect("a seq");
                assert!(seq > after, "{seq} is not after {after}");
                after = seq;
                seen.insert(seq);
                let state = expected.get(&seq).unwrap_or_else(|| panic!("no event makes {message}"));
                assert_eq!(message["client_msg_id"], state.client_msg_id.as_str(), "{message}");
                assert_eq!(message["deleted"] == true, state.deleted, "{message}");
                if let Some(text) = &state.text {
                    assert_eq!(message["text"], text.as_str(), "{message}");
                }
                let reactions: BTreeMap<&str, u64> = message["reactions"]
                    .as_object()
                    .expect("reactions")
                    .iter()
                    .map(|(emoji, reaction)| (emoji.as_str(), count(reaction)))
                    .collect();
                let wanted: BTreeMap<&str, u64> = state
                    .reactions
                    .iter()
                    .map(|(emoji, users)| (emoji.as_str(), users.len() as u64))
                    .collect();
                assert_eq!(reactions, wanted, "{message}");
            }
            if page["has_more"] == false {
                break;
            }
        }
        assert_eq!(seen, expected.keys().copied().collect(), "messages that no page has");
    }
}

fn count(reaction: &Value) -> u64 {
    reaction["count"].as_u64().unwrap_or_default()
}
