//! What a history holds about one broken promise: for whoever looks for its cause.

use super::{Entry, Fault, History, What};

/// Lines, in the order of time: what was asked, answered and delivered of the requests and events that the fault names, and what
/// the connection that it names did meanwhile.
pub fn evidence(history: &History, fault: &Fault) -> Vec<String> {
    let (mut ops, mut connections, mut seqs, mut place) = (Vec::new(), Vec::new(), Vec::new(), "");
    match fault {
        Fault::LostAck { op, room, seq, .. } => {
            (ops, seqs, place) = (vec![*op], seq.iter().copied().collect(), room);
        }
        Fault::WronglyRefused { op, room, .. } => (ops, place) = (vec![*op], room),
        Fault::StoredTwice { room, seqs: (one, other), .. } => (seqs, place) = (vec![*one, *other], room),
        Fault::AnswersDiffer { op, .. } => ops = vec![*op],
        Fault::DoneTwice { op, room, seqs: (one, other) } => {
            (ops, seqs, place) = (vec![*op], vec![*one, *other], room);
        }
        Fault::Gap { connection, room, expected, got } => {
            (connections, seqs, place) = (vec![*connection], vec![*expected, *got], room);
        }
        Fault::Duplicate { connection, room, seq }
        | Fault::Reordered { connection, room, seq, .. }
        | Fault::Unasked { connection, room, seq }
        | Fault::Phantom { connection, room, seq, .. } => {
            (connections, seqs, place) = (vec![*connection], vec![*seq], room);
        }
        Fault::CaughtUpEarly { connection, room, last_seq, had }
        | Fault::Behind { connection, room, last_seq, had } => {
            (connections, seqs, place) = (vec![*connection], vec![*last_seq, *had], room);
        }
        Fault::LostPlace { connection, room } => (connections, place) = (vec![*connection], room),
        Fault::SenderOrder { connection, room, first, second } => {
            (connections, ops, seqs, place) =
                (vec![*connection], vec![first.0, second.0], vec![first.1, second.1], room);
        }
        Fault::BackInTime { op, room, seq, known } => {
            (ops, seqs, place) = (vec![*op], vec![*seq, *known], room);
        }
        Fault::LogDiffers { room, seq, .. } | Fault::Invented { room, seq, .. } => {
            (seqs, place) = (vec![*seq], room);
        }
        Fault::HoleInRoom { .. } | Fault::BrokenLog { .. } | Fault::SharedEpoch { .. } => {}
        // They say all themselves, and the history is one of rooms.
        Fault::HalfAccount { .. } | Fault::LostAccount { .. } | Fault::UndeadAccount { .. } => {}
    }
    let concerns = |what: &What| match what {
        What::Asked { op, connection, room, .. } => {
            ops.contains(op) || (room == place && connections.contains(connection))
        }
        What::Acked { op, .. } | What::Refused { op, .. } | What::Unheard { op, .. } => ops.contains(op),
        What::Attached { connection, room, .. }
        | What::CaughtUp { connection, room, .. }
        | What::Stayed { connection, room, .. }
        | What::Resync { connection, room } => room == place && connections.contains(connection),
        What::Delivered { room, seq, .. } => room == place && seqs.contains(seq),
    };
    let lines = history.entries.iter().filter(|entry| concerns(&entry.what));
    lines.map(|Entry { at, what }| format!("{:>9.3} s {what:?}", at.as_secs_f64())).collect()
}
