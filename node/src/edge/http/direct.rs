//! Calls about direct rooms.

use std::sync::Arc;

use axum::{Json, extract::State, http::StatusCode};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{Auth, Path, rooms::Room};
use crate::{edge::App, problem::Problem};

pub(super) fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new().routes(routes!(direct_room))
}

/// The direct room with a user
///
/// Made on first use; the same whoever of the two asks.
#[utoipa::path(put, path = "/v1/direct/{username}", tag = "rooms", security(("bearer" = [])),
    params(("username" = String, Path, description = "The other user.")),
    responses((status = 200, description = "The room was there.", body = Room),
        (status = 201, description = "The room was made.", body = Room),
        (status = 404, description = "`user_not_found`."),
        (status = 409, description = "`limit_reached`: one of the two is in too many rooms."),
        (status = 422, description = "`invalid`: that is oneself.")))]
async fn direct_room(
    State(app): State<Arc<App>>,
    Auth(me): Auth,
    Path(username): Path<String>,
) -> Result<(StatusCode, Json<Room>), Problem> {
    let other = app.accounts.user_by_name(&username).await?;
    let (room, made) = app.rooms.direct(&me.profile, &other.profile).await?;
    let status = if made { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Json(room.into())))
}
