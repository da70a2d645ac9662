//! Calls about rooms.

use std::sync::Arc;

use axum::{Json, extract::State, http::StatusCode};
use rookery_core::room::{Kind, Profile, Update, Visibility, What};
use rookery_protocol::id::RoomId;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{Auth, Body, Path, Query, cursor, messages::Message, rfc3339};
use crate::{
    accounts::{Act, Principal},
    edge::App,
    problem::Problem,
    rooms::{Listed, NewRoom, RoomView, words},
};

/// Rooms on a page of `discover`, unless asked for otherwise, and at most.
const PAGE: (usize, usize) = (50, 200);

pub(super) fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new()
        .routes(routes!(create_room, list_rooms))
        .routes(routes!(discover_rooms))
        .routes(routes!(get_room, change_room, delete_room))
        .routes(routes!(join_room))
        .routes(routes!(mark_room_read))
        .routes(routes!(translate_room))
}

/// The other user of a direct room.
#[derive(Debug, Clone, serde::Serialize, utoipa::ToSchema)]
pub(super) struct Peer {
    #[schema(example = "01JZ8V4Q5R6S7T8V9WAXBYCZD0")]
    id: String,
    #[schema(example = "ada")]
    username: String,
    #[schema(example = "Ada Lovelace")]
    display_name: String,
}

impl From<Profile> for Peer {
    fn from(user: Profile) -> Self {
        Self { id: user.id.to_string(), username: user.username, display_name: user.display_name }
    }
}

/// A room as the asking user sees it.
#[derive(Debug, Clone, serde::Serialize, utoipa::ToSchema)]
pub(super) struct Room {
    #[schema(example = "01JZ8V4Q5R6S7T8V9WAXBYCZD0")]
    id: String,
    /// Empty in direct rooms.
    #[schema(example = "Birds")]
    name: String,
    /// `group`: every member writes; `channel`: owners and moderators write; `direct`: two users.
    #[schema(example = "group")]
    kind: &'static str,
    /// `public`: everybody finds and joins it; `private`: those who are added.
    #[schema(example = "public")]
    visibility: &'static str,
    topic: Option<String>,
    /// Seconds between two messages of one member; 0: off.
    slow_mode_seconds: u32,
    /// Whether messages may be translated.
    translation: bool,
    /// Most members; `null`: as many as the service allows.
    max_members: Option<u32>,
    /// Events are kept for so many days; `null`: as long as the service keeps them.
    retention_days: Option<u32>,
    /// Declared from outside the chat, by a manifest: members do not change it.
    declared: bool,
    member_count: u64,
    #[schema(example = "2026-01-02T03:04:05.678Z")]
    created_at: String,
    /// Number of the newest durable event.
    last_seq: u64,
    /// `owner`, `moderator` or `member`; `null`: the asking user is no member.
    #[schema(example = "owner")]
    role: Option<&'static str>,
    /// In direct rooms, the other user.
    #[serde(skip_serializing_if = "Option::is_none")]
    peer: Option<Peer>,
}

impl From<RoomView> for Room {
    fn from(room: RoomView) -> Self {
        Self {
            id: room.id.to_string(),
            name: room.name,
            kind: words::kind(room.kind),
            visibility: words::visibility(room.visibility),
            topic: room.topic,
            slow_mode_seconds: room.slow_mode_seconds,
            translation: room.translation,
            max_members: room.max_members,
            retention_days: room.retention_days,
            declared: room.declared,
            member_count: room.member_count,
            created_at: rfc3339(room.created_at),
            last_seq: room.last_seq,
            role: room.role.map(words::role),
            peer: room.peer.map(Into::into),
        }
    }
}

/// One of my rooms, and where I stand in it.
#[derive(serde::Serialize, utoipa::ToSchema)]
struct MyRoom {
    #[serde(flatten)]
    room: Room,
    /// Up to where I have read.
    read_seq: u64,
    /// Messages after that, also those that were deleted since: what is left of them is there to be seen.
    unread: u64,
    /// Messages after that that mention me, as they are now; at most 100 are counted.
    mentions: u32,
    /// Whether I want its messages translated.
    translate: bool,
    /// The newest message.
    last_message: Option<Message>,
}

impl MyRoom {
    fn new(listed: Listed, me: &Principal) -> Self {
        Self {
            translate: me.untranslated.binary_search(&listed.room.id).is_err(),
            room: listed.room.into(),
            read_seq: listed.standing.read_seq,
            unread: listed.standing.unread,
            mentions: listed.mentions,
            last_message: listed.last_message.map(Into::into),
        }
    }
}

/// My rooms.
#[derive(serde::Serialize, utoipa::ToSchema)]
struct MyRooms {
    rooms: Vec<MyRoom>,
}

/// A page of rooms.
#[derive(serde::Serialize, utoipa::ToSchema)]
struct Rooms {
    rooms: Vec<Room>,
    /// Give it as `cursor` to get the next page, which may be empty; absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_cursor: Option<String>,
}

