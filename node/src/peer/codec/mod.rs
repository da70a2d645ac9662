//! Commands, answers and problems as they cross the wire, and back.

#[cfg(test)]
mod tests;

use std::{borrow::Cow, collections::HashMap, sync::Arc, time::Duration};

use bytes::Bytes;
use parking_lot::Mutex;
use rookery_core::{
    owner::{Legacy, LogSeq, Place},
    room::{Amendment, Declaration, Kind, Profile, Reply, Role, Update, Visibility, What},
};
use rookery_protocol::{
    id::{MessageId, RoomId, UserId},
    peer::{self, answer::Outcome, command},
};

use crate::{
    problem::Problem,
    rooms::{Member, Page},
};

/// Codes of a newer node that are remembered; the known ones are few.
const CODES: usize = 64;

/// What came cannot be read: a newer node asks for something that this one does not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a message of another node cannot be read: {0}")]
pub(super) struct Unreadable(&'static str);

fn id<const N: usize>(bytes: &[u8], what: &'static str) -> Result<[u8; N], Unreadable> {
    bytes.try_into().map_err(|_| Unreadable(what))
}

fn user_id(bytes: &[u8]) -> Result<UserId, Unreadable> {
    Ok(UserId::from_bytes(id(bytes, "user id")?))
}

pub(super) fn room_id(bytes: &[u8]) -> Result<RoomId, Unreadable> {
    Ok(RoomId::from_bytes(id(bytes, "room id")?))
}

fn of_user(user: UserId) -> Bytes {
    Bytes::copy_from_slice(&user.to_bytes())
}

pub(crate) fn of_room(room: RoomId) -> Bytes {
    Bytes::copy_from_slice(&room.to_bytes())
}

/// What the owner before leaves of a room.
pub(super) fn of_legacy(room: RoomId, legacy: Legacy) -> peer::Legacy {
    let Legacy { snapshot, place, saved_seq } = legacy;
    peer::Legacy { room: of_room(room), snapshot, at: place.at.0, first_seq: place.first_seq, saved_seq }
}

pub(super) fn legacy(wire: peer::Legacy) -> Result<(RoomId, Legacy), Unreadable> {
    let place = Place { at: LogSeq(wire.at), first_seq: wire.first_seq };
    let legacy = Legacy { snapshot: wire.snapshot, place, saved_seq: wire.saved_seq };
    Ok((room_id(&wire.room)?, legacy))
}

fn of_profile(profile: &Profile) -> peer::Profile {
    peer::Profile {
        id: of_user(profile.id),
        username: profile.username.clone(),
        display_name: profile.display_name.clone(),
    }
}

fn profile(wire: Option<peer::Profile>) -> Result<Profile, Unreadable> {
    let wire = wire.ok_or(Unreadable("no profile"))?;
    Ok(Profile { id: user_id(&wire.id)?, username: wire.username, display_name: wire.display_name })
}

fn of_role(role: Role) -> peer::Role {
    match role {
        Role::Member => peer::Role::Member,
        Role::Moderator => peer::Role::Moderator,
        Role::Owner => peer::Role::Owner,
    }
}

fn role(wire: i32) -> Result<Role, Unreadable> {
    match peer::Role::try_from(wire) {
        Ok(peer::Role::Member) => Ok(Role::Member),
        Ok(peer::Role::Moderator) => Ok(Role::Moderator),
        Ok(peer::Role::Owner) => Ok(Role::Owner),
        _ => Err(Unreadable("role")),
    }
}

fn of_kind(kind: Kind) -> peer::Kind {
    match kind {
        Kind::Group => peer::Kind::Group,
        Kind::Channel => peer::Kind::Channel,
        Kind::Direct => peer::Kind::Direct,
    }
}

fn kind(wire: i32) -> Result<Kind, Unreadable> {
    match peer::Kind::try_from(wire) {
        Ok(peer::Kind::Group) => Ok(Kind::Group),
        Ok(peer::Kind::Channel) => Ok(Kind::Channel),
        Ok(peer::Kind::Direct) => Ok(Kind::Direct),
        _ => Err(Unreadable("kind of room")),
    }
}

fn of_visibility(visibility: Visibility) -> peer::Visibility {
    match visibility {
        Visibility::Public => peer::Visibility::Public,
        Visibility::Private => peer::Visibility::Private,
    }
}

fn visibility(wire: i32) -> Result<Visibility, Unreadable> {
    match peer::Visibility::try_from(wire) {
        Ok(peer::Visibility::Public) => Ok(Visibility::Public),
        Ok(peer::Visibility::Private) => Ok(Visibility::Private),
        _ => Err(Unreadable("visibility")),
    }
}

fn of_member(user: &Profile, role: Role) -> peer::Member {
    peer::Member { user: Some(of_profile(user)), role: of_role(role).into() }
}

fn member(wire: peer::Member) -> Result<(Profile, Role), Unreadable> {
    Ok((profile(wire.user)?, role(wire.role)?))
}

/// A command for another node.
pub(crate) fn of_command(actor: &Profile, what: &What) -> peer::Command {
    peer::Command { actor: Some(of_profile(actor)), what: Some(of_what(what)) }
}

fn of_what(what: &What) -> command::What {
    use command::What as Wire;
    match what {
        What::Create { name, kind, visibility, topic, members } => Wire::Create(peer::Create {
            name: name.clone(),
            kind: of_kind(*kind).into(),
            visibility: of_visibility(*visibility).into(),
            topic: topic.clone(),
            members: members.iter().map(|(user, role)| of_member(user, *role)).collect(),
        }),
        What::Update(update) => Wire::Update(peer::Update {
            name: update.name.clone(),
            topic: update.topic.clone(),
            visibility: update.visibility.map(|visibility| of_visibility(visibility).into()),
            slow_mode_seconds: update.slow_mode_seconds,
            translation: update.translation,
            max_members: update.max_members,
            retention_days: update.retention_days,
        }),
        What::Declare(declared) => Wire::Declare(peer::Declare {
            name: declared.name.clone(),
            kind: of_kind(declared.kind).into(),
            visibility: of_visibility(declared.visibility).into(),
            topic: declared.topic.clone(),
            slow_mode_seconds: declared.slow_mode_seconds,
            translation: declared.translation,
            max_members: declared.max_members,
            retention_days: declared.retention_days,
            members: declared.members.iter().map(|(user, role)| of_member(user, *role)).collect(),
        }),
        What::Remove => Wire::Remove(peer::Empty {}),
        What::Join => Wire::Join(peer::Empty {}),
        What::Leave => Wire::Leave(peer::Empty {}),
        What::Add { user, role } => Wire::Add(of_member(user, *role)),
        What::SetRole { user, role } => {
            Wire::SetRole(peer::SetRole { user: of_user(*user), role: of_role(*role).into() })
        }
        What::Kick { user } => Wire::Kick(of_user(*user)),
        What::Ban { user, until } => Wire::Ban(peer::Ban { user: Some(of_profile(user)), until: *until }),
        What::Unban { user } => Wire::Unban(of_user(*user)),
        What::Mute { user, until } => Wire::Mute(peer::Mute { user: of_user(*user), until: *until }),
        What::Unmute { user } => Wire::Unmute(of_user(*user)),
        What::Post { text, client_msg_id, reply_to } => Wire::Post(peer::Post {
            text: text.clone(),
            client_msg_id: client_msg_id.clone(),
            reply_to: *reply_to,
        }),
        What::Edit { seq, text } => Wire::Edit(peer::Edit { seq: *seq, text: text.clone() }),
        What::Delete { seq } => Wire::Delete(*seq),
        What::React { seq, emoji } => Wire::React(peer::React { seq: *seq, emoji: emoji.clone() }),
        What::Unreact { seq, emoji } => Wire::Unreact(peer::React { seq: *seq, emoji: emoji.clone() }),
    }
}

/// A command of another node.
pub(super) fn command(wire: peer::Command) -> Result<(Arc<Profile>, What), Unreadable> {
    let actor = Arc::new(profile(wire.actor)?);
    Ok((actor, what(wire.what.ok_or(Unreadable("a command that this node does not know"))?)?))
}

fn what(wire: command::What) -> Result<What, Unreadable> {
    use command::What as Wire;
    Ok(match wire {
        Wire::Create(create) => What::Create {
            name: create.name,
            kind: kind(create.kind)?,
            visibility: visibility(create.visibility)?,
            topic: create.topic,
            members: create.members.into_iter().map(member).collect::<Result<_, _>>()?,
        },
        Wire::Update(update) => What::Update(Update {
            name: update.name,
            topic: update.topic,
            visibility: update.visibility.map(visibility).transpose()?,
            slow_mode_seconds: update.slow_mode_seconds,
            translation: update.translation,
            max_members: update.max_members,
            retention_days: update.retention_days,
            declared: None,
        }),
        Wire::Declare(declared) => What::Declare(Box::new(Declaration {
            name: declared.name,
            kind: kind(declared.kind)?,
            visibility: visibility(declared.visibility)?,
            topic: declared.topic,
            slow_mode_seconds: declared.slow_mode_seconds,
            translation: declared.translation,
            max_members: declared.max_members,
            retention_days: declared.retention_days,
            members: declared.members.into_iter().map(member).collect::<Result<_, _>>()?,
        })),
        Wire::Remove(_) => What::Remove,
        Wire::Join(_) => What::Join,
        Wire::Leave(_) => What::Leave,
        Wire::Add(add) => {
            let (user, role) = member(add)?;
            What::Add { user, role }
        }
        Wire::SetRole(set) => What::SetRole { user: user_id(&set.user)?, role: role(set.role)? },
        Wire::Kick(user) => What::Kick { user: user_id(&user)? },
        Wire::Ban(ban) => What::Ban { user: profile(ban.user)?, until: ban.until },
        Wire::Unban(user) => What::Unban { user: user_id(&user)? },
        Wire::Mute(mute) => What::Mute { user: user_id(&mute.user)?, until: mute.until },
        Wire::Unmute(user) => What::Unmute { user: user_id(&user)? },
        Wire::Post(peer::Post { text, client_msg_id, reply_to }) => {
            What::Post { text, client_msg_id, reply_to }
        }
        Wire::Edit(peer::Edit { seq, text }) => What::Edit { seq, text },
        Wire::Delete(seq) => What::Delete { seq },
        Wire::React(peer::React { seq, emoji }) => What::React { seq, emoji },
        Wire::Unreact(peer::React { seq, emoji }) => What::Unreact { seq, emoji },
    })
}

/// A request for a page of members.
pub(crate) fn of_page(after: Option<UserId>, limit: usize) -> peer::MembersPage {
    let limit = u32::try_from(limit).unwrap_or(u32::MAX);
    peer::MembersPage { after: after.map_or_else(Bytes::new, of_user), limit }
}

/// The reverse of [`of_page`].
pub(super) fn page(wire: &peer::MembersPage) -> Result<(Option<UserId>, usize), Unreadable> {
    let after = if wire.after.is_empty() { None } else { Some(user_id(&wire.after)?) };
    Ok((after, wire.limit as usize))
}

/// What a command ended with.
pub(super) fn of_reply(outcome: Result<Reply, Problem>) -> Outcome {
    match outcome {
        Ok(Reply::Posted { seq, id, ts, repeated, mentions }) => {
            let id = Bytes::copy_from_slice(&id.to_bytes());
            let mentioned = mentions
                .map(|users| peer::Mentioned { users: users.iter().map(|user| of_user(*user)).collect() });
            Outcome::Posted(peer::Posted { seq, id, ts, repeated, mentioned })
        }
        Ok(Reply::Edited { seq, amendment }) => {
            Outcome::Done(peer::Done { seq, amendment: Some(amendment.encode()) })
        }
        Ok(Reply::Done { seq }) => Outcome::Done(peer::Done { seq, amendment: None }),
        Err(problem) => Outcome::Problem(of_problem(problem)),
    }
}

/// The reverse of [`of_reply`]; `None`: it is no answer to a command.
pub(crate) fn reply(outcome: Outcome) -> Option<Result<Reply, Problem>> {
    match outcome {
        Outcome::Posted(peer::Posted { seq, id: message, ts, repeated, mentioned }) => {
            let id = MessageId::from_bytes(id(&message, "message id").ok()?);
            // What cannot be read is as good as not told: the log has it.
            let mentions =
                mentioned.and_then(|wire| wire.users.iter().map(|user| user_id(user).ok()).collect());
            Some(Ok(Reply::Posted { seq, id, ts, repeated, mentions }))
        }
        Outcome::Done(peer::Done { seq, amendment }) => {
            Some(Ok(match amendment.and_then(|bytes| Amendment::decode(&bytes).ok()).map(Box::new) {
                Some(amendment) => Reply::Edited { seq, amendment },
                None => Reply::Done { seq },
            }))
        }
        Outcome::Problem(wire) => Some(Err(problem(wire))),
        _ => None,
    }
}

/// A page of members, or why there is none.
pub(super) fn of_members(outcome: Result<Page<Member>, Problem>) -> Outcome {
    match outcome {
        Ok(page) => Outcome::Members(peer::Members {
            items: page.items.iter().map(|member| of_member(&member.user, member.role)).collect(),
            next: page.next.map_or_else(Bytes::new, |next| of_user(UserId(next))),
        }),
        Err(problem) => Outcome::Problem(of_problem(problem)),
    }
}

/// The reverse of [`of_members`]; `None`: it is no answer to a request for members.
pub(crate) fn members(outcome: Outcome) -> Option<Result<Page<Member>, Problem>> {
    match outcome {
        Outcome::Members(wire) => {
            let items: Result<Vec<Member>, Unreadable> = wire
                .items
                .into_iter()
                .map(|item| member(item).map(|(user, role)| Member { user, role }))
                .collect();
            let next = if wire.next.is_empty() { None } else { Some(user_id(&wire.next).ok()?.0) };
            Some(Ok(Page { items: items.ok()?, next }))
        }
        Outcome::Problem(wire) => Some(Err(problem(wire))),
        _ => None,
    }
}

fn of_problem(problem: Problem) -> peer::Problem {
    let Problem { status, code, detail, fields, retry_after } = problem;
    peer::Problem {
        status: status.into(),
        code: code.to_owned(),
        detail: detail.into_owned(),
        fields: fields.into_iter().map(|(field, why)| (field.into_owned(), why.into_owned())).collect(),
        retry_after_ms: retry_after.map(|after| u64::try_from(after.as_millis()).unwrap_or(u64::MAX)),
    }
}

fn problem(wire: peer::Problem) -> Problem {
    let peer::Problem { status, code, detail, fields, retry_after_ms } = wire;
    Problem {
        status: u16::try_from(status).ok().filter(|status| (400..600).contains(status)).unwrap_or(500),
        code: known(code),
        detail: Cow::Owned(detail),
        fields: fields.into_iter().map(|(field, why)| (Cow::Owned(field), Cow::Owned(why))).collect(),
        retry_after: retry_after_ms.map(Duration::from_millis),
    }
}

/// Codes are for ever and few: each is kept once.
fn known(code: String) -> &'static str {
    static KNOWN: Mutex<Option<HashMap<String, &'static str>>> = Mutex::new(None);
    let mut known = KNOWN.lock();
    let known = known.get_or_insert_default();
    if let Some(code) = known.get(&code) {
        return code;
    }
    let word =
        !code.is_empty() && code.len() <= 64 && code.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
    if known.len() >= CODES || !word {
        return "internal";
    }
    let kept: &'static str = code.clone().leak();
    known.insert(code, kept);
    kept
}
