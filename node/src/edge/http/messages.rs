//! Calls about messages.

use std::{collections::BTreeMap, sync::Arc};

use axum::{Json, extract::State, http::StatusCode};
use rookery_core::room::What;
use rookery_protocol::{client, id::RoomId};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{Auth, Body, Path, Query, cursor, rfc3339};
use crate::{
    accounts::Act,
    edge::App,
    problem::Problem,
    rooms::{NewMessage, Part},
    translation,
};

/// Messages on a page, unless asked for otherwise, and at most.
const PAGE: (usize, usize) = (50, 200);

pub(super) fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new()
        .routes(routes!(post_message, list_messages))
        .routes(routes!(get_message, edit_message, delete_message))
        .routes(routes!(react_to_message, unreact_to_message))
}

/// Who sent a message, as named when it was sent.
#[derive(Debug, Clone, serde::Serialize, utoipa::ToSchema)]
struct Sender {
    id: String,
    username: String,
    display_name: String,
}

/// How many users reacted, and whether I did.
#[derive(Debug, Clone, serde::Serialize, utoipa::ToSchema)]
struct ReactionCount {
    count: u32,
    mine: bool,
}

/// A message as the asking user sees it now.
#[derive(Debug, Clone, serde::Serialize, utoipa::ToSchema)]
pub(super) struct Message {
    room: String,
    /// Its number in the room.
    seq: u64,
    id: String,
    sender: Sender,
    /// Empty once deleted. Never interpreted.
    text: String,
    client_msg_id: String,
    #[schema(example = "2026-01-02T03:04:05.678Z")]
    ts: String,
    /// The message it answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    reply_to: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    edited_at: Option<String>,
    /// Present and true when only a tombstone is left.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    deleted: bool,
    /// By emoji.
    reactions: BTreeMap<String, ReactionCount>,
    /// Ids of mentioned users.
    mentions: Vec<String>,
    /// Where one was asked for and there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    translation: Option<Translated>,
}

/// A message in another language.
#[derive(Debug, Clone, serde::Serialize, utoipa::ToSchema)]
struct Translated {
    /// As it was asked for.
    #[schema(example = "es")]
    language: String,
    text: String,
    /// What translated it.
    engine: String,
}

impl From<client::Message> for Message {
    fn from(message: client::Message) -> Self {
        let sender = message.sender.unwrap_or_default();
        let reactions = message.reactions.into_iter();
        Self {
            room: message.room,
            seq: message.seq,
            id: message.id,
            sender: Sender { id: sender.id, username: sender.username, display_name: sender.display_name },
            text: message.text,
            client_msg_id: message.client_msg_id,
            ts: rfc3339(message.ts),
            reply_to: message.reply_to,
            edited_at: message.edited_at.map(rfc3339),
            deleted: message.deleted,
            reactions: reactions
                .map(|(emoji, reaction)| {
                    (emoji, ReactionCount { count: reaction.count, mine: reaction.mine })
                })
                .collect(),
            mentions: message.mentions,
            translation: message.translation.map(|translated| Translated {
                language: translated.language,
                text: translated.text,
                engine: translated.engine,
            }),
        }
    }
}

/// A page of messages.
#[derive(serde::Serialize, utoipa::ToSchema)]
struct Messages {
    messages: Vec<Message>,
    /// There may be more in this direction.
    has_more: bool,
    /// What to give as `before` (or `after`) to go on, when there may be more. The `seq` of the page's last message does as
    /// well, unless the page is empty: so many events without a message lie there.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<u64>,
    /// `off` when a translation was asked for and the room allows none; `unavailable` when one was asked for and not all messages that need one have it: there is no translator,
    /// it has no engine for their languages, or engines are away.
    #[serde(skip_serializing_if = "Option::is_none")]
    translation: Option<&'static str>,
}

#[derive(serde::Deserialize, utoipa::ToSchema)]
struct PostMessage {
    /// 1-4000 characters, unless set otherwise.
    #[schema(example = "Hello!")]
    text: String,
    /// 1-64 characters, chosen anew for each message: the message is stored once, however often this is sent.
    #[schema(example = "01JZ8V4Q5R6S7T8V9WAXBYCZD0")]
    client_msg_id: String,
    /// `seq` of the message that this one answers.
    reply_to: Option<u64>,
}

