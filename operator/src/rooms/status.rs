//! What is told of a room. Written when something turns; what only grows is written rarely.

use k8s_openapi::jiff::Timestamp;
use kube::{Resource as _, runtime::events::EventType};
use rookery_crds::{ChatRoom, ChatRoomStatus};
use rookery_protocol::{id::RoomId, peer::RoomReply};

use crate::{
    cluster::{Context, LookError},
    status::{self, Conditions, Says},
};

/// Longest message of a condition, in characters.
const LONGEST: usize = 1024;
/// So many unknown users are named.
pub(super) const NAMED: usize = 20;

/// The status, as far as conditions go: what is to be said by Ready. `available`: `None` leaves that as it was.
pub(super) fn said(room: &ChatRoom, says: &Says, available: Option<bool>) -> ChatRoomStatus {
    let mut status = room.status.clone().unwrap_or_default();
    let generation = room.metadata.generation.unwrap_or_default();
    let before = std::mem::take(&mut status.conditions);
    let told = Conditions { before: &before, now: Timestamp::now(), generation, longest: LONGEST };
    let mut conditions = vec![told.put("Ready", says)];
    match available {
        Some(true) => {
            conditions.push(told.put("Available", &(true, "RoomThere", "the room is there".to_owned())));
        }
        Some(false) => conditions.push(told.put("Available", &(false, says.1, says.2.clone()))),
        None => conditions.extend(told.last("Available").cloned()),
    }
    status.observed_generation = generation;
    status.conditions = conditions;
    status
}

/// The status with what a node says of the room.
pub(super) fn seen(room: &ChatRoom, mut status: ChatRoomStatus, reply: &RoomReply) -> ChatRoomStatus {
    let before = room.status.clone().unwrap_or_default();
    let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    if let Ok(bytes) = <[u8; 16]>::try_from(&*reply.room) {
        status.room_id = RoomId::from_bytes(bytes).to_string();
    }
    status.shard.clone_from(&reply.shard);
    status.node.clone_from(&reply.owner);
    status.epoch = number(reply.epoch);
    status.members = number(reply.members);
    status.unknown_users = reply.unknown_users.iter().take(NAMED).cloned().collect();
    status.last_seq = number(reply.last_seq);
    // Nobody is told of each message: only when the number is far off, or something else is said anyway.
    let grown = status.last_seq.saturating_sub(before.last_seq);
    let alone = ChatRoomStatus { last_seq: before.last_seq, ..status.clone() } == before;
    if alone && (0..=(before.last_seq / 10).max(100)).contains(&grown) {
        status.last_seq = before.last_seq;
    }
    status
}

/// Writes a status if it says something new, and tells an Event when Ready has turned.
pub(super) async fn write(
    context: &Context,
    room: &ChatRoom,
    status: ChatRoomStatus,
) -> Result<(), LookError> {
    if room.status.as_ref() == Some(&status) {
        return Ok(());
    }
    if !status::write(context, room, &status, ("ChatRoom", "write the status of a room")).await? {
        return Ok(());
    }
    let ready = |status: &ChatRoomStatus| {
        status.conditions.iter().find(|condition| condition.kind == "Ready").cloned()
    };
    let Some(now) = ready(&status) else { return Ok(()) };
    let before = room.status.as_ref().and_then(ready);
    if before.is_none_or(|before| (before.status, before.reason) != (now.status.clone(), now.reason.clone()))
    {
        let kind = if now.status == "True" { EventType::Normal } else { EventType::Warning };
        context.tell_of(&room.object_ref(&()), kind, &now.reason, now.message).await;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn room(status: ChatRoomStatus) -> ChatRoom {
        let spec = json!({ "clusterRef": { "name": "chat" }, "displayName": "General" });
        let mut room = ChatRoom::new("general", serde_json::from_value(spec).unwrap());
        room.status = Some(status);
        room
    }

    fn ready() -> Says {
        (true, "AsDeclared", "the room is as it is declared".to_owned())
    }

    #[test]
    fn numbers_that_grow_a_little_are_not_written() {
        let reply = |last_seq, members| RoomReply {
            room: vec![7; 16].into(),
            owner: "chat-main-0".to_owned(),
            last_seq,
            members,
            ..RoomReply::default()
        };
        let look = |before: &ChatRoomStatus, says: Says, reply: RoomReply| {
            let room = room(before.clone());
            seen(&room, said(&room, &says, Some(true)), &reply)
        };
        let first = look(&ChatRoomStatus::default(), ready(), reply(2000, 3));
        assert_eq!((first.last_seq, first.members, first.room_id.is_empty()), (2000, 3, false));
        let next = |last_seq, members| look(&first, ready(), reply(last_seq, members));
        assert_eq!(next(2200, 3), first, "a tenth more");
        assert_eq!(next(2201, 3).last_seq, 2201);
        assert_eq!(next(2001, 4).last_seq, 2001, "along with another number");
        assert_eq!(next(2, 3).last_seq, 2, "another room of that name");
        let other = look(&first, (false, "UsersUnknown", "nobody is called so".to_owned()), reply(2001, 3));
        assert_eq!(other.last_seq, 2001, "along with a condition");
    }

    #[test]
    fn a_condition_keeps_its_time_while_it_holds() {
        let mut first = said(&room(ChatRoomStatus::default()), &ready(), Some(true));
        for condition in &mut first.conditions {
            condition.last_transition_time = "2026-01-01T00:00:00Z".to_owned();
        }
        let same = said(&room(first.clone()), &ready(), None);
        assert_eq!(same, first);
        let other = said(&room(first), &(false, "NoNodeReady", "x".repeat(5000)), None);
        assert_ne!(other.conditions[0].last_transition_time, "2026-01-01T00:00:00Z");
        assert_eq!((other.conditions[0].message.len(), &*other.conditions[1].status), (LONGEST, "True"));
    }
}
