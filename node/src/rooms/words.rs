//! The words that clients read for roles, kinds and changes.

use rookery_core::{
    record::MemberChange,
    room::{Kind, Role, Visibility},
};

/// `member`, `moderator`, `owner`.
pub fn role(role: Role) -> &'static str {
    match role {
        Role::Member => "member",
        Role::Moderator => "moderator",
        Role::Owner => "owner",
    }
}

/// `group`, `channel`, `direct`.
pub fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Group => "group",
        Kind::Channel => "channel",
        Kind::Direct => "direct",
    }
}

/// `public`, `private`.
pub fn visibility(visibility: Visibility) -> &'static str {
    match visibility {
        Visibility::Public => "public",
        Visibility::Private => "private",
    }
}

pub(super) fn change(change: MemberChange) -> &'static str {
    match change {
        MemberChange::Joined => "joined",
        MemberChange::Left => "left",
        MemberChange::Added => "added",
        MemberChange::Kicked => "kicked",
        MemberChange::RoleChanged => "role",
        MemberChange::Banned => "banned",
        MemberChange::Unbanned => "unbanned",
        MemberChange::Muted => "muted",
        MemberChange::Unmuted => "unmuted",
    }
}