#[derive(serde::Deserialize, utoipa::ToSchema)]
struct EditMessage {
    /// The new text.
    text: String,
}

#[derive(serde::Deserialize)]
struct PageQuery {
    before: Option<u64>,
    after: Option<u64>,
    limit: Option<usize>,
    translate: Option<String>,
}

/// Post a message
///
/// Answered only once it is durable.
#[utoipa::path(post, path = "/v1/rooms/{id}/messages", tag = "rooms", security(("bearer" = [])),
    request_body = PostMessage, params(("id" = String, Path, description = "The room.")),
    responses((status = 201, description = "The message.", body = Message),
        (status = 200, description = "The message stored by an earlier try with this `client_msg_id`.", body = Message),
        (status = 403, description = "`not_a_member`, `forbidden`, `banned`, `muted`."),
        (status = 404, description = "`room_not_found`."),
        (status = 409, description = "`client_msg_id_conflict`: used for another text; `client_msg_id_stale`; \
            `limit_reached`."),
        (status = 429, description = "`slow_mode`.")))]
async fn post_message(
    State(app): State<Arc<App>>,
    Auth(me): Auth,
    Path(room): Path<RoomId>,
    Body(post): Body<PostMessage>,
) -> Result<(StatusCode, Json<Message>), Problem> {
    let PostMessage { text, client_msg_id, reply_to } = post;
    let new = NewMessage { text, client_msg_id, reply_to };
    let (message, repeated) = app.rooms.post(room, &me.profile, new).await?;
    let status = if repeated { StatusCode::OK } else { StatusCode::CREATED };
    Ok((status, Json(message.into())))
}

/// Messages of a room
///
/// Newest first with `before`, or with neither; oldest first with `after`.
#[utoipa::path(get, path = "/v1/rooms/{id}/messages", tag = "rooms", security(("bearer" = [])),
    params(("id" = String, Path, description = "The room."),
        ("before" = Option<u64>, Query, description = "Messages before this `seq`."),
        ("after" = Option<u64>, Query, description = "Messages after this `seq`."),
        ("limit" = Option<usize>, Query, description = "1-200; 50 if absent."),
        ("translate" = Option<String>, Query, description = "BCP 47 tag of the language to read in.")),
    responses((status = 200, description = "A page of messages.", body = Messages),
        (status = 403, description = "`not_a_member`."), (status = 404, description = "`room_not_found`."),
        (status = 429, description = "`rate_limited`, with `translate`.")))]
async fn list_messages(
    State(app): State<Arc<App>>,
    Auth(me): Auth,
    Path(room): Path<RoomId>,
    Query(query): Query<PageQuery>,
) -> Result<Json<Messages>, Problem> {
    if query.translate.is_some() {
        app.accounts.count(me.profile.id, Act::List)?;
    }
    let limit = cursor::limit(query.limit, PAGE)?;
    let part = match (query.before, query.after) {
        (Some(_), Some(_)) => return Err(Problem::invalid("after", "Give either before or after.")),
        (Some(before), None) => Some(Part::Before(before)),
        (None, Some(after)) => Some(Part::After(after)),
        (None, None) => None,
    };
    if query.translate.as_deref().is_some_and(|tag| translation::Lang::parse(tag).is_none()) {
        return Err(Problem::invalid("translate", "This is no language tag, such as es or pt-BR."));
    }
    let mut page = app.rooms.history(room, me.profile.id, part, limit).await?;
    let translation = match query.translate {
        None => None,
        Some(_) if !app.rooms.may_translate(room).await? => Some("off"),
        Some(language) => {
            let complete = match &app.translation {
                Some(translation) => {
                    translation::translate_page(translation, &mut page.messages, &language).await
                }
                None => false,
            };
            (!complete).then_some("unavailable")
        }
    };
    Ok(Json(Messages {
        messages: page.messages.into_iter().map(Into::into).collect(),
        has_more: page.has_more,
        next: page.has_more.then_some(page.reached),
        translation,
    }))
}

/// One message
#[utoipa::path(get, path = "/v1/rooms/{id}/messages/{seq}", tag = "rooms", security(("bearer" = [])),
    params(("id" = String, Path, description = "The room."), ("seq" = u64, Path, description = "Its number.")),
    responses((status = 200, description = "The message.", body = Message),
        (status = 403, description = "`not_a_member`."),
        (status = 404, description = "`room_not_found`, `message_not_found`.")))]
