//! What a room's refusal is to a client: the one place where its status and code are chosen.

use std::time::Duration;

use rookery_core::room::Refusal;

use crate::problem::Problem;

/// The problem that a refusal is answered with.
///
/// A deleted message is 410 `message_deleted`: it was there, and will not be again.
pub(super) fn problem(refusal: &Refusal) -> Problem {
    let (status, code) = match refusal {
        Refusal::RoomNotFound => (404, "room_not_found"),
        Refusal::NotAMember => (403, "not_a_member"),
        Refusal::Forbidden => (403, "forbidden"),
        Refusal::Banned => (403, "banned"),
        Refusal::Muted(_) => (403, "muted"),
        Refusal::SlowMode { retry_after_ms } => {
            return Problem::new(429, "slow_mode", refusal.to_string())
                .retry_after(Duration::from_millis(*retry_after_ms));
        }
        Refusal::MessageNotFound => (404, "message_not_found"),
        Refusal::MessageDeleted => (410, "message_deleted"),
        Refusal::MemberNotFound => (404, "member_not_found"),
        Refusal::Conflict(_) => (409, "conflict"),
        Refusal::ClientMsgIdConflict => (409, "client_msg_id_conflict"),
        Refusal::ClientMsgIdStale => (409, "client_msg_id_stale"),
        Refusal::Limit(_) => (409, "limit_reached"),
        Refusal::Invalid { field, why } => return Problem::invalid(field, *why),
        Refusal::Unavailable => return Problem::unavailable(refusal.to_string()),
    };
    Problem::new(status, code, refusal.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_and_fields_are_said() {
        let slow = problem(&Refusal::SlowMode { retry_after_ms: 1500 });
        assert_eq!(
            (slow.status, slow.code, slow.retry_after),
            (429, "slow_mode", Some(Duration::from_millis(1500)))
        );
        let invalid = problem(&Refusal::Invalid { field: "text", why: "too long" });
        assert_eq!((invalid.status, &invalid.fields["text"]), (422, &"too long".into()));
        assert!(problem(&Refusal::Unavailable).retry_after.is_some());
    }
}
