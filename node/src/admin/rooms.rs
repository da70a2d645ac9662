//! Rooms that are declared from outside the chat.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use async_trait::async_trait;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use rookery_core::room::{DECLARED_MEMBERS, Declaration, Kind, Profile, Role, Visibility};
use rookery_protocol::{
    id::RoomId,
    peer::{self, EnsureRoomRequest, RemoveRoomReply, RoomKey, RoomReply, room_admin_server::RoomAdmin},
};
use tokio::sync::Semaphore;
use tonic::{Request, Response, Status};

use super::{
    room_id::{Search, room_of},
    token::{OperatorToken, admit_operator},
};
use crate::{
    accounts::Accounts,
    membership::{Membership, PinError},
    problem::Problem,
    rooms::Rooms,
};

/// Calls that are worked on at the same time.
const AT_ONCE: usize = 8;
/// Users that are looked up at the same time.
const LOOK_UPS: usize = 16;
/// A call is answered within this time, one way or the other.
const PATIENCE: Duration = Duration::from_secs(10);
/// etcd takes a pin within this time.
const PIN: Duration = Duration::from_secs(3);
/// Longest part of a key, in bytes: what Kubernetes allows for a name.
const KEY: usize = 253;
/// Longest username that is looked up, in bytes.
const USERNAME: usize = 256;

/// Who users are.
#[async_trait]
pub trait Directory: Send + Sync {
    /// A user by his name; `None`: there is none.
    async fn user(&self, username: &str) -> Result<Option<Arc<Profile>>, Problem>;
}

/// Where rooms are pinned.
#[async_trait]
pub trait Pins: Send + Sync {
    /// Pins a room to a shard, or lets it go where hashing puts it.
    async fn pin(&self, room: RoomId, shard: Option<&str>, within: Duration) -> Result<(), PinError>;
}

/// The service `RoomAdmin`.
pub(super) struct DeclaredRooms {
    cluster: String,
    rooms: Arc<Rooms>,
    users: Arc<dyn Directory>,
    pins: Arc<dyn Pins>,
    token: Option<Arc<OperatorToken>>,
    at_once: Semaphore,
}

impl DeclaredRooms {
    pub(super) fn new(
        cluster: String,
        rooms: Arc<Rooms>,
        users: Arc<dyn Directory>,
        pins: Arc<dyn Pins>,
        token: Option<Arc<OperatorToken>>,
    ) -> Self {
        Self { cluster, rooms, users, pins, token, at_once: Semaphore::new(AT_ONCE) }
    }

    /// Does what the operator asks when it is its turn.
    async fn served<T>(
        &self,
        call: impl Future<Output = Result<T, Status>> + Send,
    ) -> Result<Response<T>, Status> {
        let done = async {
            let _turn =
                self.at_once.acquire().await.map_err(|_| Status::unavailable("this node is stopping"))?;
            call.await
        };
        let late = |_| Status::unavailable("it took too long; it may have been done, and can be asked again");
        tokio::time::timeout(PATIENCE, done).await.map_err(late)?.map(Response::new)
    }

    /// The room that a key means: one that is there, or the one to be made.
    async fn room(&self, key: &RoomKey) -> Result<RoomId, Status> {
        for (what, part) in [("namespace", &key.namespace), ("name", &key.name)] {
            if part.is_empty() || part.len() > KEY {
                return Err(Status::invalid_argument(format!("key.{what}: must have 1 to {KEY} characters")));
            }
        }
        let mut search = Search::new();
        loop {
            match search.next() {
                Ok(nth) => {
                    let room = room_of(&self.cluster, &key.namespace, &key.name, nth);
                    search.found(nth, self.rooms.was_removed(room).await.map_err(status)?);
                }
                Err(Some(nth)) => return Ok(room_of(&self.cluster, &key.namespace, &key.name, nth)),
                Err(None) => {
                    let why = "key.name: too many rooms of this name were removed; take another one";
                    return Err(Status::invalid_argument(why));
                }
            }
        }
    }

    /// Users by their names, and names that nobody has.
    async fn members(
        &self,
        named: Vec<peer::DeclaredMember>,
    ) -> Result<(Vec<(Profile, Role)>, Vec<String>), Status> {
        if named.len() > DECLARED_MEMBERS {
            return Err(Status::invalid_argument(format!("members: must be at most {DECLARED_MEMBERS}")));
        }
        let users = &self.users;
        let look_ups = named.into_iter().map(|named| look_up(users.clone(), named));
        let look_ups: Vec<_> = look_ups.collect();
        let found: Vec<Result<_, String>> = stream::iter(look_ups).buffered(LOOK_UPS).try_collect().await?;
        let (mut members, mut unknown) = (Vec::new(), Vec::new());
        for found in found {
            match found {
                Ok(member) => members.push(member),
                Err(username) => unknown.push(username),
            }
        }
        let ids: BTreeSet<_> = members.iter().map(|(user, _)| user.id).collect();
        if ids.len() < members.len() {
            return Err(Status::invalid_argument("members: must name each user once, in whatever case"));
        }
        Ok((members, unknown))
    }

