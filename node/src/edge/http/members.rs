//! Calls about the members of a room, and moderation.

use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use axum::{Json, extract::State, http::StatusCode};
use rookery_core::room::{Role, What};
use rookery_protocol::id::{RoomId, UserId};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{Auth, Body, Path, Query, cursor, rooms::Peer};
use crate::{
    edge::App,
    problem::Problem,
    rooms::{self, words},
};

/// Members on a page, unless asked for otherwise, and at most.
const PAGE: (usize, usize) = (100, 1000);
/// Longest ban or mute with an end, in seconds: ten years.
const LONGEST: u64 = 10 * 365 * 86_400;

pub(super) fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new()
        .routes(routes!(list_members))
        .routes(routes!(leave_room))
        .routes(routes!(add_member, change_member, kick_member))
        .routes(routes!(ban_user, unban_user))
        .routes(routes!(mute_member, unmute_member))
}

/// A member of a room.
#[derive(serde::Serialize, utoipa::ToSchema)]
struct Member {
    /// Who; names as they were when he came.
    user: Peer,
    /// `owner`, `moderator` or `member`.
    #[schema(example = "member")]
    role: &'static str,
}

impl From<rooms::Member> for Member {
    fn from(member: rooms::Member) -> Self {
        Self { user: member.user.into(), role: words::role(member.role) }
    }
}

/// A page of members, ordered by id.
#[derive(serde::Serialize, utoipa::ToSchema)]
struct Members {
    members: Vec<Member>,
    /// Give it as `cursor` to get the next page; absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_cursor: Option<String>,
}

#[derive(serde::Deserialize)]
struct PageQuery {
    cursor: Option<String>,
    limit: Option<usize>,
}

#[derive(Clone, Copy, serde::Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
enum RoleName {
    Member,
    Moderator,
    Owner,
}

impl From<RoleName> for Role {
    fn from(role: RoleName) -> Self {
        match role {
            RoleName::Member => Self::Member,
            RoleName::Moderator => Self::Moderator,
            RoleName::Owner => Self::Owner,
        }
    }
}

#[derive(serde::Deserialize, utoipa::ToSchema)]
struct AddMember {
    /// `member` if absent.
    role: Option<RoleName>,
}

#[derive(serde::Deserialize, utoipa::ToSchema)]
struct ChangeMember {
    role: RoleName,
}

/// How long. One of the two, or neither: until lifted.
#[derive(serde::Deserialize, utoipa::ToSchema)]
struct Until {
    /// RFC 3339.
    #[schema(example = "2030-01-02T03:04:05.678Z")]
    until: Option<String>,
    /// For so many seconds from now.
    #[schema(example = 3600)]
    seconds: Option<u64>,
}

impl Until {
    /// Unix milliseconds.
    fn end(&self) -> Result<Option<i64>, Problem> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        let now = i64::try_from(now).unwrap_or(i64::MAX);
        match (&self.until, self.seconds) {
            (None, None) => Ok(None),
            (Some(_), Some(_)) => Err(Problem::invalid("until", "Give either until or seconds.")),
            (None, Some(seconds)) if (1..=LONGEST).contains(&seconds) => {
                Ok(Some(now.saturating_add_unsigned(seconds * 1000)))
            }
            (None, Some(_)) => Err(Problem::invalid("seconds", format!("Must be 1 to {LONGEST}."))),
            (Some(until), None) => match rookery_protocol::time::parse(until) {
                Ok(end) if end > now => Ok(Some(end)),
                Ok(_) => Err(Problem::invalid("until", "Must be in the future.")),
                Err(_) => Err(Problem::invalid("until", "Must be a time as 2030-01-02T03:04:05.678Z.")),
            },
        }
    }
}

/// Members of a room
#[utoipa::path(get, path = "/v1/rooms/{id}/members", tag = "rooms", security(("bearer" = [])),
    params(("id" = String, Path, description = "The room."),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before."),
        ("limit" = Option<usize>, Query, description = "1-1000; 100 if absent.")),
    responses((status = 200, description = "Members, ordered by id.", body = Members),
        (status = 403, description = "`not_a_member`."), (status = 404, description = "`room_not_found`.")))]
async fn list_members(
    State(app): State<Arc<App>>,
    Auth(me): Auth,
    Path(room): Path<RoomId>,
    Query(query): Query<PageQuery>,
) -> Result<Json<Members>, Problem> {
    let after = cursor::read(query.cursor.as_deref())?;
    let limit = cursor::limit(query.limit, PAGE)?;
    let page = app.rooms.members(room, me.profile.id, after, limit).await?;
    Ok(Json(Members {
        members: page.items.into_iter().map(Into::into).collect(),
        next_cursor: page.next.map(cursor::write),
    }))
}

/// Leave a room
///
/// The last owner cannot leave while there are other members.
#[utoipa::path(delete, path = "/v1/rooms/{id}/members/me", tag = "rooms", security(("bearer" = [])),
    params(("id" = String, Path, description = "The room.")),
    responses((status = 204, description = "Left."),
        (status = 403, description = "`not_a_member`; `forbidden` in direct rooms."),
        (status = 404, description = "`room_not_found`."),
        (status = 409, description = "`conflict`: the last owner.")))]
async fn leave_room(
    State(app): State<Arc<App>>,
    Auth(me): Auth,
    Path(room): Path<RoomId>,
) -> Result<StatusCode, Problem> {
    app.rooms.member_command(room, &me.profile, What::Leave).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Add a user to a room
///
/// Moderators add members; owners also moderators and owners.
#[utoipa::path(put, path = "/v1/rooms/{id}/members/{user_id}", tag = "rooms", security(("bearer" = [])),
    request_body = AddMember,
    params(("id" = String, Path, description = "The room."), ("user_id" = String, Path, description = "Whom.")),
    responses((status = 204, description = "Added."),
        (status = 403, description = "`forbidden`, `not_a_member`."),
        (status = 404, description = "`room_not_found`, `user_not_found`."),
        (status = 409, description = "`conflict`: a member already, or banned; `limit_reached`: the room is full, or that \
            user is in too many.")))]