/// Kinds of rooms that can be made by this call.
#[derive(Clone, Copy, serde::Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
enum NewKind {
    Group,
    Channel,
}

#[derive(Clone, Copy, serde::Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
enum Seen {
    Public,
    Private,
}

impl From<Seen> for Visibility {
    fn from(seen: Seen) -> Self {
        match seen {
            Seen::Public => Self::Public,
            Seen::Private => Self::Private,
        }
    }
}

/// A room to make.
#[derive(serde::Deserialize, utoipa::ToSchema)]
struct CreateRoom {
    /// 1-100 characters.
    #[schema(example = "Birds")]
    name: String,
    kind: NewKind,
    visibility: Seen,
    /// At most 500 characters.
    topic: Option<String>,
}

/// What to change; what is left out stays.
#[derive(serde::Deserialize, utoipa::ToSchema)]
struct ChangeRoom {
    /// 1-100 characters.
    name: Option<String>,
    /// At most 500 characters; empty: none.
    topic: Option<String>,
    /// Owners alone.
    visibility: Option<Seen>,
    /// Seconds between two messages of one member, at most 21600; 0: off.
    slow_mode_seconds: Option<u32>,
    /// Whether messages may be translated. Owners alone.
    translation: Option<bool>,
    /// Most members, no more than the service allows; 0: as many as that. Owners alone. Nobody has to go.
    max_members: Option<u32>,
    /// Events are kept for so many days, no longer than the service keeps them; 0: as long as that. Owners alone.
    /// The newest 256 always stay.
    retention_days: Option<u32>,
}

#[derive(serde::Deserialize)]
struct Search {
    q: Option<String>,
    cursor: Option<String>,
    limit: Option<usize>,
}

/// Up to where I have read.
#[derive(serde::Deserialize, utoipa::ToSchema)]
struct ReadUpTo {
    /// Number of the newest event read.
    #[schema(example = 12)]
    seq: u64,
}

/// Whether I want a room's messages translated.
#[derive(serde::Deserialize, utoipa::ToSchema)]
struct TranslateRoom {
    translate: bool,
}

/// Make a room
#[utoipa::path(post, path = "/v1/rooms", tag = "rooms", security(("bearer" = [])), request_body = CreateRoom,
    responses((status = 201, description = "The room; its maker is its owner.", body = Room),
        (status = 409, description = "`limit_reached`: you are in too many rooms.")))]
async fn create_room(
    State(app): State<Arc<App>>,
    Auth(me): Auth,
    Body(new): Body<CreateRoom>,
) -> Result<(StatusCode, Json<Room>), Problem> {
    let kind = match new.kind {
        NewKind::Group => Kind::Group,
        NewKind::Channel => Kind::Channel,
    };
    let topic = new.topic.filter(|topic| !topic.is_empty());
    let new = NewRoom { name: new.name, kind, visibility: new.visibility.into(), topic };
    let room = app.rooms.create(&me.profile, new).await?;
    Ok((StatusCode::CREATED, Json(room.into())))
}

/// My rooms
#[utoipa::path(get, path = "/v1/rooms", tag = "rooms", security(("bearer" = [])),
    responses((status = 200, description = "All rooms that I am in.", body = MyRooms),
        (status = 429, description = "`rate_limited`.")))]
async fn list_rooms(State(app): State<Arc<App>>, Auth(me): Auth) -> Result<Json<MyRooms>, Problem> {
    app.accounts.count(me.profile.id, Act::List)?;
    let rooms = app.rooms.list(me.profile.id).await?;
    Ok(Json(MyRooms { rooms: rooms.into_iter().map(|listed| MyRoom::new(listed, &me)).collect() }))
}

/// Find public rooms
#[utoipa::path(get, path = "/v1/rooms/discover", tag = "rooms", security(("bearer" = [])),
    params(("q" = Option<String>, Query, description = "Part of a name or topic, in any case."),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before."),
        ("limit" = Option<usize>, Query, description = "1-200; 50 if absent.")),
    responses((status = 200, description = "Public rooms.", body = Rooms),
        (status = 429, description = "`rate_limited`.")))]
async fn discover_rooms(
    State(app): State<Arc<App>>,
    Auth(me): Auth,
    Query(search): Query<Search>,
) -> Result<Json<Rooms>, Problem> {
    app.accounts.count(me.profile.id, Act::List)?;
    let query = search.q.unwrap_or_default();
    if query.chars().count() > 100 {
        return Err(Problem::invalid("q", "At most 100 characters."));
    }
    let after = cursor::read(search.cursor.as_deref())?;
    let limit = cursor::limit(search.limit, PAGE)?;
    let page = app.rooms.discover(me.profile.id, query.trim(), after, limit).await?;
    Ok(Json(Rooms {
        rooms: page.items.into_iter().map(Into::into).collect(),
        next_cursor: page.next.map(cursor::write),
    }))
}