    /// How the room is.
    async fn reply(&self, room: RoomId) -> Result<RoomReply, Status> {
        let Some(seen) = self.rooms.declared(room).await.map_err(status)? else {
            return Ok(RoomReply::default());
        };
        Ok(RoomReply {
            room: bytes::Bytes::copy_from_slice(&room.to_bytes()),
            changed: false,
            unknown_users: Vec::new(),
            shard: seen.shard,
            owner: seen.owner,
            epoch: seen.epoch,
            members: seen.members,
            last_seq: seen.last_seq,
        })
    }

    async fn ensure(&self, request: EnsureRoomRequest) -> Result<RoomReply, Status> {
        if self.rooms.level() < rookery_core::ring::LEVEL {
            return Err(Status::failed_precondition(
                "some nodes of the cluster are of an older version and do not know declared rooms",
            ));
        }
        let (kind, visibility) = (request.kind(), request.visibility());
        let EnsureRoomRequest { key, display_name, topic, members, shard, .. } = request;
        let (members, unknown_users) = self.members(members).await?;
        let declaration = Declaration {
            name: display_name,
            kind: match kind {
                peer::Kind::Group => Kind::Group,
                peer::Kind::Channel => Kind::Channel,
                peer::Kind::Direct | peer::Kind::Unknown => {
                    return Err(Status::invalid_argument("kind: must be group or channel"));
                }
            },
            visibility: match visibility {
                peer::Visibility::Public => Visibility::Public,
                peer::Visibility::Private => Visibility::Private,
                peer::Visibility::Unknown => {
                    return Err(Status::invalid_argument("visibility: must be public or private"));
                }
            },
            topic: Some(topic).filter(|topic| !topic.is_empty()),
            slow_mode_seconds: request.slow_mode_seconds,
            translation: request.translation,
            max_members: request.max_members.filter(|most| *most > 0),
            retention_days: request.retention_days.filter(|days| *days > 0),
            members,
        };
        let room = self.room(&key.unwrap_or_default()).await?;
        // Before it is made: so it is made where it is to be.
        let shard = Some(shard.as_str()).filter(|shard| !shard.is_empty());
        self.pins.pin(room, shard, PIN).await.map_err(|error| match error {
            PinError::TooMany => Status::resource_exhausted(error.to_string()),
            PinError::Etcd(_) => Status::unavailable(error.to_string()),
        })?;
        let changed = self.rooms.declare(room, &declaration).await.map_err(status)?;
        Ok(RoomReply { changed, unknown_users, ..self.reply(room).await? })
    }

    async fn remove(&self, key: RoomKey) -> Result<RemoveRoomReply, Status> {
        let room = self.room(&key).await?;
        let removed = self.rooms.remove_declared(room).await.map_err(status)?;
        if let Err(error) = self.pins.pin(room, None, PIN).await {
            // It is of no use any more, and does no harm.
            tracing::warn!(%room, %error, "the pin of a room that was removed stays");
        }
        Ok(RemoveRoomReply { removed })
    }
}

/// A user and his role, or a name that nobody has.
async fn look_up(
    users: Arc<dyn Directory>,
    named: peer::DeclaredMember,
) -> Result<Result<(Profile, Role), String>, Status> {
    let role = match named.role() {
        peer::Role::Member => Role::Member,
        peer::Role::Moderator => Role::Moderator,
        peer::Role::Owner => Role::Owner,
        peer::Role::Unknown => {
            return Err(Status::invalid_argument("members: a role that this node does not know"));
        }
    };
    if named.username.len() > USERNAME {
        return Ok(Err(named.username));
    }
    let found = users.user(&named.username).await.map_err(status)?;
    Ok(found.map(|user| ((*user).clone(), role)).ok_or(named.username))
}

/// What the room answers, for the operator: what the manifest has to say otherwise, or when to ask again.
fn status(problem: Problem) -> Status {
    let fields: Vec<_> = problem.fields.iter().map(|(field, why)| format!("{field}: {why}")).collect();
    let text = if fields.is_empty() { problem.detail.into_owned() } else { fields.join("; ") };
    match problem.status {
        503 | 404 => Status::unavailable(text),
        400..=499 => Status::invalid_argument(text),
        _ => Status::internal(text),
    }
}

#[async_trait]
impl RoomAdmin for DeclaredRooms {
    async fn ensure_room(&self, request: Request<EnsureRoomRequest>) -> Result<Response<RoomReply>, Status> {
        admit_operator(self.token.as_deref(), &request).await?;
        self.served(self.ensure(request.into_inner())).await
    }

    async fn get_room(&self, request: Request<RoomKey>) -> Result<Response<RoomReply>, Status> {
        admit_operator(self.token.as_deref(), &request).await?;
        self.served(async { self.reply(self.room(&request.into_inner()).await?).await }).await
    }

    async fn remove_room(&self, request: Request<RoomKey>) -> Result<Response<RemoveRoomReply>, Status> {
        admit_operator(self.token.as_deref(), &request).await?;
        self.served(self.remove(request.into_inner())).await
    }
}

#[async_trait]
impl Directory for Accounts {
    async fn user(&self, username: &str) -> Result<Option<Arc<Profile>>, Problem> {
        match self.user_by_name(username).await {
            Ok(user) => Ok(Some(user.profile.clone())),
            Err(problem) if problem.code == "user_not_found" => Ok(None),
            Err(problem) => Err(problem),
        }
    }
}

#[async_trait]
impl Pins for Membership {
    async fn pin(&self, room: RoomId, shard: Option<&str>, within: Duration) -> Result<(), PinError> {
        Self::pin(self, room, shard, within).await
    }
}