async fn add_member(
    State(app): State<Arc<App>>,
    Auth(me): Auth,
    Path((room, user)): Path<(RoomId, UserId)>,
    Body(add): Body<AddMember>,
) -> Result<StatusCode, Problem> {
    let user = app.accounts.user(user).await?;
    let role = add.role.map_or(Role::Member, Into::into);
    app.rooms.add(room, &me.profile, (*user.profile).clone(), role).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Change a member's role, as owner
#[utoipa::path(patch, path = "/v1/rooms/{id}/members/{user_id}", tag = "rooms", security(("bearer" = [])),
    request_body = ChangeMember,
    params(("id" = String, Path, description = "The room."), ("user_id" = String, Path, description = "Whose.")),
    responses((status = 204, description = "Changed."),
        (status = 403, description = "`forbidden`, `not_a_member`."),
        (status = 404, description = "`room_not_found`, `member_not_found`."),
        (status = 409, description = "`conflict`: the last owner.")))]
async fn change_member(
    State(app): State<Arc<App>>,
    Auth(me): Auth,
    Path((room, user)): Path<(RoomId, UserId)>,
    Body(change): Body<ChangeMember>,
) -> Result<StatusCode, Problem> {
    let what = What::SetRole { user, role: change.role.into() };
    app.rooms.member_command(room, &me.profile, what).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Remove a member of lower role
#[utoipa::path(delete, path = "/v1/rooms/{id}/members/{user_id}", tag = "rooms", security(("bearer" = [])),
    params(("id" = String, Path, description = "The room."), ("user_id" = String, Path, description = "Whom.")),
    responses((status = 204, description = "Removed."),
        (status = 403, description = "`forbidden`, `not_a_member`."),
        (status = 404, description = "`room_not_found`, `member_not_found`.")))]
async fn kick_member(
    State(app): State<Arc<App>>,
    Auth(me): Auth,
    Path((room, user)): Path<(RoomId, UserId)>,
) -> Result<StatusCode, Problem> {
    app.rooms.member_command(room, &me.profile, What::Kick { user }).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Ban a user, member or not
///
/// A member is removed. The body may say for how long.
#[utoipa::path(put, path = "/v1/rooms/{id}/bans/{user_id}", tag = "rooms", security(("bearer" = [])),
    request_body = Until,
    params(("id" = String, Path, description = "The room."), ("user_id" = String, Path, description = "Whom.")),
    responses((status = 204, description = "Banned."),
        (status = 403, description = "`forbidden`, `not_a_member`."),
        (status = 404, description = "`room_not_found`, `user_not_found`.")))]
async fn ban_user(
    State(app): State<Arc<App>>,
    Auth(me): Auth,
    Path((room, user)): Path<(RoomId, UserId)>,
    Body(until): Body<Until>,
) -> Result<StatusCode, Problem> {
    let until = until.end()?;
    let user = app.accounts.user(user).await?;
    let what = What::Ban { user: (*user.profile).clone(), until };
    app.rooms.member_command(room, &me.profile, what).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Lift a ban
#[utoipa::path(delete, path = "/v1/rooms/{id}/bans/{user_id}", tag = "rooms", security(("bearer" = [])),
    params(("id" = String, Path, description = "The room."), ("user_id" = String, Path, description = "Whose.")),
    responses((status = 204, description = "Lifted, or there was none."),
        (status = 403, description = "`forbidden`, `not_a_member`."),
        (status = 404, description = "`room_not_found`.")))]
async fn unban_user(
    State(app): State<Arc<App>>,
    Auth(me): Auth,
    Path((room, user)): Path<(RoomId, UserId)>,
) -> Result<StatusCode, Problem> {
    app.rooms.member_command(room, &me.profile, What::Unban { user }).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Keep a member from writing
///
/// The body may say for how long.
#[utoipa::path(put, path = "/v1/rooms/{id}/mutes/{user_id}", tag = "rooms", security(("bearer" = [])),
    request_body = Until,
    params(("id" = String, Path, description = "The room."), ("user_id" = String, Path, description = "Whom.")),
    responses((status = 204, description = "Muted."),
        (status = 403, description = "`forbidden`, `not_a_member`."),
        (status = 404, description = "`room_not_found`, `member_not_found`.")))]
async fn mute_member(
    State(app): State<Arc<App>>,
    Auth(me): Auth,
    Path((room, user)): Path<(RoomId, UserId)>,
    Body(until): Body<Until>,
) -> Result<StatusCode, Problem> {
    let what = What::Mute { user, until: until.end()? };
    app.rooms.member_command(room, &me.profile, what).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Let a member write again
#[utoipa::path(delete, path = "/v1/rooms/{id}/mutes/{user_id}", tag = "rooms", security(("bearer" = [])),
    params(("id" = String, Path, description = "The room."), ("user_id" = String, Path, description = "Whose.")),
    responses((status = 204, description = "Lifted, or there was none."),
        (status = 403, description = "`forbidden`, `not_a_member`."),
        (status = 404, description = "`room_not_found`, `member_not_found`.")))]
async fn unmute_member(
    State(app): State<Arc<App>>,
    Auth(me): Auth,
    Path((room, user)): Path<(RoomId, UserId)>,
) -> Result<StatusCode, Problem> {
    app.rooms.member_command(room, &me.profile, What::Unmute { user }).await?;
    Ok(StatusCode::NO_CONTENT)
}