async fn get_message(
    State(app): State<Arc<App>>,
    Auth(me): Auth,
    Path((room, seq)): Path<(RoomId, u64)>,
) -> Result<Json<Message>, Problem> {
    Ok(Json(app.rooms.message(room, me.profile.id, seq).await?.into()))
}

/// Change my message
#[utoipa::path(patch, path = "/v1/rooms/{id}/messages/{seq}", tag = "rooms", security(("bearer" = [])),
    request_body = EditMessage,
    params(("id" = String, Path, description = "The room."), ("seq" = u64, Path, description = "Its number.")),
    responses((status = 200, description = "The message as it is now.", body = Message),
        (status = 403, description = "`forbidden`: not yours; `not_a_member`, `banned`, `muted`."),
        (status = 404, description = "`room_not_found`, `message_not_found`."),
        (status = 410, description = "`message_deleted`.")))]
async fn edit_message(
    State(app): State<Arc<App>>,
    Auth(me): Auth,
    Path((room, seq)): Path<(RoomId, u64)>,
    Body(edit): Body<EditMessage>,
) -> Result<Json<Message>, Problem> {
    Ok(Json(app.rooms.edit(room, &me.profile, seq, edit.text).await?.into()))
}

/// Delete a message
///
/// One's own, or as moderator another's. A tombstone stays; deleting it again changes nothing.
#[utoipa::path(delete, path = "/v1/rooms/{id}/messages/{seq}", tag = "rooms", security(("bearer" = [])),
    params(("id" = String, Path, description = "The room."), ("seq" = u64, Path, description = "Its number.")),
    responses((status = 204, description = "Deleted."),
        (status = 403, description = "`forbidden`, `not_a_member`."),
        (status = 404, description = "`room_not_found`, `message_not_found`.")))]
async fn delete_message(
    State(app): State<Arc<App>>,
    Auth(me): Auth,
    Path((room, seq)): Path<(RoomId, u64)>,
) -> Result<StatusCode, Problem> {
    app.rooms.member_command(room, &me.profile, What::Delete { seq }).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// React to a message
///
/// The same reaction again changes nothing.
#[utoipa::path(put, path = "/v1/rooms/{id}/messages/{seq}/reactions/{emoji}", tag = "rooms",
    security(("bearer" = [])),
    params(("id" = String, Path, description = "The room."), ("seq" = u64, Path, description = "The message."),
        ("emoji" = String, Path, description = "One emoji, percent-encoded.")),
    responses((status = 204, description = "Reacted."),
        (status = 403, description = "`not_a_member`, `muted`, `banned`."),
        (status = 404, description = "`room_not_found`, `message_not_found`."),
        (status = 409, description = "`limit_reached`: too many reactions."),
        (status = 410, description = "`message_deleted`."),
        (status = 422, description = "`invalid`: no emoji.")))]
async fn react_to_message(
    State(app): State<Arc<App>>,
    Auth(me): Auth,
    Path((room, seq, emoji)): Path<(RoomId, u64, String)>,
) -> Result<StatusCode, Problem> {
    app.rooms.member_command(room, &me.profile, What::React { seq, emoji }).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Take a reaction back
#[utoipa::path(delete, path = "/v1/rooms/{id}/messages/{seq}/reactions/{emoji}", tag = "rooms",
    security(("bearer" = [])),
    params(("id" = String, Path, description = "The room."), ("seq" = u64, Path, description = "The message."),
        ("emoji" = String, Path, description = "One emoji, percent-encoded.")),
    responses((status = 204, description = "Taken back, or there was none."),
        (status = 403, description = "`not_a_member`."),
        (status = 404, description = "`room_not_found`, `message_not_found`.")))]
async fn unreact_to_message(
    State(app): State<Arc<App>>,
    Auth(me): Auth,
    Path((room, seq, emoji)): Path<(RoomId, u64, String)>,
) -> Result<StatusCode, Problem> {
    app.rooms.member_command(room, &me.profile, What::Unreact { seq, emoji }).await?;
    Ok(StatusCode::NO_CONTENT)
}