/// One room
#[utoipa::path(get, path = "/v1/rooms/{id}", tag = "rooms", security(("bearer" = [])),
    params(("id" = String, Path, description = "The room.")),
    responses((status = 200, description = "The room.", body = Room),
        (status = 404, description = "`room_not_found`.")))]
async fn get_room(
    State(app): State<Arc<App>>,
    Auth(me): Auth,
    Path(room): Path<RoomId>,
) -> Result<Json<Room>, Problem> {
    Ok(Json(app.rooms.view(room, me.profile.id).await?.into()))
}

/// Change a room
///
/// Moderators change name, topic and slow mode, owners also the rest.
#[utoipa::path(patch, path = "/v1/rooms/{id}", tag = "rooms", security(("bearer" = [])), request_body = ChangeRoom,
    params(("id" = String, Path, description = "The room.")),
    responses((status = 200, description = "The room as it is now.", body = Room),
        (status = 403, description = "`forbidden`, `not_a_member`."),
        (status = 404, description = "`room_not_found`."),
        (status = 409, description = "`conflict`: the room is declared by a manifest.")))]
async fn change_room(
    State(app): State<Arc<App>>,
    Auth(me): Auth,
    Path(room): Path<RoomId>,
    Body(change): Body<ChangeRoom>,
) -> Result<Json<Room>, Problem> {
    let what = What::Update(Update {
        name: change.name,
        topic: change.topic,
        visibility: change.visibility.map(Into::into),
        slow_mode_seconds: change.slow_mode_seconds,
        translation: change.translation,
        max_members: change.max_members,
        retention_days: change.retention_days,
        declared: None,
    });
    app.rooms.member_command(room, &me.profile, what).await?;
    Ok(Json(app.rooms.view(room, me.profile.id).await?.into()))
}

/// Delete a room, as its owner
#[utoipa::path(delete, path = "/v1/rooms/{id}", tag = "rooms", security(("bearer" = [])),
    params(("id" = String, Path, description = "The room.")),
    responses((status = 204, description = "It is gone for everybody."),
        (status = 403, description = "`forbidden`, `not_a_member`."),
        (status = 404, description = "`room_not_found`."),
        (status = 409, description = "`conflict`: the room is declared by a manifest.")))]
async fn delete_room(
    State(app): State<Arc<App>>,
    Auth(me): Auth,
    Path(room): Path<RoomId>,
) -> Result<StatusCode, Problem> {
    app.rooms.member_command(room, &me.profile, What::Remove).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Join a public room
#[utoipa::path(post, path = "/v1/rooms/{id}/join", tag = "rooms", security(("bearer" = [])),
    params(("id" = String, Path, description = "The room.")),
    responses((status = 200, description = "The room; also if I was in it already.", body = Room),
        (status = 403, description = "`banned`."), (status = 404, description = "`room_not_found`."),
        (status = 409, description = "`limit_reached`: the room is full, or you are in too many.")))]
async fn join_room(
    State(app): State<Arc<App>>,
    Auth(me): Auth,
    Path(room): Path<RoomId>,
) -> Result<Json<Room>, Problem> {
    Ok(Json(app.rooms.join(room, &me.profile).await?.into()))
}

/// Move my read mark
///
/// It only moves forward: a lower `seq` than before changes nothing. Posting moves it, too.
#[utoipa::path(put, path = "/v1/rooms/{id}/read", tag = "rooms", security(("bearer" = [])), request_body = ReadUpTo,
    params(("id" = String, Path, description = "The room.")),
    responses((status = 204, description = "Read up to there, or further."),
        (status = 403, description = "`not_a_member`."), (status = 404, description = "`room_not_found`.")))]
async fn mark_room_read(
    State(app): State<Arc<App>>,
    Auth(me): Auth,
    Path(room): Path<RoomId>,
    Body(read): Body<ReadUpTo>,
) -> Result<StatusCode, Problem> {
    app.rooms.mark_read(room, me.profile.id, read.seq).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Have a room translated for me, or not
///
/// Into the language of my account; so it is until I say that I do not want it, where the room allows it. A change holds from then on,
/// also for connections that are open.
#[utoipa::path(put, path = "/v1/rooms/{id}/translate", tag = "rooms", security(("bearer" = [])),
    request_body = TranslateRoom, params(("id" = String, Path, description = "The room.")),
    responses((status = 204, description = "So it is."),
        (status = 403, description = "`not_a_member`."), (status = 404, description = "`room_not_found`."),
        (status = 409, description = "`limit_reached`: there are too many rooms that you read untranslated.")))]
async fn translate_room(
    State(app): State<Arc<App>>,
    Auth(me): Auth,
    Path(room): Path<RoomId>,
    Body(body): Body<TranslateRoom>,
) -> Result<StatusCode, Problem> {
    app.rooms.readable(room, me.profile.id).await?;
    app.accounts.translate_room(&me, room, body.translate).await?;
    Ok(StatusCode::NO_CONTENT)
}
